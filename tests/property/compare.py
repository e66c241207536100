"""Run a case through the reference pipeline and through the BPF programs, and compare."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from gossamer.datapath import layout
from gossamer.datapath.datapath import Datapath
from gossamer.datapath.settings import (
    BridgeSettings,
    MissAction,
    PortKind,
    PortSettings,
    PuntReason,
)
from gossamer.datapath.settings import VlanMode as PortVlanMode
from gossamer.datapath.testrun import TestRun
from gossamer.errors import DatapathError
from gossamer.pipeline import action as act
from gossamer.pipeline.action_ct import Ct
from gossamer.pipeline.conntrack.tcp import Peers
from gossamer.pipeline.conntrack.timeouts import NS_PER_S
from gossamer.pipeline.conntrack.tracker import Tracker
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.fields import ETH_IPV4, ETH_IPV6, KEY_LEN, SLOTS, get_slot
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.result import Result
from gossamer.pipeline.steps import Drop
from gossamer.pipeline.world import Port, World
from tests.property.case import Case
from tests.property.slow import SlowPath

_STATE_BITS = (KEY_LEN - SLOTS["pkt_mark"].offset - 4) * 8
"""A punt's key is compared in in_port, metadata, registers, tunnel and mark: the frame says the rest."""

_REPORTED = (
    "in_port", "eth_dst", "eth_src", "eth_type", "vlan_tci", "nw_proto", "nw_tos", "nw_ttl", "nw_src",
    "nw_dst", "ipv6_src", "ipv6_dst", "ipv6_label", "tp_src", "tp_dst", "tcp_flags",
)  # fmt: skip
"""A sample's key is compared in what is reported of it."""

_GROUP = -1
"""In place of a bucket's index: the group itself."""


@dataclass(frozen=True)
class Outcome:
    """What one packet led to, in a form that both sides can have."""

    outputs: Counter[tuple[str, int, bytes]]
    punts: Counter[tuple[str, int, int, int, int, int | None, bytes, int]]
    samples: Counter[tuple[str, act.Sample, str]]

    def without_dei(self) -> Outcome:
        """The same with all DEI bits zero: a tag that is put back has it so; the kernel sends truncated
        copies last, and what goes up to the daemon is a copy that nothing is put back in."""
        outputs: Counter[tuple[str, int, bytes]] = Counter()
        for (bridge, ofport, frame), n in self.outputs.items():
            outputs[bridge, ofport, _without_dei(frame)] += n
        punts: Counter[tuple[str, int, int, int, int, int | None, bytes, int]] = Counter()
        for (*where, frame, key), n in self.punts.items():
            bridge, in_port, reason, controller_id, table_id, cookie = where
            place = bridge, in_port, reason, controller_id, table_id, cookie
            punts[*place, _without_dei(frame), key] += n
        return Outcome(outputs, punts, self.samples)


@dataclass
class Bpf:
    """A case's bridges, as the datapath knows them."""

    datapath: Datapath
    bridge_ids: dict[str, int]
    port_ids: dict[tuple[str, int], int]
    flows: dict[tuple[str, int], Flow]
    """By bridge and place in the case; copies, since both sides count on their own."""
    slow: SlowPath
    """What the kernel leaves to the daemon."""

    def names(self) -> dict[int, tuple[str, int]]:
        """Port id -> (bridge, ofport)."""
        return {port_id: port for port, port_id in self.port_ids.items()}

def settings(port: Port) -> PortSettings:
    """What the datapath is told of a port, peers left out."""
    return PortSettings(
        name=f"p{port.ofport & 0xFFFF}",
        ofport=port.ofport,
        kind=PortKind.DEVICE if port.peer is None else PortKind.PATCH,
        vlan_mode=PortVlanMode(int(port.vlan_mode)),
        tag=port.tag,
        trunks=port.trunks,
        flood=port.flood,
        forward=port.forward,
        receive=port.receive,
        up=port.up,
        packet_in=port.packet_in,
    )

