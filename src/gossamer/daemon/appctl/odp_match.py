"""Matches as ``ovs-appctl dpctl/dump-flows`` writes them: ``in_port(2),eth(src=...),...``.

The syntax is that of Open vSwitch's datapath flows (ovs-dpctl(8), "dump-flows"):
groups of fields, one a header, each field with its mask where that is not
complete.  A group nobody looked at is left out, unless everything is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from gossamer.datapath.cache_mask import RESUMES
from gossamer.pipeline.fields import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_MPLS,
    ETH_MPLS_MC,
    ETH_RARP,
    ETH_VLAN,
    IP_ICMP,
    IP_ICMPV6,
    IP_SCTP,
    IP_TCP,
    IP_UDP,
    VLAN_CFI,
    get_slot,
)
from gossamer.pipeline.format import format_mac, format_tcp_flags
from gossamer.pipeline.format_field import format_ct_state
from gossamer.pipeline.match import Match
from gossamer.pipeline.packet import ND_ADVERT, ND_SOLICIT

Text = Callable[[int], str]
PortText = Callable[[int], str]
"""What to call a port of the flow's bridge, given its OpenFlow number."""


def hexadecimal(value: int) -> str:
    """A number as C's %#x writes it: a zero stays bare."""
    return f"{value:#x}" if value else "0"


def _ipv4(value: int) -> str:
    return str(IPv4Address(value))


def _ipv6(value: int) -> str:
    return str(IPv6Address(value))


def _label(value: int) -> str:
    return hexadecimal(value)


@dataclass(frozen=True, slots=True)
class OdpField:
    """A field of a group: where it is in the key, and how its value and its mask are written."""

    name: str
    slot: str
    n_bits: int
    low: int = 0
    value_text: Text = str
    mask_text: Text = hexadecimal

    def of(self, key: int) -> int:
        """Its value in a key, or its mask in a mask."""
        return get_slot(key, self.slot) >> self.low & ((1 << self.n_bits) - 1)

    def text(self, match: Match, *, full: bool) -> str:
        """``name=value/mask``; empty where it is not matched and not `full`."""
        value, mask = self.of(match.value), self.of(match.mask)
        if not mask and not full:
            return ""
        # One bit of two says as much of a fragment as the peer's words do.
        exact = mask == (1 << self.n_bits) - 1 or (self.name == "frag" and mask != 0)
        masked = "" if exact else f"/{self.mask_text(mask)}"
        return f"{self.name}={self.value_text(value)}{masked}"


def _mac(name: str, slot: str) -> OdpField:
    return OdpField(name, slot, 48, 0, format_mac, format_mac)


def _v4(name: str, slot: str) -> OdpField:
    return OdpField(name, slot, 32, 0, _ipv4, _ipv4)


def _v6(name: str, slot: str) -> OdpField:
    return OdpField(name, slot, 128, 0, _ipv6, _ipv6)


def _frag(value: int) -> str:
    return ("no", "first", "<error>", "later")[value]


_OF_CONNECTION: Final = (
    OdpField("proto", "ct_nw_proto", 8),
    OdpField("tp_src", "ct_tp_src", 16),
    OdpField("tp_dst", "ct_tp_dst", 16),
)
_PORTS: Final = (OdpField("src", "tp_src", 16), OdpField("dst", "tp_dst", 16))
_ICMP: Final = (OdpField("type", "tp_src", 8), OdpField("code", "tp_dst", 8))

