"""Actions as text, the way ovs-ofctl(8) writes them (ovs-actions(7))."""

from __future__ import annotations

from typing import Final

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, Actions
from gossamer.pipeline.action_choice import Bundle, HashFields, Multipath
from gossamer.pipeline.action_ct import Ct, CtClear, Nat
from gossamer.pipeline.action_encap import Decap, DecNshTtl, Encap
from gossamer.pipeline.action_learn import Learn, LearnSpec, LearnTo
from gossamer.pipeline.encap_syntax import format_decap, format_encap
from gossamer.pipeline.field_views import named_bits
from gossamer.pipeline.format_ct import format_ct, format_nat
from gossamer.pipeline.format_field import (
    PortNames,
    all_bits,
    field_name,
    format_hex,
    format_masked_hex,
    format_port,
    format_subfield,
    format_value,
    is_port,
)
from gossamer.pipeline.of_port import OfPort

_DEFAULT_PRIORITY: Final = 32768
_NAMED_SETS: Final = {
    "set_dl_src": "mod_dl_src:{}",
    "set_dl_dst": "mod_dl_dst:{}",
    "set_nw_src": "mod_nw_src:{}",
    "set_nw_dst": "mod_nw_dst:{}",
    "set_nw_tos": "mod_nw_tos:{}",
    "set_nw_ecn": "mod_nw_ecn:{}",
    "set_nw_ttl": "mod_nw_ttl:{}",
    "set_tp_src": "mod_tp_src:{}",
    "set_tp_dst": "mod_tp_dst:{}",
    "set_tunnel": "set_tunnel:{}",
    "set_tunnel64": "set_tunnel64:{}",
    "set_mpls_label": "set_mpls_label({})",
    "set_mpls_tc": "set_mpls_tc({})",
    "set_mpls_ttl": "set_mpls_ttl({})",
}
"""Actions with a name of their own, by `NamedSet.spelling`."""
_REASONS: Final = {0: "no_match", 2: "invalid_ttl", 3: "action_set", 4: "group", 5: "packet_out"}


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
        case act.NamedSet() if action.spelling in _NAMED_SETS:
            return _NAMED_SETS[action.spelling].format(_named_value(action))
        case act.NamedSet(field=f, value=value, mask=mask, spelling=act.WITH_MASK):
            text = format_value(f, value, all_bits(f), names)
            return f"set_field:{text}/{mask:#x}->{field_name(f)}"
        case act.SetField(field=f, value=value, mask=mask):
            return f"set_field:{format_value(f, value, mask, names)}->{field_name(f)}"
        case act.RegLoad(dst=dst, value=value):
            value = value & 0xFFFF if is_port(dst) else value
            return f"load:{format_hex(value)}->{format_subfield(dst)}"
        case act.RegMove(src=src, dst=dst):
            return f"move:{format_subfield(src)}->{format_subfield(dst)}"
        case act.PushVlan(ethertype=ethertype):
            return f"push_vlan:{ethertype:#x}"
        case act.StripVlan():
            return "strip_vlan"
        case act.PopVlan():
            return "pop_vlan"
        case act.SetVlanVid(vid=vid, push=push):
            return f"{'mod' if push else 'set'}_vlan_vid:{vid}"
        case act.SetVlanPcp(pcp=pcp, push=push):
            return f"{'mod' if push else 'set'}_vlan_pcp:{pcp}"
        case act.DecTtl(controller_ids=ids):
            return "dec_ttl" if ids == (0,) else f"dec_ttl({','.join(map(str, ids))})"
        case act.Resubmit(in_port=in_port, table_id=table_id, with_ct=with_ct):
            where = "" if in_port == OfPort.IN_PORT else format_port(in_port, names)
            if where and table_id == 0xFF:
                return f"resubmit:{where}"
            table = "" if table_id == 0xFF else str(table_id)
            return f"resubmit({where},{table}{',ct' if with_ct else ''})"
        case act.WriteActions(actions=actions):
            return f"write_actions({format_actions(actions, names)})"
        case act.WriteMetadata(value=value, mask=mask):
            return f"write_metadata:{format_masked_hex(value, mask, (1 << 64) - 1)}"
        case _:
            return _format_simple(action, names)


def _named_value(a: act.NamedSet) -> str:
    if a.spelling.startswith("set_tunnel"):
        return format_hex(a.value)
    if a.spelling == "set_nw_tos":
        return str(a.value << 2)
    return format_value(a.field, a.value, (1 << a.field.n_bits) - 1)


def _format_simple(action: Action, names: PortNames | None) -> str:
    match action:
        case act.Enqueue(port=port, queue_id=queue_id):
            return f"enqueue:{format_port(port, names)}:{queue_id}"
        case act.PopQueue():
            return "pop_queue"
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
        case act.Group(group_id=group_id):
            return f"group:{group_id}"
        case act.PushMpls(ethertype=ethertype):
            return f"push_mpls:0x{ethertype:04x}"
        case act.PopMpls(ethertype=ethertype):
            return f"pop_mpls:0x{ethertype:04x}"
        case act.DecMplsTtl():
            return "dec_mpls_ttl"
        case act.CopyTtlOut():
            return "copy_ttl_out"
        case act.CopyTtlIn():
            return "copy_ttl_in"
        case act.PushPbb(ethertype=ethertype):
            return f"push_pbb:0x{ethertype:04x}"
        case act.PopPbb():
            return "pop_pbb"
        case act.StackPush(source=sub):
            return f"push:{format_subfield(sub)}"
        case act.StackPop(dst=sub):
            return f"pop:{format_subfield(sub)}"
        case _:
            return _format_extension(action, names)