@contextmanager
def in_kernel(datapath: Datapath, case: Case) -> Iterator[Bpf]:
    """The case's bridges in a capturing datapath, removed at the end."""
    bridge_ids: dict[str, int] = {}
    port_ids: dict[tuple[str, int], int] = {}
    copies = {(b.name, i): replace(flow) for b in case.bridges for i, flow in enumerate(b.flows)}
    slow = SlowPath.of(datapath, case, bridge_ids, port_ids, copies)
    bpf = Bpf(datapath, bridge_ids, port_ids, copies, slow)
    try:
        try:
            with datapath.transaction():
                for b in case.bridges:
                    bridge_id = bpf.bridge_ids[b.name] = datapath.add_bridge(b.name)
                    datapath.configure_bridge(bridge_id, BridgeSettings())
                    datapath.set_fragments(bridge_id, b.fragments)
                    datapath.set_sampling(bridge_id, True)
                    for port in b.ports:
                        port_id = datapath.add_port(bridge_id, settings(port))
                        bpf.port_ids[b.name, port.ofport] = port_id
                    for table_id, miss in b.miss.items():
                        datapath.set_table_miss(bridge_id, table_id, MissAction(int(miss)))
                    for group in b.groups:
                        datapath.set_group(bridge_id, group)
                    for meter in b.meters:
                        datapath.set_meter(bridge_id, meter)
                    flows = [copies[b.name, i] for i in range(len(b.flows))]
                    datapath.insert_flows(bridge_id, flows)
                for b in case.bridges:
                    for port in b.ports:
                        if port.peer in bpf.port_ids:
                            datapath.update_port(
                                bpf.port_ids[b.name, port.ofport],
                                replace(settings(port), patch_peer=bpf.port_ids[port.peer]),
                            )
        except DatapathError:
            _take_back(bpf, case)
            raise
        yield bpf
    finally:
        for bridge_id in bpf.bridge_ids.values():
            datapath.remove_bridge(bridge_id)

def _take_back(bpf: Bpf, case: Case) -> None:
    """Empty bridges that were refused: none can be removed while another one is too much."""
    with bpf.datapath.transaction():
        for b in case.bridges:
            if b.name in bpf.bridge_ids:
                bridge_id = bpf.bridge_ids[b.name]
                mine = [bpf.flows[b.name, i] for i in range(len(b.flows))]
                bpf.datapath.remove_flows(bridge_id, mine)
                for group in b.groups:
                    bpf.datapath.delete_group(bridge_id, group.group_id)

def _after_tags(frame: bytes | bytearray) -> int:
    """Where the ethertype is that is not a tag's."""
    at = 12
    while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8") and at + 2 < len(frame):
        at += 4
    return at


def _alike(frame: bytes) -> bytes:
    """The frame without what depends on the order in which headers are changed and put back: an
    IPv4 checksum of 0xffff says what 0 says, and becomes 0 with the first change."""
    at = _after_tags(frame)
    checksum = slice(at + 12, at + 14)
    if frame[at : at + 2] == b"\x08\x00" and frame[checksum] == b"\xff\xff":
        return frame[: at + 12] + bytes(2) + frame[at + 14 :]
    return frame


_BACKBONE = b"\x88\xe7"
_BACKBONE_HEADER = 6
"""Bytes from its ethertype to the frame that it goes before (IEEE 802.1ah)."""


def _without_dei(frame: bytes) -> bytes:
    out = bytearray(frame)
    behind = _after_tags(frame)
    for at in range(12, behind, 4):
        if at + 2 < len(out):
            out[at + 2] &= 0xEF
    inner = behind + _BACKBONE_HEADER
    if frame[behind : behind + 2] == _BACKBONE and inner + 14 <= len(out):
        out[inner:] = _without_dei(frame[inner:])
    return bytes(out)


def _of_headers(key: int) -> str:
    is_ip = get_slot(key, "eth_type") in (ETH_IPV4, ETH_IPV6)
    found = {name: get_slot(key, name) for name in _REPORTED[: None if is_ip else 5]}
    return " ".join(f"{name}={value:x}" for name, value in found.items() if value)

