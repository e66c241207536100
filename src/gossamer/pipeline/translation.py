"""Translation: one packet in one bridge, through its tables and actions, until nothing is left.

What is to be done with the packet is only written down here, as *effects*, each with the key it is
to be done with; journey.py performs them.  The counterpart in the kernel is bpf/translate.h.
"""

from __future__ import annotations

from typing import Final

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, Actions
from gossamer.pipeline.action_choice import Bundle
from gossamer.pipeline.action_ct import Ct
from gossamer.pipeline.action_encap import DecNshTtl
from gossamer.pipeline.action_learn import Learn
from gossamer.pipeline.action_set import ActionSet
from gossamer.pipeline.change import has_original_tuple, original_tuple
from gossamer.pipeline.emit import emit, freeze, output, output_reg, output_trunc, send_up, track
from gossamer.pipeline.fields import get_slot, put_slot
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.frozen import Frozen
from gossamer.pipeline.group import Bucket
from gossamer.pipeline.groups import chosen
from gossamer.pipeline.learning import has_room, learned_flow
from gossamer.pipeline.links import member
from gossamer.pipeline.looked_at import looked_at
from gossamer.pipeline.match import ANY
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.packet_type import is_frame
from gossamer.pipeline.result import GroupUse, LearnedFlow, Reason, Result
from gossamer.pipeline.state import At, State
from gossamer.pipeline.steps import Drop, Step, StepKind
from gossamer.pipeline.transform import transform
from gossamer.pipeline.ttl import dec_mpls_ttl, dec_nsh_ttl, dec_ttl
from gossamer.pipeline.world import N_TABLES, Fragments, TableMiss

MAX_DEPTH: Final = 64
"""Rules and buckets that may be under way inside each other (by resubmit and group)."""
MAX_RESUBMITS: Final = 4096
MAX_COPIES: Final = 8
"""Buckets and clones that may be under way inside each other."""


