"""Actions to bytes, each as Open vSwitch says it in a version.

What a version has no standard action for goes as a Nicira action; a whole
set_field of OpenFlow 1.0 and 1.1's own fields goes as their own action.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gossamer.openflow.action_choice import encode_bundle, encode_multipath
from gossamer.openflow.action_ct import encode_ct, encode_ct_clear, encode_nat
from gossamer.openflow.action_encap import encode_encap
from gossamer.openflow.action_field import said_bits
from gossamer.openflow.action_frame import be, nicira, nxm, packed_bits, plain
from gossamer.openflow.action_learn import encode_learn
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.interned import Interned
from gossamer.openflow.message import Version
from gossamer.openflow.oxm import IN_PORT, allowed_bits, encode_header, is_nxm_port, port_to_16
from gossamer.openflow.properties import encode_number, encode_property
from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, Actions, OfPort, SubField
from gossamer.pipeline.fields import BY_NAME, Field

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


def _encode(action: Action, version: int) -> bytes:
    v10 = version == Version.V10
    match action:
        case act.Output(port=port, max_len=max_len):
            return _encode_output(port, max_len, version)
        case act.Controller():
            return _encode_controller(action, version)
        case act.OutputReg(source=s, max_len=max_len):
            head = nxm(s.field)
            if len(head) == 4:
                return nicira(15, packed_bits(s) + head + be(max_len, 2) + bytes(6))
            return nicira(32, packed_bits(s) + be(max_len, 2) + head.ljust(10, b"\0"))
        case act.SetField():
            return _encode_set(action, version)
        case act.RegLoad(dst=d, value=value):
            return _encode_load(d, value, version)
        case act.RegMove(src=s, dst=d):
            return _encode_move(s, d, version)
        case act.PushVlan(ethertype=tag):
            return b"" if v10 else plain(17, be(tag, 2))
        case act.PopVlan():
            return plain(3 if v10 else 18, b"")
        case act.SetVlanVid(vid=vid, push=push):
            return _encode_vlan(
                1, be(vid, 2), act.SetField(_VLAN_VID, vid | 0x1000, 0x1FFF), push, version
            )
        case act.SetVlanPcp(pcp=pcp, push=push):
            return _encode_vlan(2, be(pcp, 1), act.SetField(_VLAN_PCP, pcp, 7), push, version)
        case act.DecTtl(controller_ids=ids):
            if ids != (0,):
                return nicira(21, be(len(ids), 2) + bytes(4) + b"".join(be(i, 2) for i in ids))
            return nicira(18, b"") if v10 else plain(24, b"")
        case act.Resubmit(in_port=in_port, table_id=table_id, with_ct=with_ct):
            return nicira(44 if with_ct else 14, be(port_to_16(in_port), 2) + be(table_id, 1))
        case _:
            return _encode_rest(action, version)


def _encode_rest(action: Action, version: int) -> bytes:
    v10 = version == Version.V10
    match action:
        case act.Enqueue(port=port, queue_id=queue):
            if v10:
                return plain(11, be(port_to_16(port), 2) + bytes(6) + be(queue, 4), 16)
            out = _encode_output(port, act.CONTROLLER_MAX_LEN, version)
            return plain(21, be(queue, 4)) + out + nicira(5, b"")
        case act.PopQueue():
            return nicira(5, b"")
        case act.SetQueue(queue_id=queue):
            return nicira(4, bytes(2) + be(queue, 4)) if v10 else plain(21, be(queue, 4))
        case act.Note(data=data):
            return nicira(8, data)
        case act.Exit():
            return nicira(17, b"")
        case act.WriteMetadata(value=value, mask=mask):
            return nicira(22, bytes(6) + be(value, 8) + be(mask, 8))
        case act.Group(group_id=group_id):
            return nicira(40, bytes(2) + be(group_id, 4)) if v10 else plain(22, be(group_id, 4))
        case act.Meter(meter_id=meter_id):
            return plain(29, be(meter_id, 4)) if version >= Version.V15 else b""
        case act.PushMpls(ethertype=ethertype):
            return _named(19, 23, be(ethertype, 2), version)
        case act.PopMpls(ethertype=ethertype):
            return _named(20, 24, be(ethertype, 2), version)
        case act.DecMplsTtl():
            return _named(16, 26, b"", version)
        case act.CopyTtlOut() if not v10:
            return plain(11, b"")
        case act.CopyTtlIn() if not v10:
            return plain(12, b"")
        case act.PushPbb(ethertype=ethertype) if version >= Version.V13:
            return plain(26, be(ethertype, 2))
        case act.PopPbb() if version >= Version.V13:
            return plain(27, b"")
        case act.Clone(actions=inner):
            return nicira(42, bytes(6) + b"".join(_encode(a, version) for a in inner))
        case _:
            return _encode_extension(action, version)


def _named(kind: int, nicira_kind: int, value: bytes, version: int) -> bytes:
    """An action of OpenFlow 1.1 that 1.0 has from Nicira."""
    if version == Version.V10:
        return nicira(nicira_kind, value if len(value) < 4 else bytes(2) + value)
    return plain(kind, value)


def _encode_extension(action: Action, version: int) -> bytes:
    """What only Nicira has, in every version."""
    match action:
        case act.OutputTrunc(port=port, max_len=max_len):
            return nicira(39, be(port_to_16(port), 2) + be(max_len, 4))
        case act.StackPush(source=sub):
            return _encode_stack(27, sub)
        case act.StackPop(dst=sub):
            return _encode_stack(28, sub)
        case act.CheckPktLarger(dst=d, length=length):
            return nicira(49, (be(length, 2) + be(d.low, 2) + nxm(d.field)).ljust(14, b"\0"))
        case act.DeleteField(field=field):
            return nicira(50, nxm(field).ljust(14, b"\0"))
        case act.Multipath():
            return encode_multipath(action)
        case act.Bundle():
            return encode_bundle(action)
        case act.Ct(actions=inside):
            return encode_ct(action, b"".join(_encode(a, version) for a in inside))
        case act.Nat():
            return encode_nat(action)
        case act.Encap() if version >= Version.V13:
            return encode_encap(action)
        case act.Decap(packet_type=packet_type) if version >= Version.V13:
            return nicira(47, bytes(2) + be(packet_type, 4))
        case act.DecNshTtl() if version >= Version.V13:
            return nicira(48, b"")
        case act.CtClear():
            return encode_ct_clear()
        case act.Learn():
            return encode_learn(action)
        case act.Conjunction(conj_id=conj_id, clause=clause, n_clauses=n_clauses):
            return nicira(34, bytes((clause, n_clauses)) + be(conj_id, 4))
        case act.FinTimeout(idle_timeout=idle, hard_timeout=hard):
            return nicira(19, be(idle, 2) + be(hard, 2))
        case act.Sample():
            return _encode_sample(action)
        case _:
            raise OpenFlowError(
                ErrorCode.BAD_ACTION_BAD_TYPE,
                f"{type(action).__name__} cannot be said in version {version}",
            )


def _encode_stack(subtype: int, sub: SubField) -> bytes:
    body = be(sub.low, 2) + nxm(sub.field) + be(said_bits(sub), 2)
    return nicira(subtype, body.ljust(14, b"\0"))


def _encode_sample(a: act.Sample) -> bytes:
    body = be(a.probability, 2) + be(a.collector_set_id, 4) + be(a.obs_domain_id, 4)
    body += be(a.obs_point_id, 4)
    if a.sampling_port == OfPort.ANY and not a.direction:
        return nicira(29, body)
    body += be(port_to_16(a.sampling_port), 2) + be(a.direction, 1) + bytes(5)
    return nicira(41 if a.direction else 38, body)


def _encode_output(port: int, max_len: int, version: int) -> bytes:
    if version == Version.V10:
        return plain(0, be(port_to_16(port), 2) + be(max_len, 2))
    return plain(0, be(port, 4) + be(max_len, 2), 16)


def _encode_vlan(kind: int, value: bytes, later: act.SetField, push: bool, version: int) -> bytes:
    """set_vlan_vid or set_vlan_pcp: OpenFlow 1.0's pushes a tag by itself, later ones do not."""
    pushed = plain(17, be(0x8100, 2)) if push and version > Version.V10 else b""
    if version <= Version.V11:
        return pushed + plain(kind, value)
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
        return _set_tlv(f, value, mask, version)
    if version <= Version.V11:
        own = _own_action(a, version)
        if own is not None:
            return own
    elif mask == allowed_bits(f):
        return _set_tlv(f, value, mask, version)
    return _as_loads(a)


