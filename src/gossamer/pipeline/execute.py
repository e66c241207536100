"""The reference pipeline: what becomes of a packet, by tables and actions.

This is OpenFlow written once and plainly; the BPF datapath must do the same
(tests/property).  Packet-outs and traces run on it.

A packet runs through a bridge in two stages, as in the kernel: *translation*
walks tables and collects what is to be done, each with the key it is to be
done with; only if that comes to its end is it *performed*.  A packet that
resubmits too often is so dropped whole.  A copy output to a patch port waits
until its bridge is done, then enters the peer as the packet was then, with
registers and metadata zero.

Sources: OpenFlow 1.3.5 sections 5.3 to 5.12, ovs-actions(7), ovs-fields(7).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, Actions, OfPort
from gossamer.pipeline.change import apply_change, pop_vlan, push_vlan
from gossamer.pipeline.commit import Frame
from gossamer.pipeline.fields import (
    ETH_IPV4,
    ETH_IPV6,
    KEY_LEN,
    SLOTS,
    get_slot,
    put_slot,
)
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import slot_mask
from gossamer.pipeline.normal import decide
from gossamer.pipeline.steps import Drop, Step, StepKind
from gossamer.pipeline.world import N_TABLES, Bridge, TableMiss, World

MAX_DEPTH: Final = 64
"""Rules that may be under way inside each other (by resubmit)."""
MAX_RESUBMITS: Final = 4096
MAX_PASSES: Final = 64
"""Bridges one packet may enter over patch ports."""
MAX_WAITING: Final = 16
"""Copies that may wait to enter a bridge."""

_STATE_END: Final = SLOTS["tun_id"].offset
_STATE: Final = ((1 << (_STATE_END - SLOTS["metadata"].offset) * 8) - 1) << (
    (KEY_LEN - _STATE_END) * 8
)
"""Metadata and registers: zero when a packet enters a bridge."""
_NORMAL_LOOKS_AT: Final = (
    slot_mask("eth_dst", (1 << 48) - 1)
    | slot_mask("eth_src", (1 << 48) - 1)
    | slot_mask("vlan_tci", 0x1FFF)
)


class Reason:
    """Why a packet goes to the controllers (ofp_packet_in_reason, OpenFlow 1.4)."""

    NO_MATCH: Final = 0
    ACTION: Final = 1
    INVALID_TTL: Final = 2
    ACTION_SET: Final = 3
    PACKET_OUT: Final = 5


@dataclass(frozen=True, slots=True)
class Output:
    """A packet that leaves `bridge` by port `ofport` (never a patch port)."""

    bridge: str
    ofport: int
    packet: bytes


@dataclass(frozen=True, slots=True)
class Punt:
    """A packet for the controllers of `bridge`, as it was, whole; `key` as it stood.

    `flow` is the rule that sent it, None for a table miss or a packet-out.
    """

    bridge: str
    in_port: int
    reason: int
    table_id: int
    flow: Flow | None
    action: act.Controller
    key: int
    packet: bytes


@dataclass(slots=True)
class Result:
    """What became of a packet."""

    outputs: list[Output] = field(default_factory=list)
    punts: list[Punt] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    """The rules passed, in order; each is to be credited once for each time it is here."""
    misses: list[tuple[str, int]] = field(default_factory=list)
    """(bridge, table) of lookups that found nothing."""
    key: int = 0
    """The flow key at the end of the first bridge's translation."""
    consulted: int = 0
    """Bits of the key that some table looked at in the first bridge."""
    drops: list[Drop] = field(default_factory=list)
    """Why the packet or copies of it ended; empty where all went somewhere."""
    steps: Step = field(default_factory=lambda: Step(StepKind.BRIDGE))


@dataclass(frozen=True, slots=True)
class _Effect:
    """Something to be performed, with the key as it was when the action came up."""

    action: act.Output | act.Controller
    key: int
    step: Step
    reason: int = 0
    table_id: int = 0
    flow: Flow | None = None


@dataclass(slots=True)
class _Pass:
    """A packet about to enter a bridge."""

    bridge: Bridge
    in_port: int
    key: int
    step: Step
    actions: Actions | None = None
    """A packet-out's actions, run instead of table 0."""