def expected(result: Result) -> Outcome:
    """The reference's result as an outcome."""
    return Outcome(
        Counter((o.bridge, o.ofport, _alike(o.packet)) for o in result.outputs),
        Counter(
            (
                p.bridge,
                p.in_port,
                p.reason,
                p.action.controller_id,
                p.table_id,
                p.flow.cookie if p.flow is not None else None,
                _alike(p.packet),
                p.key >> _STATE_BITS,
            )
            for p in result.punts
        ),
        Counter((s.bridge, s.action, _of_headers(s.key)) for s in result.samples),
    )

def observed(bpf: Bpf, run: TestRun, bridge: str, in_port: int, data: bytes) -> Outcome:
    """What the BPF programs do with a packet, and the daemon with what they leave to it.

    What waits for a connection's helper goes on, as it does when the helper changes nothing in it.
    """
    names = bpf.names()
    bridges = {bridge_id: name for name, bridge_id in bpf.bridge_ids.items()}
    outputs: Counter[tuple[str, int, bytes]] = Counter()
    punts: Counter[tuple[str, int, int, int, int, int | None, bytes, int]] = Counter()
    samples: Counter[tuple[str, act.Sample, str]] = Counter()
    cookies = {flow.flow_id: flow.cookie for flow in bpf.flows.values()}
    waiting = deque(run.run(bpf.port_ids[bridge, in_port], data))
    while waiting:
        c = waiting.popleft()
        if c.punt is None:
            outputs[(*names[c.port_id], _alike(c.data))] += 1
            continue
        p = c.punt
        if p.reason == PuntReason.CT_ALG:
            waiting += run.go_on(p, p.data)
            continue
        if p.reason == PuntReason.SLOW:
            rest = expected(bpf.slow.take_through(p))
            outputs += rest.outputs
            punts += rest.punts
            samples += rest.samples
            continue
        if p.reason == PuntReason.SAMPLE:
            action = bpf.datapath.packets.sample_action(p.userdata_id)
            samples[bridges[p.bridge_id], action, _of_headers(p.key)] += 1
            continue
        punts[
            bridges[p.bridge_id],
            p.in_port,
            p.reason,
            p.controller_id,
            p.table_id,
            cookies.get(p.flow_id),
            _alike(p.data),
            p.key >> _STATE_BITS,
        ] += 1
    return Outcome(outputs, punts, samples)

def disagreement(datapath: Datapath, case: Case) -> str:
    """What the two sides differ in, as text; empty where they agree."""
    world = case.world()
    pipeline = Pipeline(world)
    run = TestRun(datapath)
    packets: Counter[tuple[str, int]] = Counter()
    n_bytes: Counter[tuple[str, int]] = Counter()
    misses: Counter[tuple[str, int]] = Counter()
    groups: Counter[tuple[str, int, int]] = Counter()
    places = {id(f): (b.name, i) for b in case.bridges for i, f in enumerate(b.flows)}
    clock = Clock(datapath) if tracks(case) else None
    with limits(datapath, case), in_kernel(datapath, case) as bpf:
        looped = False
        for at, p in enumerate(case.packets):
            world.now_s += p.after_s
            if clock is not None:
                clock.advance(p.after_s)
            if at == case.changes_at:
                text = _remove_some(case, bpf, world, packets)
                if text and not looped:
                    return text
            result = pipeline.run(p.bridge, p.in_port, p.data)
            if isinstance(world.tracking, Tracker) and world.tracking.guessed:
                return ""
            looped = looped or Drop.TOO_DEEP in result.drops
            for flow in result.flows:
                packets[places[id(flow)]] += 1
                n_bytes[places[id(flow)]] += len(p.data)
            misses.update(result.misses)
            for use in result.groups:
                groups.update((use.bridge, use.group_id, i) for i in (_GROUP, *use.buckets))
            want = expected(result)
            bpf.slow.took = False
            before = datapath.drops()
            got = observed(bpf, run, p.bridge, p.in_port, p.data)
            if result.n_truncated or bpf.slow.took:
                want, got = want.without_dei(), got.without_dei()
            if bpf.slow.took and Drop.PASSES in result.drops:
                return ""  # bounds on copies are those of each part of the way
            if want != got:
                # Bounds of the kernel's that the reference does not have: a long path; a copy that
                # changes what lies behind where the copy before it was cut.
                bounds = ("too_long", "rewrite") if result.n_truncated > 1 else ("too_long",)
                now = datapath.drops()
                if any(now.get(bound, 0) > before.get(bound, 0) for bound in bounds):
                    return ""
                return f"packet {at} ({p.bridge} port {p.in_port}):\n" + _outcomes(want, got)
        # How far a packet gets that is dropped as a loop is nobody's promise.
        counters = "" if looped else _counters(bpf, packets, n_bytes, misses)
        counters = counters or ("" if looped else _group_counters(bpf, case, groups))
        counters = counters or _addresses(bpf, world)
        if counters or clock is None or looped:
            return counters
        return _connections(datapath, world, n_bytes=not bpf.slow.took_any)

