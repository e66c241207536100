"""Actions to bytes, each as Open vSwitch says it in a version.

What a version has no standard action for goes as a Nicira action; a whole
set_field of OpenFlow 1.0 and 1.1's own fields goes as their own action.
"""

from __future__ import annotations

from gossamer.openflow.action_choice import encode_bundle, encode_multipath
from gossamer.openflow.action_ct import encode_ct, encode_ct_clear, encode_nat
from gossamer.openflow.action_encap import encode_encap
from gossamer.openflow.action_encode_field import (
    encode_load,
    encode_move,
    encode_set,
    encode_set_field,
)
from gossamer.openflow.action_field import said_bits
from gossamer.openflow.action_frame import be, nicira, nxm, packed_bits, plain, plain_or_nicira
from gossamer.openflow.action_learn import encode_learn
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.interned import Interned
from gossamer.openflow.message import Version
from gossamer.openflow.oxm import port_to_16
from gossamer.openflow.properties import encode_number, encode_property
from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, Actions, SubField
from gossamer.pipeline.action_choice import Bundle, Multipath
from gossamer.pipeline.action_ct import Ct, CtClear, Nat
from gossamer.pipeline.action_encap import Decap, DecNshTtl, Encap
from gossamer.pipeline.action_learn import Learn
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.of_port import OfPort

_VLAN_VID, _VLAN_PCP = BY_NAME["vlan_vid"], BY_NAME["vlan_pcp"]

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
            return encode_set(action, version)
        case act.RegLoad(dst=d, value=value):
            return encode_load(d, value, version)
        case act.RegMove(src=s, dst=d):
            return encode_move(s, d, version)
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
            return plain_or_nicira(19, 23, be(ethertype, 2), version)
        case act.PopMpls(ethertype=ethertype):
            return plain_or_nicira(20, 24, be(ethertype, 2), version)
        case act.DecMplsTtl():
            return plain_or_nicira(16, 26, b"", version)
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
        case Multipath():
            return encode_multipath(action)
        case Bundle():
            return encode_bundle(action)
        case Ct(actions=inside):
            return encode_ct(action, b"".join(_encode(a, version) for a in inside))
        case Nat():
            return encode_nat(action)
        case Encap() if version >= Version.V13:
            return encode_encap(action)
        case Decap(packet_type=packet_type) if version >= Version.V13:
            return nicira(47, bytes(2) + be(packet_type, 4))
        case DecNshTtl() if version >= Version.V13:
            return nicira(48, b"")
        case CtClear():
            return encode_ct_clear()
        case Learn():
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
    return pushed + encode_set_field(later.field, later.value, later.mask, version)


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
