"""The log of connections: off until asked for, one line an event, never a flood."""

from __future__ import annotations

import logging
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest

from gossamer.datapath.conntrack.events import Event, EventType
from gossamer.datapath.layout import CtFlag
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.switch.conntrack_log import ConntrackLog


def event(kind: EventType = EventType.NEW, dport: int = 80, port_id: int = 4) -> Event:
    t = Tuple(ip_address("10.0.0.1").packed, ip_address("10.0.0.2").packed, 6, 1000, dport, 5)
    return Event(1.0, kind, port_id, t, 0x2A, CtFlag(0), (3, 2), (180, 120))


class World:
    """A log over events that a test lets happen."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self._caplog = caplog
        self.asked: dict[str, bool] = {}
        self.waiting: list[Event] = []
        events = SimpleNamespace(
            tell=lambda **flags: self.asked.update(flags), read=self._read, fd=9
        )
        self.conntrack = SimpleNamespace(events=events)
        bridge = SimpleNamespace(
            name="br0", ports=SimpleNamespace(by_port_id={4: SimpleNamespace(name="vm1")})
        )
        switch: Any = SimpleNamespace(
            bridges={"br0": bridge}, datapath=SimpleNamespace(conntrack=self.conntrack)
        )
        self.log = ConntrackLog(switch)

    def _read(self) -> list[Event]:
        out, self.waiting = self.waiting, []
        return out

    def lines(self) -> list[str]:
        out = [r.getMessage() for r in self._caplog.records]
        self._caplog.clear()
        return out


@pytest.fixture
def world(caplog: pytest.LogCaptureFixture) -> World:
    return World(caplog)


def test_nothing_is_asked_for_or_written_by_default(world: World) -> None:
    world.log.configure({})
    world.waiting = [event()]
    world.log.run(1.0)
    assert world.asked == {}
    assert world.lines() == []
    assert world.waiting


def test_what_is_asked_for_is_written_one_line_an_event(world: World) -> None:
    world.log.configure({"conntrack-log": "new, denied,end"})
    assert world.asked == {"new": True, "invalid": True, "gone": True}
    world.waiting = [
        event(), event(EventType.INVALID, port_id=99), event(EventType.GONE, port_id=0)
    ]  # fmt: skip
    world.log.run(1.0)
    t = "proto=tcp src=10.0.0.1 dst=10.0.0.2 sport=1000 dport=80 zone=5 mark=0x2a"
    assert world.lines() == [
        f"event=new {t} bridge=br0 port=vm1",
        f"event=denied reason=invalid {t}",
        f"event=end {t} packets=3/2 bytes=180/120",
    ]


def test_a_flood_is_cut_and_counted(world: World) -> None:
    world.log.configure({"conntrack-log": "new", "conntrack-log-rate": "3"})
    world.waiting = [event(dport=n) for n in range(1, 11)]
    world.log.run(5.2)
    assert len(world.lines()) == 3
    world.waiting = [event()]
    world.log.run(5.9)
    assert world.lines() == []
    assert world.waiting, "the ring is left alone until the next second"
    world.log.run(6.0)
    assert world.lines()[0] == "event=suppressed n=7 rate=3"


def test_words_that_mean_nothing_are_told(world: World) -> None:
    world.log.configure({"conntrack-log": "new,old", "conntrack-log-rate": "fast"})
    assert world.lines() == [
        "other_config:conntrack-log: 'old' is none of new, denied, end",
        "other_config:conntrack-log-rate: 'fast' is no number from 1",
    ]
    assert world.asked == {"new": True, "invalid": False, "gone": False}


def test_it_is_switched_off_again(world: World) -> None:
    world.log.configure({"conntrack-log": "new"})
    world.log.configure({})
    assert world.asked == {"new": False, "invalid": False, "gone": False}
