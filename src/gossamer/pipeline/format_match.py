"""Matches and packets as text, the way ovs-ofctl(8) and ovs-appctl(8) write them."""

from __future__ import annotations

from typing import Final

from gossamer.pipeline.fields import (
    BY_NAME,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_MPLS,
    ETH_MPLS_MC,
    ETH_NSH,
    ETH_RARP,
    FRAG_ANY,
    FRAG_LATER,
    IP_ICMP,
    IP_ICMPV6,
    IP_SCTP,
    IP_TCP,
    IP_UDP,
    SLOTS,
    VLAN_CFI,
    get_slot,
    put_slot,
)
from gossamer.pipeline.format_field import (
    PortNames,
    format_ct_state,
    format_frag,
    format_hex,
    format_ip,
    format_mac,
    format_masked_hex,
    format_port,
    format_tcp_flags,
)
from gossamer.pipeline.match import Match
from gossamer.pipeline.tlv import LAYOUT

DEFAULT_PRIORITY: Final = 32768

_ETH_WORDS: Final = {
    ETH_IPV4: "ip",
    ETH_IPV6: "ipv6",
    ETH_ARP: "arp",
    ETH_RARP: "rarp",
    ETH_MPLS: "mpls",
    ETH_MPLS_MC: "mplsm",
}
_IP_WORDS: Final = {
    (ETH_IPV4, IP_ICMP): "icmp",
    (ETH_IPV4, IP_TCP): "tcp",
    (ETH_IPV4, IP_UDP): "udp",
    (ETH_IPV4, IP_SCTP): "sctp",
    (ETH_IPV6, IP_ICMPV6): "icmp6",
    (ETH_IPV6, IP_TCP): "tcp6",
    (ETH_IPV6, IP_UDP): "udp6",
    (ETH_IPV6, IP_SCTP): "sctp6",
}


_ERSPAN: Final = (
    ("tun_erspan_idx", 1, True),
    ("tun_erspan_dir", 2, False),
    ("tun_erspan_hwid", 2, True),
)
"""Field, the version of ERSPAN that has it, whether it is hexadecimal."""


_NSH_HEX: Final = ("nsh_spi", "nsh_c1", "nsh_c2", "nsh_c3", "nsh_c4")
_NSH_FIELDS: Final = (
    "nsh_flags", "nsh_ttl", "nsh_mdtype", "nsh_np", "nsh_spi", "nsh_si", *_NSH_HEX[1:],
)  # fmt: skip


