"""Counters of flows that are removed while packets pass: each packet counts once."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from gossamer.datapath import statistics
from tests.property.nat_world import INSIDE, NatWorld, flow

FRAME = bytes.fromhex("020000000001020000000002") + b"\x88\xb5" + bytes(46)


def test_a_flow_removed_right_after_another_has_each_packet_once(
    world: NatWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.monotonic() + 1]
    monkeypatch.setattr(statistics, "time", SimpleNamespace(monotonic=lambda: now[0]))
    passed, other = flow("priority=2,in_port=1,actions=2"), flow("priority=1,actions=drop")
    late = flow("priority=3,in_port=2,actions=1")
    world.datapath.insert_flows(world.bridge, [passed, other, late])
    for _ in range(5):
        world.send(INSIDE, FRAME)
    # What paths owe is read for this one, and at the same moment for the next; in between the
    # path retires.
    world.datapath.remove_flows(world.bridge, [late])
    for _ in range(2):
        world.send(INSIDE, FRAME)
    world.datapath.remove_flows(world.bridge, [passed])
    assert passed.n_packets in (5, 6, 7)
    now[0] += 1
    world.datapath.read_flow_statistics([passed])
    assert (passed.n_packets, passed.n_bytes) == (7, 7 * len(FRAME))
