"""A packet's journey: pass after pass through bridges, each translated and then performed.

Only if a translation comes to its end is it performed, so a packet that resubmits too often is
dropped whole.  A copy output to a patch port waits until its bridge is done, then enters the peer
as the packet was then, with registers and metadata zero; one that went through a ct() goes on in
the same bridge.  The counterpart in the kernel is bpf/execute.h.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Actions
from gossamer.pipeline.action_ct import Ct
from gossamer.pipeline.action_set import OFPP_UNSET, ActionSet
from gossamer.pipeline.commit import Buffer, Frame
from gossamer.pipeline.conntrack.crossing import Traveller, untracked
from gossamer.pipeline.conntrack.timeouts import NS_PER_S
from gossamer.pipeline.decided import Decided
from gossamer.pipeline.emit import freeze
from gossamer.pipeline.fields import get_slot, put_slot
from gossamer.pipeline.frozen import Frozen
from gossamer.pipeline.key_parts import STATE_BITS, TUNNEL_BITS
from gossamer.pipeline.meter import BandType
from gossamer.pipeline.normal import decide
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.packet_type import is_frame, payload
from gossamer.pipeline.result import MeterUse, Output, Punt, Reason, Result, Resumed, Sampled
from gossamer.pipeline.state import At, Effect, State
from gossamer.pipeline.steps import Drop, Step, StepKind
from gossamer.pipeline.translation import Translation
from gossamer.pipeline.tunnel import PacketTypeMode, Tunnel
from gossamer.pipeline.world import Bridge, Port, World
from gossamer.pipeline.wrap import Outer, address_of, outer_of

MAX_PASSES: Final = 64
"""Bridges one packet may enter over patch ports."""
MAX_WAITING: Final = 16
"""Copies that may wait to enter a bridge."""
MAX_TRUNCATED: Final = 4
"""Truncated copies of one packet."""

_CT_DROPS: Final = {
    Drop.CT_FULL: "no room for another connection",
    Drop.CT_ZONE_LIMIT: "the zone has as many connections as it may",
    Drop.CT_NAT_FULL: "no address and port are free to translate to",
    Drop.CT_FRAGMENT: "the fragment overlaps another one",
}


@dataclass(slots=True)
class _Pass:
    """A packet about to enter a bridge."""

    bridge: Bridge
    in_port: int
    key: int
    buffer: Buffer
    step: Step
    actions: Actions | None = None
    """A packet-out's actions, run instead of table 0."""
    table_id: int | None = None
    """Where a copy goes on that went through a ct(), with all it had, and the action set
    gathered by then."""
    asked: int = 0
    """The key that ct() met."""
    action_set: ActionSet | None = None
    frozen: Frozen | None = None
    """How a packet goes on that has waited, in place of table 0."""


