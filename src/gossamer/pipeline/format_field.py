"""Values of fields as text: ports, addresses, numbers, flags (ovs-fields(7))."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from gossamer.pipeline.action import SubField
from gossamer.pipeline.field_views import NXM_IN_PORT, named_bits
from gossamer.pipeline.fields import FIELDS, FRAG_ANY, FRAG_LATER, NSH, Field
from gossamer.pipeline.of_port import OfPort

PortNames = Mapping[int, str]
"""OpenFlow port numbers (32-bit form) -> names; numbers are shown for those that are not here."""

TCP_FLAGS: Final = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns")


def format_port(ofport: int, names: PortNames | None = None) -> str:
    """A port by its name, its reserved name, or its number."""
    if names and ofport in names:
        return names[ofport]
    try:
        return OfPort(ofport).name if ofport >= OfPort.IN_PORT else str(ofport)
    except ValueError:
        return str(ofport)


def format_mac(value: int, mask: int = (1 << 48) - 1) -> str:
    """An Ethernet address, with its mask where that is not complete."""

    def colons(bits: int) -> str:
        return ":".join(f"{b:02x}" for b in bits.to_bytes(6, "big"))

    return colons(value) if mask == (1 << 48) - 1 else f"{colons(value)}/{colons(mask)}"


def format_ipv6(value: int) -> str:
    """An IPv6 address as inet_ntop(3) writes it: what ends in an IPv4 address, with that."""
    high, low = value >> 32, value & 0xFFFFFFFF
    if (not high and low >> 16) or high == 0xFFFF:
        return f"::{'ffff:' if high else ''}{IPv4Address(low)}"
    return str(IPv6Address(value))


def format_ip(value: int, mask: int, width: int) -> str:
    """An IPv4 (`width` 32) or IPv6 (128) address, with a prefix length or a mask."""

    def text(bits: int) -> str:
        return str(IPv4Address(bits)) if width == 32 else format_ipv6(bits)

    full = (1 << width) - 1
    if mask == full:
        return text(value)
    prefix = mask.bit_count()
    if mask == (full << (width - prefix)) & full:
        return f"{text(value)}/{prefix}"
    return f"{text(value)}/{text(mask)}"


def format_hex(value: int) -> str:
    """A number as C's %#x writes it: a zero stays bare."""
    return f"{value:#x}" if value else "0"


def format_masked_hex(value: int, mask: int, full: int) -> str:
    """A number in hexadecimal, with its mask where that is not `full`."""
    return format_hex(value) if mask == full else f"{format_hex(value)}/{format_hex(mask)}"


def format_frag(value: int, mask: int) -> str:
    """nw_frag in words (ovs-fields(7), ip_frag)."""
    if mask == FRAG_ANY | FRAG_LATER:
        return {0: "no", FRAG_ANY: "first", FRAG_ANY | FRAG_LATER: "later"}.get(value, "<error>")
    if mask == FRAG_ANY:
        return "yes" if value else "no"
    return "later" if value else "not_later"


CT_STATES: Final = ("new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat")


def format_ct_state(value: int, mask: int) -> str:
    """A connection's state by name: ``est|trk`` where all is meant, ``+est-new`` where some is."""
    if mask & 0xFF == 0xFF:
        return "|".join(n for i, n in enumerate(CT_STATES) if value >> i & 1) or "0"
    return "".join(
        ("+" if value >> i & 1 else "-") + name for i, name in enumerate(CT_STATES) if mask >> i & 1
    )


def format_tcp_flags(value: int, mask: int) -> str:
    """TCP flags by name: ``syn|ack`` where all are meant, ``+syn-ack`` where some are."""
    names = [TCP_FLAGS[i] if i < len(TCP_FLAGS) else f"[{1 << i:x}]" for i in range(12)]
    if mask & 0xFFF == 0xFFF:
        return "|".join(name for i, name in enumerate(names) if value >> i & 1) or "0"
    return "".join(
        ("+" if value >> i & 1 else "-") + name for i, name in enumerate(names) if mask >> i & 1
    )


_HEX_FIELDS: Final = ("reg", "xreg", "xxreg", "metadata", "tun_id", "pkt_mark", "dp_hash",
                      "ct_state", "ct_zone", "ct_mark", "ct_label", "tun_gbp_flags",
                      "tun_metadata", "tun_erspan_idx", "tun_erspan_hwid", "nsh_spi", "nsh_c",
                      "vlan_tci", "eth_type", "ipv6_label", "packet_type")  # fmt: skip
IPV4_FIELDS: Final = ("ip_src", "ip_dst", "arp_spa", "arp_tpa", "tun_src", "tun_dst",
                       "ct_nw_src", "ct_nw_dst")  # fmt: skip
_OVS_NAMES: Final = {"ip_ecn": "nw_ecn"}


_COUNTING: Final = {"nw_tos": 0xFC, "tun_flags": 1}
"""The bits that mean something, of fields where these are not all."""


def all_bits(field: Field) -> int:
    """The mask of a field that is known completely."""
    return _COUNTING.get(field.name, (1 << field.n_bits) - 1)


