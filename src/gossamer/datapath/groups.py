"""Groups into the kernel: a list of buckets each, whose actions are programs (bpf/group.h).

Which buckets are live is worked out here, whenever a port changes, and is a
word of each bucket there.  Changes wait for `flush()`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from gossamer.datapath import layout
from gossamer.datapath.compile import words_of
from gossamer.datapath.flow_ids import FlowIds
from gossamer.datapath.footprint import Footprint
from gossamer.datapath.index import IndexArray
from gossamer.datapath.maps import HashMap
from gossamer.datapath.programs import ProgramRecord, Programs
from gossamer.errors import DatapathError
from gossamer.pipeline import action as act
from gossamer.pipeline.action_set import ActionSet
from gossamer.pipeline.group import Bucket, Group, GroupType, bucket_is_live

BUCKET_WORDS = layout.BUCKET.size // 8
_Place = tuple[int, int]
"""(bridge, group number)"""


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
    written: bytes = b""
    reads: int = field(init=False)
    writes: int = field(init=False)
    lengths: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        self.reads = self.group.hashed
        self.writes = 0
        self.lengths = frozenset().union(*(program.lengths for program in self.programs))
        for program in self.programs:
            self.reads |= program.reads
            self.writes |= program.writes


class Groups:
    """The `groups` and `buckets` maps."""

    def __init__(
        self, groups: HashMap, buckets: IndexArray, programs: Programs, flow_ids: FlowIds
    ) -> None:
        self._map = groups
        self._buckets = buckets
        self._programs = programs
        self._flow_ids = flow_ids
        self.other_lengths: Callable[[int], set[int]] = lambda bridge_id: set()
        """Lengths that flows of a bridge ask about."""
        self.records: dict[_Place, GroupRecord] = {}
        self._footprints: defaultdict[int, Footprint] = defaultdict(Footprint)
        """By bridge."""
        self._due: set[_Place] = set()
        self._gone: set[_Place] = set()
        self._inherited: dict[_Place, tuple[int, int, list[int]]] = {}
        """What an earlier daemon left: (list, counter, bucket counters)."""

    def inherit(self) -> None:
        """Learn what an earlier daemon left; counters go on."""
        for key, image in self._map.items():
            ref, _, _, counter, *_ = layout.GROUP_HEAD.unpack_from(image)
            self._buckets.adopt(ref)
            words = self._buckets.entries(ref)
            counters = [words[i + 2] & 0xFFFFFFFF for i in range(0, len(words), BUCKET_WORDS)]
            for counter_id in (counter, *counters):
                self._flow_ids.take(counter_id)
            bridge_id, group_id = layout.GROUP_KEY.unpack(key)
            self._inherited[bridge_id, group_id] = (ref, counter, counters)

    def disinherit(self) -> None:
        """Remove what was inherited and not set again."""
        for (bridge_id, group_id), (ref, counter, counters) in self._inherited.items():
            self._map.delete(layout.GROUP_KEY.pack(bridge_id, group_id))
            self._buckets.retire(ref)
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
        lengths = self.lengths(bridge_id) | self.other_lengths(bridge_id)
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
        record = self.records[place] = GroupRecord(group, programs, counter, counters, ref)
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
        self._buckets.retire(record.ref)
        for program in record.programs:
            self._programs.release(program)
        for counter_id in (record.counter, *record.bucket_counters):
            self._flow_ids.release(counter_id)

    def remove_bridge(self, bridge_id: int) -> None:
        """Remove all groups of a bridge."""
        for place in [place for place in self.records if place[0] == bridge_id]:
            self.delete(*place)

    def reads(self, bridge_id: int) -> int:
        """The key bits that decide what groups of a bridge do with packets."""
        return self._footprints[bridge_id].reads

    def writes(self, bridge_id: int) -> int:
        """The key bits that groups of a bridge write."""
        return self._footprints[bridge_id].writes

    def lengths(self, bridge_id: int) -> set[int]:
        """The lengths of packets that groups of a bridge ask about."""
        return self._footprints[bridge_id].lengths

    def review(self, bridge_id: int) -> None:
        """A port of the bridge has changed: what watches something is looked at again."""
        self._due.update(p for p in self.records if p[0] == bridge_id)

    def flush(self, port_is_live: Callable[[int, int], bool]) -> set[int]:
        """Write what has changed; `port_is_live(bridge, ofport)`.  Returns the bridges whose
        groups are others now.

        Programs must have been written before.
        """
        changed: set[int] = set()
        for place in self._due:
            record = self.records.get(place)
            if record is None:
                self._gone.add(place)
                changed.add(place[0])
                continue
            self._gone.discard(place)
            buckets = self._bucket_words(place, record, port_is_live)
            image = repr(buckets).encode()
            if image == record.written:
                continue
            record.written = image
            record.ref = self._buckets.write(record.ref, buckets)
            self._map.put(layout.GROUP_KEY.pack(*place), self._image(record))
            changed.add(place[0])
        self._due.clear()
        return changed

    def sweep(self) -> None:
        """Delete what is gone: after bridges' versions say that paths are stale."""
        for place in self._gone:
            self._map.delete(layout.GROUP_KEY.pack(*place))
        self._gone.clear()

    def _bucket_words(
        self, place: _Place, record: GroupRecord, port_is_live: Callable[[int, int], bool]
    ) -> list[int]:
        words: list[int] = []
        for i, bucket in enumerate(record.group.buckets):
            counter = record.bucket_counters[i]
            live = self._live(place[0], record.group, bucket, port_is_live, 0)
            words += (
                record.programs[i].program_id | (bucket.bucket_id & 0xFFFFFFFF) << 32,
                bucket.weight | live << 32,
                counter | self._flow_ids.generation(counter) << 32,
            )
        return words

    def _live(
        self,
        bridge_id: int,
        group: Group,
        bucket: Bucket,
        port_is_live: Callable[[int, int], bool],
        depth: int,
    ) -> bool:
        if group.type is GroupType.SELECT and not bucket.weight:
            return False

        def group_is_live(group_id: int) -> bool:
            record = self.records.get((bridge_id, group_id))
            return (
                record is not None
                and depth < layout.MAX_CHAIN
                and any(
                    self._live(bridge_id, record.group, b, port_is_live, depth + 1)
                    for b in record.group.buckets
                )
            )

        return bucket_is_live(bucket, lambda port: port_is_live(bridge_id, port), group_is_live)

    def _image(self, record: GroupRecord) -> bytes:
        """`struct group`."""
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
        return (head + words).ljust(layout.GROUP_SIZE, b"\0")


def in_order(bucket: Bucket) -> tuple[act.Action, ...]:
    """A bucket's actions as they are executed: as an action set (OpenFlow 1.3.5, 5.6.1, 5.10)."""
    return ActionSet(bucket.actions).ordered()
