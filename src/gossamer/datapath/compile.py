"""Actions compiled to a program of operations, one by one.

The counterpart in the kernel is bpf/translate.h.
"""

from __future__ import annotations

from typing import Protocol

from gossamer.datapath.cache_mask import LENGTHS, RESUMES
from gossamer.datapath.compile_ct import NatRuleNumbers, compile_ct
from gossamer.datapath.compile_links import compile_bundle, compile_multipath
from gossamer.datapath.field_change import BOTH_TAGS, VLAN_TCI, change_fields
from gossamer.datapath.key_words import in_network_order
from gossamer.datapath.layout import MAX_TTL_CONTROLLERS, QUEUE_UNKNOWN
from gossamer.datapath.moves import gather, move, pop_bits, push_bits, store
from gossamer.datapath.operations import OP_WRITE, PopMpls, RuleOp
from gossamer.datapath.program import Program
from gossamer.errors import UnsupportedActionError
from gossamer.pipeline import action as act
from gossamer.pipeline.action_choice import Bundle, Multipath
from gossamer.pipeline.action_ct import Ct, CtClear
from gossamer.pipeline.action_encap import Decap, DecNshTtl, Encap
from gossamer.pipeline.action_learn import Learn
from gossamer.pipeline.fields import (
    BY_NAME,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_NSH,
    ETH_PBB,
    ETH_QINQ,
    ETH_RARP,
    ETH_VLAN,
    slot_shift,
)
from gossamer.pipeline.of_port import OfPort


class Names(NatRuleNumbers, Protocol):
    """What programs refer to by number."""

    def userdata(self, data: bytes) -> int:
        """The id of a controller action's userdata."""

    def learn(self, action: Learn) -> int:
        """The id of a learn action."""

    def sample(self, action: act.Sample) -> int:
        """The id of a sample action."""

    def program(self, actions: act.Actions) -> int:
        """The id of another program, 0 for no actions."""


def compile_actions(actions: act.Actions, names: Names) -> Program:
    """The program of an action list.

    Raises DatapathError for an action the kernel cannot perform.
    """
    program = Program()
    for action in actions:
        _compile(action, program, 0, names)
    return program


_ETH_TYPE = BY_NAME["eth_type"].full_mask
_TTL = BY_NAME["nw_ttl"].full_mask
_NSH_TTL = BY_NAME["nsh_ttl"].full_mask
_TOS = BY_NAME["nw_tos"].full_mask
_PARSED = dict.fromkeys((ETH_IPV4, ETH_IPV6, ETH_ARP), PopMpls.BELOW_LABELS) | dict.fromkeys(
    (ETH_RARP, ETH_VLAN, ETH_QINQ, ETH_PBB, ETH_NSH), PopMpls.BARE
)
"""Where the datapath's parser looks for what a popped label names."""
_LABELS = _ETH_TYPE | sum(0xFFFFFFFF << slot_shift(f"mpls_lse{i}") for i in range(3))
_BELOW_LABELS = 0xFF << slot_shift("nw_proto")
"""Enough for the parser to look there."""
_WHOLE = 0xFFFF
"""How much of a packet goes up: nothing is buffered here, so controllers get all of it, whatever
max_len says (OpenFlow 1.3.5, 7.4.1)."""
_FIN_OR_RST = 5 << slot_shift("tcp_flags")


