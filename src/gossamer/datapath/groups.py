"""Groups into the kernel: a list of buckets each, whose actions are programs (bpf/group.h).

Changes wait for `write()`, and count with the next version of their bridge.
Which buckets are live is worked out here, whenever a port changes, and is a
word of each bucket there, written at once (`follow()`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gossamer.datapath import layout
from gossamer.datapath.cells import Cells
from gossamer.datapath.flow_ids import FlowIds
from gossamer.datapath.footprint import Footprint
from gossamer.datapath.grace import Duty, Key
from gossamer.datapath.index import IndexArray
from gossamer.datapath.key_words import words_of
from gossamer.datapath.programs import ProgramRecord, Programs
from gossamer.errors import DatapathError
from gossamer.pipeline import action as act
from gossamer.pipeline.action_set import ActionSet
from gossamer.pipeline.group import GROUP_ANY, Bucket, Group, GroupType, bucket_is_live
from gossamer.pipeline.of_port import OfPort

BUCKET_WORDS = layout.BUCKET.size // 8
_WEIGHT_AND_LIVE = 1
"""Word of a bucket."""
_Place = tuple[int, int]
"""(bridge, group number)"""
PortIsLive = Callable[[int, int], bool]
"""Of a bridge, by OpenFlow number."""


@dataclass(slots=True)
class Own:
    """What the daemon has counted, beside the kernel."""

    packets: int = 0
    n_bytes: int = 0


@dataclass(slots=True, eq=False)
class GroupRecord:
    """A group as the datapath holds it."""

    group: Group
    programs: list[ProgramRecord]
    counter: int
    """Id of its counters, in the space of the flows'."""
    bucket_counters: list[int]
    ref: int = 0
    """Its list of buckets in the kernel."""
    live: list[bool] = field(default_factory=list)
    """Of each bucket there."""
    reads: int = field(init=False)
    writes: int = field(init=False)
    lengths: frozenset[int] = field(init=False)
    own: list[Own] = field(init=False)
    """Of the group and of each bucket."""

    def __post_init__(self) -> None:
        self.own = [Own() for _ in range(1 + len(self.bucket_counters))]
        self.reads = self.group.hashed
        self.writes = 0
        self.lengths = frozenset().union(*(program.lengths for program in self.programs))
        for program in self.programs:
            self.reads |= program.reads
            self.writes |= program.writes

    def count(self, buckets: Iterable[int], n_bytes: int) -> None:
        """Count a packet that these buckets (their indexes) had."""
        for own in (self.own[0], *(self.own[1 + index] for index in buckets)):
            own.packets += 1
            own.n_bytes += n_bytes