def _remove_some(case: Case, bpf: Bpf, world: World, packets: Counter[tuple[str, int]]) -> str:
    """Remove flows on both sides; says where the last counters of one differ."""
    text = ""
    for b in case.bridges:
        places = [(b.name, i) for i in range(0, len(b.flows), 3)]
        gone = [bpf.flows.pop(place) for place in places]
        # Removing reads counters too, but is content with what is some milliseconds old.
        bpf.datapath.read_flow_statistics(gone)
        bpf.datapath.remove_flows(bpf.bridge_ids[b.name], gone)
        for place, flow in zip(places, gone, strict=True):
            world.bridges[b.name].tables[flow.table_id].remove(b.flows[place[1]])
            bpf.slow.forget(b.name, flow)
            counted = flow.n_packets + flow.own_packets
            if counted != packets[place]:
                text = (
                    f"flow {place} counted {counted} packets until it was removed;"
                    f" the reference {packets[place]}"
                )
    return text

def _counters(
    bpf: Bpf,
    packets: Counter[tuple[str, int]],
    n_bytes: Counter[tuple[str, int]],
    misses: Counter[tuple[str, int]],
) -> str:
    bpf.datapath.read_flow_statistics(list(bpf.flows.values()))
    for place, flow in bpf.flows.items():
        want = packets[place], n_bytes[place]
        got = flow.n_packets + flow.own_packets, flow.n_bytes + flow.own_bytes
        if want != got:
            return f"flow {place} counted {got} packets, bytes; the reference {want}"
    for name, bridge_id in bpf.bridge_ids.items():
        tables = bpf.datapath.table_statistics(bridge_id)
        for table_id, t in tables.items():
            if t.lookups - t.matched != misses[name, table_id]:
                return (
                    f"{name} table {table_id} missed {t.lookups - t.matched} times;"
                    f" the reference {misses[name, table_id]}"
                )
        unseen = [t for b, t in misses if b == name and t not in tables]
        if unseen:
            return f"{name} tables {unseen} missed nothing; the reference did"
    return ""

def _group_counters(bpf: Bpf, case: Case, used: Counter[tuple[str, int, int]]) -> str:
    for b in case.bridges:
        for group in b.groups:
            number = group.group_id
            n, _, buckets = bpf.datapath.group_statistics(bpf.bridge_ids[b.name], number)
            got = [n, *(packets for packets, _ in buckets)]
            want = [used[b.name, number, i] for i in range(_GROUP, len(buckets))]
            if want != got:
                return (
                    f"{b.name} group {number} and its buckets counted {got} packets;"
                    f" the reference {want}"
                )
    return ""

def _addresses(bpf: Bpf, world: World) -> str:
    for name, bridge_id in bpf.bridge_ids.items():
        names = bpf.names()
        got = {
            (e.vlan, int.from_bytes(e.mac, "big")): names[e.port_id][1]
            for e in bpf.datapath.fdb.entries(bridge_id)
        }
        want = {at: e.ofport for at, e in world.bridges[name].fdb.entries.items()}
        if want != got:
            return f"{name} learned {got}; the reference {want}"
    return ""

_ALL_LOOKED_AT = 64
"""Slots that a new connection's search goes over whole (CT_TRIES, bpf/conntrack_slots.h)."""

