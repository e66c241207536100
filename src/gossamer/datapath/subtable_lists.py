"""Which subtables a table consists of, and in which order it looks into them (bpf/classify.h).

A table lists its subtables by the highest priority there is in each.  Packets
of the version before a commit look at the same list as those after it; so
until none of them is under way a subtable is listed by the highest priority
that it had or has, one without rules too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

from gossamer.datapath import layout
from gossamer.datapath.grace import Duty
from gossamer.datapath.index import IndexArray
from gossamer.datapath.key_shape import KeyShape, key_shape
from gossamer.datapath.maps import MappedArray
from gossamer.datapath.rule_filters import RuleFilters
from gossamer.datapath.subtable import Subtable
from gossamer.errors import DatapathError

Place = tuple[int, int]
"""(bridge, table)"""


class SubtableLists:
    """The `subtables` and `table_index` maps, and the lists in `tables`.

    `subtables_of(place)` are those that have rules.
    """

    def __init__(
        self,
        subtables: MappedArray,
        tables: MappedArray,
        index: IndexArray,
        filters: RuleFilters,
        subtables_of: Callable[[Place], Iterable[Subtable]],
    ) -> None:
        self._subtables = subtables
        self._tables = tables
        self._index = index
        self._filters = filters
        self._subtables_of = subtables_of
        self.later: Callable[[Duty], object] = lambda duty: duty()
        """Does something when no packet that is under way now is any more."""
        self.settle: Callable[[], bool] = lambda: False
        """Waits for that; False where there is nothing to wait for."""
        self._next_slot = 1
        self._free_slots: list[int] = []
        self._raised: set[Place] = set()
        """Tables with new subtables, or higher priorities in them."""
        self._lowered: set[Place] = set()
        """Tables with lower priorities, or fewer subtables, when no packet looks at them."""
        self._to_lower: Counter[Place] = Counter()
        """How many commits have lowered it and are not swept yet."""
        self._retired: list[tuple[Place, int]] = []
        """Subtables without rules."""
        self._retiring: dict[Place, dict[int, int]] = {}
        """Subtables that are listed only for packets under way: slot -> as `Subtable.listed`."""
        self._inherited: dict[tuple[Place, bool, bytes], list[tuple[int, int]]] = {}
        """(place, whether conjunctive, words) -> subtables and as what they are listed."""

    # -- take-over ---------------------------------------------------------------

    def inherit(self) -> dict[bytes, int]:
        """Read the lists that an earlier daemon left; whose each subtable is, by its number as in
        keys."""
        words = self._tables.words64
        bridges: dict[bytes, int] = {}
        used: set[int] = set()
        for table in range(layout.MAX_TABLES):
            ref = words[table * 2]
            if not ref:
                continue
            self._index.adopt(ref)
            for entry in self._index.entries(ref):
                slot = entry & 0xFFFFFFFF
                used.add(slot)
                conjunctive, described, key_class = self._read(slot)
                key = (divmod(table, 256), conjunctive, described)
                self._inherited.setdefault(key, []).append((slot, entry >> 32))
                if described:
                    self._filters.adopt(_slot_bytes(slot), key_class)
                bridges[_slot_bytes(slot)] = table // 256
        self._next_slot = max(used, default=0) + 1
        self._free_slots = [s for s in range(1, self._next_slot) if s not in used]
        return bridges

    def disinherit(self) -> None:
        """What was inherited and not made again goes with the next commit."""
        for (place, _, _), slots in self._inherited.items():
            for slot, listed in slots:
                self._lowered.add(place)
                self._retire(place, slot, listed)
        self._inherited.clear()

    def _read(self, slot: int) -> tuple[bool, bytes, int]:
        """Whether a subtable is conjunctive, its words, and the class of its keys."""
        raw = self._subtables.read(slot)
        _, n_words, key_class, conjunctive, _ = layout.SUBTABLE_HEAD.unpack_from(raw)
        words = raw[layout.SUBTABLE_HEAD.size :][: n_words * layout.MATCH_WORD.size]
        return bool(conjunctive), words, key_class

    # -- changes -----------------------------------------------------------------

    def make(self, place: Place, mask: int, *, conjunctive: bool) -> Subtable:
        """A subtable for the rules of a mask; the inherited one where there is one.

        Raises DatapathError where the mask covers too much, or there are too many.
        """
        shape = key_shape(mask)
        inherited = self._inherited.get((place, conjunctive, shape.words_bytes()))
        slot, listed = inherited.pop() if inherited else (self._new_slot(shape, conjunctive), 0)
        return Subtable(slot, _slot_bytes(slot), shape, conjunctive, listed)

    def raised(self, place: Place) -> None:
        """A subtable of the table has a higher priority now, or its first."""
        self._raised.add(place)

    def lowered(self, place: Place) -> None:
        """A subtable of the table has a lower priority now, or none."""
        self._lowered.add(place)

    def retire(self, place: Place, subtable: Subtable) -> None:
        """A subtable of the table has no rules any more."""
        self._retire(place, subtable.slot, subtable.listed)

    def _retire(self, place: Place, slot: int, listed: int) -> None:
        self._retired.append((place, slot))
        self._retiring.setdefault(place, {})[slot] = listed

    def write(self) -> None:
        """List what is new, in front of what packets under way look for.

        Raises DatapathError where there is no room for a list.
        """
        for place in self._raised:
            self._list(place)
        self._raised.clear()

    def published(self) -> list[Duty]:
        """The commit counts; what remains to be done when no packet looks at what was before."""
        if not self._lowered and not self._retired:
            return []
        lowered, self._lowered = self._lowered, set()
        retired, self._retired = self._retired, []
        self._to_lower.update(lowered)
        return [partial(self._lower, lowered, retired)]

    def _lower(self, places: set[Place], retired: list[tuple[Place, int]]) -> None:
        """List tables by what is in them, and no more by what was."""
        for place, slot in retired:
            retiring = self._retiring[place]
            del retiring[slot]
            if not retiring:
                del self._retiring[place]
        self._to_lower.subtract(places)
        for place in places | {place for place, _ in retired}:
            # A later commit, or the one at hand, may need it for packets of before.
            last = self._to_lower[place] <= 0
            if last:
                del self._to_lower[place]
            self._list(place, exactly=last and place not in self._lowered)
        slots = [slot for _, slot in retired]
        if slots:
            self.later(partial(self._release, slots))

    def _release(self, slots: list[int]) -> None:
        """No list has these subtables, nor has a packet that reads one."""
        for slot in slots:
            self._subtables.write(slot, bytes(layout.SUBTABLE_HEAD.size))
            self._filters.end(_slot_bytes(slot))
        self._free_slots += slots

    def _new_slot(self, shape: KeyShape, conjunctive: bool) -> int:
        slot = self._free_slot()
        head = layout.SUBTABLE_HEAD.pack(slot, len(shape.words), shape.key_class, conjunctive, 0)
        record = head + shape.words_bytes()
        self._subtables.write(slot, record.ljust(layout.SUBTABLE_SIZE, b"\0"))
        if shape.words:
            self._filters.begin(_slot_bytes(slot), shape.key_class)
        return slot

    def _free_slot(self) -> int:
        if self._free_slots:
            return self._free_slots.pop()
        if self._next_slot >= layout.MAX_SUBTABLES and self.settle() and self._free_slots:
            return self._free_slots.pop()
        if self._next_slot >= layout.MAX_SUBTABLES:
            raise DatapathError(
                f"more than {layout.MAX_SUBTABLES - 1} masks in all tables",
                remedy="use fewer different combinations of match fields",
            )
        self._next_slot += 1
        return self._next_slot - 1

    def _list(self, place: Place, *, exactly: bool = False) -> None:
        """Write a table's list: (highest priority + 1, slot), the highest first.

        Unless `exactly`, as much as packets of any version that is under way look for.
        """
        entries = [listed << 32 | slot for slot, listed in self._retiring.get(place, {}).items()]
        for subtable in self._subtables_of(place):
            highest = subtable.highest() + 1
            subtable.listed = highest if exactly else max(highest, subtable.listed)
            entries.append(subtable.listed << 32 | subtable.slot)
        entries.sort(key=lambda entry: (-(entry >> 32), entry & 0xFFFFFFFF))
        at = (place[0] * 256 + place[1]) * 2
        words = self._tables.words64
        words[at] = self._index.write(words[at], entries)


def _slot_bytes(slot: int) -> bytes:
    """A subtable's number as keys have it."""
    return slot.to_bytes(4, "little")