class Groups:
    """The `groups` and `buckets` maps."""

    def __init__(
        self, groups: Cells, buckets: IndexArray, programs: Programs, flow_ids: FlowIds
    ) -> None:
        self._cells = groups
        self._buckets = buckets
        self._programs = programs
        self._flow_ids = flow_ids
        self.other_lengths: Callable[[int], frozenset[int]] = lambda bridge_id: frozenset()
        """Lengths that flows of a bridge ask about."""
        self.records: dict[_Place, GroupRecord] = {}
        self._footprints: defaultdict[int, Footprint] = defaultdict(Footprint)
        """By bridge."""
        self._due: set[_Place] = set()
        self._watching: defaultdict[int, dict[_Place, GroupRecord]] = defaultdict(dict)
        """Those in the kernel that watch ports or groups, by bridge."""
        self._replaced: list[int] = []
        """Lists of buckets that are not referred to from the next version on."""
        self._inherited: dict[_Place, tuple[int, int, list[int]]] = {}
        """What an earlier daemon left: (list, counter, bucket counters)."""

    def inherit(self, version: Callable[[int], int]) -> None:
        """Learn what an earlier daemon left; counters go on."""
        for key, state in self._cells.inherit(version).items():
            ref, _, _, counter, *_ = layout.GROUP_HEAD.unpack_from(state)
            self._buckets.adopt(ref)
            words = self._buckets.entries(ref)
            counters = [words[i + 2] & 0xFFFFFFFF for i in range(0, len(words), BUCKET_WORDS)]
            for counter_id in (counter, *counters):
                self._flow_ids.take(counter_id)
            bridge_id, group_id = layout.GROUP_KEY.unpack(key)
            self._inherited[bridge_id, group_id] = (ref, counter, counters)

    def disinherit(self) -> None:
        """What was inherited and not set again goes with the next commit."""
        for place, (ref, counter, counters) in self._inherited.items():
            self._cells.put(layout.GROUP_KEY.pack(*place), None)
            self._replaced.append(ref)
            for counter_id in (counter, *counters):
                self._flow_ids.release(counter_id)
        self._inherited.clear()

    def put(self, bridge_id: int, group: Group) -> None:
        """Add a group or replace the one of that number, whose counters begin again.

        Raises DatapathError for what the kernel cannot do; then nothing has changed.
        """
        place = (bridge_id, group.group_id)
        n_words = sum(1 for word in words_of(group.hashed) if word)
        if n_words > layout.GROUP_WORDS:
            raise DatapathError(
                f"a group hashes {n_words} words of the key, {layout.GROUP_WORDS} are possible",
                place=f"group={group.group_id}",
                remedy="name fewer fields in selection_method=hash",
            )
        programs = [self._programs.record(in_order(bucket)) for bucket in group.buckets]
        lengths = self._footprints[bridge_id].lengths | self.other_lengths(bridge_id)
        lengths = lengths.union(*(program.lengths for program in programs))
        if len(lengths) > layout.MAX_LENGTHS:
            raise DatapathError(
                f"groups and flows of a bridge ask about more than {layout.MAX_LENGTHS} lengths",
                place=f"group={group.group_id}",
                remedy="use fewer different lengths in check_pkt_larger",
            )
        for program in programs:
            self._programs.acquire(program)
        self._discard(place)
        ref, counter, counters = self._inherited.pop(place, (0, 0, []))
        if len(counters) != len(group.buckets):
            for counter_id in counters:
                self._flow_ids.release(counter_id)
            counters = [self._flow_ids.allocate() for _ in group.buckets]
        counter = counter or self._flow_ids.allocate()
        record = self.records[place] = GroupRecord(group, programs, counter, counters)
        if ref:
            self._replaced.append(ref)
        self._footprints[bridge_id].add(record.reads, record.writes, record.lengths)
        self._due.add(place)

    def delete(self, bridge_id: int, group_id: int) -> None:
        """Remove a group; nothing where there is none."""
        place = (bridge_id, group_id)
        self._discard(place)
        self._due.add(place)

    def _discard(self, place: _Place) -> None:
        record = self.records.pop(place, None)
        if record is None:
            return
        self._footprints[place[0]].discard(record.reads, record.writes, record.lengths)
        if record.ref:
            self._replaced.append(record.ref)
        for program in record.programs:
            self._programs.release(program)
        for counter_id in (record.counter, *record.bucket_counters):
            self._flow_ids.release(counter_id)

    def remove_bridge(self, bridge_id: int) -> None:
        """Remove all groups of a bridge."""
        for place in [place for place in self.records if place[0] == bridge_id]:
            self.delete(*place)

    def footprint(self, bridge_id: int) -> Footprint:
        """What groups of a bridge look at and change."""
        return self._footprints[bridge_id]

    def follow(self, bridge_id: int, port_is_live: PortIsLive) -> bool:
        """A port of the bridge has changed, which buckets may watch: tell the kernel at once which
        are live.  False where they all are as they were."""
        changed = False
        watching = self._watching[bridge_id]
        for place, record in watching.items():
            live = self._liveness(place, record, port_is_live, watching)
            if live != record.live:
                record.live = live
                self._buckets.patch(
                    record.ref,
                    _WEIGHT_AND_LIVE,
                    [
                        b.weight | alive << 32
                        for b, alive in zip(record.group.buckets, live, strict=True)
                    ],
                )
                changed = True
        return changed

    def keys(self) -> list[Key]:
        """The keys that the next commit changes."""
        return [("groups", layout.GROUP_KEY.pack(*place)) for place in self._due]

    def write(self, port_is_live: PortIsLive) -> set[int]:
        """Write what has changed; `port_is_live(bridge, ofport)`.  Returns the bridges whose
        groups are others from the next version on.

        Programs must have been written before.
        """
        if not self._due and not self._cells.dirty:
            return set()
        for place in self._due:
            record = self.records.get(place)
            if record is None:
                self._cells.put(layout.GROUP_KEY.pack(*place), None)
            elif not record.ref:
                record.live = self._liveness(place, record, port_is_live, self.records)
                record.ref = self._buckets.write(0, self._bucket_words(record))
                self._cells.put(layout.GROUP_KEY.pack(*place), self._image(record))
        return self._cells.write() | {bridge_id for bridge_id, _ in self._due}

    def published(self) -> list[Duty]:
        """The commit counts; what remains to be done when no packet looks at what was before."""
        if not self._due and not self._replaced and not self._cells.dirty:
            return []
        for place in self._due:
            record = self.records.get(place)
            watching = self._watching[place[0]]
            watching.pop(place, None)
            if record is not None and any(_watches(bucket) for bucket in record.group.buckets):
                watching[place] = record
        self._due.clear()
        replaced, self._replaced = self._replaced, []
        for ref in replaced:
            self._buckets.retire(ref)
        return self._cells.published()

    def _liveness(
        self,
        place: _Place,
        record: GroupRecord,
        port_is_live: PortIsLive,
        records: Mapping[_Place, GroupRecord],
    ) -> list[bool]:
        return [
            self._live(place[0], record.group, bucket, port_is_live, records, 0)
            for bucket in record.group.buckets
        ]

    def _bucket_words(self, record: GroupRecord) -> list[int]:
        words: list[int] = []
        for i, bucket in enumerate(record.group.buckets):
            counter = record.bucket_counters[i]
            words += (
                record.programs[i].program_id | (bucket.bucket_id & 0xFFFFFFFF) << 32,
                bucket.weight | record.live[i] << 32,
                counter | self._flow_ids.generation(counter) << 32,
            )
        return words

    def _live(
        self,
        bridge_id: int,
        group: Group,
        bucket: Bucket,
        port_is_live: PortIsLive,
        records: Mapping[_Place, GroupRecord],
        depth: int,
    ) -> bool:
        if group.type is GroupType.SELECT and not bucket.weight:
            return False

        def group_is_live(group_id: int) -> bool:
            record = records.get((bridge_id, group_id), self.records.get((bridge_id, group_id)))
            return (
                record is not None
                and depth < layout.MAX_CHAIN
                and any(
                    self._live(bridge_id, record.group, b, port_is_live, records, depth + 1)
                    for b in record.group.buckets
                )
            )

        return bucket_is_live(bucket, lambda port: port_is_live(bridge_id, port), group_is_live)

    def _image(self, record: GroupRecord) -> bytes:
        """`struct group_state`."""
        hashed = [(i, w) for i, w in enumerate(words_of(record.group.hashed)) if w]
        head = layout.GROUP_HEAD.pack(
            record.ref,
            record.group.type,
            record.group.selection_param & 0xFFFFFFFF,
            record.counter,
            self._flow_ids.generation(record.counter),
            len(hashed),
            0,
        )
        words = b"".join(layout.MATCH_WORD.pack(word, 0, mask) for word, mask in hashed)
        return (head + words).ljust(layout.GROUP_STATE_SIZE, b"\0")


def _watches(bucket: Bucket) -> bool:
    return bucket.watch_port != OfPort.ANY or bucket.watch_group != GROUP_ANY


def in_order(bucket: Bucket) -> tuple[act.Action, ...]:
    """A bucket's actions as they are executed: as an action set (OpenFlow 1.3.5, 5.6.1, 5.10)."""
    return ActionSet(bucket.actions).ordered()