@contextmanager
def limits(datapath: Datapath, case: Case) -> Iterator[None]:
    """What zones of the case may have; with few slots, so that those whose time is up are seen.

    At the end the kernel has the time again: what the next case learns has its age by that.
    """
    conntrack = datapath.conntrack
    if not case.zone_limits and not case.default_limit and not case.maximum:
        try:
            yield
        finally:
            conntrack.config.set_now_ns(0)
        return
    most, conntrack.config.maximum = conntrack.config.maximum, case.maximum or _ALL_LOOKED_AT
    conntrack.config.default_limit = case.default_limit
    for zone, limit in case.zone_limits.items():
        conntrack.zones.set_limit(zone, limit)
    try:
        yield
    finally:
        conntrack.config.set_now_ns(0)
        conntrack.config.maximum, conntrack.config.default_limit = most, 0
        for zone in case.zone_limits:
            conntrack.zones.set_limit(zone, None)

class Clock:
    """The time that connections of a case live by: its own, and far from any case before it."""

    _next_s = 10_000

    def __init__(self, datapath: Datapath) -> None:
        self._conntrack = datapath.conntrack
        self._conntrack.flush()
        self._now_s = Clock._next_s
        self.advance(0)

    def advance(self, seconds: int) -> None:
        """Let time pass."""
        self._now_s += seconds
        self._conntrack.config.set_now_ns(self._now_s * NS_PER_S)
        Clock._next_s = self._now_s + 1000

def tracks(case: Case) -> bool:
    """Whether a case has a ct(), wherever it stands."""
    lists = [f.actions for b in case.bridges for f in b.flows]
    lists += [bucket.actions for b in case.bridges for g in b.groups for bucket in g.buckets]
    return any(map(_tracks, lists))


def _tracks(actions: act.Actions) -> bool:
    return any(
        isinstance(action, Ct)
        or (isinstance(action, (act.Clone, act.WriteActions)) and _tracks(action.actions))
        for action in actions
    )


_Known = tuple[Tuple, Tuple, int, int, tuple[int, ...], tuple[int, ...]]
"""Both tuples, mark, label, TCP's states, packets and bytes."""

def _connections(datapath: Datapath, world: World, *, n_bytes: bool = True) -> str:
    """What is kept of connections at the end; `n_bytes`: bytes too, which the daemon counts of a
    packet as it is at the ct(), not as it entered."""
    assert isinstance(world.tracking, Tracker)
    want: set[_Known] = set()
    for ours in world.tracking.connections(int(world.now_s * NS_PER_S)):
        sides = ours.progress.sides if isinstance(ours.progress, Peers) else ()
        states = tuple(int(side.state) for side in sides)
        counted = *ours.n_packets, *(ours.n_bytes if n_bytes else ())
        want.add((ours.original, ours.reply, ours.mark, ours.label, states, counted))
    got: set[_Known] = set()
    for theirs in datapath.conntrack.connections():
        pair = theirs.orig, theirs.reply
        original, reply = (Tuple(t.src, t.dst, t.proto, t.sport, t.dport, t.zone) for t in pair)
        states = tuple(layout.CT_TCP_STATES.index(peer.state) for peer in theirs.peers or ())
        counted = *theirs.n_packets, *(theirs.n_bytes if n_bytes else ())
        got.add((original, reply, theirs.mark, theirs.label, states, counted))
    if want == got:
        return ""
    lines = [f"  reference only: {c}" for c in want - got]
    return "connections:\n" + "\n".join(lines + [f"  BPF only:       {c}" for c in got - want])

def _outcomes(want: Outcome, got: Outcome) -> str:
    lines = []
    for what in ("outputs", "punts", "samples"):
        w, g = getattr(want, what), getattr(got, what)
        lines += [f"  reference only: {n}x {_show(k)}" for k, n in (w - g).items()]
        lines += [f"  BPF only:       {n}x {_show(k)}" for k, n in (g - w).items()]
    return "\n".join(lines)

def _show(item: tuple[object, ...]) -> str:
    return " ".join(v.hex() if isinstance(v, bytes) else str(v) for v in item)

def open_datapath(pin_dir: Path, object_file: Path | None = None) -> Datapath:
    """A capturing datapath of our own."""
    if object_file is None:
        return Datapath.open(pin_dir, capturing=True)
    return Datapath.open(pin_dir, capturing=True, object_file=object_file)
