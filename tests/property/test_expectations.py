"""Connections that helpers announce: the kernel and the reference agree on random sequences."""

from __future__ import annotations

import random

import pytest

from gossamer.datapath.datapath import Datapath
from gossamer.datapath.testrun import TestRun
from gossamer.pipeline.conntrack.expected import Expectation
from gossamer.pipeline.conntrack.tracker import Tracker
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.world import Port
from tests.property import ip_packets as p
from tests.property.case import BridgeCase, Case
from tests.property.compare import differing_connections
from tests.property.connections import _SHOW, _SHOW_TUPLE, rule
from tests.property.in_kernel import Clock, in_kernel
from tests.property.outcome import expected, observed

ZONE, SINK = 5, 3
_SHOWN = f"{','.join(_SHOW)},output:{SINK},{','.join(_SHOW_TUPLE)},output:{SINK}"
INSIDE = [bytes((10, 0, 0, n)) for n in (1, 2)]
OUTSIDE = [bytes((192, 0, 2, n)) for n in (1, 2)]
PUBLIC = bytes((198, 51, 100, 1))
PORTS = (1024, 1025, 20, 600)
_SYN, _SYN_ACK, _ACK = 2, 18, 16


def world(rng: random.Random) -> Case:
    """Two sides, each of which may begin connections; with translation or without."""
    nat = rng.choice(("", ",nat", ",nat", ",nat(src=198.51.100.1)"))
    again = ",nat" if nat else ""
    commit = rng.choice(("", "", ",exec(set_field:7->ct_mark)"))
    rules = [
        f"table=0,ip,actions=ct(table=1,zone={ZONE}{again})",
        f"table=1,priority=9,ct_state=+new-rel,in_port=1,ip,actions=ct(commit,zone={ZONE}{nat},table=2)",
        f"table=1,priority=9,ct_state=+rel+new,ip,actions={_SHOWN},"
        f"ct(commit,zone={ZONE}{again}{commit},table=2)",
        f"table=1,priority=1,actions={_SHOWN}",
        f"table=2,actions={_SHOWN}",
    ]
    ports = tuple(Port(number) for number in (1, 2, SINK))
    return Case((BridgeCase("br0", ports, tuple(map(rule, rules))),), ())


def announced(rng: random.Random) -> Expectation:
    """Some connection to come, from any port of an address, or from anywhere."""
    there, back = (INSIDE, [*OUTSIDE, PUBLIC]) if rng.random() < 0.5 else (OUTSIDE, [*INSIDE, PUBLIC])
    src = rng.choice([*there, bytes(4)])
    proto = rng.choice((p.TCP, p.UDP))
    first = Tuple(src, rng.choice(back), proto, 0, rng.choice(PORTS), ZONE)
    parent = Tuple(rng.choice(INSIDE), rng.choice(OUTSIDE), p.TCP, 4000, 21, ZONE)
    nat = rng.choice((None, PUBLIC, rng.choice(INSIDE), rng.choice(OUTSIDE)))
    to_source = nat is not None and rng.random() < 0.5
    port = rng.choice((0, 0, 3000)) if nat is not None and not to_source else 0
    return Expectation(
        first, parent, rng.getrandbits(32), rng.getrandbits(128), nat, to_source, port
    )


def packet(rng: random.Random, waiting: list[Tuple]) -> tuple[int, bytes]:
    """From either side to the other, or to the public address; often one that is expected."""
    side = rng.randrange(2)
    src, dst = (INSIDE, OUTSIDE) if not side else (OUTSIDE, [*INSIDE, PUBLIC, PUBLIC])
    flow = p.Flow(
        rng.choice(src), rng.choice(dst), rng.choice((p.TCP, p.UDP)), rng.choice(PORTS), rng.choice((*PORTS, 3000))
    )
    if waiting and rng.random() < 0.3:
        first = rng.choice(waiting)
        there = first.src if any(first.src) else rng.choice(src)
        flow = p.Flow(there, first.dst, first.proto, rng.choice(PORTS), first.dport)
        side = int(there in OUTSIDE)
    if flow.proto == p.UDP:
        return 1 + side, p.udp(flow, b"data")
    flags = rng.choice((_SYN, _SYN, _SYN_ACK, _ACK))
    return 1 + side, p.tcp(flow, flags, 1000, 1001 if flags & _ACK else 0, 8192, b"", 0)


@pytest.mark.parametrize("seed", range(40))
def test_kernel_and_reference_agree_on_what_was_announced(datapath: Datapath, seed: int) -> None:
    rng = random.Random(seed)
    case = world(rng)
    reference = case.world()
    tracker = reference.tracking
    assert isinstance(tracker, Tracker)
    pipeline, run = Pipeline(reference), TestRun(datapath)
    for old in list(datapath.conntrack.expectations):
        datapath.conntrack.expectations.remove(old)
    clock = Clock(datapath)
    met = 0
    try:
        with in_kernel(datapath, case) as bpf:
            for n in range(60):
                if rng.random() < 0.25:
                    expectation = announced(rng)
                    tracker.expectations.add(expectation)
                    datapath.conntrack.expectations.add(expectation)
                port, data = packet(rng, [e.first for e in tracker.expectations])
                waiting = len(tracker.expectations)
                want = expected(pipeline.run("br0", port, data))
                met += waiting > len(tracker.expectations)
                assert observed(bpf, run, "br0", port, data) == want, f"packet {n}: {data.hex()}"
                reference.now_s += 1
                clock.advance(1)
            assert differing_connections(datapath, reference) == ""
            assert set(datapath.conntrack.expectations) == set(tracker.expectations)
    finally:
        datapath.conntrack.config.set_now_ns(0)
    assert met, "some were met"
