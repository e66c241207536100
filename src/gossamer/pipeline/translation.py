"""Translation: one packet in one bridge, through its tables and actions, until nothing is left.

What is to be done with the packet is only written down here, as *effects*,
each with the key it is to be done with; execute.py performs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gossamer.pipeline import action as act
from gossamer.pipeline import labels, links, relabel
from gossamer.pipeline.action import Action, Actions, OfPort
from gossamer.pipeline.action_set import OFPP_UNSET, ActionSet
from gossamer.pipeline.change import (
    apply_change,
    has_original_tuple,
    original_tuple,
    pop_vlan,
    push_vlan,
    write_subfield,
)
from gossamer.pipeline.commit import Buffer
from gossamer.pipeline.conntrack.asking import request_of
from gossamer.pipeline.conntrack.crossing import untracked
from gossamer.pipeline.conntrack.tracker import Request
from gossamer.pipeline.fields import (
    BY_NAME,
    ETH_IPV4,
    ETH_IPV6,
    ETH_NSH,
    get,
    get_slot,
    put,
    put_slot,
)
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.format_field import format_port
from gossamer.pipeline.frozen import Freezing, Frozen
from gossamer.pipeline.group import Bucket
from gossamer.pipeline.groups import chosen, port_is_live
from gossamer.pipeline.learning import has_room, learned_flow
from gossamer.pipeline.looked_at import looked_at
from gossamer.pipeline.match import ANY
from gossamer.pipeline.packet_type import (
    TooManyLabels,
    WrongType,
    decapsulated,
    encapsulated,
    is_frame,
)
from gossamer.pipeline.result import GroupUse, LearnedFlow, Reason, Result
from gossamer.pipeline.steps import Drop, Step, StepKind
from gossamer.pipeline.world import N_TABLES, Bridge, Fragments, TableMiss

_NSH_TTL: Final = BY_NAME["nsh_ttl"]
MAX_DEPTH: Final = 64
"""Rules and buckets that may be under way inside each other (by resubmit and group)."""
MAX_RESUBMITS: Final = 4096
MAX_COPIES: Final = 8
"""Buckets and clones that may be under way inside each other."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Something to be performed, with the packet as it was when the action came up.

    `copies` are the buckets and clones it stands in, outermost first, by numbers of their own.
    """

    action: act.Output | act.OutputTrunc | act.Controller | act.Meter | act.Ct | act.Sample
    key: int
    buffer: Buffer
    step: Step
    copies: tuple[int, ...] = ()
    reason: int = 0
    table_id: int = 0
    flow: Flow | None = None
    request: Request | None = None
    """Of a ct(): what it asks; and the action set that goes along with its copy."""
    action_set: ActionSet | None = None
    frozen: Frozen | None = None
    """Of a controller(pause): how to go on."""


class Translation:
    """One packet in one bridge."""

    def __init__(
        self,
        bridge: Bridge,
        key: int,
        buffer: Buffer,
        n_bytes: int,
        result: Result,
        action_set: ActionSet | None = None,
    ) -> None:
        self.bridge = bridge
        self.action_set = ActionSet() if action_set is None else action_set.copy()
        self.key = put_slot(key, "actset_output", self.action_set.output_port)
        self.buffer = buffer
        self.n_bytes = n_bytes
        """Length of the frame as it came."""
        self.result = result
        self.effects: list[Effect] = []
        self.learned: list[LearnedFlow] = []
        self.failure: Drop | None = None
        self.why_nothing = Drop.BY_RULE
        self.exited = False
        self.freezing: Freezing | None = None
        """A controller(pause) was met: what rules under way have left to do is being kept."""
        self.top_flow: Flow | None = None
        """The first rule passed, of which the action set and what is outside of all rules tell."""
        self.packet_out = False
        self.in_action_set = False
        self.in_bucket = False
        self.consulted = 0
        self.depth = 0
        self.n_resubmits = 0
        self.n_copies = 0
        self.copies: tuple[int, ...] = ()
        self.stack: list[bytes] = []

    @property
    def stopped(self) -> bool:
        return self.exited or self.failure is not None

    def fail(self, step: Step, text: str, drop: Drop) -> None:
        """Void all of this translation."""
        step.error(text, drop)
        self.failure = drop

    # -- tables ------------------------------------------------------------------------

    def lookup(self, table_id: int, key: int) -> Flow | None:
        table = self.bridge.tables.get(table_id)
        if table is None:
            return None
        for mask in table.masks():
            self.consulted |= mask
        if self.bridge.fragments is Fragments.NORMAL and get_slot(key, "nw_frag"):
            key = put_slot(put_slot(key, "tp_src", 0), "tp_dst", 0)
        if not is_frame(key):
            return table.lookup_packet(key)
        return table.lookup(key)

    def table(
        self, table_id: int, step: Step, key: int | None = None, *, honour_miss: bool
    ) -> None:
        """Look up in a table and run what matches; `honour_miss`: do what the table does with
        misses, which a resubmit does not.  `key` is looked up in place of the packet's."""
        key = self.key if key is None else key
        if self.bridge.fragments is Fragments.DROP and get_slot(key, "nw_frag"):
            step.warn("IP fragments are dropped here", Drop.FRAGMENT)
            self.why_nothing = Drop.FRAGMENT
            return
        while True:
            flow = self.lookup(table_id, key)
            below = step.add(Step(StepKind.TABLE, table_id=table_id, flow=flow, key=self.key))
            below.bridge = self.bridge.name
            if flow is not None:
                break
            self.result.misses.append((self.bridge.name, table_id))
            miss = self.bridge.miss.get(table_id, TableMiss.DROP)
            if not honour_miss:
                return
            if miss is TableMiss.CONTINUE and table_id + 1 < N_TABLES:
                table_id += 1
                continue
            if miss is TableMiss.CONTROLLER:
                self.effect(act.Controller(), below, Reason.NO_MATCH, table_id)
            self.why_nothing = Drop.NO_RULE
            return
        self.result.flows.append(flow)
        if self.top_flow is None and not self.packet_out:
            self.top_flow = flow
        if not self.descend(below):
            return
        in_bucket, self.in_bucket = self.in_bucket, False
        goto = self.actions(flow.actions, table_id, flow, below)
        self.in_bucket = in_bucket
        self.depth -= 1
        if goto is not None:
            # Not within the rule: gotos do not nest, however many follow each other.
            self.table(goto[0], goto[1], honour_miss=True)

    def descend(self, step: Step) -> bool:
        """Go one level deeper; False, and everything void, where that is too deep."""
        if self.depth >= MAX_DEPTH:
            self.fail(step, f"over max translation depth {MAX_DEPTH}", Drop.TOO_DEEP)
            return False
        self.depth += 1
        return True

    def run_action_set(self, step: Step) -> None:
        """At the end of the pipeline (OpenFlow 1.3.5, 5.10), or of a clone."""
        actions = self.action_set.ordered()
        if not actions or self.failure is not None or self.freezing is not None:
            return
        self.action_set = ActionSet()
        self.in_action_set = True
        below = step.add(Step(StepKind.ACTION_SET, key=self.key))
        self.actions(actions, 0, self.top_flow, below)
        self.in_action_set = False

    # -- actions -----------------------------------------------------------------------

    def actions(
        self, actions: Actions, table_id: int, flow: Flow | None, step: Step
    ) -> tuple[int, Step] | None:
        """Run a list of actions; what is returned is where its goto_table leads."""
        if not actions:
            step.add(Step(StepKind.ACTION, "drop"))
        for i, action in enumerate(actions):
            if self.stopped:
                return None
            below = step.add(Step(StepKind.ACTION, action=action))
            if isinstance(action, act.GotoTable):
                return action.table_id, below
            self.consulted |= looked_at(action)
            going_on = self.action(action, table_id, flow, below)
            below.key = self.key
            if self.freezing is not None:
                self.freezing.leave(actions[i + 1 :], table_id, flow, self.action_set)
                return None
            if not going_on:
                return None
        return None

    # -- waiting at a controller -------------------------------------------------------

    def pause(self, action: act.Controller, step: Step) -> None:
        """Stop here: the packet waits, with all that is left to do, until it comes back."""
        self.freezing = Freezing(action, step)
        self.exited = True

    def freeze(self, flow: Flow | None) -> None:
        """Send up a packet that was stopped below `flow`.  It tells of that rule, and of no table, as
        Open vSwitch does; what is left to do names the pausing one."""
        freezing, self.freezing = self.freezing, None
        if freezing is None or self.failure is not None:
            return
        frozen = Frozen(
            tuple(freezing.remaining),
            self.action_set.written(),
            tuple(self.stack),
            bool(get_slot(self.key, "ct_state")),
        )
        action, step = freezing.action, freezing.step
        self.effects.append(
            Effect(
                action, self.key, self.buffer, step, self.copies, action.reason, 0, flow,
                frozen=frozen,
            )
        )  # fmt: skip

    def thaw(self, frozen: Frozen, step: Step) -> None:
        """Go on where a packet was stopped; the action set and the connection's fields are those
        that it was given to begin with."""
        self.packet_out = True
        self.stack = list(frozen.stack)
        for i, part in enumerate(frozen.remaining):
            if self.stopped:
                return
            rule = Flow(part.table_id, 1, ANY, part.actions, cookie=part.cookie)
            self.top_flow = rule
            self.actions(part.actions, part.table_id, rule, step)
            if self.freezing is not None:
                self.freezing.resume_with(frozen.remaining[i + 1 :])

    def action(self, action: Action, table_id: int, flow: Flow | None, step: Step) -> bool:
        """Run one action; False ends its list."""
        match action:
            case act.Output(port=port):
                self.output(port, action.max_len, table_id, flow, step)
            case act.Enqueue(port=port):
                self.output(port, 0, table_id, flow, step)
            case act.OutputReg(source=source):
                self.output_reg(source, action.max_len, table_id, flow, step)
            case act.Controller():
                self.controller(action, table_id, flow, step)
            case act.OutputTrunc():
                self.output_trunc(action, step)
            case act.Bundle():
                self.bundle(action, table_id, flow, step)
            case act.Meter():
                self.effect(action, step, table_id=table_id, flow=flow)
            case act.Sample():
                if self.bridge.sampling:
                    self.effect(action, step, table_id=table_id, flow=flow)
            case act.Learn():
                self.learn(action, flow, step)
            case act.DecTtl():
                return self.dec_ttl(action, table_id, flow, step)
            case act.DecNshTtl():
                return self.dec_nsh_ttl(table_id, flow, step)
            case act.DecMplsTtl():
                return self.dec_mpls_ttl(table_id, flow, step)
            case act.Resubmit():
                self.resubmit(action, table_id, step)
            case act.Group():
                return self.group(action, table_id, flow, step)
            case act.Clone():
                self.clone(action, table_id, flow, step)
            case act.Ct():
                self.ct(action, step)
            case act.Exit():
                self.exited = True
                return False
            case _:
                self.change(action, step)
        return True

    def change(self, action: Action, step: Step) -> None:
        """Run an action that only changes the packet, or what goes with it."""
        match action:
            case act.PushVlan(ethertype=tpid):
                self.push_vlan(tpid, step)
            case act.PopVlan():
                self.key = pop_vlan(self.key)
            case act.SetVlanVid(push=True) | act.SetVlanPcp(push=True) if not self.tagged:
                self.push_vlan(0x8100, step)
                self.key = apply_change(self.key, action, step)
            case act.PushMpls(ethertype=eth_type):
                self.relabel(relabel.pushed(self.key, self.buffer, eth_type), step)
            case act.PopMpls(ethertype=eth_type):
                self.relabel(relabel.popped(self.key, self.buffer, eth_type), step)
            case act.PushPbb(ethertype=eth_type):
                self.relabel(relabel.backbone_pushed(self.key, self.buffer, eth_type), step)
            case act.PopPbb():
                self.relabel(relabel.backbone_popped(self.key, self.buffer), step)
            case act.Encap() | act.Decap():
                self.change_header(action, step)
            case act.CopyTtlOut():
                self.key, self.buffer = relabel.ttl_copied_out(self.key, self.buffer)
            case act.CopyTtlIn():
                self.key, self.buffer = relabel.ttl_copied_in(self.key, self.buffer)
            case act.StackPush(source=source):
                value = (self.key >> source.shift) & ((1 << source.n_bits) - 1)
                self.stack.append(value.to_bytes((source.n_bits + 7) // 8, "big"))
            case act.StackPop(dst=dst):
                if self.stack:
                    self.key = write_subfield(
                        self.key, dst, int.from_bytes(self.stack.pop(), "big"), step
                    )
                else:
                    step.error("stack underflow")
            case act.Multipath(dst=dst):
                self.key = write_subfield(self.key, dst, links.link(self.key, action), step)
            case act.CheckPktLarger(dst=dst, length=length):
                self.key = write_subfield(self.key, dst, int(self.n_bytes > length), step)
            case act.Conjunction():
                step.error("executing no-op conjunction action")
            case act.CtClear():
                self.key = untracked(self.key)
            case act.ClearActions():
                self.clear_actions(step)
            case act.WriteActions(actions=written):
                self.action_set.write(written)
                self.key = put_slot(self.key, "actset_output", self.action_set.output_port)
                step.add(Step(StepKind.ACTION_SET_IS, actions=self.action_set.ordered()))
            case _:
                self.key = apply_change(self.key, action, step)

    def clear_actions(self, step: Step) -> None:
        step.add(Step(StepKind.ACTION_SET_WAS, actions=self.action_set.ordered()))
        self.action_set = ActionSet()
        self.key = put_slot(self.key, "actset_output", OFPP_UNSET)

    @property
    def tagged(self) -> bool:
        return bool(get_slot(self.key, "vlan_tci"))

    def push_vlan(self, tpid: int, step: Step) -> None:
        key = push_vlan(self.key, tpid)
        if key is None:
            self.fail(step, "a third VLAN tag, dropping", Drop.VLAN_STACK)
        else:
            self.key = key

    def relabel(self, after: tuple[int, Buffer] | None, step: Step) -> None:
        if after is None:
            self.fail(step, f"more than {labels.MAX_LABELS} MPLS labels", Drop.MPLS_STACK)
        else:
            self.key, self.buffer = after

    def change_header(self, action: act.Encap | act.Decap, step: Step) -> None:
        """A header more or less around the packet; where that cannot be, it is dropped."""
        try:
            if isinstance(action, act.Encap):
                self.key, self.buffer = encapsulated(self.key, self.buffer, action)
            else:
                self.key, self.buffer = decapsulated(self.key, self.buffer, action.packet_type)
        except WrongType as e:
            self.fail(step, f"Dropping packet as {e}", Drop.PACKET_TYPE)
        except TooManyLabels:
            self.fail(step, f"more than {labels.MAX_LABELS} MPLS labels", Drop.MPLS_STACK)

    # -- copies: what is changed in them is changed back -------------------------------

    def group(self, action: act.Group, table_id: int, flow: Flow | None, step: Step) -> bool:
        group = self.bridge.groups.get(action.group_id)
        if group is None:
            step.warn(f"output to nonexistent group {action.group_id}", Drop.NO_GROUP)
            self.why_nothing = Drop.NO_GROUP
            return False
        self.consulted |= group.hashed
        indexes = chosen(self.bridge, group, self.key, step)
        if not indexes:
            self.why_nothing = Drop.NO_BUCKET
        entered = 0
        for index in indexes:
            if self.stopped:
                break
            entered += self.bucket(group.buckets[index], table_id, flow, step)
        self.result.groups.append(GroupUse(self.bridge.name, group.group_id, indexes[:entered]))
        return True

    def bucket(self, bucket: Bucket, table_id: int, flow: Flow | None, step: Step) -> bool:
        """A bucket's actions, run as an action set (OpenFlow 1.3.5, 5.6.1); False where that is
        too deep.

        The action set and the stack are not copied: a table that a bucket resubmits to may
        change them (ovs-actions(7)).  An exit ends the bucket alone.
        """
        below = step.add(Step(StepKind.BUCKET, f"bucket {bucket.bucket_id}", key=self.key))
        if not self.begin_copy(below) or not self.descend(below):
            return False
        before = self.key, self.buffer, self.copies[:-1], self.in_bucket
        self.in_bucket = True
        self.actions(ActionSet(bucket.actions).ordered(), table_id, flow, below)
        self.freeze(flow)
        self.key, self.buffer, self.copies, self.in_bucket = before
        self.depth -= 1
        self.exited = False
        if self.failure is Drop.MPLS_STACK:
            self.failure = None  # the copy is lost, and no more
        return True

    def clone(self, action: act.Clone, table_id: int, flow: Flow | None, step: Step) -> None:
        """Actions on a copy, with a stack and an action set of its own (ovs-actions(7)); an exit
        in it ends everything."""
        if not self.begin_copy(step):
            return
        before = (
            self.key, self.buffer, self.copies[:-1], self.in_bucket, self.stack, self.action_set,
            self.in_action_set,
        )  # fmt: skip
        self.in_bucket = False
        self.stack, self.action_set = [], ActionSet()
        self.actions(action.actions, table_id, flow, step)
        self.run_action_set(step)
        self.freeze(flow)
        (
            self.key, self.buffer, self.copies, self.in_bucket, self.stack, self.action_set,
            self.in_action_set,
        ) = before  # fmt: skip

    def begin_copy(self, step: Step) -> bool:
        """What follows happens to a copy; False, and everything void, within too many others."""
        if len(self.copies) >= MAX_COPIES:
            self.fail(step, f"over {MAX_COPIES} groups and clones in each other", Drop.TOO_DEEP)
            return False
        self.n_copies += 1
        self.copies = (*self.copies, self.n_copies)
        return True

    def ct(self, action: act.Ct, step: Step) -> None:
        """Write down a ct(); what goes on here is a packet that was never tracked."""
        self.effects.append(
            Effect(
                action,
                self.key,
                self.buffer,
                step,
                self.copies,
                request=request_of(action, self.key, step),
                action_set=self.action_set.copy(),
            )
        )
        inside = (action.nat, *action.actions) if action.nat is not None else action.actions
        for below in inside:
            step.add(Step(StepKind.ACTION, action=below, key=apply_change(self.key, below, step)))
        if action.table is not None:
            step.detail(
                "A clone of the packet is forked to recirculate. The forked pipeline will be "
                f"resumed at table {action.table}."
            )
        step.detail(
            "Sets the packet to an untracked state, and clears all the conntrack fields."
        )
        self.key = untracked(self.key)

    # -- where the packet goes ---------------------------------------------------------

    def effect(
        self,
        action: act.Output | act.OutputTrunc | act.Controller | act.Meter | act.Sample,
        step: Step,
        reason: int = 0,
        table_id: int = 0,
        flow: Flow | None = None,
    ) -> None:
        """Write down what is to be performed with the packet as it is now."""
        self.effects.append(
            Effect(action, self.key, self.buffer, step, self.copies, reason, table_id, flow)
        )

    def output(self, port: int, max_len: int, table_id: int, flow: Flow | None, step: Step) -> None:
        if port == OfPort.CONTROLLER:
            self.controller(act.Controller(max_len=max_len or 0xFFFF), table_id, flow, step)
        elif port == OfPort.TABLE:
            if self.packet_out:
                self.table(0, step, honour_miss=True)
        elif port == get_slot(self.key, "in_port"):
            step.warn("skipping output to input port")
        elif port != OfPort.ANY:
            self.effect(act.Output(port), step)

    def output_trunc(self, action: act.OutputTrunc, step: Step) -> None:
        port = self.bridge.ports.get(action.port)
        if action.port == get_slot(self.key, "in_port"):
            step.warn("skipping output to input port")
        elif port is None or port.peer is not None:
            name = format_port(action.port)
            step.error(f"output_trunc does not support patch port {name}", Drop.NO_PORT)
        else:
            self.effect(action, step)

    def bundle(self, action: act.Bundle, table_id: int, flow: Flow | None, step: Step) -> None:
        port = links.member(self.key, action, lambda ofport: port_is_live(self.bridge, ofport))
        if action.dst is None:
            self.output(port, 0, table_id, flow, step)
        else:
            self.key = write_subfield(self.key, action.dst, port & 0xFFFF, step)

    def output_reg(
        self, source: act.SubField, max_len: int, table_id: int, flow: Flow | None, step: Step
    ) -> None:
        port = (self.key >> source.shift) & ((1 << source.n_bits) - 1)
        if port > 0xFFFF:
            step.warn(f"output port {port} is out of range", Drop.NO_PORT)
            return
        # Registers hold port numbers as OpenFlow 1.0 writes them: 16 bits.
        step.detail(f"output port is {port}")
        wide = port | 0xFFFF0000 if port >= 0xFF00 else port
        if wide != OfPort.TABLE:
            self.output(wide, max_len, table_id, flow, step)

    def controller(
        self, action: act.Controller, table_id: int, flow: Flow | None, step: Step
    ) -> None:
        reason = action.reason
        if action.as_output:
            if self.packet_out and flow is None and not self.in_action_set:
                reason = Reason.PACKET_OUT
            elif self.in_bucket:
                reason = Reason.GROUP
            elif self.in_action_set:
                reason = Reason.ACTION_SET
        if action.pause:
            self.pause(action, step)
        else:
            self.effect(action, step, reason, table_id, flow)

    def dec_ttl(self, action: act.DecTtl, table_id: int, flow: Flow | None, step: Step) -> bool:
        if get_slot(self.key, "eth_type") not in (ETH_IPV4, ETH_IPV6):
            return True
        ttl = get_slot(self.key, "nw_ttl")
        if ttl > 1:
            self.key = put_slot(self.key, "nw_ttl", ttl - 1)
            return True
        for controller_id in action.controller_ids:
            self.invalid_ttl(controller_id, table_id, flow, step)
        version = 4 if get_slot(self.key, "eth_type") == ETH_IPV4 else 6
        step.warn(f"IPv{version} decrement TTL exception", Drop.TTL)
        return False

    def dec_nsh_ttl(self, table_id: int, flow: Flow | None, step: Step) -> bool:
        if get_slot(self.key, "eth_type") == ETH_NSH:
            ttl = get(self.key, _NSH_TTL)
            if ttl > 1:
                self.key = put(self.key, _NSH_TTL, ttl - 1)
                return True
            self.invalid_ttl(0, table_id, flow, step)
        step.warn("NSH decrement TTL exception", Drop.TTL)
        return False

    def dec_mpls_ttl(self, table_id: int, flow: Flow | None, step: Step) -> bool:
        if labels.is_mpls(get_slot(self.key, "eth_type")):
            ttl = labels.ttl_of(get_slot(self.key, "mpls_lse0"))
            if ttl > 1:
                self.key = labels.with_ttl(self.key, 0, ttl - 1)
                return True
            self.invalid_ttl(0, table_id, flow, step)
        step.warn("MPLS decrement TTL exception", Drop.TTL)
        return False

    def invalid_ttl(self, controller_id: int, table_id: int, flow: Flow | None, step: Step) -> None:
        to = act.Controller(controller_id=controller_id, reason=Reason.INVALID_TTL)
        self.effect(to, step, Reason.INVALID_TTL, table_id, flow)

    def learn(self, action: act.Learn, flow: Flow | None, step: Step) -> None:
        learned = learned_flow(action, self.key)
        room = has_room(action, learned, self.bridge.tables.get(action.table_id))
        if room:
            step.add(Step(StepKind.LEARNED, flow=learned))
            self.learned.append(LearnedFlow(self.bridge.name, action, flow, self.key, learned))
        if action.result is not None:
            self.key = write_subfield(self.key, action.result, int(room), step)

    def resubmit(self, action: act.Resubmit, table_id: int, step: Step) -> None:
        self.n_resubmits += 1
        if self.n_resubmits > MAX_RESUBMITS:
            self.fail(step, f"over {MAX_RESUBMITS} resubmit actions", Drop.TOO_DEEP)
            return
        if action.with_ct and not has_original_tuple(self.key):
            step.error("resubmit(ct) with non-tracked or non-IP packet")
            return
        target = table_id if action.table_id == 0xFF else action.table_id
        key = original_tuple(self.key) if action.with_ct else self.key
        if action.in_port != OfPort.IN_PORT:
            key = put_slot(key, "in_port", action.in_port)
        self.table(target, step, key, honour_miss=False)