class Translation:
    """The walk of one packet through tables, groups and clones."""

    def __init__(self, state: State, result: Result) -> None:
        self._state = state
        self._result = result
        self._depth = 0
        self._n_resubmits = 0
        self._n_copies = 0

    # -- tables ------------------------------------------------------------------------

    def enter_table(
        self, table_id: int, step: Step, key: int | None = None, *, honour_miss: bool
    ) -> None:
        """Look up in a table and run what matches; `honour_miss`: do what the table does with
        misses, which a resubmit does not.  `key` is looked up in place of the packet's."""
        state = self._state
        key = state.key if key is None else key
        if state.bridge.fragments is Fragments.DROP and get_slot(key, "nw_frag"):
            step.warn("IP fragments are dropped here", Drop.FRAGMENT)
            state.why_nothing = Drop.FRAGMENT
            return
        while True:
            flow = self._look_up(table_id, key)
            below = step.add(Step(StepKind.TABLE, table_id=table_id, flow=flow, key=state.key))
            below.bridge = state.bridge.name
            if flow is not None:
                break
            self._result.misses.append((state.bridge.name, table_id))
            miss = state.bridge.miss.get(table_id, TableMiss.DROP)
            if not honour_miss:
                return
            if miss is TableMiss.CONTINUE and table_id + 1 < N_TABLES:
                table_id += 1
                continue
            if miss is TableMiss.CONTROLLER:
                emit(state, act.Controller(), At(table_id, None, below), Reason.NO_MATCH)
            state.why_nothing = Drop.NO_RULE
            return
        self._result.flows.append(flow)
        if state.top_flow is None and not state.packet_out:
            state.top_flow = flow
        if not self._descend(below):
            return
        in_bucket, state.in_bucket = state.in_bucket, False
        goto = self.run(flow.actions, At(table_id, flow, below))
        state.in_bucket = in_bucket
        self._depth -= 1
        if goto is not None:
            # Not within the rule: gotos do not nest, however many follow each other.
            self.enter_table(goto[0], goto[1], honour_miss=True)

    def _look_up(self, table_id: int, key: int) -> Flow | None:
        state = self._state
        table = state.bridge.tables.get(table_id)
        if table is None:
            return None
        for mask in table.masks():
            state.consulted |= mask
        if state.bridge.fragments is Fragments.NORMAL and get_slot(key, "nw_frag"):
            key = put_slot(put_slot(key, "tp_src", 0), "tp_dst", 0)
        if not is_frame(key):
            return table.lookup_packet(key)
        return table.lookup(key)

    def _resubmit(self, action: act.Resubmit, at: At) -> None:
        self._n_resubmits += 1
        state = self._state
        if self._n_resubmits > MAX_RESUBMITS:
            state.fail(at.step, f"over {MAX_RESUBMITS} resubmit actions", Drop.TOO_DEEP)
            return
        if action.with_ct and not has_original_tuple(state.key):
            at.step.error("resubmit(ct) with non-tracked or non-IP packet")
            return
        target = at.table_id if action.table_id == 0xFF else action.table_id
        key = original_tuple(state.key) if action.with_ct else state.key
        if action.in_port != OfPort.IN_PORT:
            key = put_slot(key, "in_port", action.in_port)
        self.enter_table(target, at.step, key, honour_miss=False)

    def _descend(self, step: Step) -> bool:
        """Go one level deeper; False, and everything void, where that is too deep."""
        if self._depth >= MAX_DEPTH:
            text = f"over max translation depth {MAX_DEPTH}"
            self._state.fail(step, text, Drop.TOO_DEEP)
            return False
        self._depth += 1
        return True

    # -- actions -----------------------------------------------------------------------

    def run(self, actions: Actions, at: At) -> tuple[int, Step] | None:
        """Run a list of actions; what is returned is where its goto_table leads."""
        if not actions:
            at.step.add(Step(StepKind.ACTION, "drop"))
        state = self._state
        for i, action in enumerate(actions):
            if state.stopped:
                return None
            below = at.step.add(Step(StepKind.ACTION, action=action))
            if isinstance(action, act.GotoTable):
                return action.table_id, below
            state.consulted |= looked_at(action)
            going_on = self._run_one(action, At(at.table_id, at.flow, below))
            below.key = state.key
            if state.freezing is not None:
                state.freezing.leave(actions[i + 1 :], at.table_id, at.flow, state.action_set)
                return None
            if not going_on:
                return None
        return None

    def run_action_set(self, step: Step, flow: Flow | None) -> None:
        """At the end of the pipeline (OpenFlow 1.3.5, 5.10), or of a clone: what it sends up tells of
        `flow`."""
        state = self._state
        actions = state.action_set.ordered()
        if not actions or state.failure is not None or state.freezing is not None:
            return
        state.action_set = ActionSet()
        state.in_action_set = True
        below = step.add(Step(StepKind.ACTION_SET, key=state.key))
        self.run(actions, At(0, flow, below))
        state.in_action_set = False

    def thaw(self, frozen: Frozen, step: Step) -> None:
        """Go on where a packet was stopped; the action set and the connection's fields are those
        that it was given to begin with."""
        state = self._state
        state.packet_out = True
        state.stack = list(frozen.stack)
        for i, part in enumerate(frozen.remaining):
            if state.stopped:
                return
            rule = Flow(part.table_id, 1, ANY, part.actions, cookie=part.cookie)
            state.top_flow = rule
            self.run(part.actions, At(part.table_id, rule, step))
            if state.freezing is not None:
                state.freezing.resume_with(frozen.remaining[i + 1 :])

    def _run_one(self, action: Action, at: At) -> bool:
        """Run one action; False ends its list."""
        state = self._state
        match action:
            case act.Output(port=port, max_len=max_len):
                self._output(port, max_len, at)
            case act.Enqueue(port=port):
                self._output(port, 0, at)
            case act.OutputReg():
                output_reg(state, action, at)
            case act.Controller():
                send_up(state, action, at)
            case act.OutputTrunc():
                output_trunc(state, action, at)
            case Bundle(dst=None):
                port = member(state.key, action, state.bridge.port_is_live)
                self._output(port, 0, at)
            case act.Meter():
                emit(state, action, at)
            case act.Sample():
                if state.bridge.sampling:
                    emit(state, action, at)
            case Learn():
                self._learn(action, at)
            case act.DecTtl():
                return dec_ttl(state, action, at)
            case DecNshTtl():
                return dec_nsh_ttl(state, at)
            case act.DecMplsTtl():
                return dec_mpls_ttl(state, at)
            case act.Resubmit():
                self._resubmit(action, at)
            case act.Group():
                return self._enter_group(action, at)
            case act.Clone():
                self._clone(action, at)
            case Ct():
                track(state, action, at.step)
            case act.Exit():
                state.exited = True
                return False
            case _:
                transform(state, action, at.step)
        return True

    def _output(self, port: int, max_len: int, at: At) -> None:
        if port != OfPort.TABLE:
            output(self._state, port, max_len, at)
        elif self._state.packet_out:
            self.enter_table(0, at.step, honour_miss=True)

    def _learn(self, action: Learn, at: At) -> None:
        state = self._state
        learned = learned_flow(action, state.key)
        room = has_room(action, learned, state.bridge.tables.get(action.table_id))
        if room:
            at.step.add(Step(StepKind.LEARNED, flow=learned))
            state.learned.append(
                LearnedFlow(state.bridge.name, action, at.flow, state.key, learned)
            )
        if action.result is not None:
            transform(state, act.RegLoad(action.result, int(room)), at.step)

    # -- copies: what is changed in them is changed back -------------------------------

    def _enter_group(self, action: act.Group, at: At) -> bool:
        """Send copies through the buckets a group comes to; False where there is no group."""
        state = self._state
        group = state.bridge.groups.get(action.group_id)
        if group is None:
            at.step.warn(f"output to nonexistent group {action.group_id}", Drop.NO_GROUP)
            state.why_nothing = Drop.NO_GROUP
            return False
        state.consulted |= group.hashed
        indexes = chosen(state.bridge, group, state.key, at.step)
        if not indexes:
            state.why_nothing = Drop.NO_BUCKET
        entered = 0
        for index in indexes:
            if state.stopped:
                break
            entered += self._enter_bucket(group.buckets[index], at)
        use = GroupUse(state.bridge.name, group.group_id, indexes[:entered])
        self._result.groups.append(use)
        return True

    def _enter_bucket(self, bucket: Bucket, at: At) -> bool:
        """A bucket's actions, run as an action set (OpenFlow 1.3.5, 5.6.1); False where that is
        too deep.

        The action set and the stack are not copied: a table that a bucket resubmits to may
        change them (ovs-actions(7)).  An exit ends the bucket alone.
        """
        state = self._state
        below = at.step.add(Step(StepKind.BUCKET, f"bucket {bucket.bucket_id}", key=state.key))
        if not self._begin_copy(below) or not self._descend(below):
            return False
        before = state.key, state.buffer, state.written, state.copies[:-1], state.in_bucket
        state.in_bucket = True
        self.run(ActionSet(bucket.actions).ordered(), At(at.table_id, at.flow, below))
        freeze(state, at.flow)
        state.key, state.buffer, state.written, state.copies, state.in_bucket = before
        self._depth -= 1
        state.exited = False
        if state.failure is Drop.MPLS_STACK:
            state.failure = None  # the copy is lost, and no more
        return True

    def _clone(self, action: act.Clone, at: At) -> None:
        """Actions on a copy, with a stack and an action set of its own (ovs-actions(7)); an exit
        in it ends everything."""
        state = self._state
        if not self._begin_copy(at.step):
            return
        before = (
            state.key, state.buffer, state.written, state.copies[:-1], state.in_bucket, state.stack,
            state.action_set, state.in_action_set,
        )  # fmt: skip
        state.in_bucket = False
        state.stack, state.action_set = [], ActionSet()
        self.run(action.actions, at)
        self.run_action_set(at.step, at.flow)
        freeze(state, at.flow)
        (
            state.key, state.buffer, state.written, state.copies, state.in_bucket, state.stack,
            state.action_set, state.in_action_set,
        ) = before  # fmt: skip

    def _begin_copy(self, step: Step) -> bool:
        """What follows happens to a copy; False, and everything void, within too many others."""
        state = self._state
        if len(state.copies) >= MAX_COPIES:
            text = f"over {MAX_COPIES} groups and clones in each other"
            state.fail(step, text, Drop.TOO_DEEP)
            return False
        self._n_copies += 1
        state.copies = (*state.copies, self._n_copies)
        return True
