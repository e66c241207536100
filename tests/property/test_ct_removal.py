"""What the daemon has removed of connections (bpf/forget.h): by zone, by what fits, by time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from gossamer.datapath.conntrack.store import KEY_AT, SLOTS_AT_ONCE, VALUE_AT
from gossamer.datapath.conntrack.tuple import pack
from gossamer.datapath.datapath import Datapath
from gossamer.datapath.settings import PortKind, PortSettings
from gossamer.datapath.testrun import TestRun
from gossamer.pipeline import action as act
from gossamer.pipeline.action_ct import Ct
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import match

ZONES: Final = 3
N: Final = 10 * SLOTS_AT_ONCE
DECODED_AT_ONCE: Final = 256
_BEGUN_NS: Final = 1000 * 10**9
_DST: Final = bytes(15) + b"\x02"


class World:
    """A datapath that commits what it sees, in the zone that the destination port says."""

    def __init__(self, datapath: Datapath) -> None:
        self.conntrack = datapath.conntrack
        self.run = TestRun(datapath)
        bridge = datapath.add_bridge("br0")
        self.port = datapath.add_port(
            bridge, PortSettings(name="p1", kind=PortKind.DEVICE, ofport=1)
        )
        datapath.insert_flows(
            bridge,
            [
                Flow(0, 1, match(eth_type=0x86DD, ip_proto=17, udp_dst=zone),
                     (Ct(commit=True, zone=zone), act.Output(1)))
                for zone in range(1, ZONES + 1)
            ],
        )  # fmt: skip

    def begin(self, at_ns: int, numbers: range) -> list[Tuple]:
        """Connections of UDP, in turns of each zone; those of the first packet live for 60 seconds."""
        self.conntrack.config.set_now_ns(at_ns)
        out = []
        for i in numbers:
            zone = 1 + i % ZONES
            t = Tuple((i + 1).to_bytes(16, "big"), _DST, 17, 1000, zone, zone)
            ports = t.sport.to_bytes(2, "big") + t.dport.to_bytes(2, "big")
            head = bytes.fromhex("020000000001020000000002 86dd 60000000 0008 11 40")
            self.run.run(self.port, head + t.src + t.dst + ports + bytes.fromhex("00080000"))
            out.append(t)
        assert self.conntrack.count >= len(out)
        return out

    def known(self) -> set[Tuple]:
        return {c.orig for c in self.conntrack.connections()}


@pytest.fixture(scope="module")
def lasting() -> Iterator[World]:
    datapath = Datapath.open(Path(f"/sys/fs/bpf/removal-{os.getpid()}"), capturing=True)
    yield World(datapath)
    datapath.destroy()


@pytest.fixture
def world(lasting: World) -> World:
    """Without connections."""
    lasting.conntrack.flush()
    assert lasting.conntrack.count == 0
    return lasting


def test_those_of_a_zone_go_and_all_others_stay(world: World) -> None:
    tuples = world.begin(_BEGUN_NS, range(N))
    in_zone = [t for t in tuples if t.zone == 2]
    assert world.conntrack.flush(2) == len(in_zone)
    assert world.known() == set(tuples) - set(in_zone)
    counts = [world.conntrack.zones.limit(zone).count for zone in range(ZONES + 1)]
    assert counts == [0, *(sum(t.zone == z for t in world.known()) for z in range(1, ZONES + 1))]


def test_those_that_fit_go_and_no_step_goes_over_very_many(world: World) -> None:
    tuples = world.begin(_BEGUN_NS, range(N))
    decoded = [0]

    def is_odd(connection: object) -> bool:
        decoded[0] += 1
        return connection.orig.src[-1] & 1 == 1  # type: ignore[attr-defined]

    removed = before = 0
    for n in world.conntrack.flushing(None, is_odd):
        assert decoded[0] - before <= DECODED_AT_ONCE
        before = decoded[0]
        removed += n
    odd = {t for t in tuples if t.src[-1] & 1}
    assert removed == len(odd)
    assert world.known() == set(tuples) - odd
    assert decoded[0] == N


def test_those_whose_time_is_up_go_and_are_counted_as_expired(world: World) -> None:
    first = world.begin(_BEGUN_NS, range(N))
    later = world.begin(_BEGUN_NS + 30 * 10**9, range(N, N + 500))
    expired = world.conntrack.counters()["expired"]

    def swept(at_s: float) -> int:
        world.conntrack.config.set_now_ns(_BEGUN_NS + int(at_s * 1e9))
        # A walk that comes to the end of the slots stops there.
        return sum(sum(world.conntrack.sweeping(1)) for _ in range(2))

    assert swept(59.999) == 0
    assert world.conntrack.count == N + 500
    assert swept(60) == len(first)
    assert world.known() == set(later)
    assert world.conntrack.count == len(later)
    assert swept(90) == len(later)
    assert world.conntrack.count == 0
    assert world.conntrack.counters()["expired"] - expired == N + 500


def test_a_slot_whose_next_connection_is_about_to_be_made_is_not_given_back(world: World) -> None:
    begun = world.begin(_BEGUN_NS, range(2))
    chunks, key = world.conntrack.store.chunks, pack(begun[0])
    slot = next(s for s in range(world.conntrack.room.top) if key in chunks.record(s))
    assert world.conntrack.flush_tuple(begun[0])
    free = chunks.record(slot)
    assert not any(free[:4])
    # As another CPU has it between the key and all the rest, of what was there before as it was left.
    half_made = (1).to_bytes(4, "little") + free[4:KEY_AT] + key + free[VALUE_AT:]
    chunks.put(slot, half_made)
    world.conntrack.config.set_now_ns(_BEGUN_NS + 10 * 60 * 10**9)
    swept = [sum(world.conntrack.sweeping(1)) for _ in range(2)]
    left = chunks.record(slot)
    chunks.put(slot, free)
    assert sum(swept) == 1
    assert left == half_made


def test_what_is_removed_is_known_again_when_it_comes_again(world: World) -> None:
    world.begin(_BEGUN_NS, range(N))
    world.conntrack.flush()
    again = world.begin(_BEGUN_NS, range(N))
    assert world.known() == set(again)
    assert world.conntrack.count == N
