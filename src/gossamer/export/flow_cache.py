"""Flows under way: packets that belong together, until they are reported (RFC 5470, section 5.1.1).

A flow is reported when it has been here for the active timeout, when it must make room for another,
or when the exporter ends; its next packet begins a new one.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import IntEnum

from gossamer.export.flow_record import Counts, Template, shape_of, template_of
from gossamer.export.observation import Observation

MICROSECONDS = 1_000_000


class EndReason(IntEnum):
    """Element flowEndReason."""

    ACTIVE_TIMEOUT = 2
    FORCED_END = 4
    LACK_OF_RESOURCES = 5


@dataclass(slots=True)
class FlowEntry:
    """A flow, and why it ends where it does."""

    domain: int
    template: Template
    flow_key: bytes
    counts: Counts
    reason: EndReason = EndReason.ACTIVE_TIMEOUT


class FlowCache:
    """At most `max_flows` flows, each for `active_timeout_s`; with 0 of either nothing is kept, and
    each packet is a flow of its own."""

    def __init__(self, active_timeout_s: int, max_flows: int) -> None:
        self._timeout_us = active_timeout_s * MICROSECONDS
        self._max_flows = max_flows if active_timeout_s else 0
        self._flows: OrderedDict[tuple[int, int, bytes], FlowEntry] = OrderedDict()
        """The oldest first: all stay equally long."""

    def __len__(self) -> int:
        return len(self._flows)

    def add(self, seen: Observation, now_us: int) -> list[FlowEntry]:
        """Count a packet; what must be reported now to make room for it."""
        template = template_of(shape_of(seen))
        flow_key = template.flow_key(seen)
        at = seen.domain, template.template_id, flow_key
        entry = self._flows.get(at)
        if entry is None:
            entry = FlowEntry(seen.domain, template, flow_key, Counts(now_us))
            self._flows[at] = entry
        entry.counts.add(seen, now_us)
        ended = []
        while len(self._flows) > self._max_flows:
            _, oldest = self._flows.popitem(last=False)
            oldest.reason = EndReason.LACK_OF_RESOURCES
            ended.append(oldest)
        return ended

    def expire(self, now_us: int) -> list[FlowEntry]:
        """The flows that have been here long enough."""
        ended = []
        while self._flows:
            at, oldest = next(iter(self._flows.items()))
            if oldest.counts.start_us + self._timeout_us > now_us:
                break
            del self._flows[at]
            ended.append(oldest)
        return ended

    def clear(self) -> list[FlowEntry]:
        """All flows: nothing more will come."""
        ended = list(self._flows.values())
        self._flows.clear()
        for entry in ended:
            entry.reason = EndReason.FORCED_END
        return ended

    def next_us(self) -> int | None:
        """When the next flow has been here long enough; None: there is none."""
        oldest = next(iter(self._flows.values()), None)
        return None if oldest is None else oldest.counts.start_us + self._timeout_us
