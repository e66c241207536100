"""Run a case through the reference pipeline and through the BPF programs, and compare."""

from __future__ import annotations

from collections import Counter

from gossamer.datapath import layout
from gossamer.datapath.datapath import Datapath
from gossamer.datapath.testrun import TestRun
from gossamer.pipeline import action as act
from gossamer.pipeline.action_ct import Ct
from gossamer.pipeline.conntrack.tcp import Peers
from gossamer.pipeline.conntrack.timeouts import NS_PER_S
from gossamer.pipeline.conntrack.tracker import Tracker
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.steps import Drop
from gossamer.pipeline.world import World
from tests.property.case import Case
from tests.property.in_kernel import Bpf, Clock, in_kernel, limits
from tests.property.outcome import difference, expected, observed

_GROUP = -1
"""In place of a bucket's index: the group itself."""


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
                return f"packet {at} ({p.bridge} port {p.in_port}):\n" + difference(want, got)
        # How far a packet gets that is dropped as a loop is nobody's promise.
        counters = "" if looped else _counters(bpf, packets, n_bytes, misses)
        counters = counters or ("" if looped else _group_counters(bpf, case, groups))
        counters = counters or _addresses(bpf, world)
        if counters or clock is None or looped:
            return counters
        return differing_connections(datapath, world, n_bytes=not bpf.slow.took_any)


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


def differing_connections(datapath: Datapath, world: World, *, n_bytes: bool = True) -> str:
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