class Journey:
    """One packet and all its copies, through the bridges of a world."""

    def __init__(self, world: World, frame: Frame, n_bytes: int) -> None:
        self.world = world
        self.buffer = Buffer(frame)
        self.n_bytes = n_bytes
        self.result = Result()
        self.waiting: deque[_Pass] = deque()
        self.n_passes = 0
        self.arrived_at = _tunnel_end(frame.key)

    def go(self, bridge: Bridge, in_port: int, actions: Actions | None) -> Result:
        """From its arrival; with `actions`, of a packet-out."""
        key, first = self.buffer.frame.key, self.first_step(bridge, in_port)
        return self.walk(_Pass(bridge, in_port, key, self.buffer, first, actions))

    def go_on(
        self,
        bridge: Bridge,
        in_port: int,
        *,
        table_id: int | None = None,
        frozen: Frozen | None = None,
        action_set: ActionSet | None = None,
    ) -> Result:
        """As one that was here before: it keeps what it brought, and enters by no port."""
        key, first = self.buffer.frame.key, self.first_step(bridge, in_port)
        return self.walk(
            _Pass(
                bridge,
                in_port,
                key,
                self.buffer,
                first,
                table_id=table_id,
                action_set=action_set,
                frozen=frozen,
            )
        )

    def first_step(self, bridge: Bridge, in_port: int) -> Step:
        key = self.buffer.frame.key
        self.result.steps = Step(StepKind.BRIDGE, bridge=bridge.name, port=in_port, key=key)
        return self.result.steps

    def walk(self, first: _Pass) -> Result:
        self.traveller = Traveller((first.bridge.name, first.in_port))
        self.enter(first)
        while self.waiting:
            self.enter(self.waiting.popleft())
        return self.result

    def enter(self, entry: _Pass) -> None:
        """Translate a packet in one bridge, and perform what that gave."""
        port = entry.bridge.ports.get(entry.in_port)
        resumed = entry.table_id is not None or entry.frozen is not None
        # Nothing comes in by a port that is down, but a controller may say that a packet did: by a
        # bridge's own port, which often is.
        up = port is not None and (port.up or entry.actions is not None)
        if not resumed and port is not None and not (port.receive and up):
            self.end(entry.step, "port does not receive, dropping", Drop.NO_RECEIVE)
            return
        key = put_slot(entry.key if resumed else entry.key & ~STATE_BITS, "in_port", entry.in_port)
        state = State(entry.bridge, key, entry.buffer, self.n_bytes, entry.action_set)
        self.translate(entry, state)
        self.tell(entry, state)
        if state.failure is not None:
            self.result.drops.append(state.failure)
            return
        self.result.learned += state.learned
        if all(isinstance(e.action, (act.Meter, act.Sample)) for e in state.effects):
            self.result.drops.append(state.why_nothing)
        self.perform_all(entry.bridge, state.effects)

    def translate(self, entry: _Pass, state: State) -> None:
        """Through the tables, the actions of a packet-out, or what was left to do."""
        translation = Translation(state, self.result)
        if entry.frozen is not None:
            translation.thaw(entry.frozen, entry.step)
        elif entry.actions is not None:
            state.packet_out = True
            translation.run(entry.actions, At(0, None, entry.step))
        else:
            translation.enter_table(entry.table_id or 0, entry.step, honour_miss=True)
        translation.run_action_set(entry.step, state.top_flow)
        freeze(state, state.top_flow)

    def tell(self, entry: _Pass, state: State) -> None:
        """What became of the key, and what decided, for those who ask."""
        if entry.step is self.result.steps:
            self.result.key = _shown(state.key)
            self.result.consulted = state.consulted
        elif entry.table_id is not None:
            self.result.resumed.append(
                Resumed(entry.step, entry.asked, _shown(state.key), state.consulted)
            )

    def perform_all(self, bridge: Bridge, effects: Iterable[Effect]) -> None:
        """What translation wrote down, one after the other."""
        decided = Decided()
        for effect in effects:
            if isinstance(effect.action, act.Meter):
                self.meter(bridge, effect, effect.action, decided)
            elif decided.dropped(effect):
                continue
            elif isinstance(effect.action, Ct):
                self.ct(bridge, decided.changed(effect), effect.action, decided)
            else:
                self.perform(bridge, decided.changed(effect))

    def ct(self, bridge: Bridge, effect: Effect, action: Ct, decided: Decided) -> None:
        assert effect.request is not None, "a ct() asks for something"
        now_ns = int(self.world.now_s * NS_PER_S)
        crossing = self.traveller.cross(
            self.world.tracking,
            effect.key,
            effect.buffer,
            replace(effect.request, n_bytes=self.n_bytes),
            now_ns,
        )
        if crossing.drop is not None:
            self.end(effect.step, f"{_CT_DROPS[crossing.drop]}, dropping", crossing.drop)
            decided.ended(effect)
            return
        decided.rewritten(effect, crossing.rewritten)
        if action.table is None:
            return
        if len(self.waiting) >= MAX_WAITING or self.n_passes >= MAX_PASSES:
            self.end(effect.step, "over the limit of recirculations, dropping", Drop.PASSES)
            return
        self.n_passes += 1
        key, buffer = crossing.key, crossing.buffer
        assert buffer is not None, "what is not dropped has bytes"
        in_port = get_slot(key, "in_port")
        resumed = effect.step.add(
            Step(
                StepKind.RESUME,
                bridge=bridge.name,
                port=in_port,
                table_id=action.table,
                key=_shown(key),
            )
        )
        resumed.packet, resumed.action = buffer.frame.packet, action
        self.waiting.append(
            _Pass(
                bridge,
                in_port,
                key,
                buffer,
                resumed,
                table_id=action.table,
                action_set=effect.action_set,
                asked=effect.key,
            )
        )

    def meter(self, bridge: Bridge, effect: Effect, action: act.Meter, decided: Decided) -> None:
        meter = bridge.meters.get(action.meter_id)
        if meter is None or decided.dropped(effect):
            return
        index = bridge.metered.exceeded(meter, self.n_bytes, self.world.now_s)
        self.result.meters.append(MeterUse(bridge.name, meter.meter_id, index))
        if index is None:
            return
        band = meter.bands[index]
        if band.type is BandType.DROP:
            self.end(effect.step, f"over the rate of meter {meter.meter_id}, dropping", Drop.METER)
        decided.exceeded(effect, band)

    def end(self, step: Step, text: str, drop: Drop, port: int = 0) -> None:
        step.warn(text, drop, port)
        self.result.drops.append(drop)

    def perform(self, bridge: Bridge, effect: Effect) -> None:
        key, step = effect.key, effect.step
        in_port = get_slot(key, "in_port")
        match effect.action:
            case act.Controller() as action:
                self.punt(bridge, effect, action)
            case act.Sample() as action:
                if self.world.chance() * 0xFFFF < action.probability:
                    shown = effect.buffer.shown(key)
                    self.result.samples.append(Sampled(bridge.name, action, shown, self.n_bytes))
            case act.OutputTrunc(port=ofport, max_len=max_len):
                self.send(bridge, ofport, key, effect, max_len)
            case act.Output(port=OfPort.NORMAL) if not is_frame(key):
                self.end(step, "NORMAL is for frames, dropping", Drop.PACKET_TYPE)
            case act.Output(port=OfPort.NORMAL):
                copies = decide(bridge, in_port, key, self.world.now_s, step)
                for copy in copies:
                    self.send(bridge, copy.ofport, copy.key, effect)
                if not copies:
                    self.result.drops += [s.drop for s in step.steps if s.drop]
            case act.Output(port=OfPort.FLOOD | OfPort.ALL as where):
                ports = [
                    port.ofport
                    for port in bridge.in_order()
                    if port.ofport != in_port and (port.flood or where == OfPort.ALL)
                ]
                for ofport in ports:
                    self.send(bridge, ofport, key, effect)
                if not ports:
                    self.end(step, "no other port to send to", Drop.NO_MEMBER)
            case act.Output(port=ofport):
                self.send(bridge, in_port if ofport == OfPort.IN_PORT else ofport, key, effect)

    def punt(self, bridge: Bridge, effect: Effect, action: act.Controller) -> None:
        in_port = get_slot(effect.key, "in_port")
        port = bridge.ports.get(in_port)
        if effect.reason == Reason.NO_MATCH and port is not None and not port.packet_in:
            self.end(effect.step, "OFPPC_NO_PACKET_IN set, dropping", Drop.NO_RULE)
            return
        packet = payload(effect.buffer.packet(effect.key), effect.key)
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
                _shown(effect.key),
                packet,
                effect.frozen,
            )
        )

    def send(
        self, bridge: Bridge, ofport: int, key: int, effect: Effect, max_len: int | None = None
    ) -> None:
        """Output to one port: a device, or the bridge behind a patch port; `max_len` bytes."""
        step = effect.step
        port = bridge.ports.get(ofport)
        if port is None:
            self.end(step, "Nonexistent output port", Drop.NO_PORT, ofport)
            return
        if not port.forward:
            self.end(step, "OFPPC_NO_FWD set, skipping output", Drop.NO_FORWARD, ofport)
            return
        if not port.up:
            self.end(step, "port is down, skipping output", Drop.NO_FORWARD, ofport)
            return
        if port.peer is not None:
            self.into_peer(port.peer, key, effect)
            return
        if not is_frame(key) and not _takes_packets(port):
            self.end(step, "not a frame, and the port takes nothing else", Drop.PACKET_TYPE)
            return
        outer = None
        if port.tunnel is not None:
            outer = self.into_tunnel(bridge, port.tunnel, key, step)
            if outer is None:
                return
        packet = effect.buffer.packet(key)
        if max_len is not None and len(packet) > max_len:
            if self.result.n_truncated == MAX_TRUNCATED:
                self.end(step, "over the limit of truncated copies, dropping", Drop.PASSES)
                return
            self.result.n_truncated += 1
            packet = packet[:max_len]
        step.add(
            Step(
                StepKind.OUTPUT,
                bridge=bridge.name,
                port=ofport,
                packet=packet,
                key=key,
                outer=outer,
            )
        )
        self.result.outputs.append(Output(bridge.name, ofport, packet, outer, key))

    def into_tunnel(self, bridge: Bridge, tunnel: Tunnel, key: int, step: Step) -> Outer | None:
        """What a packet is wrapped in; None where it cannot go."""
        outer = outer_of(tunnel, key, bridge.options)
        if outer is not None and outer.destination == self.arrived_at:
            self.end(step, "Not tunneling to our own address", Drop.TUNNEL_LOOP)
            return None
        if outer is not None:
            step.detail("output to native tunnel")
            way = self.world.route(outer)
            if way is not None:
                for text in way:
                    step.detail(text)
                return outer
        self.end(step, "native tunnel routing failed", Drop.TUNNEL_ROUTE)
        return None

    def into_peer(self, peer: tuple[str, int], key: int, effect: Effect) -> None:
        step = effect.step
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
        self.waiting.append(
            _Pass(bridge, in_port, untracked(key) & ~TUNNEL_BITS, effect.buffer, entered)
        )


def _takes_packets(port: Port) -> bool:
    """Whether packets without Ethernet header may leave by a port: by tunnels that carry them."""
    tunnel = port.tunnel
    return tunnel is not None and tunnel.packet_type is not PacketTypeMode.LEGACY_L2


def _tunnel_end(key: int) -> bytes:
    """The address of ours that a packet came to, where it came out of a tunnel."""
    return address_of(key, "tun_dst", "tun_ipv6_dst")


def _shown(key: int) -> int:
    """A key as it is told to others: without actset_output where nothing set it."""
    unset = get_slot(key, "actset_output") == OFPP_UNSET
    return put_slot(key, "actset_output", 0) if unset else key