def format_value(field: Field, value: int, mask: int, names: PortNames | None = None) -> str:
    """A field's value, with its mask where that is not complete."""
    full = all_bits(field)
    if field.name == "in_port" and mask == full:
        return format_port(value, names)
    if field.name == "tun_flags" and mask == full:
        return "oam" if value & 1 else "0"
    if field.n_bits == 48 and not field.marks:
        return format_mac(value, mask)
    if field.name == "tcp_flags" and mask == full:
        return format_tcp_flags(value, mask)
    if field.name in IPV4_FIELDS:
        return format_ip(value, mask, 32)
    if field.n_bits == 128 and not field.name.startswith(("xxreg", "ct_label", "tun_metadata")):
        return format_ip(value, mask, 128)
    hexadecimal = field.name.startswith(_HEX_FIELDS)
    text = format_hex(value) if hexadecimal else str(value)
    return text if mask == full else f"{text}/{mask:#x}"


def field_name(field: Field) -> str:
    """The name Open vSwitch has for a field."""
    return (
        "in_port_oxm"
        if field.name == "in_port" and field.oxm
        else _OVS_NAMES.get(field.name, field.name)
    )


_NXM_NAMES: Final = {
    "metadata": "OXM_OF_METADATA",
    "eth_dst": "NXM_OF_ETH_DST",
    "eth_src": "NXM_OF_ETH_SRC",
    "eth_type": "NXM_OF_ETH_TYPE",
    "vlan_tci": "NXM_OF_VLAN_TCI",
    "vlan_vid": "OXM_OF_VLAN_VID",
    "vlan_pcp": "OXM_OF_VLAN_PCP",
    "ip_src": "NXM_OF_IP_SRC",
    "ip_dst": "NXM_OF_IP_DST",
    "nw_proto": "NXM_OF_IP_PROTO",
    "nw_tos": "NXM_OF_IP_TOS",
    "ip_dscp": "OXM_OF_IP_DSCP",
    "ip_ecn": "NXM_NX_IP_ECN",
    "nw_ttl": "NXM_NX_IP_TTL",
    "ip_frag": "NXM_NX_IP_FRAG",
    "arp_op": "NXM_OF_ARP_OP",
    "arp_spa": "NXM_OF_ARP_SPA",
    "arp_tpa": "NXM_OF_ARP_TPA",
    "tcp_src": "NXM_OF_TCP_SRC",
    "tcp_dst": "NXM_OF_TCP_DST",
    "udp_src": "NXM_OF_UDP_SRC",
    "udp_dst": "NXM_OF_UDP_DST",
    "sctp_src": "OXM_OF_SCTP_SRC",
    "sctp_dst": "OXM_OF_SCTP_DST",
    "icmp_type": "NXM_OF_ICMP_TYPE",
    "icmp_code": "NXM_OF_ICMP_CODE",
    "mpls_label": "OXM_OF_MPLS_LABEL",
    "mpls_tc": "OXM_OF_MPLS_TC",
    "mpls_bos": "OXM_OF_MPLS_BOS",
    "actset_output": "ONFOXM_ET_ACTSET_OUTPUT",
    "packet_type": "OXM_OF_PACKET_TYPE",
    "nd_reserved": "ERICOXM_OF_ICMPV6_ND_RESERVED",
    "nd_options_type": "ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE",
    "tun_src": "NXM_NX_TUN_IPV4_SRC",
    "tun_dst": "NXM_NX_TUN_IPV4_DST",
    "tun_erspan_ver": "NXOXM_ET_ERSPAN_VER",
    "tun_erspan_idx": "NXOXM_ET_ERSPAN_IDX",
    "tun_erspan_dir": "NXOXM_ET_ERSPAN_DIR",
    "tun_erspan_hwid": "NXOXM_ET_ERSPAN_HWID",
    **{f.name: f"NXOXM_{f.name.upper()}" for f in FIELDS if f.prerequisite is NSH},
}


def nxm_name(field: Field) -> str:
    """The name of a field in NXM or OXM."""
    if field.name == "in_port":
        return "OXM_OF_IN_PORT" if field.oxm else "NXM_OF_IN_PORT"
    if field.name.startswith("xreg"):
        return f"OXM_OF_PKT_REG{field.name[4:]}"
    return _NXM_NAMES.get(field.name) or f"NXM_NX_{field.name.upper()}"


def is_port(sub: SubField) -> bool:
    """True for all of NXM_OF_IN_PORT, which stands for a port of 32 bits."""
    return sub.field.nxm == NXM_IN_PORT.nxm and not sub.low and sub.n_bits in (16, 32)


def format_subfield(sub: SubField) -> str:
    """A subfield in NXM notation: ``NXM_NX_REG0[0..15]``."""
    nxm = nxm_name(sub.field)
    if sub.low == 0 and (is_port(sub) or sub.n_bits == named_bits(sub.field)):
        return f"{nxm}[]"
    if sub.low == 0 and sub.n_bits == sub.field.n_bits < named_bits(sub.field):
        return f"{nxm}[]"  # the upper bits are no packet's
    if sub.n_bits == 1:
        return f"{nxm}[{sub.low}]"
    return f"{nxm}[{sub.low}..{sub.low + sub.n_bits - 1}]"
