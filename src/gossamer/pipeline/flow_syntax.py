"""Flows as a person types them: ``in_port=1,tcp,nw_dst=10.0.0.1,tp_dst=80`` (ovs-ofctl(8)).

Read into a match, and composed into a packet that has just these headers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gossamer.errors import FieldError
from gossamer.pipeline import tlv
from gossamer.pipeline.checksum import checksum
from gossamer.pipeline.crc32c import crc32c
from gossamer.pipeline.field_syntax import parse_field, parse_number, parse_port, parse_value
from gossamer.pipeline.fields import (
    BY_NAME,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_MPLS,
    ETH_MPLS_MC,
    ETH_RARP,
    ETH_VLAN,
    FRAG_LATER,
    IP_ICMP,
    IP_ICMPV6,
    IP_SCTP,
    IP_TCP,
    IP_UDP,
    Field,
    get_slot,
)
from gossamer.pipeline.match import ANY, Match
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.packet import ETH_TYPE_MIN, ND_ADVERT, ND_SLL, ND_SOLICIT, ND_TLL
from gossamer.pipeline.pairs import key_values

__all__ = ["KEYWORDS", "FlowText", "compose", "parse_flow", "parse_port"]

KEYWORDS: Final[Mapping[str, tuple[int, int | None]]] = {
    "ip": (ETH_IPV4, None),
    "icmp": (ETH_IPV4, IP_ICMP),
    "tcp": (ETH_IPV4, IP_TCP),
    "udp": (ETH_IPV4, IP_UDP),
    "sctp": (ETH_IPV4, IP_SCTP),
    "ipv6": (ETH_IPV6, None),
    "ip6": (ETH_IPV6, None),
    "icmp6": (ETH_IPV6, IP_ICMPV6),
    "tcp6": (ETH_IPV6, IP_TCP),
    "udp6": (ETH_IPV6, IP_UDP),
    "sctp6": (ETH_IPV6, IP_SCTP),
    "arp": (ETH_ARP, None),
    "rarp": (ETH_RARP, None),
    "mpls": (ETH_MPLS, None),
    "mplsm": (ETH_MPLS_MC, None),
}
_PAYLOAD: Final = 64
"""Bytes of payload a composed packet carries, as Open vSwitch's do."""


@dataclass(frozen=True, slots=True)
class FlowText:
    """What a flow in text form says."""

    match: Match
    in_port: int
    """OpenFlow number, OFPP_ANY where the text names none."""
    priority: int | None = None
    table_id: int | None = None


def parse_flow(text: str, ports: Mapping[str, int] | None = None) -> FlowText:
    """Read a flow in the syntax of ovs-ofctl(8), without actions.

    `ports` maps port names to OpenFlow numbers.  Raises FieldError, which says
    what was not understood.
    """
    pairs = _pairs(text)
    match, in_port = ANY, int(OfPort.ANY)
    priority = table_id = None
    for name, _ in pairs:
        if name in KEYWORDS:
            eth_type, proto = KEYWORDS[name]
            match = match.with_field(BY_NAME["eth_type"], eth_type)
            if proto is not None:
                match = match.with_field(BY_NAME["nw_proto"], proto)
    for name in ("dl_type", "eth_type", "nw_proto", "ip_proto"):
        if name in dict(pairs):
            match = match.with_field(BY_NAME[name], parse_number(name, dict(pairs)[name]))
    for name, value in pairs:
        if name in KEYWORDS or name in ("dl_type", "eth_type", "nw_proto", "ip_proto"):
            continue
        if name == "priority":
            priority = parse_number(name, value)
        elif name == "table":
            table_id = parse_number(name, value)
        elif name in ("in_port", "in_port_oxm"):
            in_port = parse_port(value, ports)
            match = match.with_field(BY_NAME["in_port"], in_port)
        elif name == "actset_output":
            match = match.with_field(BY_NAME[name], parse_port(value, ports))
        else:
            match = _with(match, name, value)
    return FlowText(match, in_port, priority, table_id)