def _compile(action: act.Action, program: Program, flags: int, names: Names) -> None:
    match action:
        case act.Output(port=port):
            if port == OfPort.CONTROLLER:
                program.emit(flags | 1, RuleOp.CONTROLLER, _WHOLE, 1 << 16)
            elif port == OfPort.TABLE or port == OfPort.ANY:
                return  # TABLE means something in packet-out only, ANY is no port
            else:
                program.emit(flags, RuleOp.OUTPUT, 0, port)
        case act.Enqueue(port=port, queue_id=queue_id):
            if flags & OP_WRITE:
                program.slow()
                return
            _choose_queue(program, 0, queue_id + 1)
            program.emit(0, RuleOp.OUTPUT, 0, port)
            _choose_queue(program, 0, 0)
        case act.OutputReg(source=source):
            if source.n_bits > 32:
                program.slow()
                return
            word, shift = gather(program, flags, source)
            program.emit(flags, RuleOp.OUTPUT_REG, word, shift | source.n_bits << 8, _WHOLE)
        case act.Controller(pause=True):
            program.slow()  # only there it is known what all rules under way have left to do
        case act.Controller():
            userdata_id = names.userdata(action.userdata) if action.userdata else 0
            who = action.controller_id | action.reason << 16
            flags |= int(action.as_output)
            program.emit(flags, RuleOp.CONTROLLER, _WHOLE, who, userdata_id)
        case act.SetField(field=f, value=value, mask=mask):
            change = Program()
            change.set_bits(flags, value << f.shift, mask << f.shift)
            change_fields(program, flags, (f,), change)
        case act.RegLoad(dst=dst, value=value):
            mask = (1 << dst.n_bits) - 1
            change = Program()
            change.set_bits(flags, (value & mask) << dst.shift, mask << dst.shift)
            change_fields(program, flags, (dst.field,), change)
        case act.RegMove(src=src, dst=dst):
            change = Program()
            move(change, flags, src, dst)
            change_fields(program, flags, (dst.field, src.field), change)
        case act.DeleteField(field=f):
            program.set_bits(flags, 0, f.full_mask | f.marks)
        case act.PushVlan(ethertype=ethertype):
            program.reads |= BOTH_TAGS
            program.writes |= VLAN_TCI
            program.emit(flags, RuleOp.PUSH_VLAN, in_network_order(ethertype))
        case act.PopVlan():
            program.reads |= BOTH_TAGS
            program.writes |= VLAN_TCI
            program.emit(flags, RuleOp.POP_VLAN)
        case act.SetVlanVid(vid=vid, push=push):
            program.reads |= BOTH_TAGS
            program.writes |= VLAN_TCI
            program.emit(flags | int(push), RuleOp.SET_VLAN, vid & 0xFFF, 0x0FFF)
        case act.SetVlanPcp(pcp=pcp, push=push):
            program.reads |= BOTH_TAGS
            program.writes |= VLAN_TCI
            program.emit(flags | int(push), RuleOp.SET_VLAN, pcp << 13, 0xE000)
        case act.DecTtl(controller_ids=ids):
            program.reads |= _ETH_TYPE | _TTL
            program.writes |= _TTL
            if len(ids) > MAX_TTL_CONTROLLERS:
                program.slow()
                return
            packed = sum(number << 16 * i for i, number in enumerate(ids))
            program.emit(flags, RuleOp.DEC_TTL, len(ids), packed & 0xFFFFFFFF, packed >> 32)
        case act.Resubmit(in_port=in_port, table_id=table_id):
            program.emit(flags, RuleOp.RESUBMIT, table_id, in_port)
        case act.WriteMetadata(value=value, mask=mask):
            shift = BY_NAME["metadata"].shift
            program.set_bits(flags, (value & mask) << shift, mask << shift)
        case act.GotoTable(table_id=table_id):
            program.emit(flags, RuleOp.GOTO, table_id)
        case act.ClearActions():
            program.emit(flags, RuleOp.CLEAR_ACTIONS)
        case act.WriteActions(actions=actions):
            began = len(program.ops)
            for written in actions:
                _compile(written, program, flags | OP_WRITE, names)
            program.mark_writing(began)
        case act.Exit():
            program.emit(flags, RuleOp.EXIT)
        case act.Group(group_id=group_id):
            program.groups.add(group_id)
            program.emit(flags, RuleOp.GROUP, 0, group_id)
        case act.Clone(actions=inner):
            number = names.program(inner)
            if number:
                program.emit(flags, RuleOp.CLONE, 0, number)
        case act.Meter(meter_id=meter_id):
            program.emit(flags, RuleOp.METER, 0, meter_id)
        case act.OutputTrunc(port=port, max_len=max_len):
            if port == OfPort.CONTROLLER:
                program.emit(flags, RuleOp.CONTROLLER, max_len, 1 << 16)
                return
            if flags & OP_WRITE:
                program.slow()
                return
            program.emit(flags, RuleOp.TRUNCATE, 0, max_len)
            _compile(act.Output(port), program, flags, names)
            program.emit(flags, RuleOp.TRUNCATE, 0, 0)
        case Learn(specs=specs):
            for spec in specs:
                if isinstance(spec.source, act.SubField):
                    program.reads |= ((1 << spec.n_bits) - 1) << spec.source.shift
            program.emit(flags, RuleOp.LEARN, 0, names.learn(action))
            if action.result is not None:
                if action.limit:
                    # Whether there is room is known where the flows are.
                    program.slow()
                    return
                _compile(act.RegLoad(action.result, 1), program, flags, names)
        case act.Sample(probability=probability):
            program.writes |= _BELOW_LABELS
            program.emit(flags, RuleOp.SAMPLE, probability, names.sample(action))
        case act.FinTimeout():
            program.reads |= _FIN_OR_RST
            program.emit(flags, RuleOp.FIN)
        case Multipath():
            compile_multipath(program, flags, action)
        case Bundle():
            compile_bundle(program, flags, action)
        case act.CheckPktLarger(dst=dst, length=length):
            program.lengths.add(length)
            program.reads |= LENGTHS
            program.emit(flags, RuleOp.LARGER, 0, length)
            store(program, flags, dst)
        case act.PushMpls(ethertype=ethertype):
            program.reads |= _LABELS | _TTL | _TOS
            program.writes |= _LABELS
            program.emit(flags, RuleOp.PUSH_MPLS, in_network_order(ethertype))
        case act.PopMpls(ethertype=ethertype):
            program.reads |= _LABELS
            program.writes |= _LABELS | _BELOW_LABELS
            place = _PARSED.get(ethertype, PopMpls.NOWHERE)
            program.emit(flags, RuleOp.POP_MPLS, in_network_order(ethertype), place)
        case act.DecMplsTtl():
            program.reads |= _LABELS
            program.writes |= _LABELS
            program.emit(flags, RuleOp.DEC_MPLS_TTL)
        case DecNshTtl():
            program.reads |= _ETH_TYPE | _NSH_TTL
            program.writes |= _NSH_TTL
            program.emit(flags, RuleOp.DEC_NSH_TTL)
        case act.CopyTtlOut() | act.CopyTtlIn():
            program.reads |= _LABELS | _TTL
            program.writes |= _LABELS | _TTL
            out = isinstance(action, act.CopyTtlOut)
            program.emit(flags, RuleOp.COPY_TTL_OUT if out else RuleOp.COPY_TTL_IN)
        case act.Conjunction(conj_id=conj_id, clause=clause, n_clauses=n_clauses):
            program.emit(flags, RuleOp.CONJUNCTION, clause | n_clauses << 8, conj_id)
        case act.StackPush(source=source):
            push_bits(program, flags, source)
        case act.StackPop(dst=dst):
            pop_bits(program, flags, dst)
        case act.PushPbb() | act.PopPbb() | Encap() | Decap():
            program.slow()
        case Ct() if flags & OP_WRITE:
            # A program of its own, of whatever length, as there is one place for it in the set.
            program.emit(flags, RuleOp.CHAIN, 0, names.program((action,)))
        case Ct():
            compile_ct(program, action, names)
        case CtClear():
            program.reads |= RESUMES
            program.emit(flags, RuleOp.CT_CLEAR)
        case act.PopQueue():
            _choose_queue(program, flags, 0)
        case act.SetQueue(queue_id=queue_id):
            _choose_queue(program, flags, queue_id + 1)
        case act.Note():
            return  # nothing a packet would show
        case _:
            raise UnsupportedActionError(
                f"the datapath has no {type(action).__name__} action",
                remedy="see docs/compat.md for what is supported",
            )


def _choose_queue(program: Program, flags: int, number: int) -> None:
    """Outputs that follow go to a queue: `number` is that plus one, 0 for the port's default."""
    mask = 0xFFFF << slot_shift("queue")
    # A queue that no port can have is as good as none.
    known = number if number < QUEUE_UNKNOWN else 0
    change = Program()
    change.set_bits(flags, known << slot_shift("queue"), mask)
    program.ops += change.ops  # nothing looks at it, so it is no part of what the rules change