_HASHES: Final = {
    HashFields.ETH_SRC: "eth_src",
    HashFields.SYMMETRIC_L4: "symmetric_l4",
    HashFields.SYMMETRIC_L3L4: "symmetric_l3l4",
    HashFields.SYMMETRIC_L3L4_UDP: "symmetric_l3l4+udp",
    HashFields.NW_SRC: "nw_src",
    HashFields.NW_DST: "nw_dst",
    HashFields.SYMMETRIC_L3: "symmetric_l3",
}
_DIRECTIONS: Final = ("", ",ingress", ",egress")


def _format_extension(action: Action, names: PortNames | None) -> str:
    match action:
        case act.OutputTrunc(port=port, max_len=max_len):
            return f"output(port={format_port(port, names)},max_len={max_len})"
        case Encap():
            return format_encap(action)
        case Decap():
            return format_decap(action)
        case DecNshTtl():
            return "dec_nsh_ttl"
        case act.Clone(actions=inner):
            return f"clone({format_actions(inner, names)})"
        case act.CheckPktLarger(dst=dst, length=length):
            return f"check_pkt_larger({length})->{format_subfield(dst)}"
        case act.DeleteField(field=f):
            return f"delete_field:{field_name(f)}"
        case Multipath():
            return (
                f"multipath({_HASHES[action.fields]},{action.basis},{action.algorithm.name.lower()},"
                f"{action.n_links},{action.arg},{format_subfield(action.dst)})"
            )
        case Bundle(fields=fields, basis=basis, algorithm=algorithm, dst=load_dst):
            members = ",".join(format_port(p, names) for p in action.members)
            load = "_load" if load_dst else ""
            where = f"{format_subfield(load_dst)}," if load_dst else ""
            return (
                f"bundle{load}({_HASHES[fields]},{basis},{algorithm.name.lower()},ofport,{where}"
                f"members:{members})"
            )
        case act.Conjunction(conj_id=conj_id, clause=clause, n_clauses=n_clauses):
            return f"conjunction({conj_id},{clause + 1}/{n_clauses})"
        case act.FinTimeout(idle_timeout=idle, hard_timeout=hard):
            parts = [f"idle_timeout={idle}"] if idle else []
            return f"fin_timeout({','.join(parts + ([f'hard_timeout={hard}'] if hard else []))})"
        case act.Sample():
            port = action.sampling_port
            where = "" if port == OfPort.ANY else f",sampling_port={format_port(port, names)}"
            return (
                f"sample(probability={action.probability},"
                f"collector_set_id={action.collector_set_id},"
                f"obs_domain_id={action.obs_domain_id},obs_point_id={action.obs_point_id}"
                f"{where}{_DIRECTIONS[action.direction]})"
            )
        case Ct():
            return format_ct(action, lambda inside: format_actions(inside, names))
        case Nat():
            return format_nat(action)
        case CtClear():
            return "ct_clear"
        case Learn():
            return _format_learn(action, names)
        case _:
            return type(action).__name__


def _format_learn(a: Learn, names: PortNames | None) -> str:
    parts = [f"table={a.table_id}"]
    for name, value, default in (
        ("idle_timeout", a.idle_timeout, 0),
        ("hard_timeout", a.hard_timeout, 0),
        ("fin_idle_timeout", a.fin_idle_timeout, 0),
        ("fin_hard_timeout", a.fin_hard_timeout, 0),
        ("priority", a.priority, _DEFAULT_PRIORITY),
    ):
        if value != default:
            parts.append(f"{name}={value}")
    if a.flags & 1:
        parts.append("send_flow_rem")
    if a.flags & 2:
        parts.append("delete_learned")
    if a.cookie:
        parts.append(f"cookie={a.cookie:#x}")
    if a.limit:
        parts.append(f"limit={a.limit}")
    if a.result:
        parts.append(f"result_dst={format_subfield(a.result)}")
    parts += [_format_spec(spec, names) for spec in a.specs]
    return f"learn({','.join(parts)})"


def _format_spec(spec: LearnSpec, names: PortNames | None) -> str:
    source, dst = spec.source, spec.dst
    if isinstance(source, int):
        assert dst is not None
        if spec.to is LearnTo.LOAD:
            return f"load:{format_hex(source)}->{format_subfield(dst)}"
        if dst.low == 0 and (is_port(dst) or dst.n_bits == named_bits(dst.field)):
            mask = all_bits(dst.field)
            return f"{field_name(dst.field)}={format_value(dst.field, source, mask, names)}"
        return f"{format_subfield(dst)}={format_hex(source)}"
    text = format_subfield(source)
    if spec.to is LearnTo.OUTPUT or dst is None:
        return f"output:{text}"
    if spec.to is LearnTo.LOAD:
        return f"load:{text}->{format_subfield(dst)}"
    to = format_subfield(dst)
    return to if (source.field, source.low) == (dst.field, dst.low) else f"{to}={text}"


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