def _pairs(text: str) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in key_values(text)]


def _resolve(match: Match, name: str) -> Field:
    """The field of a name, where it depends on the protocol as well."""
    eth_type = match.field(BY_NAME["eth_type"])[0]
    proto = match.field(BY_NAME["nw_proto"])[0]
    l4 = {IP_TCP: "tcp", IP_UDP: "udp", IP_SCTP: "sctp"}.get(proto)
    if name in ("tp_src", "tp_dst") and l4:
        name = f"{l4}_{name[3:]}"
    elif name in ("icmp_type", "icmp_code") and eth_type == ETH_IPV6:
        name = f"icmpv6_{name[5:]}"
    elif name in ("nw_src", "nw_dst") and eth_type in (ETH_ARP, ETH_RARP):
        name = {"nw_src": "arp_spa", "nw_dst": "arp_tpa"}[name]
    elif name == "nw_frag":
        name = "ip_frag"
    return BY_NAME.get(name) or parse_field(name)


def _with(match: Match, name: str, text: str) -> Match:
    option = tlv.named(name)
    if option is not None and not text:
        return match.with_field(option, 0, 0)
    if not text:
        raise FieldError(f"field {name} has no value", remedy=f"write {name}=VALUE")
    if name in ("dl_vlan", "dl_vlan_pcp", "vlan_pcp") or (name == "vlan_vid" and "/" not in text):
        return _with_vlan(match, name, parse_number(name, text))
    f = _resolve(match, name)
    if not match.satisfies(f.prerequisite):
        raise FieldError(
            f"{name} needs a match on {f.prerequisite.name} first",
            remedy=f"add {f.prerequisite.name} to the flow",
        )
    value, mask = parse_value(f, text)
    return match.with_field(f, value & mask, mask)


def _with_vlan(match: Match, name: str, number: int) -> Match:
    if name == "vlan_vid":
        return match.with_field(BY_NAME["vlan_vid"], number)
    if name == "dl_vlan":
        if number == 0xFFFF:  # OpenFlow 1.0's "no VLAN"
            return match.with_field(BY_NAME["vlan_tci"], 0)
        return match.with_field(BY_NAME["vlan_vid"], number | 0x1000)
    tci, mask = match.field(BY_NAME["vlan_tci"])
    return match.with_field(
        BY_NAME["vlan_tci"], tci & 0x1FFF | 0x1000 | number << 13, mask | 0xF000
    )


def compose(match: Match) -> bytes:
    """A packet with the headers that `match` names, everything else zero, checksums right.

    Masked-out bits are zero.  An IP packet carries 64 bytes of payload.
    """
    key = match.value
    tags = b""
    for tpid, tci in (("vlan_tpid", "vlan_tci"), ("vlan1_tpid", "vlan1_tci")):
        bits = get_slot(key, tci)
        if bits & 0x1000:
            tags += struct.pack("!HH", get_slot(key, tpid) or ETH_VLAN, bits & 0xEFFF)
    eth_type = get_slot(key, "eth_type")
    addresses = _slot(key, "eth_dst", 6) + _slot(key, "eth_src", 6) + tags
    if eth_type == ETH_IPV4:
        body = _ipv4_packet(key)
    elif eth_type == ETH_IPV6:
        body = _ipv6_packet(key)
    elif eth_type in (ETH_ARP, ETH_RARP):
        body = (
            struct.pack("!HHBBH", 1, ETH_IPV4, 6, 4, get_slot(key, "nw_proto"))
            + _slot(key, "arp_sha", 6)
            + _slot(key, "nw_src", 4)
            + _slot(key, "arp_tha", 6)
            + _slot(key, "nw_dst", 4)
        )
    elif eth_type in (ETH_MPLS, ETH_MPLS_MC):
        body = (get_slot(key, "mpls_lse0") | 0x100).to_bytes(4, "big") + bytes(_PAYLOAD)
    else:
        body = bytes(_PAYLOAD)
    if eth_type < ETH_TYPE_MIN:
        # No ethertype: an 802.3 frame whose LLC header names no protocol we know.
        body = b"\x42\x42\x03" + body
        eth_type = len(body)
    return addresses + eth_type.to_bytes(2, "big") + body


