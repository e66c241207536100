"""Values of fields as text: ports, addresses, numbers, flags (ovs-fields(7))."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from gossamer.pipeline.action import OfPort, SubField
from gossamer.pipeline.fields import FRAG_ANY, FRAG_LATER, Field

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


def format_ip(value: int, mask: int, width: int) -> str:
    """An IPv4 (`width` 32) or IPv6 (128) address, with a prefix length or a mask."""
    address = IPv4Address if width == 32 else IPv6Address
    full = (1 << width) - 1
    if mask == full:
        return str(address(value))
    prefix = mask.bit_count()
    if mask == (full << (width - prefix)) & full:
        return f"{address(value)}/{prefix}"
    return f"{address(value)}/{address(mask)}"


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


def format_tcp_flags(value: int, mask: int) -> str:
    """TCP flags by name: ``syn|ack`` where all are meant, ``+syn-ack`` where some are."""
    if mask & 0xFFF == 0xFFF:
        named = "|".join(n for i, n in enumerate(TCP_FLAGS) if value >> i & 1)
        unknown = value & 0xE00
        if unknown:
            named += ("|" if named else "") + f"0x{unknown:x}"
        return named or "0"
    return "".join(
        ("+" if value >> i & 1 else "-") + (TCP_FLAGS[i] if i < 9 else f"[{i}]")
        for i in range(12)
        if mask >> i & 1
    )


_HEX_FIELDS: Final = ("reg", "xreg", "xxreg", "metadata", "tun_id", "pkt_mark", "ct_", "dp_hash",
                      "vlan_tci", "eth_type", "ipv6_label", "packet_type")  # fmt: skip
_OVS_NAMES: Final = {"ip_ecn": "nw_ecn", "ip_dscp": "nw_tos_shifted"}


def format_value(field: Field, value: int, mask: int, names: PortNames | None = None) -> str:
    """A field's value, with its mask where that is not complete."""
    full = (1 << field.n_bits) - 1
    if field.name == "in_port" and mask == full:
        return format_port(value, names)
    if field.n_bits == 48:
        return format_mac(value, mask)
    if field.name in ("ip_src", "ip_dst", "arp_spa", "arp_tpa", "tun_src", "tun_dst"):
        return format_ip(value, mask, 32)
    if field.n_bits == 128 and not field.name.startswith(("xxreg", "ct_")):
        return format_ip(value, mask, 128)
    hexadecimal = field.name.startswith(_HEX_FIELDS)
    text = f"{value:#x}" if hexadecimal else str(value)
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
    "actset_output": "OXM_OF_ACTSET_OUTPUT",
    "packet_type": "OXM_OF_PACKET_TYPE",
    "tun_src": "NXM_NX_TUN_IPV4_SRC",
    "tun_dst": "NXM_NX_TUN_IPV4_DST",
}


def nxm_name(field: Field) -> str:
    """The name of a field in NXM or OXM."""
    if field.name == "in_port":
        return "OXM_OF_IN_PORT" if field.oxm else "NXM_OF_IN_PORT"
    if field.name.startswith("xreg"):
        return f"OXM_OF_PKT_REG{field.name[4:]}"
    return _NXM_NAMES.get(field.name) or f"NXM_NX_{field.name.upper()}"


def format_subfield(sub: SubField) -> str:
    """A subfield in NXM notation: ``NXM_NX_REG0[0..15]``."""
    nxm = nxm_name(sub.field)
    n_bits = sub.field.n_bits
    if sub.low == 0 and (sub.n_bits == n_bits or sub.n_bits == 8 * sub.field.wire_bytes):
        return f"{nxm}[]"
    if sub.n_bits == 1:
        return f"{nxm}[{sub.low}]"
    return f"{nxm}[{sub.low}..{sub.low + sub.n_bits - 1}]"
