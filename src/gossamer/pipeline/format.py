"""Matches, actions and packets as text, the way ovs-ofctl(8) and ovs-appctl(8) write them."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, Actions, OfPort, SubField
from gossamer.pipeline.fields import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_MPLS,
    ETH_MPLS_MC,
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
    Field,
    get_slot,
    put_slot,
)
from gossamer.pipeline.match import Match

PortNames = Mapping[int, str]
"""OpenFlow port numbers (32-bit form) -> names; numbers are shown for those that are not here."""

DEFAULT_PRIORITY: Final = 32768

TCP_FLAGS: Final = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns")

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
_REASONS: Final = {0: "no_match", 2: "invalid_ttl", 3: "action_set", 4: "group", 5: "packet_out"}


def format_port(ofport: int, names: PortNames | None = None) -> str:
    """A port by its name, its reserved name, or its number."""
    if names and ofport in names:
        return names[ofport]
    if ofport == OfPort.ANY:
        return "NONE"
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


def _masked_hex(value: int, mask: int, full: int) -> str:
    return format_hex(value) if mask == full else f"{format_hex(value)}/{format_hex(mask)}"


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
            self.out.append(f"{name}={_masked_hex(value, mask, (1 << n_bits) - 1)}")

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
        proto, proto_known = self.slot("nw_proto")
        self.hexadecimal("pkt_mark")
        self.hexadecimal("dp_hash")
        if self.slot("conj_id")[1]:
            self.out.append(f"conj_id={self.slot('conj_id')[0]}")
        if self.slot("actset_output")[1]:
            self.out.append(
                f"actset_output={format_port(self.slot('actset_output')[0], self.names)}"
            )
        word = _ETH_WORDS.get(eth_type) if eth_known else None
        proto_shown = False
        if word and proto_known and (eth_type, proto) in _IP_WORDS:
            word, proto_shown = _IP_WORDS[eth_type, proto], True
        if word:
            self.out.append(word)
        for i in range(16):
            self.hexadecimal(f"reg{i}")
        self.hexadecimal("tun_id", 64)
        self.address("tun_src", "tun_src", 32)
        self.address("tun_dst", "tun_dst", 32)
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
        self.layer3(eth_type, proto, proto_shown=proto_shown)
        self.layer4(eth_type, proto)
        return self.out

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
        else:
            self.decimal("tp_src", "tp_src", 16)
            self.decimal("tp_dst", "tp_dst", 16)
        flags, mask = self.slot("tcp_flags")
        if proto == IP_TCP and mask:
            self.out.append(f"tcp_flags={format_tcp_flags(flags, mask)}")


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


def format_match(
    match: Match, priority: int = DEFAULT_PRIORITY, names: PortNames | None = None
) -> str:
    """A match as ovs-ofctl dump-flows shows it; the priority first where it is not the default."""
    parts = [] if priority == DEFAULT_PRIORITY else [f"priority={priority}"]
    return ",".join(parts + _Parts(match, names).write())


def exact_match(key: int) -> Match:
    """What a packet's key says of its headers, and of state that is not zero, as a match."""
    mask = 0
    for name in ("in_port", "eth_dst", "eth_src", "eth_type", "vlan_tci"):
        mask = put_slot(mask, name, (1 << 8 * _length(name)) - 1)
    if get_slot(key, "vlan_tci"):
        mask = put_slot(mask, "vlan1_tci", 0xFFFF)
    for name in ("metadata", "tun_id", "pkt_mark", *(f"reg{i}" for i in range(16))):
        if get_slot(key, name):
            mask = put_slot(mask, name, (1 << 8 * _length(name)) - 1)
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


