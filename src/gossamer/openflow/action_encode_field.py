"""Actions that set fields to bytes: set_field, load, move, and those with a name of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gossamer.openflow.action_field import said_bits
from gossamer.openflow.action_frame import be, nicira, nxm, packed_bits, plain, plain_or_nicira
from gossamer.openflow.message import Version
from gossamer.openflow.oxm import IN_PORT, allowed_bits, encode_header, is_nxm_port, port_to_16
from gossamer.pipeline import action as act
from gossamer.pipeline.action import SubField
from gossamer.pipeline.fields import Field

_REG_LOAD_BITS: Final = 64

_OWN_ACTIONS: Final[dict[str, tuple[int, int, int]]] = {
    "eth_src": (4, 3, 6),
    "eth_dst": (5, 4, 6),
    "ip_src": (6, 5, 4),
    "ip_dst": (7, 6, 4),
    "tcp_src": (9, 9, 2),
    "udp_src": (9, 9, 2),
    "tcp_dst": (10, 10, 2),
    "udp_dst": (10, 10, 2),
}
"""Fields that OpenFlow 1.0 and 1.1 have an action for: its type in each, the bytes of its value."""


def encode_set(a: act.SetField, version: int) -> bytes:
    """A set of masked bits, by the action that a version has for it, else as loads."""
    f, value, mask = a.field, a.value, a.mask
    if isinstance(a, act.NamedSet) and a.spelling == act.WITH_MASK:
        if version >= Version.V15:
            return _padded_set(_entry(f, value, mask, version))
        own = _own_action(a, version) if version <= Version.V11 else None
        return own if own is not None else _as_loads(a)
    if isinstance(a, act.NamedSet):
        named = _encode_named(a, version)
        if named is not None:
            return named
    if version >= Version.V15:
        return encode_set_field(f, value, mask, version)
    if version <= Version.V11:
        own = _own_action(a, version)
        if own is not None:
            return own
    elif mask == allowed_bits(f):
        return encode_set_field(f, value, mask, version)
    return _as_loads(a)


_PORT_ACTIONS: Final = {"set_tp_src": 9, "set_tp_dst": 10}


def _encode_named(a: act.NamedSet, version: int) -> bytes | None:
    """The action of a name of its own; None where the version says it with set_field."""
    value = a.value
    match a.spelling:
        case "set_nw_ttl":
            return plain(23, be(value, 1)) if version >= Version.V11 else None
        case "set_mpls_ttl":
            return plain_or_nicira(15, 25, be(value, 1), version)
    if version >= Version.V12:
        return None
    match a.spelling:
        case "set_mpls_label":
            return plain_or_nicira(13, 30, be(value, 4), version)
        case "set_mpls_tc":
            return plain_or_nicira(14, 31, be(value, 1), version)
        case "set_tp_src" | "set_tp_dst":
            return plain(_PORT_ACTIONS[a.spelling], be(value, 2))
        case "set_tunnel" if value <= 0xFFFFFFFF:
            return nicira(2, bytes(2) + be(value, 4))
        case "set_tunnel" | "set_tunnel64":
            return nicira(9, bytes(6) + be(value, 8))
        case _:
            return None


def _own_action(a: act.SetField, version: int) -> bytes | None:
    """A field of OpenFlow 1.0's or 1.1's own actions.

    A mask is lost, as Open vSwitch loses it, but where it leaves bits of an
    address alone: there the loads of `_as_loads()` say it right.
    """
    f, value = a.field, a.value
    v10 = version == Version.V10
    known = _OWN_ACTIONS.get(f.name)
    if known is not None and a.mask == allowed_bits(f):
        length = 16 if known[2] == 6 else 8
        return plain(known[0] if v10 else known[1], be(value, known[2]), length)
    if f.name == "ip_dscp" and a.mask == 0x3F:
        return plain(8 if v10 else 7, be(value << 2, 1))
    if f.name == "nw_tos" and a.mask == 0xFC:
        return plain(8 if v10 else 7, be(value, 1))
    if f.name == "ip_ecn" and a.mask == 3 and not v10:
        return plain(8, be(value, 1))
    if f.name == "vlan_vid" and a.mask & 0xFFF == 0xFFF:
        return plain(1, be(value & 0xFFF, 2))
    if f.name == "vlan_pcp" and a.mask == 7:
        return plain(2, be(value, 1))
    return None


def _as_loads(a: act.SetField) -> bytes:
    """NXAST_REG_LOAD for each run of mask bits, or REG_LOAD2 where a field has no short header."""
    f = a.field
    if isinstance(a, act.NamedSet) and a.spelling == act.WITH_MASK and _is_long(f):
        return nicira(33, _entry(f, a.value, a.mask, Version.V10))
    if _is_long(f) or f.marks:
        return nicira(33, _tlv(f, a.value, a.mask, Version.V10))
    return b"".join(
        _load_action(SubField(f, low, n), (a.value >> low) & ((1 << n) - 1))
        for low, n in _runs(a.mask, f.n_bits)
    )


def _runs(mask: int, width: int) -> Iterator[tuple[int, int]]:
    """(lowest bit, length) of the runs of ones in a mask, none longer than a load can be."""
    low = 0
    while low < width:
        if not mask >> low & 1:
            low += 1
            continue
        n = 1
        while n < _REG_LOAD_BITS and low + n < width and mask >> (low + n) & 1:
            n += 1
        yield low, n
        low += n


def _is_long(f: Field) -> bool:
    """True for a field whose header takes eight bytes, which NXAST_REG_LOAD has no room for."""
    return len(nxm(f)) != 4


def _load_action(d: SubField, value: int) -> bytes:
    n = 16 if is_nxm_port(d.field) else 64
    return nicira(7, packed_bits(d) + nxm(d.field) + be(value & ((1 << n) - 1), 8))


def encode_load(d: SubField, value: int, version: int) -> bytes:
    """NXAST_REG_LOAD, which is a set_field from OpenFlow 1.5 on."""
    mask = ((1 << d.n_bits) - 1) << d.low
    if version < Version.V15:
        if d.field.marks:
            return nicira(33, _tlv(d.field, value << d.low, mask, Version.V10))
        if _is_long(d.field):
            return nicira(33, _entry(d.field, value << d.low, mask, Version.V10))
        return _load_action(d, value)
    # OpenFlow 1.5 has one action for both; a mask that leaves bits of a byte out is written.
    f = d.field
    if is_nxm_port(f) and d.n_bits == IN_PORT.n_bits:
        return encode_set_field(f, value, 0xFFFFFFFF, version)
    masked = mask != (1 << f.wire_bytes * 8) - 1 and said_bits(d) != f.wire_bytes * 8
    body = encode_header(f, version, masked) + be(value << d.low, f.wire_bytes)
    return _padded_set(body + (be(mask, f.wire_bytes) if masked else b""))


def encode_move(s: SubField, d: SubField, version: int) -> bytes:
    """NXAST_REG_MOVE, which is copy_field from OpenFlow 1.5 on."""
    bits = be(said_bits(d), 2) + be(s.low, 2) + be(d.low, 2)
    if version >= Version.V15:
        headers = encode_header(s.field, version, False) + encode_header(d.field, version, False)
        return plain(28, bits + bytes(2) + headers, (12 + len(headers) + 7) // 8 * 8)
    return nicira(6, bits + nxm(s.field) + nxm(d.field))


def _tlv(f: Field, value: int, mask: int, version: int) -> bytes:
    n = f.wire_bytes
    masked = mask != allowed_bits(f)
    if is_nxm_port(f):
        value, mask, masked = port_to_16(value), 0xFFFF, False
    head = encode_header(f, version, masked)
    return head + be(value, n) + (be(mask, n) if masked else b"")


def _entry(f: Field, value: int, mask: int, version: int) -> bytes:
    """A TLV that has its mask, whatever that is."""
    n = f.wire_bytes
    return encode_header(f, version, True) + be(value, n) + be(mask, n)


def encode_set_field(f: Field, value: int, mask: int, version: int) -> bytes:
    """OFPAT_SET_FIELD (OpenFlow 1.3.5, 7.2.5), with its mask where there is one."""
    return _padded_set(_tlv(f, value, mask, version))


def _padded_set(body: bytes) -> bytes:
    return plain(25, body, (4 + len(body) + 7) // 8 * 8)


# -- to controllers -----------------------------------------------------------------------------
