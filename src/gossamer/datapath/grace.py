"""Grace: what a commit replaced is kept until no packet can be on its way through it any more.

A packet goes by the version of its bridge that it found at first.  So when a
new version counts, packets of the one before may still be under way, for
microseconds as a rule.  What only they look at is removed later, and what
they look at is not written over: a commit that must do so waits.
"""

from __future__ import annotations

import ctypes
import platform
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

GRACE_S: Final = 1.0
"""A packet is under way for microseconds; a second is forever."""
_NO_BARRIER_S: Final = 0.1
"""Where the kernel offers no barrier."""
_SLICE_S: Final = 0.002
"""For so long duties are done at once."""
_SYS_MEMBARRIER: Final = {"x86_64": 324, "aarch64": 283, "riscv64": 283, "ppc64le": 365}
_MEMBARRIER_GLOBAL: Final = 1

Key = bytes | tuple[str, bytes]
"""A key of a rules map; other maps' keys with the map's name."""
Duty = Callable[[], object]
"""Takes a few milliseconds at most: long work is several duties."""


@dataclass(slots=True, eq=False)
class _Age:
    """Commits of about the same time."""

    began_s: float
    last_s: float
    keys: set[Key] = field(default_factory=set)
    duties: deque[Duty] = field(default_factory=deque)
    closed: bool = False
    """Its duties are being done: it takes in no more."""


class Grace:
    """The commits that packets under way may still see the other side of."""

    def __init__(self) -> None:
        self._ages: list[_Age] = []
        """Few: one that takes in new commits, and before it those that only grow older."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.breathe: Callable[[], object] = lambda: None
        """Called now and then in long work."""

    def keep(self, keys: Iterable[Key], duties: Iterable[Duty]) -> None:
        """After a commit: its keys must not change again, its duties not be done, too early."""
        self.run()
        now = time.monotonic()
        last = self._ages[-1] if self._ages else None
        if (
            last is None
            or last.closed
            or (len(self._ages) == 1 and now - last.began_s > GRACE_S / 2)
        ):
            last = _Age(now, now)
            self._ages.append(last)
        last.last_s = now
        last.keys.update(keys)
        last.duties.extend(duties)

    def add_duty(self, duty: Duty) -> None:
        """Do something when all packets now under way have gone."""
        self.keep((), (duty,))

    def covers(self, keys: Collection[Key]) -> bool:
        """Whether one of these keys was changed by a commit that some packet may not have seen."""
        for age in list(self._ages):
            if age.keys.isdisjoint(keys):
                continue
            if not _is_over(age, time.monotonic()):
                return True
            self._end(age)
        return False

    def run(self) -> bool:
        """Do duties whose time has come, for a few milliseconds; False where none is left of them."""
        until = time.monotonic() + _SLICE_S
        while self._ages and _is_over(age := self._ages[0], now := time.monotonic()):
            if now > until:
                return True
            self._go_on(age)
        return False

    def settle(self) -> bool:
        """Wait until no packet of an earlier version is under way, some ten milliseconds, and do
        all duties; False where there was nothing to wait for."""
        if not self._ages:
            return False
        while self._ages:  # duties may add more
            ages = list(self._ages)
            for age in ages:
                age.closed = True
            self.wait()
            for age in ages:
                self._end(age)
        return True

    def _end(self, age: _Age) -> None:
        """Do all its duties."""
        while age in self._ages:
            self._go_on(age)
            self.breathe()

    def _go_on(self, age: _Age) -> None:
        """Do the next of its duties; with the last of them it is over.

        Its keys are kept until then: what a duty deletes must not be written before it.
        """
        age.closed = True
        if age.duties:
            age.duties.popleft()()
        if not age.duties and age in self._ages:
            self._ages.remove(age)

    def wait(self) -> None:
        """Let an RCU grace period pass: a BPF program is a read-side section (membarrier(2))."""
        number = _SYS_MEMBARRIER.get(platform.machine())
        if number is None or self._libc.syscall(number, _MEMBARRIER_GLOBAL, 0, 0) != 0:
            # Not there (a seccomp filter), or refused (CPUs without a timer tick).
            time.sleep(_NO_BARRIER_S)


def _is_over(age: _Age, now: float) -> bool:
    return now - age.last_s > GRACE_S
