"""Matches to OXM and NXM, in the order and under the headers that Open vSwitch sends.

How a match is written follows from its mask and from the few values that
other fields depend on; that is worked out once (`_Layout`) and then filled in.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from struct import Struct
from typing import Final, NamedTuple

from gossamer.openflow.interned import Interned
from gossamer.openflow.message import Version
from gossamer.openflow.oxm import (
    DSCP_MASK,
    VLAN_TCI,
    VLAN_VID,
    encode_header,
)
from gossamer.pipeline.field_views import NXM_IN_PORT, XREGS
from gossamer.pipeline.fields import BY_NAME, KEY_LEN, SLOTS, VLAN_CFI, Field, slot_shift
from gossamer.pipeline.match import Match

_FIRST: Final = (
    "packet_type", "dp_hash", "conj_id", "in_port", "actset_output", "eth_src", "eth_dst", "eth_type",
)  # fmt: skip
_AFTER_VLAN: Final = (
    "pbb_isid", "mpls_tc", "mpls_bos", "mpls_ttl", "mpls_label", "ip_src", "ip_dst", "ipv6_src", "ipv6_dst",
    "ip_frag", "ip_dscp", "ip_ecn", "nw_ttl", "ipv6_label", "ipv6_exthdr", "nw_proto", "tcp_src", "tcp_dst",
    "tcp_flags", "udp_src", "udp_dst", "sctp_src", "sctp_dst", "icmp_type", "icmp_code",
    "icmpv6_type", "icmpv6_code", "nd_reserved", "nd_target", "nd_options_type", "nd_sll", "nd_tll",
    "arp_op", "arp_spa", "arp_tpa",
    "arp_sha", "arp_tha", "nsh_flags", "nsh_ttl", "nsh_mdtype", "nsh_np", "nsh_spi", "nsh_si",
    "nsh_c1", "nsh_c2", "nsh_c3", "nsh_c4", "tun_id", "tun_flags", "tun_src", "tun_dst", "tun_ipv6_src",
    "tun_ipv6_dst", "tun_gbp_id", "tun_gbp_flags",
)  # fmt: skip
_AFTER_OPTIONS: Final = (
    "tun_erspan_idx", "tun_erspan_ver", "tun_erspan_dir", "tun_erspan_hwid",
)  # fmt: skip
_LAST: Final = (
    "pkt_mark", "ct_state", "ct_zone", "ct_mark", "ct_label", "ct_nw_src", "ct_ipv6_src",
    "ct_nw_dst", "ct_ipv6_dst",
    "ct_nw_proto", "ct_tp_src", "ct_tp_dst", "metadata",
)  # fmt: skip
_REGISTERS: Final = tuple(f"reg{i}" for i in range(16))

_DECIDE_LOW: Final = slot_shift("tp_src")
_DECIDES: Final = (
    0xFFFF << slot_shift("eth_type")
    | VLAN_CFI << slot_shift("vlan_tci")
    | 0xFF << slot_shift("nw_proto")
    | 0xFF << slot_shift("tp_src")
)
"""Key bits on whose value (not only whose mask) the layout depends: prerequisites."""


class _Piece(NamedTuple):
    """Where a field's value comes from: `mask` bits at `shift` of the key, in `length` bytes."""

    head: bytes
    shift: int
    mask: int
    length: int
    tail: bytes
    offset: int
    """Byte offset in the key where the value can be taken as it is, -1 where it cannot."""


class _Layout(NamedTuple):
    template: bytes
    unpack: Callable[[bytes], tuple[bytes, ...]] | None
    """Takes all values out of the key at once, in key order; None: piece by piece."""
    reorder: Callable[[tuple[bytes, ...]], tuple[bytes, ...]] | None
    pieces: tuple[_Piece, ...]


_layouts: Interned[tuple[int, int, int], _Layout] = Interned(max_entries=4096)


def encode_match(match: Match, version: int) -> bytes:
    """A match as OXM TLVs (OpenFlow 1.2 and later) or NXM TLVs, without padding."""
    value, mask = match.value, match.mask
    if not mask:
        return b""
    key = (version, mask, (value & _DECIDES) >> _DECIDE_LOW)
    layout = _layouts.get(key)
    if layout is None:
        layout = _layouts.remember(key, _lay_out(match, version))
    template, unpack, reorder, pieces = layout
    if unpack is not None:
        values = unpack(value.to_bytes(KEY_LEN, "big"))
        return template % (values if reorder is None else reorder(values))
    return template % tuple(
        [((value >> p.shift) & p.mask).to_bytes(p.length, "big") for p in pieces]
    )


