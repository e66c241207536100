"""Flow and table counters: what retired paths credited, plus what cached paths still hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gossamer.breath import in_parts
from gossamer.datapath import layout
from gossamer.datapath.maps import MappedArray, PerCpuArray
from gossamer.datapath.path_cache import Head, places
from gossamer.datapath.settings import TableStatistics
from gossamer.pipeline.flow import Flow

_U64 = layout.FLOW_COUNTERS.size // 8
_N_FLOWS = layout.PATH_HEAD.size - 2
"""Where a path says how many flows it credits."""
_WRAP = (1 << 64) - 1


@dataclass(slots=True)
class Owed:
    """What cached paths owe to a flow or to a table's miss counter."""

    packets: int = 0
    n_bytes: int = 0
    used: int = 0


class Statistics:
    """Reads `flow_counters`, `table_misses` and the paths in `cache`."""

    def __init__(self, counters: MappedArray, misses: MappedArray, cache: PerCpuArray) -> None:
        self._counters = counters
        self._misses = misses
        self._cache = cache
        self._retired: dict[tuple[int, int], int] = {}
        self._missed_here: dict[tuple[int, int], int] = {}
        """(bridge, table) -> packets matched by flows that are gone."""
        self._totals: dict[int, Owed] = {}
        self._totals_read_s = 0.0
        self.breathe: Callable[[], object] = lambda: None
        """Called now and then in long work."""

    def owed(self) -> dict[int, Owed]:
        """By flow id (or TABLE_MISS | table): what is not yet credited."""
        out: dict[int, Owed] = {}
        memory = self._cache.read_all()
        words = memory.cast("Q")
        generations = self._counters.words32
        for place in places(self._cache, memory, Head.PACKETS):
            at = place.at // 8
            n_bytes, used = words[at + Head.BYTES], words[at + Head.USED]
            n_flows = memory[place.at + _N_FLOWS]
            flows = at + layout.PATH_FLOWS_OFFSET // 8
            for ref in words[flows : flows + n_flows]:
                flow_id, generation = ref & 0xFFFFFFFF, ref >> 32
                if not flow_id & layout.TABLE_MISS and (
                    generations[flow_id * _U64 * 2 + 6] != generation
                ):
                    continue
                total = out.get(flow_id)
                if total is None:
                    total = out[flow_id] = Owed()
                total.packets += place.word
                total.n_bytes += n_bytes
                total.used = max(total.used, used)
        return out

    def _paid(self, counter_id: int) -> tuple[int, int, int]:
        """Packets, bytes and the last use (ns) that retired paths have credited."""
        words, at = self._counters.words64, counter_id * _U64
        return words[at], words[at + 1], words[at + 2]

    def _lately(self, max_age_s: float) -> dict[int, Owed]:
        """What ids that paths owe to had in all, at some moment of that age.

        What they owe is added to what was paid before that was read: a path that retires in
        between is missed for that moment, and never counted twice.
        """
        now = time.monotonic()
        if now - self._totals_read_s > max_age_s:
            paid = {i: self._paid(i) for i in self.owed() if not i & layout.TABLE_MISS}
            self._totals = {}
            for flow_id, more in self.owed().items():
                if flow_id in paid:
                    packets, n_bytes, used = paid[flow_id]
                    self._totals[flow_id] = Owed(
                        packets + more.packets, n_bytes + more.n_bytes, max(used, more.used)
                    )
            self._totals_read_s = now
        return self._totals

    def refresh(self, flows: Iterable[Flow]) -> None:
        """Set n_packets, n_bytes and used_s of flows.

        Reading what the caches owe takes a millisecond or two.  A path may retire between the
        two readings; what was read never goes back, so a counter at worst shows such packets a
        moment late.
        """
        flows = list(flows)
        before = [self._paid(f.flow_id) for f in in_parts(flows, self.breathe)]
        owed = self.owed()
        self._totals_read_s = 0.0  # nobody who asks next is told less than this
        nothing = Owed()
        pairs = zip(flows, before, strict=True)
        for flow, (packets, n_bytes, used) in in_parts(pairs, self.breathe):
            extra = owed.get(flow.flow_id, nothing)
            _raise(flow, packets + extra.packets, n_bytes + extra.n_bytes, max(used, extra.used))

    def refresh_lately(self, flows: Iterable[Flow], max_age_s: float) -> None:
        """The same, but what the caches owe may have been read so long ago."""
        lately = self._lately(max_age_s)
        for flow in flows:
            _raise(flow, *self._paid(flow.flow_id))
            total = lately.get(flow.flow_id)
            if total is not None:
                _raise(flow, total.packets, total.n_bytes, total.used)

    def read(self, counter_ids: Iterable[int]) -> list[tuple[int, int]]:
        """(packets, bytes) of counters in the flows' space: those of groups and buckets."""
        lately = self._lately(0.02)
        nothing = Owed()
        out = []
        for i in counter_ids:
            total = lately.get(i, nothing)
            packets, n_bytes, _ = self._paid(i)
            out.append((max(packets, total.packets), max(n_bytes, total.n_bytes)))
        return out

    def misses(self, bridge_id: int) -> dict[int, int]:
        """Lookups that found nothing, by table."""
        owed = self.owed()
        out: dict[int, int] = {}
        for table_id in range(256):
            table = bridge_id * 256 + table_id
            extra = owed.get(layout.TABLE_MISS | table)
            here = self._missed_here.get((bridge_id, table_id), 0)
            total = (self._misses.words64[table] + (extra.packets if extra else 0) + here) & _WRAP
            if total:
                out[table_id] = total
        return out

    def count_miss(self, bridge_id: int, table_id: int) -> None:
        """A look-up of the reference pipeline found nothing."""
        place = (bridge_id, table_id)
        self._missed_here[place] = self._missed_here.get(place, 0) + 1

    def retire(self, bridge_id: int, flows: Iterable[Flow]) -> None:
        """Remember what flows about to go have matched; they must be refreshed."""
        for flow in flows:
            matched = flow.n_packets + flow.own_packets
            if matched:
                place = (bridge_id, flow.table_id)
                self._retired[place] = self._retired.get(place, 0) + matched

    def tables(self, bridge_id: int, flows: Iterable[Flow]) -> dict[int, TableStatistics]:
        """Lookups and matches of each table that was used."""
        flows = list(flows)
        self.refresh(flows)
        matched = {t: n for (b, t), n in self._retired.items() if b == bridge_id}
        for flow in in_parts(flows, self.breathe):
            matched[flow.table_id] = matched.get(flow.table_id, 0) + flow.n_packets + flow.own_packets
        misses = self.misses(bridge_id)
        return {
            t: TableStatistics(matched.get(t, 0) + misses.get(t, 0), matched.get(t, 0))
            for t in matched.keys() | misses.keys()
        }

    def forget_bridge(self, bridge_id: int) -> None:
        """A bridge is gone: its tables begin again at zero.

        Stale paths still owe them misses, and will credit those one day: the
        counters begin as far below zero.
        """
        self._retired = {k: v for k, v in self._retired.items() if k[0] != bridge_id}
        self._missed_here = {k: v for k, v in self._missed_here.items() if k[0] != bridge_id}
        owed = self.owed()
        for table_id in range(256):
            table = bridge_id * 256 + table_id
            debt = owed.get(layout.TABLE_MISS | table)
            self._misses.words64[table] = -debt.packets & _WRAP if debt else 0


def _raise(flow: Flow, packets: int, n_bytes: int, used: int) -> None:
    """A flow's counters never go back."""
    flow.n_packets = max(flow.n_packets, packets)
    flow.n_bytes = max(flow.n_bytes, n_bytes)
    flow.used_s = max(flow.used_s, used / 1e9)