GROUPS: Final[dict[str, tuple[OdpField, ...]]] = {
    "tunnel": (
        OdpField("tun_id", "tun_id", 64, 0, hexadecimal),
        _v4("src", "tun_src"),
        _v4("dst", "tun_dst"),
        _v6("ipv6_src", "tun_ipv6_src"),
        _v6("ipv6_dst", "tun_ipv6_dst"),
        OdpField("tos", "tun_tos", 8, 0, hexadecimal),
        OdpField("ttl", "tun_ttl", 8),
    ),
    "ct_tuple4": (_v4("src", "ct_nw_src"), _v4("dst", "ct_nw_dst"), *_OF_CONNECTION),
    "ct_tuple6": (_v6("src", "ct_ipv6_src"), _v6("dst", "ct_ipv6_dst"), *_OF_CONNECTION),
    "eth": (_mac("src", "eth_src"), _mac("dst", "eth_dst")),
    "vlan": (OdpField("vid", "vlan_tci", 12), OdpField("pcp", "vlan_tci", 3, 13)),
    "inner vlan": (OdpField("vid", "vlan1_tci", 12), OdpField("pcp", "vlan1_tci", 3, 13)),
    "mpls": (
        OdpField("label", "mpls_lse0", 20, 12),
        OdpField("tc", "mpls_lse0", 3, 9),
        OdpField("ttl", "mpls_lse0", 8),
        OdpField("bos", "mpls_lse0", 1, 8),
    ),
    "ipv4": (
        _v4("src", "nw_src"),
        _v4("dst", "nw_dst"),
        OdpField("proto", "nw_proto", 8),
        OdpField("tos", "nw_tos", 8, 0, hexadecimal),
        OdpField("ttl", "nw_ttl", 8),
        OdpField("frag", "nw_frag", 2, 0, _frag),
    ),
    "ipv6": (
        _v6("src", "ipv6_src"),
        _v6("dst", "ipv6_dst"),
        OdpField("label", "ipv6_label", 20, 0, _label),
        OdpField("proto", "nw_proto", 8),
        OdpField("tclass", "nw_tos", 8, 0, hexadecimal),
        OdpField("hlimit", "nw_ttl", 8),
        OdpField("frag", "nw_frag", 2, 0, _frag),
    ),
    "arp": (
        _v4("sip", "nw_src"),
        _v4("tip", "nw_dst"),
        OdpField("op", "nw_proto", 8),
        _mac("sha", "arp_sha"),
        _mac("tha", "arp_tha"),
    ),
    "tcp": _PORTS,
    "udp": _PORTS,
    "sctp": _PORTS,
    "icmp": _ICMP,
    "icmpv6": _ICMP,
    "nd": (_v6("target", "nd_target"), _mac("sll", "arp_sha"), _mac("tll", "arp_tha")),
    "nd_ext": (
        OdpField("nd_reserved", "pbb_isid", 32, 0, hexadecimal),
        OdpField("nd_options_type", "tcp_flags", 8),
    ),
}
"""The fields of each group, in the order they are written."""

_CT_STATE: Final = OdpField("ct_state", "ct_state", 32, 0, hexadecimal)
_STATE: Final = (
    OdpField("skb_mark", "pkt_mark", 32, 0, hexadecimal),
    _CT_STATE,
    OdpField("ct_zone", "ct_zone", 16, 0, hexadecimal),
    OdpField("ct_mark", "ct_mark", 32, 0, hexadecimal),
    OdpField("ct_label", "ct_label", 128, 0, hexadecimal),
)
_DP_HASH: Final = OdpField("dp_hash", "dp_hash", 32, 0, hexadecimal)

_L3: Final = {
    ETH_IPV4: "ipv4",
    ETH_IPV6: "ipv6",
    ETH_ARP: "arp",
    ETH_RARP: "arp",
    ETH_MPLS: "mpls",
    ETH_MPLS_MC: "mpls",
}
_L4: Final = {
    (ETH_IPV4, IP_TCP): "tcp",
    (ETH_IPV6, IP_TCP): "tcp",
    (ETH_IPV4, IP_UDP): "udp",
    (ETH_IPV6, IP_UDP): "udp",
    (ETH_IPV4, IP_SCTP): "sctp",
    (ETH_IPV6, IP_SCTP): "sctp",
    (ETH_IPV4, IP_ICMP): "icmp",
    (ETH_IPV6, IP_ICMPV6): "icmpv6",
}


def header_groups(eth_type: int, proto: int, icmp_type: int = -1) -> list[str]:
    """The groups that a packet of these protocols has above Ethernet."""
    names = [_L3[eth_type]] if eth_type in _L3 else []
    l4 = _L4.get((eth_type, proto))
    if l4:
        names.append(l4)
    if l4 == "icmpv6" and icmp_type in (ND_SOLICIT, ND_ADVERT):
        names.append("nd")
    return names


