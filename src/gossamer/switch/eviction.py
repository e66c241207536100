"""Which flow a full table gives up (ovs-vswitchd.conf.db(5), Flow_Table.overflow_policy, groups).

Of the largest group of flows, the least important, then the one that ends
soonest.  Flows without a timeout stay.  Groups are told apart by what flows
match in the fields named; without any there is one group.

Each group is a heap, whose entries are looked at again when they come to the
top: a flow that was used or modified meanwhile ends later than its entry says,
never sooner, so that finding a victim costs a few steps in a table of any size.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable
from itertools import count

from gossamer.errors import GossamerError
from gossamer.pipeline.field_syntax import parse_subfield
from gossamer.pipeline.flow import Flow

log = logging.getLogger(__name__)

_Order = tuple[int, float]
_Group = tuple[int, int]


def group_mask(subfields: Iterable[str]) -> int:
    """The bits of a match that tell eviction groups apart; what names no field is passed over."""
    mask = 0
    for text in subfields:
        try:
            subfield = parse_subfield(text)
        except GossamerError as e:
            log.warning("eviction group %r: %s", text, e.message)
            continue
        mask |= ((1 << subfield.n_bits) - 1) << subfield.shift
    return mask


class Eviction:
    """The flows of one table that may have to go."""

    def __init__(self, mask: int, flows: Iterable[Flow]) -> None:
        self._mask = mask
        self._heaps: dict[_Group, list[tuple[_Order, int, Flow]]] = {}
        self._sizes: dict[_Group, int] = {}
        self._members: dict[Flow, None] = {}
        self._tie = count()
        for flow in flows:
            self.add(flow)

    def _group(self, flow: Flow) -> _Group:
        return flow.match.value & self._mask, flow.match.mask & self._mask

    def add(self, flow: Flow) -> None:
        """A flow is in the table."""
        if not (flow.idle_timeout_s or flow.hard_timeout_s) or flow in self._members:
            return
        group = self._group(flow)
        self._members[flow] = None
        self._sizes[group] = self._sizes.get(group, 0) + 1
        heapq.heappush(self._heaps.setdefault(group, []), (_order(flow), next(self._tie), flow))

    def discard(self, flow: Flow) -> None:
        """A flow left the table."""
        if flow not in self._members:
            return
        del self._members[flow]
        group = self._group(flow)
        self._sizes[group] -= 1
        if not self._sizes[group]:
            del self._sizes[group], self._heaps[group]

    def victim(self) -> Flow | None:
        """The flow to go; None where none may."""
        if not self._sizes:
            return None
        heap = self._heaps[max(self._sizes, key=self._sizes.__getitem__)]
        while True:
            order, _, flow = heap[0]
            now = _order(flow)
            if flow not in self._members:
                heapq.heappop(heap)
            elif now != order:
                heapq.heapreplace(heap, (now, next(self._tie), flow))
            else:
                return flow


def _order(flow: Flow) -> _Order:
    ends = [
        begin + timeout
        for begin, timeout in (
            (flow.modified_s, flow.hard_timeout_s),
            (max(flow.used_s, flow.created_s), flow.idle_timeout_s),
        )
        if timeout
    ]
    return flow.importance, min(ends, default=float("inf"))
