"""A packet that was seen and is to be reported: what NetFlow, IPFIX and their like are made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


@dataclass(frozen=True, slots=True)
class Interface:
    """A port as collectors know it: the device's number in the host, and its name."""

    index: int = 0
    name: str = ""


class TunnelType(IntEnum):
    """VMware's element tunnelType."""

    VXLAN = 1
    GRE = 2
    GENEVE = 7


@dataclass(frozen=True, slots=True)
class TunnelPort:
    """A port by which packets come or go inside of others; key_length in bytes, `udp_port` 0 for GRE."""

    type: TunnelType
    key_length: int
    udp_port: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """A sampled packet.

    `key` is its flow key, `n_bytes` the length of its frame, or of the train of `n_packets` segments
    that the kernel will make of it.  It stands for `weight` packets like it.
    """

    key: int
    n_bytes: int
    domain: int
    point: int
    ingress: Interface
    egress: Interface = Interface()
    outward: bool = False
    """Seen on its way out of a port; else on its way in."""
    n_packets: int = 1
    weight: int = 1
    tunnel: TunnelPort | None = None
    """What it came in by, or goes out by."""
    virtual_id: bytes = b""
    """Who observes, in the operator's words (IPFIX other_config:virtual_obs_id)."""