def format_group(name: str, match: Match, *, full: bool = False) -> str:
    """``ipv4(src=10.0.0.1,frag=no)``; empty where nothing of it is matched and not `full`."""
    fields = [f.text(match, full=full) for f in GROUPS[name]]
    inside = ",".join(text for text in fields if text)
    shown = name.split()[-1]
    return f"{shown}({inside})" if inside or full else ""


def format_odp_match(match: Match, port: PortText, *, full: bool, userspace: bool) -> str:
    """A datapath flow's match.

    `full` (``-m``) writes what is not looked at too, with a mask of zero.
    `userspace` flows say their packet type, as those of a netdev bridge do.
    """
    out: list[str] = []
    if full:
        out.append("skb_priority(0/0)")
    tunnel = format_group("tunnel", match)
    if tunnel:
        out.append(tunnel)
    out += [
        f"ct_state({format_ct_state(f.of(match.value), f.of(match.mask))})"
        if f is _CT_STATE and not full
        else _state(f, match)
        for f in _STATE
        if full or f.of(match.mask)
    ]
    ipv6 = get_slot(match.value, "eth_type") == ETH_IPV6
    connection = format_group("ct_tuple6" if ipv6 else "ct_tuple4", match)
    if connection:
        out.append(connection)
    out.append(f"recirc_id({hexadecimal(recirc_id(match))})")
    if full or _DP_HASH.of(match.mask):
        out.append(_state(_DP_HASH, match))
    out.append(f"in_port({port(get_slot(match.value, 'in_port'))})")
    if userspace:
        out.append("packet_type(ns=0,id=0)")
    eth = format_group("eth", match, full=full)
    if eth or not userspace:
        out.append(eth or "eth()")
    out.append(_above_ethernet(match, full=full))
    return ",".join(text for text in out if text)


def recirc_id(match: Match) -> int:
    """The table that packets of a path went on in after a ct(), plus one; 0 for those that came."""
    return (match.value & match.mask & RESUMES) // (RESUMES & -RESUMES)


def _state(field: OdpField, match: Match) -> str:
    """A field that is a group by itself: ``skb_mark(0x1/0xff)``."""
    return field.text(match, full=True).replace("=", "(", 1) + ")"


def _above_ethernet(match: Match, *, full: bool) -> str:
    """The ethertype, tags, and what is behind them: a tag encloses what it carries."""
    tags = []
    for prefix in ("vlan", "vlan1"):
        value, mask = get_slot(match.value, f"{prefix}_tci"), get_slot(match.mask, f"{prefix}_tci")
        if not value & mask & VLAN_CFI:
            break
        tpid = get_slot(match.value, f"{prefix}_tpid") or ETH_VLAN
        group = "vlan" if prefix == "vlan" else "inner vlan"
        inside = format_group(group, match, full=full) or "vlan()"
        tags.append(f"eth_type(0x{tpid:04x}),{inside}")
    text = ",".join(_headers(match, full=full))
    for tag in reversed(tags):
        text = f"{tag},encap({text})"
    return text


def _headers(match: Match, *, full: bool) -> list[str]:
    eth_type = get_slot(match.value, "eth_type")
    if not get_slot(match.mask, "eth_type"):
        return []
    out = [f"eth_type(0x{eth_type:04x})"] if eth_type >= 0x600 else []
    proto = get_slot(match.value, "nw_proto")
    icmp_type = get_slot(match.value, "tp_src") if get_slot(match.mask, "tp_src") else -1
    names = header_groups(eth_type, proto if get_slot(match.mask, "nw_proto") else -1, icmp_type)
    out += [format_group(name, match, full=full) for name in names]
    if "nd" in names:
        out.append(format_group("nd_ext", match))
    if "tcp" in names:
        flags, mask = get_slot(match.value, "tcp_flags"), get_slot(match.mask, "tcp_flags")
        if mask:
            out.append(f"tcp_flags({format_tcp_flags(flags, mask)})")
        elif full:
            out.append("tcp_flags(0/0)")
    return [text for text in out if text]
