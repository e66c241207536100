"""coverage/*: how often things happened, and how often of late (ovs-vswitchd(8)).

The datapath counts packets that went nowhere by reason (bpf/drop.h), the
daemon its own turns and work.  Rates come from readings that the daemon takes
every five seconds.
"""

from __future__ import annotations

import zlib
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Final

from gossamer.switch.show import Command, CommandError

INTERVAL_S: Final = 5.0
_A_MINUTE: Final = 12
"""Readings in the last minute."""
_AN_HOUR: Final = 60
"""Minutes in the last hour."""


class Coverage:
    """Counters with their history.

    `read` gives totals that others count; `known` are the names it may give,
    so that those at zero can be told too.
    """

    def __init__(
        self, read: Callable[[], Mapping[str, int]], known: frozenset[str], now_s: float
    ) -> None:
        self._read = read
        self._known = known
        self._counts: Counter[str] = Counter()
        # What the kernel counted before this daemon is no news.
        first = self._totals()
        self._minute: deque[dict[str, int]] = deque([first], maxlen=_A_MINUTE + 1)
        """Totals at each reading, the latest last."""
        self._hour: deque[dict[str, int]] = deque([first], maxlen=_AN_HOUR + 1)
        """Totals at each full minute."""
        self._readings = 0
        self.next_s = now_s + INTERVAL_S

    def count(self, name: str, n: int = 1) -> None:
        """Something happened `n` times in the daemon."""
        self._counts[name] += n

    def run(self, now_s: float) -> None:
        """Take a reading where one is due."""
        if now_s < self.next_s:
            return
        self.next_s = now_s + INTERVAL_S
        totals = self._totals()
        self._minute.append(totals)
        self._readings += 1
        if self._readings % _A_MINUTE == 0:
            self._hour.append(totals)

    def _totals(self) -> dict[str, int]:
        return {**self._counts, **self._read()}

    def show(self) -> str:
        """coverage/show: what happened at all, with rates for 5 s, a minute and an hour."""
        totals = {name: n for name, n in self._totals().items() if n}
        # The peer's hash tells whether two listings have the same shape.
        digest = zlib.crc32("".join(sorted(totals, key=lambda n: (totals[n], n))).encode())
        lines = [
            "Event coverage, avg rate over last: 5 seconds, last minute, last hour,  "
            f"hash={digest:08x}:"
        ]
        latest = self._minute[-1]
        before = self._minute[-2] if len(self._minute) > 1 else latest
        for name in sorted(totals):
            at = latest.get(name, 0)
            five = (at - before.get(name, 0)) / INTERVAL_S
            minute = (at - self._minute[0].get(name, 0)) / 60
            hour = (at - self._hour[0].get(name, 0)) / 3600
            lines.append(
                f"{name:<24} {five:5.1f}/sec {minute:9.3f}/sec {hour:13.4f}/sec"
                f"   total: {totals[name]}"
            )
        lines.append(f"{len(self._known - totals.keys())} events never hit")
        return "\n".join(lines) + "\n"

    def read_counter(self, name: str) -> str:
        """coverage/read-counter: the total of one."""
        totals = self._totals()
        if name not in totals and name not in self._known:
            raise CommandError("No such counter")
        return f"{totals.get(name, 0)}\n"

    def commands(self) -> dict[str, Command]:
        """The commands, by name."""
        return {
            "coverage/show": Command("", 0, 0, lambda argv: self.show()),
            "coverage/read-counter": Command(
                "COUNTER", 1, 1, lambda argv: self.read_counter(argv[0])
            ),
        }
