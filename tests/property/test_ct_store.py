"""Where connections lie (bpf/ct_store.h): more than a line of the index has room for, many, and few again."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from gossamer.datapath import layout
from gossamer.datapath.conntrack import Conntrack
from gossamer.datapath.conntrack.store import place_of
from gossamer.datapath.conntrack.tuple import canonical, pack
from gossamer.datapath.datapath import Datapath
from gossamer.datapath.settings import PortKind, PortSettings
from gossamer.datapath.testrun import TestRun
from gossamer.pipeline import action as act
from gossamer.pipeline.action import SubField
from gossamer.pipeline.action_ct import Ct
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import match
from gossamer.pipeline.of_port import OfPort

_DST: Final = b"\xff" * 16
_FIT: Final = 2 * 14


def _crowd(secrets: Sequence[int], n: int) -> list[Tuple]:
    """UDP tuples of one line, and one other line, for whoever knows the secrets."""
    nothing = -secrets[0] & 0xFFFF_FFFF
    return [
        Tuple(nothing.to_bytes(4, "little") + i.to_bytes(4, "little") + bytes(8), _DST, 17, 1000, 53, 1)
        for i in range(n)
    ]


def _frame(t: Tuple) -> bytes:
    ports = t.sport.to_bytes(2, "big") + t.dport.to_bytes(2, "big")
    head = bytes.fromhex("020000000001020000000002 86dd 60000000 0008 11 40")
    return head + t.src + t.dst + ports + bytes.fromhex("00080000")


@pytest.fixture
def datapath() -> Iterator[Datapath]:
    found = Datapath.open(Path(f"/sys/fs/bpf/crowded-{os.getpid()}"), capturing=True)
    yield found
    found.destroy()


def test_a_crowd_in_one_line_goes_to_the_other_and_each_is_found_counted_and_removed(
    datapath: Datapath,
) -> None:
    bridge = datapath.add_bridge("br0")
    first, second = (
        datapath.add_port(bridge, PortSettings(name=f"p{n}", kind=PortKind.DEVICE, ofport=n))
        for n in (1, 2)
    )
    new, known = match(eth_type=0x86DD, ct_state=(0x21, 0x21)), match(ct_state=(0x22, 0x22))
    datapath.insert_flows(
        bridge,
        [
            Flow(0, 1, match(eth_type=0x86DD), (Ct(table=1, zone=1),)),
            Flow(1, 1, new, (Ct(commit=True, zone=1), act.Output(2))),
            Flow(1, 1, known, (act.Output(OfPort.IN_PORT),)),
        ],
    )
    conntrack, run = datapath.conntrack, TestRun(datapath)
    secrets = conntrack.config.index_secrets
    crowd = _crowd(secrets, _FIT + 2)
    assert len({place_of(pack(t), secrets)[:2] for t in crowd}) == 1
    sent = [[c.port_id for c in run.run(first, _frame(t))] for t in crowd]
    assert sent == [[second]] * _FIT + [[], []]
    assert datapath.drops()["ct_full"] == 2
    assert conntrack.count == _FIT
    for t in crowd[:_FIT]:
        assert [c.port_id for c in run.run(second, _frame(t.reversed()))] == [second]
        found = conntrack.find(t)
        assert found is not None
        assert found.orig == t
    assert [conntrack.flush_tuple(t) for t in crowd] == [True] * _FIT + [False] * 2
    assert conntrack.count == 0
    assert list(conntrack.connections()) == []


def test_of_a_crowd_those_in_the_other_line_are_found_when_their_own_has_room_again(
    datapath: Datapath,
) -> None:
    bridge = datapath.add_bridge("br0")
    first = datapath.add_port(
        bridge, PortSettings(name="p1", kind=PortKind.DEVICE, ofport=1)
    )
    datapath.insert_flows(
        bridge, [Flow(0, 1, match(eth_type=0x86DD), (Ct(commit=True, zone=1), act.Output(1)))]
    )
    conntrack, run = datapath.conntrack, TestRun(datapath)
    crowd = _crowd(conntrack.config.index_secrets, 20)
    for t in crowd:
        run.run(first, _frame(t))
    assert all(conntrack.flush_tuple(t) for t in crowd[:10])
    for _ in range(2):
        for t in crowd[10:]:
            run.run(first, _frame(t))
    assert conntrack.count == 10
    assert {c.orig for c in conntrack.connections()} == set(crowd[10:])


def test_the_same_addresses_and_ports_are_had_in_thousands_of_zones(datapath: Datapath) -> None:
    bridge = datapath.add_bridge("br0")
    port = datapath.add_port(bridge, PortSettings(name="p1", kind=PortKind.DEVICE, ofport=1))
    its_zone = Ct(commit=True, zone_field=SubField(BY_NAME["eth_dst"], 0, 16))
    datapath.insert_flows(bridge, [Flow(0, 1, match(eth_type=0x86DD), (its_zone, act.Output(1)))])
    conntrack, run = datapath.conntrack, TestRun(datapath)
    frame = bytearray(_frame(Tuple(bytes(15) + b"\1", _DST, 17, 1000, 53)))
    for zone in range(5000):
        frame[4:6] = zone.to_bytes(2, "big")
        run.run(port, bytes(frame))
    assert "ct_full" not in datapath.drops()
    assert conntrack.count == 5000


def test_who_does_not_know_the_secrets_gathers_no_crowd(datapath: Datapath) -> None:
    """Words that differ in few bits, or by what others differ, as may cancel out in a hash."""
    patterns = (0, 1, 1 << 31, 1 << 63, 1 << 63 | 1 << 31, 1 << 32 | 1, (1 << 64) - 1)
    crowd = [
        Tuple(a.to_bytes(8, "little") + b.to_bytes(8, "little"), c.to_bytes(8, "little") * 2, 17, 1000, 53, zone)
        for a in patterns for b in patterns for c in patterns for zone in (0, 1, 1 << 15)
    ]  # fmt: skip
    secrets = datapath.conntrack.config.index_secrets
    met = Counter(place_of(pack(t), secrets)[0] for t in {canonical(t)[0] for t in crowd})
    assert max(met.values()) < 4


def test_after_very_many_connections_few_lie_close_together_again(datapath: Datapath) -> None:
    bridge = datapath.add_bridge("br0")
    port = datapath.add_port(bridge, PortSettings(name="p1", kind=PortKind.DEVICE, ofport=1))
    datapath.insert_flows(
        bridge, [Flow(0, 1, match(eth_type=0x86DD), (Ct(commit=True, zone=1), act.Output(1)))]
    )
    conntrack, run = datapath.conntrack, TestRun(datapath)
    tuples = [Tuple(i.to_bytes(16, "big"), _DST, 17, 1000, 53, 1) for i in range(1, 9001)]
    for t in tuples:
        run.run(port, _frame(t))
    assert conntrack.room.top >= len(tuples) > layout.CT_LEAST_REACH
    assert {c.orig for c in conntrack.connections()} == set(tuples)
    conntrack.flush()
    for _ in range(12):
        list(conntrack.sweeping(1))
    for t in tuples[:10]:
        run.run(port, _frame(t))
    assert conntrack.room.top <= layout.CT_LEAST_REACH
    assert {c.orig for c in conntrack.connections()} == set(tuples[:10])


def _until_slots(conntrack: Conntrack, n: int) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if conntrack.config.n_slots >= n:
            return True
        time.sleep(0.01)
    return False


def test_room_is_made_beside_the_daemon_also_for_those_that_come_meanwhile(
    datapath: Datapath, monkeypatch: pytest.MonkeyPatch
) -> None:
    conntrack = datapath.conntrack
    room, chunks, shared = conntrack.room, conntrack.store.chunks, conntrack._shared.words32
    held, added, begun, add = threading.Event(), [], threading.Event(), chunks.add

    def slowly() -> None:
        begun.set()
        assert held.wait(60)
        added.append(threading.current_thread())
        add()

    monkeypatch.setattr(chunks, "add", slowly)
    shared[0] = 300_000
    room.is_wanted(b"")
    room.make()
    assert begun.wait(60)
    room.make()
    # While it is made all are read, and many more begin.
    assert list(conntrack.connections()) == []
    assert not added
    shared[0] = 900_000
    held.set()
    assert _until_slots(conntrack, 1_200_000)
    room.close()
    shared[0] = 0
    assert threading.current_thread() not in added
    assert len(set(chunks.fds())) == len(chunks) == conntrack.config.n_slots // layout.CT_CHUNK
    room.make()
    assert not room._growing.is_alive()