_PORT_ACTIONS: Final = {"set_tp_src": 9, "set_tp_dst": 10}


def _encode_named(a: act.NamedSet, version: int) -> bytes | None:
    """The action of a name of its own; None where the version says it with set_field."""
    value = a.value
    match a.spelling:
        case "set_nw_ttl":
            return plain(23, be(value, 1)) if version >= Version.V11 else None
        case "set_mpls_ttl":
            return _named(15, 25, be(value, 1), version)
    if version >= Version.V12:
        return None
    match a.spelling:
        case "set_mpls_label":
            return _named(13, 30, be(value, 4), version)
        case "set_mpls_tc":
            return _named(14, 31, be(value, 1), version)
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


def _encode_load(d: SubField, value: int, version: int) -> bytes:
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
        return _set_tlv(f, value, 0xFFFFFFFF, version)
    masked = mask != (1 << f.wire_bytes * 8) - 1 and said_bits(d) != f.wire_bytes * 8
    body = encode_header(f, version, masked) + be(value << d.low, f.wire_bytes)
    return _padded_set(body + (be(mask, f.wire_bytes) if masked else b""))


def _encode_move(s: SubField, d: SubField, version: int) -> bytes:
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


def _set_tlv(f: Field, value: int, mask: int, version: int) -> bytes:
    return _padded_set(_tlv(f, value, mask, version))


def _padded_set(body: bytes) -> bytes:
    return plain(25, body, (4 + len(body) + 7) // 8 * 8)


# -- to controllers -----------------------------------------------------------------------------


def _encode_controller(a: act.Controller, version: int) -> bytes:
    if a.as_output and not a.controller_id and a.reason == 1 and not a.userdata:
        return _encode_output(OfPort.CONTROLLER, a.max_len, version)
    if not a.userdata and not a.pause and not a.meter_id:
        return nicira(20, be(a.max_len, 2) + be(a.controller_id, 2) + be(a.reason, 1))

    props = b""
    if a.max_len != act.CONTROLLER_MAX_LEN:
        props += encode_number(0, a.max_len, 2)
    if a.controller_id:
        props += encode_number(1, a.controller_id, 2)
    if a.reason != 1:
        props += encode_property(2, be(a.reason, 1))
    if a.userdata:
        props += encode_property(3, a.userdata)
    if a.pause:
        props += encode_property(4, b"")
    if a.meter_id:
        props += encode_number(5, a.meter_id, 4)
    return nicira(37, bytes(6) + props)
