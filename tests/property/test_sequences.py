"""Sequence numbers that a helper's texts have moved: the kernel and the reference agree on random segments,
of NAT that changes addresses of another length in the text, with SACK, and around 2^32."""

from __future__ import annotations

import random

import pytest

from gossamer.datapath.datapath import Datapath
from gossamer.datapath.testrun import TestRun
from gossamer.pipeline.conntrack.sequences import SequenceShift
from gossamer.pipeline.conntrack.tracker import Tracker
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.world import Port
from tests.property import ip_packets as p
from tests.property.case import BridgeCase, Case
from tests.property.connections import rule
from tests.property.in_kernel import Clock, in_kernel
from tests.property.outcome import expected, observed

ZONE = 5
_SYN, _SYN_ACK, _ACK, _RST = 2, 18, 16, 4
ENDS = {
    4: (bytes((10, 0, 0, 1)), bytes((192, 0, 2, 9)), bytes((198, 51, 100, 1)), "198.51.100.1"),
    16: (
        b"\xfd" + bytes(14) + b"\1", b"\xfd" + bytes(14) + b"\2", b"\xfd" + bytes(14) + b"\3", "fd00::3",
    ),
}  # fmt: skip


def world(family: int, again: str) -> Case:
    """What goes out is translated; `again` is what table 1 does with a packet that was."""
    ip = "ip" if family == 4 else "ipv6"
    rules = (
        f"table=0,in_port=1,{ip},actions=output:3,ct(commit,zone={ZONE},alg=ftp,nat(src={ENDS[family][3]}),table=1)",
        f"table=0,in_port=2,{ip},actions=ct(zone={ZONE},nat,table=1),output:3",
        f"table=1,{ip},actions={again}",
        "table=2,actions=output:4",
    )
    return Case((BridgeCase("br0", tuple(Port(n) for n in (1, 2, 3, 4)), tuple(map(rule, rules))),), ())


def options(rng: random.Random, near: int) -> bytes:
    """Some, often with SACK at an even or odd place; sometimes cut short."""
    edges = b"".join(number(rng, near).to_bytes(4, "big") for _ in range(2 * rng.choice((1, 2, 3))))
    out = rng.choice((b"", b"\1", b"\1\1", b"\x08\x0a" + bytes(8), b"\x03\x03\x07"))
    if rng.random() < 0.7:
        out += bytes((5, 2 + len(edges))) + edges
    elif rng.random() < 0.3:
        out += rng.choice((b"\x05\x28", b"\x05\x01", b"\0\x05\x0a" + edges[:8]))
    out = out[:40]
    return out + bytes(-len(out) % 4)


def number(rng: random.Random, near: int) -> int:
    """Near a number, often exactly that."""
    return (near + rng.choice((0, 0, 1, -1, rng.randrange(-300, 300)))) % (1 << 32)


def shift(rng: random.Random, near: int) -> SequenceShift:
    """A text that was made longer or shorter near a number."""
    return SequenceShift(number(rng, near), rng.choice((0, 0, 3, -5)), rng.choice((0, 4, -3, 20)))


@pytest.mark.parametrize("family", ENDS)
@pytest.mark.parametrize("seed", range(8))
def test_kernel_and_reference_agree_on_numbers(datapath: Datapath, seed: int, family: int) -> None:
    rng = random.Random(seed)
    client, server, public, _ = ENDS[family]
    nat_again = f"ct(zone={ZONE},nat,table=2)"
    case = world(family, rng.choice(("output:4", "output:4", nat_again)))
    reference = case.world()
    tracker = reference.tracking
    assert isinstance(tracker, Tracker)
    pipeline, run, clock = Pipeline(reference), TestRun(datapath), Clock(datapath)
    there, back = p.Flow(client, server, p.TCP, 4000, 21), p.Flow(server, public, p.TCP, 21, 4000)
    starts = [rng.choice((1000, (1 << 32) - 100)) for _ in range(2)]
    moved = 0
    try:
        with in_kernel(datapath, case) as bpf:
            for n in range(40):
                side = n % 2 if n < 3 else rng.randrange(2)
                flags = (_SYN, _SYN_ACK, _ACK)[n] if n < 3 else rng.choice((_ACK, _ACK, _ACK, _RST))
                sequence, acknowledged = (number(rng, s) for s in (starts[side], starts[1 - side]))
                payload = rng.randbytes(rng.choice((0, 0, 7, 30))) if n > 2 else b""
                data = p.tcp(
                    (there, back)[side], flags, sequence, acknowledged if flags & _ACK else 0, 8192,
                    options(rng, starts[1 - side]) if n > 2 else b"", len(payload),
                )  # fmt: skip
                want = expected(pipeline.run("br0", 1 + side, data))
                assert observed(bpf, run, "br0", 1 + side, data) == want, f"packet {n}: {data.hex()}"
                if n > 2 and rng.random() < 0.2:
                    original = Tuple(client, server, p.TCP, 4000, 21, ZONE)
                    ours = tracker.find(original, int(reference.now_s * 10**9))
                    theirs = datapath.conntrack.find(original)
                    assert ours is not None and theirs is not None
                    ours.shifts = shift(rng, starts[0]), shift(rng, starts[1])
                    datapath.conntrack.sequences.set_shifts(theirs, *ours.shifts)
                    moved += 1
                clock.advance(0)
    finally:
        datapath.conntrack.config.set_now_ns(0)
    assert moved, "some numbers moved"