class _Parts:
    """The comma-separated parts of a match being written."""

    def __init__(self, match: Match, names: PortNames | None) -> None:
        self.match = match
        self.names = names
        self.out: list[str] = []

    def slot(self, name: str) -> tuple[int, int]:
        return get_slot(self.match.value, name), get_slot(self.match.mask, name)

    def hexadecimal(self, name: str, n_bits: int = 32) -> None:
        value, mask = self.slot(name)
        if mask:
            self.out.append(f"{name}={format_masked_hex(value, mask, (1 << n_bits) - 1)}")

    def decimal(self, name: str, slot: str, n_bits: int) -> None:
        value, mask = self.slot(slot)
        if mask:
            # Types and codes of ICMP are exact where their eight bits are.
            exact = mask & 0xFF == 0xFF if name.startswith("icmp") else mask == (1 << n_bits) - 1
            text = str(value) if exact else f"0x{value:x}/0x{mask:x}"
            self.out.append(f"{name}={text}")

    def mac(self, name: str, slot: str) -> None:
        value, mask = self.slot(slot)
        if mask:
            self.out.append(f"{name}={format_mac(value, mask)}")

    def address(self, name: str, slot: str, width: int) -> None:
        value, mask = self.slot(slot)
        if mask:
            self.out.append(f"{name}={format_ip(value, mask, width)}")

    def write(self) -> list[str]:
        eth_type, eth_known = self.slot("eth_type")
        packet_type = self.slot("packet_type")[0]
        proto, proto_known = self.slot("nw_proto")
        self.hexadecimal("pkt_mark")
        self.hexadecimal("dp_hash")
        if self.slot("conj_id")[1]:
            self.out.append(f"conj_id={self.slot('conj_id')[0]}")
        if self.slot("actset_output")[1]:
            self.out.append(
                f"actset_output={format_port(self.slot('actset_output')[0], self.names)}"
            )
        self.connection()
        word = _ETH_WORDS.get(eth_type) if eth_known else None
        proto_shown = False
        if word and proto_known and (eth_type, proto) in _IP_WORDS:
            word, proto_shown = _IP_WORDS[eth_type, proto], True
        if word:
            self.out.append(word)
        for i in range(16):
            self.hexadecimal(f"reg{i}")
        self.tunnel()
        self.hexadecimal("metadata", 64)
        in_port, in_port_known = self.slot("in_port")
        if in_port_known:
            self.out.append(f"in_port={format_port(in_port, self.names)}")
        if self.slot("vlan_tci")[1]:
            self.vlan("", *self.slot("vlan_tci"))
            if self.slot("vlan1_tci")[1]:
                self.vlan("1", *self.slot("vlan1_tci"))
        self.mac("dl_src", "eth_src")
        self.mac("dl_dst", "eth_dst")
        if eth_known and not word:
            self.out.append(f"dl_type=0x{eth_type:04x}")
        if packet_type >> 16 == 1:
            eth_type = packet_type & 0xFFFF
        if eth_type == ETH_NSH:
            self.service()
            return self.out
        self.layer3(eth_type, proto, proto_shown=proto_shown)
        self.layer4(eth_type, proto)
        return self.out

    def service(self) -> None:
        """A network service header's fields."""
        for name in _NSH_FIELDS:
            f = BY_NAME[name]
            value, mask = self.match.field(f)
            if not mask:
                continue
            whole = (1 << f.n_bits) - 1
            if name in _NSH_HEX:
                # Unlike other numbers, a zero is written 0x0 there.
                text = f"{value:#x}" if mask == whole else f"{value:#x}/{mask:#x}"
                self.out.append(f"{name}={text}")
            else:
                text = str(value) if mask == whole else f"{value:#04x}/{mask:#04x}"
                self.out.append(f"{name}={text}")

    def connection(self) -> None:
        value, mask = self.slot("ct_state")
        if mask:
            self.out.append(f"ct_state={format_ct_state(value, mask)}")
        self.decimal("ct_zone", "ct_zone", 16)
        self.hexadecimal("ct_mark")
        self.hexadecimal("ct_label", 128)
        for side in ("src", "dst"):
            self.address(f"ct_nw_{side}", f"ct_nw_{side}", 32)
            self.address(f"ct_ipv6_{side}", f"ct_ipv6_{side}", 128)
        if self.slot("ct_nw_proto")[1]:
            self.out.append(f"ct_nw_proto={self.slot('ct_nw_proto')[0]}")
            self.decimal("ct_tp_src", "ct_tp_src", 16)
            self.decimal("ct_tp_dst", "ct_tp_dst", 16)
        packet_type, known = self.slot("packet_type")
        if known and packet_type:
            namespace, kind = packet_type >> 16, packet_type & 0xFFFF
            # Small numbers are decimal.
            text = ",".join(str(n) if n < 10 else f"{n:#x}" for n in (namespace, kind))
            self.out.append(f"packet_type=({text})")

    def tunnel(self) -> None:
        self.hexadecimal("tun_id", 64)
        for name, width in (
            ("tun_src", 32), ("tun_dst", 32), ("tun_ipv6_src", 128), ("tun_ipv6_dst", 128)
        ):  # fmt: skip
            self.address(name, name, width)
        self.decimal("tun_gbp_id", "tun_gbp_id", 16)
        flags, known = self.slot("tun_gbp_flags")
        if known:
            self.out.append(f"tun_gbp_flags={format_hex(flags)}")
        tos, known = self.slot("tun_tos")
        if known:
            self.out.append(f"tun_tos={tos:x}")
        if self.slot("tun_ttl")[1]:
            self.out.append(f"tun_ttl={self.slot('tun_ttl')[0]}")
        version, known = self.slot("tun_erspan_ver")
        if known:
            self.out.append(f"tun_erspan_ver={version}")
        for name, of_version, hexadecimal in _ERSPAN:
            value, known = self.match.field(BY_NAME[name])
            if known and version == of_version:
                self.out.append(f"{name}={format_hex(value) if hexadecimal else value}")
        flags, known = self.slot("tun_flags")
        if known == 0xFFFF:
            self.out.append(f"tun_flags={'oam' if flags & 1 else '0'}")
        elif known:
            self.out.append(f"tun_flags={'+' if flags & 1 else '-'}oam")
        self.options()

    def options(self) -> None:
        for field, value, mask in self.match.options():
            if not self.match.value & field.marks:
                self.out.append(f"{field.name}=NP")
            elif not mask:
                self.out.append(field.name)
            else:
                whole = mask == (1 << field.n_bits) - 1
                self.out.append(f"{field.name}={value:#x}" + ("" if whole else f"/{mask:#x}"))

    def vlan(self, suffix: str, tci: int, mask: int) -> None:
        vid, pcp = mask & 0xFFF, mask & 0xE000
        whole = vid in (0, 0xFFF) and pcp in (0, 0xE000) and (vid or pcp)
        if mask & VLAN_CFI and tci & VLAN_CFI and whole:
            if vid:
                self.out.append(f"dl_vlan{suffix}={tci & 0xFFF}")
            if pcp:
                self.out.append(f"dl_vlan_pcp{suffix}={tci >> 13}")
        elif mask == 0xFFFF:
            self.out.append(f"vlan_tci{suffix}=0x{tci:04x}")
        else:
            self.out.append(f"vlan_tci{suffix}=0x{tci:04x}/0x{mask:04x}")

    def layer3(self, eth_type: int, proto: int, *, proto_shown: bool) -> None:
        arp = eth_type in (ETH_ARP, ETH_RARP)
        if eth_type == ETH_IPV6:
            self.address("ipv6_src", "ipv6_src", 128)
            self.address("ipv6_dst", "ipv6_dst", 128)
            label, mask = self.slot("ipv6_label")
            if mask:
                exact = mask & 0xFFFFF == 0xFFFFF
                self.out.append(f"ipv6_label=0x{label:05x}" + ("" if exact else f"/0x{mask:05x}"))
            self.hexadecimal("ipv6_exthdr", 9)
        else:
            self.address("arp_spa" if arp else "nw_src", "nw_src", 32)
            self.address("arp_tpa" if arp else "nw_dst", "nw_dst", 32)
        if self.slot("nw_proto")[1] and not proto_shown:
            self.out.append(f"{'arp_op' if arp else 'nw_proto'}={proto}")
        if arp:
            self.mac("arp_sha", "arp_sha")
            self.mac("arp_tha", "arp_tha")
        tos, tos_mask = self.slot("nw_tos")
        if tos_mask & 0xFC:
            self.out.append(f"nw_tos={tos & 0xFC}")
        if tos_mask & 3:
            self.out.append(f"nw_ecn={tos & 3}")
        if self.slot("nw_ttl")[1]:
            self.out.append(f"nw_ttl={self.slot('nw_ttl')[0]}")
        if proto != IP_ICMPV6 or eth_type != ETH_IPV6:
            self.hexadecimal("pbb_isid", 24)
        lse, lse_mask = self.slot("mpls_lse0")
        for name, shift, bits in (
            ("label", 12, 0xFFFFF),
            ("tc", 9, 7),
            ("ttl", 0, 0xFF),
            ("bos", 8, 1),
        ):
            if lse_mask >> shift & bits:
                self.out.append(f"mpls_{name}={lse >> shift & bits}")
        frag, frag_mask = self.slot("nw_frag")
        if frag_mask:
            self.out.append(f"nw_frag={format_frag(frag, frag_mask)}")

    def layer4(self, eth_type: int, proto: int) -> None:
        if (eth_type, proto) in ((ETH_IPV4, IP_ICMP), (ETH_IPV6, IP_ICMPV6)):
            self.decimal("icmp_type", "tp_src", 16)
            self.decimal("icmp_code", "tp_dst", 16)
            if eth_type == ETH_IPV6:
                self.address("nd_target", "nd_target", 128)
                self.mac("nd_sll", "arp_sha")
                self.mac("nd_tll", "arp_tha")
                self.decimal("nd_reserved", "pbb_isid", 32)
                self.decimal("nd_options_type", "tcp_flags", 8)
        else:
            self.decimal("tp_src", "tp_src", 16)
            self.decimal("tp_dst", "tp_dst", 16)
        flags, mask = self.slot("tcp_flags")
        if proto == IP_TCP and mask:
            self.out.append(f"tcp_flags={format_tcp_flags(flags, mask)}")