class Pipeline:
    """Runs packets through the bridges of a world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def run(self, bridge: str, in_port: int, packet: bytes) -> Result:
        """A packet that enters `bridge` by OpenFlow port `in_port`.

        Learned addresses change in the world; counters of flows do not (see
        Result.flows).  Raises PacketError for a frame without Ethernet header.
        """
        return self._run(bridge, in_port, packet, None)

    def execute_actions(
        self, bridge: str, in_port: int, packet: bytes, actions: Sequence[Action]
    ) -> Result:
        """A packet-out: `actions` on a packet as if it had come by `in_port`, which may be
        OFPP_CONTROLLER or OFPP_NONE (OpenFlow 1.3.5, 7.3.7).  Raises as run()."""
        return self._run(bridge, in_port, packet, tuple(actions))

    def _run(self, bridge: str, in_port: int, packet: bytes, actions: Actions | None) -> Result:
        frame = Frame.received(packet, in_port)
        return _Journey(self.world, frame).go(self.world.bridges[bridge], in_port, actions)


class _Journey:
    """One packet and all its copies."""

    def __init__(self, world: World, frame: Frame) -> None:
        self.world = world
        self.frame = frame
        self.result = Result()
        self.waiting: deque[_Pass] = deque()
        self.n_passes = 0

    def go(self, bridge: Bridge, in_port: int, actions: Actions | None) -> Result:
        first = Step(StepKind.BRIDGE, bridge=bridge.name, port=in_port, key=self.frame.key)
        self.result.steps = first
        self.enter(_Pass(bridge, in_port, self.frame.key, first, actions))
        while self.waiting:
            self.enter(self.waiting.popleft())
        return self.result

    def enter(self, entry: _Pass) -> None:
        """Translate a packet in one bridge, and perform what that gave."""
        port = entry.bridge.ports.get(entry.in_port)
        if port is not None and not (port.receive and port.up):
            self.end(entry.step, "port does not receive, dropping", Drop.NO_RECEIVE)
            return
        key = put_slot(entry.key & ~_STATE, "in_port", entry.in_port)
        translation = _Translation(entry.bridge, key, self.result)
        first = entry.step is self.result.steps
        if entry.actions is None:
            translation.table(0, entry.step, honour_miss=True)
        else:
            translation.packet_out = True
            translation.actions(entry.actions, 0, None, entry.step)
        translation.run_action_set(entry.step)
        if first:
            self.result.key = translation.key
            self.result.consulted = translation.consulted
        if translation.failure is not None:
            self.result.drops.append(translation.failure)
            return
        if not translation.effects:
            self.result.drops.append(translation.why_nothing)
        for effect in translation.effects:
            self.perform(entry.bridge, effect)

    def end(self, step: Step, text: str, drop: Drop) -> None:
        step.warn(text, drop)
        self.result.drops.append(drop)

    def perform(self, bridge: Bridge, effect: _Effect) -> None:
        key, step = effect.key, effect.step
        in_port = get_slot(key, "in_port")
        match effect.action:
            case act.Controller() as action:
                self.punt(bridge, effect, action)
            case act.Output(port=OfPort.NORMAL):
                copies = decide(bridge, in_port, key, self.world.now_s, step)
                for copy in copies:
                    self.send(bridge, copy.ofport, copy.key, step)
                if not copies:
                    self.result.drops += [s.drop for s in step.steps if s.drop]
            case act.Output(port=OfPort.FLOOD | OfPort.ALL as where):
                ports = [
                    port.ofport
                    for port in bridge.in_order()
                    if port.ofport != in_port and (port.flood or where == OfPort.ALL)
                ]
                for ofport in ports:
                    self.send(bridge, ofport, key, step)
                if not ports:
                    self.end(step, "no other port to send to", Drop.NO_MEMBER)
            case act.Output(port=ofport):
                self.send(bridge, in_port if ofport == OfPort.IN_PORT else ofport, key, step)

    def punt(self, bridge: Bridge, effect: _Effect, action: act.Controller) -> None:
        in_port = get_slot(effect.key, "in_port")
        port = bridge.ports.get(in_port)
        if effect.reason == Reason.NO_MATCH and port is not None and not port.packet_in:
            self.end(effect.step, "OFPPC_NO_PACKET_IN set, dropping", Drop.NO_RULE)
            return
        self.frame = self.frame.commit(effect.key)
        packet = self.frame.packet
        effect.step.add(
            Step(StepKind.PUNT, bridge=bridge.name, port=in_port, packet=packet, key=effect.key)
        )
        self.result.punts.append(
            Punt(
                bridge.name,
                in_port,
                effect.reason,
                effect.table_id,
                effect.flow,
                action,
                effect.key,
                packet,
            )
        )

    def send(self, bridge: Bridge, ofport: int, key: int, step: Step) -> None:
        """Output to one port: a device, or the bridge behind a patch port."""
        port = bridge.ports.get(ofport)
        if port is None:
            self.end(step, "Nonexistent output port", Drop.NO_PORT)
            return
        if not port.forward:
            self.end(step, "OFPPC_NO_FWD set, skipping output", Drop.NO_FORWARD)
            return
        if not port.up:
            self.end(step, "port is down, skipping output", Drop.NO_FORWARD)
            return
        if port.peer is not None:
            self.into_peer(port.peer, key, step)
            return
        self.frame = self.frame.commit(key)
        packet = self.frame.packet
        step.add(Step(StepKind.OUTPUT, bridge=bridge.name, port=ofport, packet=packet, key=key))
        self.result.outputs.append(Output(bridge.name, ofport, packet))

    def into_peer(self, peer: tuple[str, int], key: int, step: Step) -> None:
        if len(self.waiting) >= MAX_WAITING or self.n_passes >= MAX_PASSES:
            self.end(step, "over the limit of patch ports passed, dropping", Drop.PASSES)
            return
        name, in_port = peer
        bridge = self.world.bridges.get(name)
        if bridge is None or in_port not in bridge.ports:
            self.end(step, "patch port has no peer, dropping", Drop.NO_PORT)
            return
        self.n_passes += 1
        entered = step.add(Step(StepKind.BRIDGE, bridge=name, port=in_port, key=key))
        self.waiting.append(_Pass(bridge, in_port, key, entered))


class _Translation:
    """One packet in one bridge: tables and actions, until there is nothing more to do."""

    def __init__(self, bridge: Bridge, key: int, result: Result) -> None:
        self.bridge = bridge
        self.key = key
        self.result = result
        self.effects: list[_Effect] = []
        self.failure: Drop | None = None
        self.why_nothing = Drop.BY_RULE
        self.exited = False
        self.packet_out = False
        self.in_action_set = False
        self.consulted = 0
        self.depth = 0
        self.n_resubmits = 0
        self.action_set = ActionSet()

    @property
    def stopped(self) -> bool:
        return self.exited or self.failure is not None

    def fail(self, step: Step, text: str, drop: Drop) -> None:
        """Void all of this translation."""
        step.error(text, drop)
        self.failure = drop

    def lookup(self, table_id: int, key: int) -> Flow | None:
        table = self.bridge.tables.get(table_id)
        if table is None:
            return None
        for mask in table.subtables:
            self.consulted |= mask
        return table.lookup(key)

    def table(
        self, table_id: int, step: Step, *, honour_miss: bool, in_port: int | None = None
    ) -> None:
        """Look up in a table and run what matches; `honour_miss`: do what the table does with
        misses, which a resubmit does not."""
        key = self.key if in_port is None else put_slot(self.key, "in_port", in_port)
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
                self.effects.append(
                    _Effect(act.Controller(), self.key, below, Reason.NO_MATCH, table_id)
                )
            self.why_nothing = Drop.NO_RULE
            return
        self.result.flows.append(flow)
        if self.depth >= MAX_DEPTH:
            self.fail(below, f"over max translation depth {MAX_DEPTH}", Drop.TOO_DEEP)
            return
        self.depth += 1
        goto = self.actions(flow.actions, table_id, flow, below)
        self.depth -= 1
        if goto is not None:
            # Not within the rule: gotos do not nest, however many follow each other.
            self.table(goto[0], goto[1], honour_miss=True)

    def run_action_set(self, step: Step) -> None:
        """At the end of the pipeline (OpenFlow 1.3.5, 5.10)."""
        actions = self.action_set.ordered()
        if not actions or self.stopped:
            return
        self.action_set = ActionSet()
        self.in_action_set = True
        self.actions(actions, 0, None, step.add(Step(StepKind.ACTION_SET, key=self.key)))

    def actions(
        self, actions: Actions, table_id: int, flow: Flow | None, step: Step
    ) -> tuple[int, Step] | None:
        """Run a list of actions; what is returned is where its goto_table leads."""
        if not actions:
            step.add(Step(StepKind.ACTION, "drop"))
        for action in actions:
            if self.stopped:
                return None
            below = step.add(Step(StepKind.ACTION, action=action))
            if isinstance(action, act.GotoTable):
                return action.table_id, below
            going_on = self.action(action, table_id, flow, below)
            below.key = self.key
            if not going_on:
                return None
        return None

    def action(self, action: Action, table_id: int, flow: Flow | None, step: Step) -> bool:
        """Run one action; False ends its list."""
        self.consulted |= looked_at(action)
        match action:
            case act.Output(port=port):
                self.output(port, action.max_len, table_id, flow, step)
            case act.Enqueue(port=port):
                self.output(port, 0, table_id, flow, step)
            case act.OutputReg(source=source):
                self.output_reg(source, action.max_len, table_id, flow, step)
            case act.Controller():
                self.controller(action, table_id, flow, step)
            case act.DecTtl():
                return self.dec_ttl(action, table_id, flow, step)
            case act.Resubmit():
                self.resubmit(action, table_id, step)
            case act.PushVlan(ethertype=tpid):
                self.push(tpid, step)
            case act.PopVlan():
                self.key = pop_vlan(self.key)
            case act.SetVlanVid(push=True) | act.SetVlanPcp(push=True) if not self.tagged:
                self.push(0x8100, step)
                self.key = apply_change(self.key, action, step)
            case act.Exit():
                self.exited = True
                return False
            case act.ClearActions():
                self.action_set = ActionSet()
            case act.WriteActions(actions=written):
                self.action_set.write(written)
                step.add(Step(StepKind.ACTION_SET_IS, actions=self.action_set.ordered()))
            case act.Note() | act.SetQueue() | act.Meter():
                pass  # nothing that shows in a packet
            case _:
                self.key = apply_change(self.key, action, step)
        return True

    @property
    def tagged(self) -> bool:
        return bool(get_slot(self.key, "vlan_tci"))

    def push(self, tpid: int, step: Step) -> None:
        key = push_vlan(self.key, tpid)
        if key is None:
            self.fail(step, "a third VLAN tag, dropping", Drop.VLAN_STACK)
        else:
            self.key = key

    def output(self, port: int, max_len: int, table_id: int, flow: Flow | None, step: Step) -> None:
        if port == OfPort.CONTROLLER:
            self.controller(act.Controller(max_len=max_len or 0xFFFF), table_id, flow, step)
        elif port == OfPort.TABLE:
            if self.packet_out:
                self.table(0, step, honour_miss=True)
        elif port == get_slot(self.key, "in_port"):
            step.warn("skipping output to input port")
        elif port != OfPort.ANY:
            self.effects.append(_Effect(act.Output(port), self.key, step))

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
            elif self.in_action_set:
                reason = Reason.ACTION_SET
        self.effects.append(_Effect(action, self.key, step, reason, table_id, flow))

    def dec_ttl(self, action: act.DecTtl, table_id: int, flow: Flow | None, step: Step) -> bool:
        if get_slot(self.key, "eth_type") not in (ETH_IPV4, ETH_IPV6):
            return True
        ttl = get_slot(self.key, "nw_ttl")
        if ttl > 1:
            self.key = put_slot(self.key, "nw_ttl", ttl - 1)
            return True
        for controller_id in action.controller_ids:
            to = act.Controller(controller_id=controller_id, reason=Reason.INVALID_TTL)
            self.effects.append(_Effect(to, self.key, step, Reason.INVALID_TTL, table_id, flow))
        version = 4 if get_slot(self.key, "eth_type") == ETH_IPV4 else 6
        step.warn(f"IPv{version} decrement TTL exception", Drop.TTL)
        return False

    def resubmit(self, action: act.Resubmit, table_id: int, step: Step) -> None:
        self.n_resubmits += 1
        if self.n_resubmits > MAX_RESUBMITS:
            self.fail(step, f"over {MAX_RESUBMITS} resubmit actions", Drop.TOO_DEEP)
            return
        target = table_id if action.table_id == 0xFF else action.table_id
        in_port = None if action.in_port == OfPort.IN_PORT else action.in_port
        self.table(target, step, honour_miss=False, in_port=in_port)


def looked_at(action: Action) -> int:
    """The bits of the key that tell what an action does to a packet."""
    match action:
        case act.Output(port=OfPort.NORMAL):
            return _NORMAL_LOOKS_AT
        case act.DecTtl():
            return slot_mask("nw_ttl", 0xFF)
        case act.SetField(field=f, mask=mask):
            return mask << f.shift
        case act.RegLoad(dst=sub) | act.RegMove(src=sub) | act.OutputReg(source=sub):
            return ((1 << sub.n_bits) - 1) << sub.shift
        case _:
            return 0


class ActionSet:
    """Actions gathered on the way, run at its end (OpenFlow 1.3.5, 5.10; ovs-actions(7))."""

    def __init__(self) -> None:
        self._single: dict[type[Action], Action] = {}
        self._sets: list[Action] = []
        self._final: Action | None = None
        self._resubmit: Action | None = None

    def write(self, actions: Actions) -> None:
        """Merge: one of a kind, the last one counts; changes of fields all, in order."""
        for action in actions:
            match action:
                case act.PopVlan() | act.PushVlan() | act.DecTtl():
                    self._single[type(action)] = action
                case act.Output() | act.OutputReg() | act.Controller() | act.Enqueue():
                    self._final = action
                case act.Resubmit():
                    self._resubmit = action
                case act.Note() | act.SetQueue():
                    pass
                case _:
                    self._sets.append(action)

    def ordered(self) -> Actions:
        """As a list, in the order of execution; empty where nothing says where to send."""
        last = self._final or self._resubmit
        if last is None:
            return ()
        order = (act.PopVlan, act.PushVlan, act.DecTtl)
        singles = [self._single[kind] for kind in order if kind in self._single]
        return (*singles, *self._sets, last)
