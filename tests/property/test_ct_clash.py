"""Two CPUs that begin the same connections at the same moment: both packets go on, in one connection."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from gossamer.datapath.conntrack.store import VALUE_AT, families
from gossamer.datapath.datapath import Datapath
from gossamer.datapath.injection import run_once
from tests.property.nat_world import INSIDE, NatWorld, nat_world

_ROUNDS: Final = 300
_MANY: Final = 24
_AHEAD_NS: Final = 50_000
_EXPIRES_AT: Final = VALUE_AT + 8
"""Of a connection, in its record."""


class Pair:
    """A process for each of two CPUs, which run the same packet at the same time."""

    def __init__(self, world: NatWorld, frames: list[bytes]) -> None:
        self._fd, self._port = world.datapath.program_fd, world.ports[INSIDE]
        self._frames = frames
        self._shared = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q")
        """The time at which the packets are to run, and how many of them the other has run."""

    def run(self, n: int) -> None:
        """Let both run the packet of that number."""
        self._shared[0] = time.monotonic_ns() + _AHEAD_NS
        self._at(self._shared[0], n)
        while self._shared[1] <= n:
            time.sleep(0)

    def _at(self, at_ns: int, n: int) -> None:
        while time.monotonic_ns() < at_ns:
            pass
        run_once(self._fd, self._frames[n], mark=self._port)

    def other(self, cpu: int) -> None:
        """Be the other process."""
        os.sched_setaffinity(0, {cpu})
        before = 0
        for n in range(len(self._frames)):
            while (at_ns := self._shared[0]) == before:
                pass
            self._at(at_ns, n)
            before = at_ns
            self._shared[1] = n + 1


@contextmanager
def _pair(world: NatWorld, frames: list[bytes]) -> Iterator[Pair]:
    cpus = os.sched_getaffinity(0)
    if len(cpus) < 2:
        pytest.skip("there is one CPU")
    mine, its, *_ = sorted(cpus)
    pair = Pair(world, frames)
    process = multiprocessing.get_context("fork").Process(
        target=pair.other, args=(its,), daemon=True
    )
    process.start()
    os.sched_setaffinity(0, {mine})
    try:
        yield pair
    finally:
        os.sched_setaffinity(0, cpus)
        process.kill()
        process.join()


@pytest.fixture(scope="module")
def datapath() -> Iterator[Datapath]:
    found = Datapath.open(Path(f"/sys/fs/bpf/clash-{os.getpid()}"), capturing=True)
    yield found
    found.destroy()


def _frame(proto: int, n: int, body: bytes) -> bytes:
    length = (20 + len(body)).to_bytes(2, "big")
    ip = b"\x45\x00" + length + bytes.fromhex("0001000040") + bytes((proto, 0, 0))
    ip += bytes((10, 0, 0, 1, 10, 1, n >> 8, n & 0xFF))
    return bytes.fromhex("0200000000010200000000020800") + ip + body


_BODIES: Final = {
    17: bytes.fromhex("03e8 0035 0008 0000"),
    1: bytes.fromhex("0800 0000 0007 0001"),
    47: bytes(8),
    6: bytes.fromhex("03e8 0050 00000001 00000000 5002 4000 00000000"),
}


def _run(world: NatWorld, proto: int) -> list[list[bytes]]:
    """What comes out of each round: the same packet twice, at the same time."""
    frames = [_frame(proto, n, _BODIES[proto]) for n in range(_ROUNDS)]
    out = []
    with _pair(world, frames) as pair:
        for n in range(_ROUNDS):
            pair.run(n)
            out.append([c.data for c in world.run.captured()])
    return out


@pytest.mark.parametrize(
    ("proto", "nat"),
    [
        (6, ""), (17, ""), (1, ""), (47, ""),
        (6, "nat(src=10.7.0.1)"), (17, "nat(src=10.7.0.1)"), (17, "nat(src=10.7.0.1-10.7.0.9)"),
    ],
)  # fmt: skip
def test_each_packet_of_two_that_begin_the_same_connection_goes_on_in_it(
    datapath: Datapath, proto: int, nat: str
) -> None:
    with nat_world(datapath) as world:
        # A packet begins many, so that the one who is behind catches up: to find one is less work.
        begin = (
            f"set_field:10.0.{i}.1->ip_src,ct(commit,zone=5,{nat})" for i in range(1, _MANY + 1)
        )
        world.flows(f"table=0,ip,actions={','.join(begin)},output:2")
        out = _run(world, proto)
        lost = {n: len(seen) for n, seen in enumerate(out) if len(seen) != 2}
        assert not lost, (len(lost), datapath.drops())
        assert all(first == second for first, second in out)
        assert datapath.conntrack.count == _ROUNDS * _MANY
        assert len({c.orig for c in datapath.conntrack.connections()}) == _ROUNDS * _MANY


def test_a_connection_that_another_cpu_is_making_is_not_taken_for_one_whose_time_is_up(
    datapath: Datapath,
) -> None:
    with nat_world(datapath) as world:
        conntrack = datapath.conntrack
        chunks = conntrack.store.chunks
        # What is translated to what it is has its answers' entry where its own will be.
        world.flows("table=0,ip,actions=ct(commit,zone=5,nat(src=10.0.0.1)),output:2")
        frame = _frame(17, 1, _BODIES[17])
        assert len(world.send(INSIDE, frame)) == 1
        slot = next(s for s in range(conntrack.room.top) if any(families(chunks.record(s))))
        made = chunks.record(slot)
        # Its time is written late, and it is counted last.
        making = made[:_EXPIRES_AT] + bytes(8) + made[_EXPIRES_AT + 8 :]
        chunks.put(slot, making)
        conntrack._shared.words32[0] = 0
        world.dropped(INSIDE, frame, "ct_invalid")
        assert conntrack.count == 0
        assert chunks.record(slot) == making
        chunks.put(slot, made)
        conntrack._shared.words32[0] = 1
        assert len(world.send(INSIDE, frame)) == 1
        assert conntrack.count == 1