_NXM_NAMES: Final = {
    "in_port": "NXM_OF_IN_PORT",
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


def format_subfield(sub: SubField) -> str:
    """A subfield in NXM notation: ``NXM_NX_REG0[0..15]``."""
    name = sub.field.name
    if name.startswith("xreg"):
        nxm = f"OXM_OF_PKT_REG{name[4:]}"
    else:
        nxm = _NXM_NAMES.get(name) or f"NXM_NX_{name.upper()}"
    if sub.low == 0 and sub.n_bits == sub.field.n_bits:
        return f"{nxm}[]"
    if sub.n_bits == 1:
        return f"{nxm}[{sub.low}]"
    return f"{nxm}[{sub.low}..{sub.low + sub.n_bits - 1}]"


def format_actions(actions: Actions, names: PortNames | None = None) -> str:
    """An action list as ovs-ofctl shows it; ``drop`` for an empty one."""
    return ",".join(format_action(a, names) for a in actions) or "drop"


def format_action(action: Action, names: PortNames | None = None) -> str:
    """One action or instruction as ovs-ofctl shows it."""
    match action:
        case act.Output(port=port, max_len=max_len):
            text = format_port(port, names)
            if port == OfPort.CONTROLLER:
                return f"{text}:{max_len}"
            return text if port >= OfPort.MAX else f"output:{text}"
        case act.OutputReg(source=source):
            return f"output:{format_subfield(source)}"
        case act.Controller():
            return _format_controller(action)
        case act.SetField(field=f, value=value, mask=mask):
            name = _OVS_NAMES.get(f.name, f.name)
            return f"set_field:{format_value(f, value, mask, names)}->{name}"
        case act.RegLoad(dst=dst, value=value):
            return f"load:{format_hex(value)}->{format_subfield(dst)}"
        case act.RegMove(src=src, dst=dst):
            return f"move:{format_subfield(src)}->{format_subfield(dst)}"
        case act.PushVlan(ethertype=ethertype):
            return f"push_vlan:{ethertype:#x}"
        case act.PopVlan():
            return "pop_vlan"
        case act.SetVlanVid(vid=vid, push=push):
            return f"{'mod' if push else 'set'}_vlan_vid:{vid}"
        case act.SetVlanPcp(pcp=pcp, push=push):
            return f"{'mod' if push else 'set'}_vlan_pcp:{pcp}"
        case act.DecTtl(controller_ids=ids):
            return "dec_ttl" if ids == (0,) else f"dec_ttl({','.join(map(str, ids))})"
        case act.Resubmit(in_port=in_port, table_id=table_id):
            where = "" if in_port == OfPort.IN_PORT else format_port(in_port, names)
            if where and table_id == 0xFF:
                return f"resubmit:{where}"
            return f"resubmit({where},{'' if table_id == 0xFF else table_id})"
        case act.WriteActions(actions=actions):
            return f"write_actions({format_actions(actions, names)})"
        case act.WriteMetadata(value=value, mask=mask):
            return f"write_metadata:{_masked_hex(value, mask, (1 << 64) - 1)}"
        case _:
            return _format_simple(action, names)


def _format_simple(action: Action, names: PortNames | None) -> str:
    match action:
        case act.Enqueue(port=port, queue_id=queue_id):
            return f"enqueue:{format_port(port, names)}:{queue_id}"
        case act.SetQueue(queue_id=queue_id):
            return f"set_queue:{queue_id}"
        case act.Note(data=data):
            return f"note:{'.'.join(f'{b:02x}' for b in data)}"
        case act.Exit():
            return "exit"
        case act.Meter(meter_id=meter_id):
            return f"meter:{meter_id}"
        case act.ClearActions():
            return "clear_actions"
        case act.GotoTable(table_id=table_id):
            return f"goto_table:{table_id}"
        case _:
            return type(action).__name__


def _format_controller(action: act.Controller) -> str:
    plain = not (action.controller_id or action.userdata or action.pause or action.meter_id)
    if plain and action.reason == 1:
        return f"CONTROLLER:{action.max_len}"
    parts = []
    if action.reason != 1:
        parts.append(f"reason={_REASONS.get(action.reason, action.reason)}")
    if action.max_len != act.CONTROLLER_MAX_LEN:
        parts.append(f"max_len={action.max_len}")
    if action.controller_id:
        parts.append(f"id={action.controller_id}")
    if action.userdata:
        parts.append(f"userdata={'.'.join(f'{b:02x}' for b in action.userdata)}")
    if action.pause:
        parts.append("pause")
    if action.meter_id:
        parts.append(f"meter_id={action.meter_id}")
    return f"controller({','.join(parts)})"
