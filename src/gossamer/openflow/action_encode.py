"""Actions to bytes, each as Open vSwitch says it in a version.

What a version has no standard action for goes as a Nicira action; a whole
set_field of OpenFlow 1.0 and 1.1's own fields goes as their own action.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gossamer.openflow.action_field import said_bits
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.interned import Interned
from gossamer.openflow.message import Version
from gossamer.openflow.oxm import IN_PORT, NW_TOS, encode_header, is_nxm_port, port_to_16
from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, Actions, OfPort, SubField
from gossamer.pipeline.fields import BY_NAME, NX_VENDOR, Field

_VLAN_VID, _VLAN_PCP = BY_NAME["vlan_vid"], BY_NAME["vlan_pcp"]
_REG_LOAD_BITS: Final = 64

_encoded: Interned[tuple[int, int], tuple[Actions, bytes]] = Interned()


def encode_actions(actions: Actions, version: int) -> bytes:
    """A list of actions without instructions (those are `instruction.py`'s).

    Raises OpenFlowError(BAD_TYPE) for what cannot be said in the version.
    """
    # The tuple is kept with the entry, so that its identity cannot be another's.
    known = _encoded.get((id(actions), version))
    if known is not None and known[0] is actions:
        return known[1]
    data = b"".join([_encode(a, version) for a in actions])
    return _encoded.remember((id(actions), version), (actions, data), 16 * len(data))[1]


def _nx(subtype: int, rest: bytes) -> bytes:
    length = (10 + len(rest) + 7) // 8 * 8
    head = b"\xff\xff" + length.to_bytes(2, "big") + NX_VENDOR.to_bytes(4, "big")
    return (head + subtype.to_bytes(2, "big") + rest).ljust(length, b"\0")


def _plain(kind: int, rest: bytes, length: int = 8) -> bytes:
    return (kind.to_bytes(2, "big") + length.to_bytes(2, "big") + rest).ljust(length, b"\0")


def _be(value: int, length: int) -> bytes:
    return value.to_bytes(length, "big")


def _nxm(field: Field) -> bytes:
    """A field's header inside a Nicira action: the NXM one where there is one."""
    return encode_header(field, Version.V10, False)


def _bits(sub: SubField) -> bytes:
    """Offset and width of a subfield in two bytes."""
    return _be(sub.low << 6 | (said_bits(sub) - 1), 2)


def _encode(action: Action, version: int) -> bytes:
    v10 = version == Version.V10
    match action:
        case act.Output(port=port, max_len=max_len):
            return _encode_output(port, max_len, version)
        case act.Controller():
            return _encode_controller(action, version)
        case act.OutputReg(source=s, max_len=max_len):
            head = _nxm(s.field)
            if len(head) == 4:
                return _nx(15, _bits(s) + head + _be(max_len, 2) + bytes(6))
            return _nx(32, _bits(s) + _be(max_len, 2) + head.ljust(10, b"\0"))
        case act.SetField():
            return _encode_set(action, version)
        case act.RegLoad(dst=d, value=value):
            return _encode_load(d, value, version)
        case act.RegMove(src=s, dst=d):
            return _encode_move(s, d, version)
        case act.PushVlan(ethertype=tag):
            return b"" if v10 else _plain(17, _be(tag, 2))
        case act.PopVlan():
            return _plain(3 if v10 else 18, b"")
        case act.SetVlanVid(vid=vid, push=push):
            return _encode_vlan(
                1, _be(vid, 2), act.SetField(_VLAN_VID, vid | 0x1000, 0x1FFF), push, version
            )
        case act.SetVlanPcp(pcp=pcp, push=push):
            return _encode_vlan(2, _be(pcp, 1), act.SetField(_VLAN_PCP, pcp, 7), push, version)
        case act.DecTtl(controller_ids=ids):
            if ids != (0,):
                return _nx(21, _be(len(ids), 2) + bytes(4) + b"".join(_be(i, 2) for i in ids))
            return _nx(18, b"") if v10 else _plain(24, b"")
        case act.Resubmit(in_port=in_port, table_id=table_id):
            return _nx(14, _be(port_to_16(in_port), 2) + _be(table_id, 1))
        case _:
            return _encode_rest(action, version)


def _encode_rest(action: Action, version: int) -> bytes:
    v10 = version == Version.V10
    match action:
        case act.Enqueue(port=port, queue_id=queue):
            if v10:
                return _plain(11, _be(port_to_16(port), 2) + bytes(6) + _be(queue, 4), 16)
            out = _encode_output(port, act.CONTROLLER_MAX_LEN, version)
            return _plain(21, _be(queue, 4)) + out + _nx(5, b"")
        case act.PopQueue():
            return _nx(5, b"")
        case act.SetQueue(queue_id=queue):
            return _nx(4, bytes(2) + _be(queue, 4)) if v10 else _plain(21, _be(queue, 4))
        case act.Note(data=data):
            return _nx(8, data)
        case act.Exit():
            return _nx(17, b"")
        case act.WriteMetadata(value=value, mask=mask):
            return _nx(22, bytes(6) + _be(value, 8) + _be(mask, 8))
        case _:
            raise OpenFlowError(
                ErrorCode.BAD_ACTION_BAD_TYPE,
                f"{type(action).__name__} cannot be said in version {version}",
            )


def _encode_output(port: int, max_len: int, version: int) -> bytes:
    if version == Version.V10:
        return _plain(0, _be(port_to_16(port), 2) + _be(max_len, 2))
    return _plain(0, _be(port, 4) + _be(max_len, 2), 16)


def _encode_vlan(kind: int, value: bytes, later: act.SetField, push: bool, version: int) -> bytes:
    """set_vlan_vid or set_vlan_pcp: OpenFlow 1.0's pushes a tag by itself, later ones do not."""
    pushed = _plain(17, _be(0x8100, 2)) if push and version > Version.V10 else b""
    if version <= Version.V11:
        return pushed + _plain(kind, value)
    return pushed + _set_tlv(later.field, later.value, later.mask, version)


# -- what sets fields ---------------------------------------------------------------------------

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


def _encode_set(a: act.SetField, version: int) -> bytes:
    f, value, mask = a.field, a.value, a.mask
    if isinstance(a, act.NamedSet):
        named = _encode_named(a, version)
        if named is not None:
            return named
    if version >= Version.V15:
        return _set_tlv(f, value, mask, version)
    if version <= Version.V11:
        own = _own_action(a, version)
        if own is not None:
            return own
    elif mask == _whole(f):
        return _set_tlv(f, value, mask, version)
    return _as_loads(a)


def _whole(f: Field) -> int:
    return 0xFC if f.name == NW_TOS.name else (1 << f.n_bits) - 1


_PORT_ACTIONS: Final = {"set_tp_src": 9, "set_tp_dst": 10}


def _encode_named(a: act.NamedSet, version: int) -> bytes | None:
    if a.spelling == "set_nw_ttl":
        return _plain(23, _be(a.value, 1)) if version >= Version.V11 else None
    if version >= Version.V12:
        return None
    if a.spelling in _PORT_ACTIONS:
        return _plain(_PORT_ACTIONS[a.spelling], _be(a.value, 2))
    if a.spelling == "set_tunnel" and a.value <= 0xFFFFFFFF:
        return _nx(2, bytes(2) + _be(a.value, 4))
    return _nx(9, bytes(6) + _be(a.value, 8))


def _own_action(a: act.SetField, version: int) -> bytes | None:
    """A field of OpenFlow 1.0's or 1.1's own actions.

    A mask is lost, as Open vSwitch loses it, but where it leaves bits of an
    address alone: there the loads of `_as_loads()` say it right.
    """
    f, value = a.field, a.value
    v10 = version == Version.V10
    known = _OWN_ACTIONS.get(f.name)
    if known is not None and a.mask == _whole(f):
        length = 16 if known[2] == 6 else 8
        return _plain(known[0] if v10 else known[1], _be(value, known[2]), length)
    if f.name == "ip_dscp" and a.mask == 0x3F:
        return _plain(8 if v10 else 7, _be(value << 2, 1))
    if f.name == "nw_tos" and a.mask == 0xFC:
        return _plain(8 if v10 else 7, _be(value, 1))
    if f.name == "ip_ecn" and a.mask == 3 and not v10:
        return _plain(8, _be(value, 1))
    if f.name == "vlan_vid" and a.mask & 0xFFF == 0xFFF:
        return _plain(1, _be(value & 0xFFF, 2))
    if f.name == "vlan_pcp" and a.mask == 7:
        return _plain(2, _be(value, 1))
    return None


def _as_loads(a: act.SetField) -> bytes:
    """NXAST_REG_LOAD for each run of mask bits, or REG_LOAD2 where a field has no short header."""
    f = a.field
    if len(_nxm(f)) != 4:
        return _nx(33, _tlv(f, a.value, a.mask, Version.V10))
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


def _load_action(d: SubField, value: int) -> bytes:
    n = 16 if is_nxm_port(d.field) else 64
    return _nx(7, _bits(d) + _nxm(d.field) + _be(value & ((1 << n) - 1), 8))


def _encode_load(d: SubField, value: int, version: int) -> bytes:
    if version < Version.V15:
        return _load_action(d, value)
    # OpenFlow 1.5 has one action for both; a mask that leaves bits of a byte out is written.
    f = d.field
    if is_nxm_port(f) and d.n_bits == IN_PORT.n_bits:
        return _set_tlv(f, value, 0xFFFFFFFF, version)
    mask = ((1 << d.n_bits) - 1) << d.low
    masked = mask != (1 << f.wire_bytes * 8) - 1 and said_bits(d) != f.wire_bytes * 8
    body = encode_header(f, version, masked) + _be(value << d.low, f.wire_bytes)
    return _padded_set(body + (_be(mask, f.wire_bytes) if masked else b""))


def _encode_move(s: SubField, d: SubField, version: int) -> bytes:
    bits = _be(said_bits(d), 2) + _be(s.low, 2) + _be(d.low, 2)
    if version >= Version.V15:
        headers = encode_header(s.field, version, False) + encode_header(d.field, version, False)
        return _plain(28, bits + bytes(2) + headers, (12 + len(headers) + 7) // 8 * 8)
    return _nx(6, bits + _nxm(s.field) + _nxm(d.field))


def _tlv(f: Field, value: int, mask: int, version: int) -> bytes:
    n = f.wire_bytes
    masked = mask != _whole(f)
    if is_nxm_port(f):
        value, mask, masked = port_to_16(value), 0xFFFF, False
    head = encode_header(f, version, masked)
    return head + _be(value, n) + (_be(mask, n) if masked else b"")


def _set_tlv(f: Field, value: int, mask: int, version: int) -> bytes:
    return _padded_set(_tlv(f, value, mask, version))


def _padded_set(body: bytes) -> bytes:
    return _plain(25, body, (4 + len(body) + 7) // 8 * 8)


# -- to controllers -----------------------------------------------------------------------------


def _encode_controller(a: act.Controller, version: int) -> bytes:
    if a.as_output and not a.controller_id and a.reason == 1 and not a.userdata:
        return _encode_output(OfPort.CONTROLLER, a.max_len, version)
    if not a.userdata and not a.pause and not a.meter_id:
        return _nx(20, _be(a.max_len, 2) + _be(a.controller_id, 2) + _be(a.reason, 1))

    def prop(kind: int, value: bytes) -> bytes:
        return (_be(kind, 2) + _be(8, 2) + value).ljust(8, b"\0")

    props = b""
    if a.max_len != act.CONTROLLER_MAX_LEN:
        props += prop(0, _be(a.max_len, 2))
    if a.controller_id:
        props += prop(1, _be(a.controller_id, 2))
    if a.reason != 1:
        props += prop(2, _be(a.reason, 1))
    if a.userdata:
        length = 4 + len(a.userdata)
        props += (_be(3, 2) + _be(length, 2) + a.userdata).ljust((length + 7) // 8 * 8, b"\0")
    if a.meter_id:
        props += prop(5, _be(a.meter_id, 4))
    return _nx(37, bytes(6) + props)
