"""A bridge of many ports: one more costs the daemon what it costs among few."""

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
_TRIES: Final = 5


class Bridge:
    """A bridge br0 that grows, and what each change of it costs."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._devices = 0
        host.vsctl("add-br", "br0")

    def _device(self) -> str:
        self._devices += 1
        self.host.check("ip", "link", "add", f"p{self._devices}", "type", "veth",
                        "peer", "name", f"q{self._devices}")  # fmt: skip
        return f"p{self._devices}"

    def grow(self, ports: int) -> None:
        """Add that many, at once."""
        self.host.vsctl(*(word for _ in range(ports) for word in ("--", "add-port", "br0", self._device())))

    def one_more(self) -> Round:
        """What a port costs at least: now and then the round has other things to do, too."""
        return self._least("add-port", [self._device() for _ in range(_TRIES)])

    def one_less(self) -> Round:
        """What its going costs."""
        return self._least("del-port", [f"p{self._devices - n}" for n in range(_TRIES)])

    def _least(self, command: str, devices: list[str]) -> Round:
        notes = self.host.rundir / NOTES
        before = len(list(rounds(notes)))
        for device in devices:
            self.host.vsctl(command, "br0", device)
        # Where statistics were being written, the answer came in a later round.
        whole = [r for r in list(rounds(notes))[before:] if r.written]
        return Round(
            min(r.calls for r in whole), min(r.requests for r in whole), min(r.written for r in whole)
        )


@pytest.fixture(scope="module")
def costs() -> Iterator[dict[str, tuple[Round, Round]]]:
    """Of one more port and one less, with few ports and with many."""
    host = Host(Path(mkdtemp(prefix="host", dir="/run")))
    host.start("tests.system.counting_daemon", str(host.rundir / NOTES))
    bridge = Bridge(host)
    bridge.grow(5)
    few = bridge.one_more(), bridge.one_less()
    bridge.grow(MANY)
    many = bridge.one_more(), bridge.one_less()
    yield {"more": (few[0], many[0]), "less": (few[1], many[1])}
    host.end()


@pytest.mark.parametrize("which", ["more", "less"])
def test_a_port_takes_as_many_steps_among_many_as_among_few(
    costs: dict[str, tuple[Round, Round]], which: str
) -> None:
    few, many = costs[which]
    # Hash tables grow, numbers get longer; a step for each port would be a hundred more.
    assert few.calls > MANY
    assert many.calls <= few.calls + MANY // 2


def test_a_port_asks_the_kernel_and_writes_rows_as_often_among_many(
    costs: dict[str, tuple[Round, Round]],
) -> None:
    few, many = costs["more"]
    # The word of the device itself may come in the same round or in the next.
    assert many.requests <= few.requests + MANY // 20
    assert many.written == few.written == 3  # the lock is asserted; Interface and Open_vSwitch change
