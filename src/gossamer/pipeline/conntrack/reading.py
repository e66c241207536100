"""What tracking reads of a packet: its tuple, and for TCP what moves the connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gossamer.pipeline.commit import Frame
from gossamer.pipeline.conntrack.quoted import quoted
from gossamer.pipeline.conntrack.tcp import Segment, read_segment
from gossamer.pipeline.conntrack.tuple import ANSWERS, REQUESTS, Tuple
from gossamer.pipeline.fields import (
    ETH_IPV4,
    ETH_IPV6,
    FRAG_ANY,
    FRAG_LATER,
    IP_ICMP,
    IP_ICMPV6,
    IP_SCTP,
    IP_TCP,
    IP_UDP,
    get_slot,
)

_WITH_HEADER: Final = (IP_TCP, IP_UDP, IP_SCTP)
ERRORS: Final = {IP_ICMP: frozenset((3, 4, 5, 11, 12)), IP_ICMPV6: frozenset((1, 2, 3, 4))}
"""Types of ICMP that tell of another packet."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A packet as tracking sees it, in zone 0.

    `error`: it is an ICMP error, and `tuple` that of answers to the packet it quotes; `later`: a
    fragment without transport header, whose ports are those of its first.
    """

    tuple: Tuple
    segment: Segment | None = None
    error: bool = False
    later: bool = False

    @property
    def may_begin(self) -> bool:
        """Whether a packet like this begins a connection."""
        if self.segment is not None:
            return self.segment.may_begin
        t = self.tuple
        return not t.is_icmp or t.dport >> 8 in REQUESTS[t.proto]


def read(frame: Frame) -> Reading | None:
    """What there is in a packet but for fragments, of which a later one has no ports yet; None
    for what cannot be tracked."""
    key, at = frame.key, frame.headers
    eth_type = get_slot(key, "eth_type")
    if eth_type not in (ETH_IPV4, ETH_IPV6) or not at.l3:
        return None
    src, dst = addresses(key)
    proto, is_ipv4 = get_slot(key, "nw_proto"), eth_type == ETH_IPV4
    if get_slot(key, "nw_frag") & FRAG_LATER:
        return Reading(Tuple(src, dst, proto), later=True)
    if proto == (IP_ICMP if is_ipv4 else IP_ICMPV6):
        return _read_icmp(frame, src, dst) if at.l4 else None
    if proto not in _WITH_HEADER:
        # A chain of extension headers that is broken hides the protocol.
        return Reading(Tuple(src, dst, proto)) if is_ipv4 or proto else None
    if not at.l4:
        return None
    if proto == IP_SCTP:
        return Reading(Tuple(src, dst, proto))
    sport, dport = get_slot(key, "tp_src"), get_slot(key, "tp_dst")
    if not sport or not dport:
        return None
    segment: Segment | None = None
    if proto == IP_TCP:
        segment = read_segment(frame.packet[at.l4 : at.l4_end])
    elif not _udp_length_fits(frame):
        return None
    return Reading(Tuple(src, dst, proto, sport, dport), segment)


def addresses(key: int) -> tuple[bytes, bytes]:
    """Source and destination of an IP packet."""
    if get_slot(key, "eth_type") == ETH_IPV4:
        return get_slot(key, "nw_src").to_bytes(4, "big"), get_slot(key, "nw_dst").to_bytes(
            4, "big"
        )
    return (
        get_slot(key, "ipv6_src").to_bytes(16, "big"),
        get_slot(key, "ipv6_dst").to_bytes(16, "big"),
    )


def _udp_length_fits(frame: Frame) -> bool:
    at = frame.headers
    length = int.from_bytes(frame.packet[at.l4 + 4 : at.l4 + 6], "big")
    fragment = get_slot(frame.key, "nw_frag") & FRAG_ANY
    return length >= 8 and (bool(fragment) or length <= at.l4_end - at.l4)


def _read_icmp(frame: Frame, src: bytes, dst: bytes) -> Reading | None:
    at = frame.headers
    header = frame.packet[at.l4 : at.l4 + 8]
    proto, kind, code = at.l4_proto, header[0], header[1]
    if kind in ANSWERS[proto]:
        if code:
            return None
        identifier = int.from_bytes(header[4:6], "big")
        return Reading(Tuple(src, dst, proto, identifier, kind << 8))
    if kind not in ERRORS[proto]:
        return None
    inside = quoted(frame)
    if inside is None or inside.tuple.src != dst:
        return None
    return Reading(inside.tuple.reversed(), error=True)
