"""Idle and hard timeouts (OpenFlow 1.3.5, 5.5).

Only flows that have a timeout are here, ordered by the earliest moment they
could expire.  An idle flow's last use is known to the datapath alone, so its
moment is a guess that is looked at again when it comes: a flow that is in use
costs one look an idle timeout, not one a second.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from itertools import count

from gossamer.pipeline.flow import Flow


class Timeouts:
    """The flows of one bridge that expire by themselves."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Flow]] = []
        self._order = count()
        self._entry: dict[Flow, int] = {}
        """The one entry of the heap that counts for a flow; others are stale."""

    def __len__(self) -> int:
        return len(self._entry)

    def add(self, flow: Flow) -> None:
        """Watch a flow that has a timeout; again when it was modified."""
        order = next(self._order)
        self._entry[flow] = order
        heapq.heappush(self._heap, (_deadline(flow), order, flow))

    def discard(self, flow: Flow) -> None:
        """Forget a flow that was removed."""
        self._entry.pop(flow, None)
        if not self._entry:
            self._heap.clear()

    @property
    def next_s(self) -> float | None:
        """CLOCK_MONOTONIC at which `expired()` may have something; None: never."""
        return self._heap[0][0] if self._heap else None

    def expired(
        self, now: float, refresh: Callable[[Sequence[Flow]], None], limit: int = 1000
    ) -> list[tuple[Flow, bool]]:
        """Flows whose time is over, each with True where it was the hard timeout.

        They are forgotten.  `refresh` reads `used_s` from the datapath.  At
        most `limit` flows are looked at, so that a burst does not hold up the
        switch; call again while `next_s` is in the past.
        """
        due: list[Flow] = []
        while self._heap and self._heap[0][0] <= now and len(due) < limit:
            _, order, flow = heapq.heappop(self._heap)
            if self._entry.get(flow) == order:
                del self._entry[flow]
                due.append(flow)
        idle = [f for f in due if f.idle_timeout_s]
        if idle:
            refresh(idle)
        over: list[tuple[Flow, bool]] = []
        for flow in due:
            if flow.hard_timeout_s and flow.modified_s + flow.hard_timeout_s <= now:
                over.append((flow, True))
            elif flow.idle_timeout_s and _last_use(flow) + flow.idle_timeout_s <= now:
                over.append((flow, False))
            else:
                self.add(flow)
        return over


def _last_use(flow: Flow) -> float:
    return max(flow.used_s, flow.created_s)


def _deadline(flow: Flow) -> float:
    hard = flow.modified_s + flow.hard_timeout_s if flow.hard_timeout_s else float("inf")
    idle = _last_use(flow) + flow.idle_timeout_s if flow.idle_timeout_s else float("inf")
    return min(hard, idle)
