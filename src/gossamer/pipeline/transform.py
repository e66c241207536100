"""Actions that change the packet, or what goes along with it, and nothing else."""

from __future__ import annotations

from functools import partial

from gossamer.pipeline import action as act
from gossamer.pipeline import labels, links, relabel
from gossamer.pipeline.action import Action
from gossamer.pipeline.action_choice import Bundle, Multipath
from gossamer.pipeline.action_ct import CtClear
from gossamer.pipeline.action_encap import Decap, Encap
from gossamer.pipeline.action_set import OFPP_UNSET, ActionSet
from gossamer.pipeline.change import apply_change, bits_written, pop_vlan, push_vlan
from gossamer.pipeline.commit import HeaderChange, with_origin
from gossamer.pipeline.conntrack.crossing import untracked
from gossamer.pipeline.fields import get_slot, put_slot
from gossamer.pipeline.packet_type import TooManyLabels, WrongType, decapsulated, encapsulated
from gossamer.pipeline.state import State
from gossamer.pipeline.steps import Drop, Step, StepKind


def transform(state: State, action: Action, step: Step) -> None:
    """Run such an action; others change nothing."""
    match action:
        case act.PushVlan(ethertype=tpid):
            _push_vlan(state, tpid, step)
        case act.PopVlan():
            state.key = pop_vlan(state.key)
        case act.SetVlanVid(push=True) | act.SetVlanPcp(push=True) if not _tagged(state):
            _push_vlan(state, 0x8100, step)
            state.key = apply_change(state.key, action, step)
        case act.PushMpls(ethertype=eth_type):
            _relabel(state, partial(relabel.pushed, eth_type=eth_type), step)
        case act.PopMpls(ethertype=eth_type):
            _relabel(state, partial(relabel.popped, eth_type=eth_type), step)
        case act.PushPbb(ethertype=eth_type):
            _relabel(state, partial(relabel.backbone_pushed, eth_type=eth_type), step)
        case act.PopPbb():
            _relabel(state, relabel.backbone_popped, step)
        case Encap() | Decap():
            _change_header(state, action, step)
        case act.CopyTtlOut():
            _relabel(state, relabel.ttl_copied_out, step)
        case act.CopyTtlIn():
            _relabel(state, relabel.ttl_copied_in, step)
        case act.StackPush(source=source):
            value = (state.key >> source.shift) & ((1 << source.n_bits) - 1)
            state.stack.append(value.to_bytes((source.n_bits + 7) // 8, "big"))
        case act.StackPop(dst=dst):
            if state.stack:
                value = int.from_bytes(state.stack.pop(), "big")
                _change(state, act.RegLoad(dst, value), step)
            else:
                step.error("stack underflow")
        case Multipath(dst=dst):
            _change(state, act.RegLoad(dst, links.link(state.key, action)), step)
        case Bundle(dst=act.SubField() as dst):
            port = links.member(state.key, action, state.bridge.port_is_live)
            _change(state, act.RegLoad(dst, port & 0xFFFF), step)
        case act.CheckPktLarger(dst=dst, length=length):
            _change(state, act.RegLoad(dst, int(state.n_bytes > length)), step)
        case act.Conjunction():
            step.error("executing no-op conjunction action")
        case CtClear():
            state.key = untracked(state.key)
        case act.ClearActions():
            step.add(Step(StepKind.ACTION_SET_WAS, actions=state.action_set.ordered()))
            state.action_set = ActionSet()
            state.key = put_slot(state.key, "actset_output", OFPP_UNSET)
        case act.WriteActions(actions=written):
            # A bucket puts the field back at its end, but not what it wrote into the set.
            if state.action_set.write(written):
                state.key = put_slot(state.key, "actset_output", state.action_set.output_port)
            step.add(Step(StepKind.ACTION_SET_IS, actions=state.action_set.ordered()))
        case _:
            _change(state, action, step)


def _change(state: State, action: Action, step: Step) -> None:
    state.write(bits_written(state.key, action))
    state.key = apply_change(state.key, action, step)


def _tagged(state: State) -> bool:
    return bool(get_slot(state.key, "vlan_tci"))


def _push_vlan(state: State, tpid: int, step: Step) -> None:
    key = push_vlan(state.key, tpid)
    if key is None:
        state.fail(step, "a third VLAN tag, dropping", Drop.VLAN_STACK)
    else:
        state.key = key


def _relabel(state: State, change: HeaderChange, step: Step) -> None:
    after = with_origin(state.key, state.buffer, state.written, change)
    if after is None:
        state.fail(step, f"more than {labels.MAX_LABELS} MPLS labels", Drop.MPLS_STACK)
    else:
        state.key, state.buffer = after


def _change_header(state: State, action: Encap | Decap, step: Step) -> None:
    """A header more or less around the packet; where that cannot be, it is dropped."""
    change: HeaderChange
    if isinstance(action, Encap):
        change = partial(encapsulated, action=action)
    else:
        change = partial(decapsulated, following=action.packet_type)
    try:
        _relabel(state, change, step)
    except WrongType as e:
        state.fail(step, f"Dropping packet as {e}", Drop.PACKET_TYPE)
    except TooManyLabels:
        state.fail(step, f"more than {labels.MAX_LABELS} MPLS labels", Drop.MPLS_STACK)
