"""gossamerd, which notes how long it goes without looking at links.

usage: python -m tests.system.watched_daemon NOTES [OPTION...]    options as gossamerd's

A stretch begins where the daemon has looked at the host's devices or has waited for something to
happen, since news of a link would have ended that wait, and ends where it looks again.  Each of a
millisecond or more becomes a line of NOTES, as JSON: a `Stretch`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

_NOTED_MS: Final = 1.0


@dataclass(frozen=True)
class Stretch:
    """Without a look at links."""

    began_s: float
    """CLOCK_MONOTONIC."""
    took_ms: float
    """By the clock."""
    ran_ms: float
    """On a processor."""
    waited_ms: float
    """For a processor, while others had it: the machine's part, not the daemon's."""
    before: str
    """Who looked at the end of it."""

def stretches(notes: Path) -> Iterator[Stretch]:
    """What was noted until now."""
    for line in notes.read_text().splitlines():
        yield Stretch(**json.loads(line))


def _now() -> tuple[float, float, float]:
    """By the clock, on a processor, waiting for one (of the only thread); in ms."""
    ran_ns, waited_ns, _ = Path("/proc/thread-self/schedstat").read_text().split()
    return time.monotonic() * 1e3, int(ran_ns) / 1e6, int(waited_ns) / 1e6


class Watch:
    """Notes stretches."""

    def __init__(self, notes: Path) -> None:
        self._notes = notes
        self._began: tuple[float, float, float] | None = None

    def begin(self) -> None:
        """A stretch begins."""
        self._began = _now()

    def end(self, before: str) -> None:
        """And ends."""
        if self._began is None:
            return
        took, ran, waited = (b - a for a, b in zip(self._began, _now(), strict=True))
        if took >= _NOTED_MS:
            it = Stretch(self._began[0] / 1e3, took, ran, waited, before)
            with self._notes.open("a") as notes:
                notes.write(json.dumps(asdict(it)) + "\n")
        self._began = None

    @contextmanager
    def looking(self) -> Iterator[None]:
        """A look, or a wait: what it takes belongs to no stretch."""
        self.end(_caller())
        try:
            yield
        finally:
            self.begin()


_LOOKING: Final = frozenset(("watched_daemon", "contextlib", "breath", "switch"))


def _caller() -> str:
    frame = sys._getframe(1)
    while Path(frame.f_code.co_filename).stem in _LOOKING and frame.f_back is not None:
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}:{frame.f_lineno}"


def main() -> None:
    """Run it."""
    watch = Watch(Path(sys.argv.pop(1)))

    from ovs.poller import Poller

    from gossamer.daemon.main import main as gossamerd
    from gossamer.devices.devices import HostDevices

    look, wait = HostDevices.run, Poller.block

    def watched_look(self: HostDevices) -> frozenset[str]:
        with watch.looking():
            return look(self)

    def watched_wait(self: Poller) -> None:
        with watch.looking():
            wait(self)

    HostDevices.run = watched_look  # type: ignore[method-assign]
    Poller.block = watched_wait
    gossamerd()


if __name__ == "__main__":
    main()