def format_match(
    match: Match, priority: int = DEFAULT_PRIORITY, names: PortNames | None = None
) -> str:
    """A match as ovs-ofctl dump-flows shows it; the priority first where it is not the default."""
    parts = [] if priority == DEFAULT_PRIORITY else [f"priority={priority}"]
    return ",".join(parts + _Parts(match, names).write())


_CT_SLOTS: Final = tuple(name for name in SLOTS if name.startswith("ct_"))


def exact_match(key: int) -> Match:
    """What a packet's key says of its headers, and of state that is not zero, as a match."""
    mask = 0
    for name in ("in_port", "eth_dst", "eth_src", "eth_type", "vlan_tci"):
        mask = put_slot(mask, name, (1 << 8 * _length(name)) - 1)
    if get_slot(key, "vlan_tci"):
        mask = put_slot(mask, "vlan1_tci", 0xFFFF)
    for name in ("metadata", "tun_id", "pkt_mark", *_CT_SLOTS, *(f"reg{i}" for i in range(16))):
        if get_slot(key, name):
            mask = put_slot(mask, name, (1 << 8 * _length(name)) - 1)
    if get_slot(key, "tun_dst") or get_slot(key, "tun_ipv6_dst"):
        mask |= _whole_tunnel(key)
    eth_type, proto = get_slot(key, "eth_type"), get_slot(key, "nw_proto")
    slots: tuple[str, ...] = ()
    if eth_type in (ETH_ARP, ETH_RARP):
        slots = ("nw_src", "nw_dst", "nw_proto", "arp_sha", "arp_tha")
    elif eth_type in (ETH_IPV4, ETH_IPV6):
        slots = ("nw_src", "nw_dst") if eth_type == ETH_IPV4 else ("ipv6_src", "ipv6_dst")
        slots += ("nw_proto", "nw_tos", "nw_ttl")
        mask = put_slot(mask, "nw_frag", FRAG_ANY | FRAG_LATER)
        if eth_type == ETH_IPV6:
            mask = put_slot(mask, "ipv6_label", 0xFFFFF)
        if not get_slot(key, "nw_frag") & FRAG_LATER:
            slots += _layer4_slots(eth_type, proto, key)
    elif eth_type in (ETH_MPLS, ETH_MPLS_MC):
        slots = ("mpls_lse0",)
    for name in slots:
        mask = put_slot(mask, name, (1 << 8 * _length(name)) - 1)
    return Match(key & mask, mask)


