"""Actions that put headers around packets of any type, and take them off."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from gossamer.pipeline.action import Action


class PacketType(IntEnum):
    """Packet types (OpenFlow 1.5.1, 7.2.3.11): the namespace in the upper 16 bits."""

    ETHERNET = 0
    NEXT_PROTOCOL = 0xFFFE
    IPV4 = 0x10800
    IPV6 = 0x186DD
    MPLS = 0x18847
    MPLS_MC = 0x18848
    NSH = 0x1894F


@dataclass(frozen=True, slots=True)
class NshMdType:
    """Property of encap(nsh): 1 for four words of context, 2 for a list of options."""

    md_type: int


@dataclass(frozen=True, slots=True)
class NshTlv:
    """Property of encap(nsh): an option of a header of MD type 2 (RFC 8300, section 2.5.1)."""

    tlv_class: int
    tlv_type: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Encap(Action):
    """Put a header around the packet, which then has this packet type (NXAST_ENCAP)."""

    packet_type: int
    properties: tuple[NshMdType | NshTlv, ...] = ()
    hdr_size: int = 0


@dataclass(frozen=True, slots=True)
class Decap(Action):
    """Take the outermost header off; `packet_type` is that of what follows (NXAST_DECAP)."""

    packet_type: int = PacketType.NEXT_PROTOCOL


@dataclass(frozen=True, slots=True)
class DecNshTtl(Action):
    """Decrement a network service header's TTL; at 0 or 1 as DecTtl (NXAST_DEC_NSH_TTL)."""
