"""A bridge of many ports, or tunnels: one more costs the daemon what it costs among few."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import pytest

from tests.system.counting_daemon import Round, rounds
from tests.system.world import Host

NOTES: Final = "rounds"
MANY: Final = 100
LOOK: Final = 25
"""Steps that a look at a tunnel may take."""
_TRIES: Final = 5


class Bridge:
    """A bridge that grows, and what each change of it costs."""

    def __init__(self, host: Host, name: str) -> None:
        self.host = host
        self.name = name
        self._ports = 0
        host.vsctl("add-br", name)

    def _add(self) -> tuple[str, ...]:
        """To ovs-vsctl: one more, of a device."""
        self._ports += 1
        name = self._port(self._ports)
        self.host.check("ip", "link", "add", name, "type", "veth", "peer", "name", f"q{self._ports}")
        return ("--", "add-port", self.name, name)

    def _port(self, number: int) -> str:
        return f"{self.name}p{number}"

    def grow(self, ports: int) -> None:
        """Add that many, at once."""
        self.host.vsctl(*(word for _ in range(ports) for word in self._add()))

    def one_more(self) -> Round:
        """What a port costs at least: now and then the round has other things to do, too."""
        return self._least([self._add() for _ in range(_TRIES)])

    def one_less(self) -> Round:
        """What its going costs."""
        return self._least([("del-port", self._port(self._ports - n)) for n in range(_TRIES)])

    def _least(self, commands: list[tuple[str, ...]]) -> Round:
        notes = self.host.rundir / NOTES
        before = len(list(rounds(notes)))
        for command in commands:
            self.host.vsctl(*command)
        # Where statistics were being written, the answer came in a later round.
        whole = [r for r in list(rounds(notes))[before:] if r.written]
        return Round(
            min(r.calls for r in whole), min(r.requests for r in whole), min(r.written for r in whole)
        )


class TunnelBridge(Bridge):
    """One whose ports are tunnels, each to a remote of its own."""

    def _add(self) -> tuple[str, ...]:
        self._ports += 1
        name = self._port(self._ports)
        return ("--", "add-port", self.name, name, "--", "set", "interface", name, "type=vxlan",
                f"options:remote_ip=198.51.100.{self._ports}", f"options:key={self._ports}")  # fmt: skip


Costs = dict[str, tuple[Round, Round]]
"""Of one more port, one less, one more tunnel, one less: with few and with many."""


@pytest.fixture(scope="module")
def costs() -> Iterator[Costs]:
    host = Host(Path(mkdtemp(prefix="host", dir="/run")))
    host.start("tests.system.counting_daemon", str(host.rundir / NOTES))
    out: Costs = {}
    for bridge, what in ((Bridge(host, "br0"), "port"), (TunnelBridge(host, "br1"), "tunnel")):
        bridge.grow(5)
        few = bridge.one_more(), bridge.one_less()
        bridge.grow(MANY)
        many = bridge.one_more(), bridge.one_less()
        out[f"one {what} more"], out[f"one {what} less"] = zip(few, many, strict=True)
    yield out
    host.end()


@pytest.mark.parametrize("which", ["one port more", "one port less"])
def test_a_port_takes_as_many_steps_among_many_as_among_few(costs: Costs, which: str) -> None:
    few, many = costs[which]
    # Hash tables grow, numbers get longer; a step for each port would be a hundred more.
    assert few.calls > MANY
    assert many.calls <= few.calls + MANY // 2


@pytest.mark.parametrize("which", ["one tunnel more", "one tunnel less"])
def test_a_tunnel_takes_no_more_than_a_look_at_each_other_one(costs: Costs, which: str) -> None:
    """All are gone through for what they want of the host, once; nothing is asked or written for each."""
    few, many = costs[which]
    assert many.calls <= few.calls + MANY // 2 + LOOK * MANY
    assert many.requests <= few.requests + MANY // 20
    assert many.written == few.written


def test_a_port_asks_the_kernel_and_writes_rows_as_often_among_many(costs: Costs) -> None:
    few, many = costs["one port more"]
    # The word of the device itself may come in the same round or in the next.
    assert many.requests <= few.requests + MANY // 20
    assert many.written == few.written == 3  # the lock is asserted; Interface and Open_vSwitch change
