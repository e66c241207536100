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
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

GRACE_S: Final = 1.0
"""A packet is under way for microseconds; a second is forever."""
_NO_BARRIER_S: Final = 0.1
"""Where the kernel offers no barrier."""
_SYS_MEMBARRIER: Final = {"x86_64": 324, "aarch64": 283, "riscv64": 283, "ppc64le": 365}
_MEMBARRIER_GLOBAL: Final = 1

Key = bytes | tuple[str, bytes]
"""A key of a rules map; other maps' keys with the map's name."""
Duty = Callable[[], object]


@dataclass(slots=True)
class _Age:
    """Commits of about the same time."""

    began_s: float
    last_s: float
    keys: set[Key] = field(default_factory=set)
    duties: list[Duty] = field(default_factory=list)


class Grace:
    """The commits that packets under way may still see the other side of."""

    def __init__(self) -> None:
        self._ages: list[_Age] = []
        """At most two: one that only grows older, and one that takes in new commits."""
        self._libc = ctypes.CDLL(None, use_errno=True)

    def keep(self, keys: Iterable[Key], duties: Iterable[Duty]) -> None:
        """After a commit: its keys must not change again, its duties not be done, too early."""
        now = time.monotonic()
        self.run()
        last = self._ages[-1] if self._ages else None
        if last is None or (len(self._ages) == 1 and now - last.began_s > GRACE_S / 2):
            last = _Age(now, now)
            self._ages.append(last)
        last.last_s = now
        last.keys.update(keys)
        last.duties.extend(duties)

    def add_duty(self, duty: Duty) -> None:
        """Do something when all packets now under way have gone."""
        self.keep((), (duty,))

    def covers(self, keys: Iterable[Key]) -> bool:
        """Whether one of these keys was changed by a commit that some packet may not have seen."""
        self.run()
        return any(not age.keys.isdisjoint(keys) for age in self._ages)

    def run(self) -> None:
        """Do the duties whose time has come."""
        now = time.monotonic()
        while self._ages and now - self._ages[0].last_s > GRACE_S:
            self._end(self._ages.pop(0))

    def settle(self) -> bool:
        """Wait until no packet of an earlier version is under way, some ten milliseconds, and do
        all duties; False where there was nothing to wait for."""
        if not self._ages:
            return False
        self._wait()
        while self._ages:  # duties may add more
            ages, self._ages = self._ages, []
            for age in ages:
                self._end(age)
            if self._ages:
                self._wait()
        return True

    def _end(self, age: _Age) -> None:
        for duty in age.duties:
            duty()

    def _wait(self) -> None:
        """Let an RCU grace period pass: a BPF program is a read-side section (membarrier(2))."""
        number = _SYS_MEMBARRIER.get(platform.machine())
        if number is None or self._libc.syscall(number, _MEMBARRIER_GLOBAL, 0, 0) != 0:
            # Not there (a seccomp filter), or refused (CPUs without a timer tick).
            time.sleep(_NO_BARRIER_S)