def _lay_out(match: Match, version: int) -> _Layout:
    pieces = tuple(_pieces(match, version))
    template = b"".join(_literal(p.head) + b"%b" + _literal(p.tail) for p in pieces)
    if not pieces or any(p.offset < 0 for p in pieces):
        return _Layout(template, None, None, pieces)
    order = sorted(range(len(pieces)), key=lambda i: pieces[i].offset)
    spec, at = ">", 0
    for i in order:
        p = pieces[i]
        spec += f"{p.offset - at}x{p.length}s"
        at = p.offset + p.length
    unpack = Struct(f"{spec}{KEY_LEN - at}x").unpack
    places = [order.index(i) for i in range(len(pieces))]
    if places == list(range(len(pieces))):
        return _Layout(template, unpack, None, pieces)
    return _Layout(template, unpack, itemgetter(*places), pieces)


def _literal(data: bytes) -> bytes:
    return data.replace(b"%", b"%%")


def _pieces(match: Match, version: int) -> list[_Piece]:
    out: list[_Piece] = []

    def add(field: Field, mask: int | None = None) -> None:
        got = match.field(field)[1] if mask is None else mask
        if got and match.satisfies(field.prerequisite):
            out.append(_piece(field, got, version, match.mask))

    for name in _FIRST:
        nxm_port = name == "in_port" and version < Version.V12
        add(NXM_IN_PORT if nxm_port else BY_NAME[name])
    for field, mask in _vlan(match, version):
        add(field, mask)
    for name in _AFTER_VLAN:
        if name == "ip_dscp" and version < Version.V12:
            add(BY_NAME["nw_tos"], match.field(BY_NAME["nw_tos"])[1] & DSCP_MASK)
        else:
            add(BY_NAME[name])
    for field, _, mask in match.options():
        out.append(_piece(field, mask, version, match.mask))
    for name in _AFTER_OPTIONS:
        add(BY_NAME[name])
    if version < Version.V15:
        for name in _REGISTERS:
            add(BY_NAME[name])
    else:
        for xreg in XREGS:
            add(xreg)
    for name in _LAST:
        add(BY_NAME[name])
    return out


def _vlan(match: Match, version: int) -> list[tuple[Field, int]]:
    """The VLAN fields to send: NXM knows the TCI, OXM the VID with the present bit, and the PCP."""
    value, mask = match.field(VLAN_TCI)
    if not mask:
        return []
    pcp = mask >> 13
    tagged = bool(value & mask & VLAN_CFI)
    untagged = bool(mask & VLAN_CFI and not value & VLAN_CFI)
    if version < Version.V12 or (pcp and not untagged and (pcp != 7 or not tagged)):
        return [(VLAN_TCI, mask)]
    out = [(VLAN_VID, mask & 0x1FFF)]
    if pcp and tagged:
        out.append((BY_NAME["vlan_pcp"], 7))
    return out


def _piece(field: Field, mask: int, version: int, key_mask: int) -> _Piece:
    full = DSCP_MASK if field.name == "nw_tos" else (1 << field.n_bits) - 1
    masked = mask != full
    head = encode_header(field, version, masked)
    length = field.wire_bytes
    tail = mask.to_bytes(length, "big") if masked else b""
    slot = SLOTS[field.slot]
    end = slot.offset + slot.length
    stored = length if field in XREGS else min(length, slot.length)
    around = (key_mask >> slot_shift(field.slot)) & ((1 << (stored * 8)) - 1)
    if field.low_bit or (around != mask and field is not NXM_IN_PORT):
        # Other fields of the slot are matched too, or the field does not end where the slot does.
        return _Piece(head, field.shift, mask, length, tail, -1)
    if stored == length:
        return _Piece(head, field.shift, (1 << length * 8) - 1, length, tail, end - length)
    # Narrower in the key than on the wire: the rest is zero (arp_op).
    return _Piece(head + bytes(length - stored), field.shift, mask, stored, tail, end - stored)
