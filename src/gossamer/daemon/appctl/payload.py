"""Another payload for a composed packet (``ofproto/trace --l7`` and ``--l7-len``)."""

from __future__ import annotations

import struct
from typing import Final

from gossamer.pipeline.checksum import checksum
from gossamer.pipeline.crc32c import crc32c
from gossamer.pipeline.fields import (
    ETH_IPV4,
    ETH_IPV6,
    FRAG_LATER,
    IP_ICMP,
    IP_ICMPV6,
    IP_SCTP,
    IP_TCP,
    IP_UDP,
    get_slot,
)
from gossamer.pipeline.match import Match
from gossamer.pipeline.packet import dissect

_COMPOSED: Final = 64
"""Bytes of payload that a composed packet has, all zero."""
_CHECKSUM_AT: Final = {IP_TCP: 16, IP_UDP: 6, IP_ICMP: 2, IP_ICMPV6: 2}


def with_payload(packet: bytes, flow: Match, payload: bytes) -> bytes:
    """`packet`, which was composed from `flow`, carrying `payload`: lengths and checksums right.

    Only TCP, UDP, SCTP and ICMP over IP carry one; other packets stay as they are.
    """
    headers = dissect(packet, 0)
    proto = headers.l4_proto
    eth_type = get_slot(headers.key, "eth_type")
    later = get_slot(headers.key, "nw_frag") & FRAG_LATER
    if eth_type not in (ETH_IPV4, ETH_IPV6) or not headers.l4 or later:
        return packet
    if packet[-_COMPOSED:] != bytes(_COMPOSED):
        return packet  # neighbour discovery has its own
    l3, l4 = headers.l3, headers.l4
    out = bytearray(packet[:-_COMPOSED] + payload)
    if eth_type == ETH_IPV4:
        struct.pack_into("!H", out, l3 + 2, len(out) - l3)
        struct.pack_into("!H", out, l3 + 10, 0)
        struct.pack_into("!H", out, l3 + 10, checksum(bytes(out[l3:l4])))
        addresses = bytes(out[l3 + 12 : l3 + 20])
    else:
        struct.pack_into("!H", out, l3 + 4, len(out) - l3 - 40)
        addresses = bytes(out[l3 + 8 : l3 + 40])
    if proto == IP_UDP:
        struct.pack_into("!H", out, l4 + 4, len(out) - l4)
    if proto == IP_SCTP:
        out[l4 + 8 : l4 + 12] = bytes(4)
        out[l4 + 8 : l4 + 12] = crc32c(bytes(out[l4:])).to_bytes(4, "little")
    elif proto in _CHECKSUM_AT:
        at = l4 + _CHECKSUM_AT[proto]
        struct.pack_into("!H", out, at, 0)
        pseudo = b"" if proto == IP_ICMP else addresses + struct.pack("!II", len(out) - l4, proto)
        total = checksum(pseudo + bytes(out[l4:]))
        struct.pack_into("!H", out, at, total or (0xFFFF if proto == IP_UDP else 0))
    return bytes(out)
