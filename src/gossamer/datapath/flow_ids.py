"""Flow ids: where a flow's counters are, and whose they are.

An id is used again as late as possible, and with another generation, so that
what a cached path still owes to a flow long gone is never credited to a new one.
"""

from __future__ import annotations

from collections import deque

from gossamer.datapath import layout
from gossamer.datapath.maps import MappedArray
from gossamer.errors import DatapathError

_U64 = layout.FLOW_COUNTERS.size // 8


class FlowIds:
    """Ids 1 .. MAX_FLOWS-1 of the flow_counters map."""

    def __init__(self, counters: MappedArray) -> None:
        self._words64 = counters.words64
        self._words32 = counters.words32
        self._next = 1
        self._free: deque[int] = deque()
        self._taken: set[int] = set()
        """Ids inherited from before, above `_next`."""

    def allocate(self) -> int:
        """A fresh id with counters of zero.  Raises DatapathError when all are in use."""
        while self._next in self._taken:
            self._taken.discard(self._next)
            self._next += 1
        if self._next < layout.MAX_FLOWS:
            flow_id = self._next
            self._next += 1
        elif self._free:
            flow_id = self._free.popleft()
        else:
            raise DatapathError(
                f"all {layout.MAX_FLOWS - 1} flow ids are in use",
                remedy="delete flows, or raise MAX_FLOWS in bpf/limits.h",
            )
        at = flow_id * _U64
        words = self._words64
        # The generation first: from here on nobody credits the flow that was.
        self._words32[at * 2 + 6] = (self._words32[at * 2 + 6] + 1) & 0xFFFFFFFF
        words[at] = 0
        words[at + 1] = 0
        words[at + 2] = 0
        return flow_id

    def generation(self, flow_id: int) -> int:
        """The generation of the flow that has this id now."""
        return self._words32[flow_id * _U64 * 2 + 6]

    def take(self, flow_id: int) -> None:
        """An id that is in use from before."""
        if flow_id >= self._next:
            self._taken.add(flow_id)

    def release(self, flow_id: int) -> None:
        """A flow is gone; its id waits its turn."""
        if flow_id:
            self._free.append(flow_id)