_TUNNEL_SLOTS: Final = (
    "tun_src", "tun_dst", "tun_ipv6_src", "tun_ipv6_dst", "tun_gbp_id", "tun_gbp_flags",
    "tun_tos", "tun_ttl", "tun_erspan_ver", "tun_erspan", "tun_flags",
)  # fmt: skip


def _whole_tunnel(key: int) -> int:
    """All that a packet with a tunnel's addresses is known by."""
    mask = 0
    for name in _TUNNEL_SLOTS:
        mask = put_slot(mask, name, (1 << 8 * _length(name)) - 1)
    for field in LAYOUT.fields.values():
        if key & field.marks:
            mask |= field.full_mask | field.marks
    return mask


def _layer4_slots(eth_type: int, proto: int, key: int) -> tuple[str, ...]:
    if (eth_type, proto) == (ETH_IPV6, IP_ICMPV6):
        nd = get_slot(key, "tp_src") in (135, 136) and not get_slot(key, "tp_dst")
        return ("tp_src", "tp_dst", *(("nd_target", "arp_sha", "arp_tha") if nd else ()))
    if proto == IP_TCP:
        return ("tp_src", "tp_dst", "tcp_flags")
    if proto in (IP_UDP, IP_SCTP) or (eth_type, proto) == (ETH_IPV4, IP_ICMP):
        return ("tp_src", "tp_dst")
    return ()


def _length(slot: str) -> int:
    return SLOTS[slot].length


def format_key(key: int, names: PortNames | None = None) -> str:
    """A packet's key, as the ``Flow:`` line of ofproto/trace shows it."""
    return ",".join(_Parts(exact_match(key), names).write())
