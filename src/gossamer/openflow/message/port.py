"""Ports and their queues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ALL_QUEUES: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class PortMod:
    """OFPT_PORT_MOD; config and mask in OpenFlow 1.1's bits."""

    port: int
    hw_addr: bytes
    config: int
    mask: int
    advertise: int = 0


@dataclass(frozen=True, slots=True)
class PortStatsRequest:
    """OFPMP_PORT_STATS."""

    port: int


@dataclass(frozen=True, slots=True)
class PortDescRequest:
    """OFPMP_PORT_DESC."""

    port: int


@dataclass(frozen=True, slots=True)
class PortDesc:
    """A port as controllers see it.

    `config` and `state` are OpenFlow 1.1's bits (config: 1 down, 4 no-recv,
    32 no-fwd, 64 no-packet-in, and 0x10000 for 1.0's no-flood; state: 1 link
    down, 4 live).  Features are OpenFlow 1.1's; speeds in kbit/s.
    """

    number: int
    hw_addr: bytes
    name: str
    config: int = 0
    state: int = 0
    curr: int = 0
    advertised: int = 0
    supported: int = 0
    peer: int = 0
    curr_speed: int = 0
    max_speed: int = 0


CONFIG_DOWN: Final = 1 << 0
CONFIG_NO_STP: Final = 1 << 1
CONFIG_NO_RECV: Final = 1 << 2
CONFIG_NO_RECV_STP: Final = 1 << 3
CONFIG_NO_FLOOD: Final = 1 << 4
CONFIG_NO_FWD: Final = 1 << 5
CONFIG_NO_PACKET_IN: Final = 1 << 6
STATE_LINK_DOWN: Final = 1 << 0
STATE_LIVE: Final = 1 << 2


@dataclass(frozen=True, slots=True)
class PortStats:
    """Counters of a port; None is 'not counted'."""

    number: int
    rx_packets: int | None = None
    tx_packets: int | None = None
    rx_bytes: int | None = None
    tx_bytes: int | None = None
    rx_dropped: int | None = None
    tx_dropped: int | None = None
    rx_errors: int | None = None
    tx_errors: int | None = None
    rx_frame_err: int | None = None
    rx_over_err: int | None = None
    rx_crc_err: int | None = None
    collisions: int | None = None
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class QueueStatsRequest:
    """OFPMP_QUEUE."""

    port: int
    queue_id: int


@dataclass(frozen=True, slots=True)
class QueueConfigRequest:
    """OFPT_QUEUE_GET_CONFIG_REQUEST, or OFPMP_QUEUE_DESC."""

    port: int
    queue_id: int = ALL_QUEUES
    multipart: bool = False


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Counters of a port's queue."""

    port: int
    queue_id: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class QueueDesc:
    """A queue of a port; rates in tenths of a percent of the port's, None where there is no bound."""

    port: int
    queue_id: int
    min_rate: int | None = None
    max_rate: int | None = None