def _slot(key: int, name: str, length: int) -> bytes:
    return get_slot(key, name).to_bytes(length, "big")


def _layer4(key: int, pseudo: Callable[[int], bytes]) -> bytes:
    """The transport header and payload; `pseudo` gives the pseudo header for a length."""
    proto = get_slot(key, "nw_proto")
    ports = _slot(key, "tp_src", 2) + _slot(key, "tp_dst", 2)
    payload = bytes(_PAYLOAD)
    if get_slot(key, "nw_frag") & FRAG_LATER:
        return payload
    if proto == IP_TCP:
        flags = get_slot(key, "tcp_flags")
        head = ports + struct.pack("!IIHHHH", 0, 0, 5 << 12 | flags, 0, 0, 0)
        at, covered = 16, True
    elif proto == IP_UDP:
        head, at, covered = ports + struct.pack("!HH", 8 + len(payload), 0), 6, True
    elif proto == IP_SCTP:
        chunk = ports + bytes(8) + payload
        return chunk[:8] + crc32c(chunk).to_bytes(4, "little") + payload
    elif proto in (IP_ICMP, IP_ICMPV6):
        head = bytes((ports[1], ports[3])) + bytes(6)
        if proto == IP_ICMPV6:
            head = head[:4] + _slot(key, "pbb_isid", 4)
        if proto == IP_ICMPV6 and ports[1] in (ND_SOLICIT, ND_ADVERT) and not ports[3]:
            head, payload = head + _neighbour_discovery(key), b""
        at, covered = 2, proto == IP_ICMPV6
    else:
        return payload
    data = head + payload
    found = checksum((pseudo(len(data)) if covered else b"") + data)
    if proto == IP_UDP and not found:
        found = 0xFFFF
    return data[:at] + found.to_bytes(2, "big") + data[at + 2 :]


def _neighbour_discovery(key: int) -> bytes:
    out = _slot(key, "nd_target", 16)
    for name, option in (("arp_sha", ND_SLL), ("arp_tha", ND_TLL)):
        address = _slot(key, name, 6)
        if any(address):
            out += bytes((option, 1)) + address
    return out


def _ipv4_packet(key: int) -> bytes:
    proto = get_slot(key, "nw_proto")
    addresses = _slot(key, "nw_src", 4) + _slot(key, "nw_dst", 4)
    data = _layer4(key, lambda n: addresses + struct.pack("!HH", proto, n))
    frag = get_slot(key, "nw_frag")
    fragment = 0 if not frag else 0x2064 if frag & FRAG_LATER else 0x2000
    head = struct.pack(
        "!BBHHHBBH",
        0x45,
        get_slot(key, "nw_tos"),
        20 + len(data),
        0,
        fragment,
        get_slot(key, "nw_ttl"),
        proto,
        0,
    )
    found = checksum(head + addresses).to_bytes(2, "big")
    return head[:10] + found + addresses + data


def _ipv6_packet(key: int) -> bytes:
    proto = get_slot(key, "nw_proto")
    addresses = _slot(key, "ipv6_src", 16) + _slot(key, "ipv6_dst", 16)
    data = _layer4(key, lambda n: addresses + struct.pack("!II", n, proto))
    frag, following = get_slot(key, "nw_frag"), proto
    if frag:
        data = struct.pack("!BBHI", proto, 0, 0x0321 if frag & FRAG_LATER else 1, 0) + data
        following = 44
    first = 6 << 28 | get_slot(key, "nw_tos") << 20 | get_slot(key, "ipv6_label")
    ttl = get_slot(key, "nw_ttl")
    return struct.pack("!IHBB", first, len(data), following, ttl) + addresses + data
