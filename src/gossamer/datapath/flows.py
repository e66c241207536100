"""Flows into the kernel: rules in subtables, subtables in tables (bpf/classify.h).

A rule's key in the kernel holds what counts and what counted before, with the
version of the bridge at which that changed.  So all that a commit changes is
written while nobody sees it, and counts when the bridge gets its next version:
first `write()`, then that store, then `published()`, whose duties remain to be
done when no packet is on its way under the version before.  Until then a
table lists its subtables by the highest priority they had or have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from typing import Final

from gossamer.datapath import layout
from gossamer.datapath.cache_mask import IN_PORT_MASK
from gossamer.datapath.flow_ids import FlowIds
from gossamer.datapath.footprint import Footprint
from gossamer.datapath.grace import Duty
from gossamer.datapath.index import IndexArray
from gossamer.datapath.key_shape import KeyShape, key_shape
from gossamer.datapath.maps import HashMap, MappedArray
from gossamer.datapath.programs import ProgramRecord, Programs
from gossamer.errors import DatapathError
from gossamer.pipeline.fields import KEY_BITS
from gossamer.pipeline.flow import Flow


@dataclass(slots=True)
class Rule:
    """A flow as the datapath holds it."""

    flow: Flow
    flow_id: int
    priority: int
    program: ProgramRecord


@dataclass(slots=True)
class Subtable:
    """The rules of one mask in one table of one bridge."""

    slot: int
    id_bytes: bytes
    shape: KeyShape
    conjunctive: bool = False
    """Its rules are alternatives of conjunctions, all of one priority."""
    listed: int = 0
    """The priority by which its table lists it, plus one: no rule in the kernel has a higher."""
    rules: dict[int, Rule | list[Rule]] = field(default_factory=dict)
    """Match value -> its rule, or its rules with the highest priority first."""
    priorities: dict[int, int] = field(default_factory=dict)
    """Priority -> how many rules have it."""
    _descending: list[int] = field(default_factory=list)
    """A heap of negated priorities, those gone from `priorities` included."""

    def count_in(self, priority: int) -> bool:
        """One more rule of this priority; True where it is a new highest."""
        before = self.highest()
        n = self.priorities.get(priority, 0)
        self.priorities[priority] = n + 1
        if not n:
            heappush(self._descending, -priority)
        return priority > before

    def count_out(self, priority: int) -> bool:
        """One rule less of this priority; True where the highest is another now."""
        before = self.highest()
        left = self.priorities[priority] - 1
        if left:
            self.priorities[priority] = left
        else:
            del self.priorities[priority]
        return self.highest() != before

    def highest(self) -> int:
        """The highest priority of its rules, -1 where it has none."""
        while self._descending and -self._descending[0] not in self.priorities:
            heappop(self._descending)
        return -self._descending[0] if self._descending else -1


@dataclass(slots=True)
class BridgeFlows:
    """The tables of one bridge, and what its packets are told apart by."""

    tables: dict[int, dict[int, Subtable]] = field(default_factory=dict)
    """By table and by `_kind()` of the flow."""
    masks: Counter[int] = field(default_factory=Counter)
    n_conjunctive: int = 0
    """Flows that are alternatives of conjunctions."""
    programs: Counter[ProgramRecord] = field(default_factory=Counter)
    footprint: Footprint = field(default_factory=Footprint)
    """Of `programs`."""

    def use(self, program: ProgramRecord) -> None:
        """One more flow has this program."""
        n = self.programs[program]
        self.programs[program] = n + 1
        if not n:
            self.footprint.add(program.reads, program.writes, program.lengths)

    def leave(self, program: ProgramRecord) -> None:
        """One flow less has it."""
        left = self.programs[program] - 1
        if left:
            self.programs[program] = left
        else:
            del self.programs[program]
            self.footprint.discard(program.reads, program.writes, program.lengths)

    def look(self) -> int:
        """The key bits that decide what becomes of a packet here, registers included."""
        bits = IN_PORT_MASK
        for mask in self.masks:
            bits |= mask
        return bits | self.footprint.reads

    def lengths(self) -> set[int]:
        """The lengths of packets that rules ask about."""
        return self.footprint.lengths

    def reach(self) -> int:
        """The key bits that are matched, read or written here."""
        return self.look() | self.footprint.writes


_Place = tuple[int, int]
"""(bridge, table)"""
_PART: Final = 4096
_NOTHING = bytes(layout.RULE_STATE.size)
"""No rule."""


class FlowWriter:
    """Keeps the kernel's rules as the switch wants them.

    `reserve(bridge)` is the version from which on the next commit counts.
    """

    def __init__(
        self,
        rules: tuple[HashMap, ...],
        subtables: MappedArray,
        tables: MappedArray,
        table_index: IndexArray,
        counters: MappedArray,
        programs: Programs,
        reserve: Callable[[int], int],
    ) -> None:
        self._reserve = reserve
        self._rules = rules
        self._subtables = subtables
        self._tables = tables
        self._index = table_index
        self.flow_ids = FlowIds(counters)
        self.programs = programs
        self.other_lengths: Callable[[int], set[int]] = lambda bridge_id: set()
        """Lengths that groups of a bridge ask about."""
        self.later: Callable[[Duty], object] = lambda duty: duty()
        """Does something when no packet that is under way now is any more."""
        self.breathe: Callable[[], object] = lambda: None
        """Called now and then in long work."""
        self.settle: Callable[[], bool] = lambda: False
        """Waits for that; False where there is nothing to wait for."""
        self.bridges: dict[int, BridgeFlows] = {}
        self._next_slot = 1
        self._free_slots: list[int] = []
        self._pending: tuple[dict[bytes, bytes], ...] = tuple({} for _ in rules)
        """What the next commit writes: a key's cell, before and after."""
        self._written: tuple[set[bytes], ...] = tuple(set() for _ in rules)
        """Keys written for a commit that the kernel then had no room for."""
        self._void: tuple[set[bytes], ...] = tuple(set() for _ in rules)
        """Of them, those that have no rule after all."""
        self._relist: set[_Place] = set()
        """Tables with new subtables, or higher priorities in them."""
        self._lowered: set[_Place] = set()
        """Tables with lower priorities, or fewer subtables, when no packet looks at them."""
        self._relist_later: Counter[_Place] = Counter()
        """How many commits have lowered it and are not swept yet."""
        self._retired: list[tuple[_Place, int]] = []
        """Subtables without rules."""
        self._retiring: dict[_Place, dict[int, int]] = {}
        """Subtables that are listed only for packets under way: slot -> as `Subtable.listed`."""
        self._inherited_rules: tuple[dict[bytes, bytes], ...] = tuple({} for _ in rules)
        """Key -> what counts."""
        self._inherited_slots: dict[tuple[int, bool, bytes], list[tuple[int, int]]] = {}
        """(table, whether conjunctive, words) -> subtables and as what they are listed."""
        self._inherited_bridges: dict[bytes, int] = {}
        """A subtable's number, as in keys -> its bridge."""

    # -- take-over ---------------------------------------------------------------

    def inherit(self, version: Callable[[int], int]) -> None:
        """Read what an earlier daemon left; the ids of what is the same are used again.

        `version(bridge)` is the one that counts: what it did not come to publish is taken back.
        """
        words = self._tables.words64
        used: set[int] = set()
        for table in range(layout.MAX_TABLES):
            ref = words[table * 2]
            if not ref:
                continue
            self._index.adopt(ref)
            for entry in self._index.entries(ref):
                slot = entry & 0xFFFFFFFF
                used.add(slot)
                conjunctive, described = self._read_words(slot)
                place = (table, conjunctive, described)
                self._inherited_slots.setdefault(place, []).append((slot, entry >> 32))
                self._inherited_bridges[_slot_bytes(slot)] = table // 256
        self._next_slot = max(used, default=0) + 1
        self._free_slots = [s for s in range(1, self._next_slot) if s not in used]
        versions = {b: version(b) for b in self._inherited_bridges.values()}
        for rules, inherited in zip(self._rules, self._inherited_rules, strict=True):
            self._inherit_rules(rules, inherited, versions)
        self.programs.inherit()

    def _inherit_rules(
        self, rules: HashMap, inherited: dict[bytes, bytes], versions: dict[int, int]
    ) -> None:
        dead: list[bytes] = []
        taken_back: dict[bytes, bytes] = {}
        head, size = layout.SINCE.size, layout.RULE_STATE.size
        for key, cell in rules.items():
            bridge_id = self._inherited_bridges.get(key[:4])
            (since,) = layout.SINCE.unpack_from(cell)
            published = bridge_id is not None and since <= versions[bridge_id]
            state = cell[head : head + size] if published else cell[head + size :]
            if bridge_id is None or state == _NOTHING:
                dead.append(key)
                continue
            if not published:
                taken_back[key] = layout.SINCE.pack(0) + state + _NOTHING
            inherited[key] = state
            self.flow_ids.take(layout.RULE_STATE.unpack(state)[0])
        rules.delete_all(dead)
        rules.put_all(list(taken_back), list(taken_back.values()))

    def disinherit(self) -> None:
        """What was inherited and not inserted again goes with the next commit."""
        for (table, _, _), slots in self._inherited_slots.items():
            place = divmod(table, 256)
            for slot, listed in slots:
                self._lowered.add(place)
                self._retired.append((place, slot))
                self._retiring.setdefault(place, {})[slot] = listed
        self._inherited_slots.clear()
        for pending, inherited in zip(self._pending, self._inherited_rules, strict=True):
            for key, state in inherited.items():
                since = self._reserve(self._inherited_bridges[key[:4]])
                pending[key] = layout.SINCE.pack(since) + _NOTHING + state
                self.flow_ids.release(layout.RULE_STATE.unpack(state)[0])
            inherited.clear()
        self._inherited_bridges.clear()

    def _read_words(self, slot: int) -> tuple[bool, bytes]:
        raw = self._subtables.read(slot)
        _, n_words, _, conjunctive = layout.SUBTABLE_HEAD.unpack_from(raw)
        words = raw[layout.SUBTABLE_HEAD.size :][: n_words * layout.MATCH_WORD.size]
        return bool(conjunctive), words

    # -- flows ---------------------------------------------------------------------

    def bridge(self, bridge_id: int) -> BridgeFlows:
        """The record of a bridge, made where it is new."""
        found = self.bridges.get(bridge_id)
        if found is None:
            found = self.bridges[bridge_id] = BridgeFlows()
        return found

    def insert(self, bridge_id: int, flows: Iterable[Flow]) -> None:
        """Take in flows; each gets its flow_id.

        A flow object that is already here is written as it is now.  One that
        replaces another of the same table, match and priority begins with
        counters of zero unless it names the other's flow_id as its own.
        Raises DatapathError for what the kernel cannot hold or do; the flows
        before it are in.
        """
        bridge = self.bridge(bridge_id)
        since = layout.SINCE.pack(self._reserve(bridge_id))
        record_of = self.programs.record
        for flow in flows:
            program = record_of(flow.actions)
            if program.lengths and self._too_many(bridge_id, bridge.lengths() | program.lengths):
                raise DatapathError(
                    f"the flows of a bridge ask about more than {layout.MAX_LENGTHS} lengths",
                    remedy="use fewer different lengths in check_pkt_larger",
                )
            match = flow.match
            table = bridge.tables.get(flow.table_id)
            kind = match.mask
            if program.conjunctive or bridge.n_conjunctive:
                kind = _kind(flow, program.conjunctive)
                self._leave_other_kind(bridge_id, bridge, flow, program.conjunctive)
            subtable = table.get(kind) if table is not None else None
            if subtable is None:
                subtable = self._new_subtable(
                    bridge_id, bridge, flow.table_id, match.mask, kind, program.conjunctive
                )
            key = subtable.shape.key(subtable.id_bytes, match.value)
            present = subtable.rules.get(match.value)
            was = self._state(present)
            old = _of_priority(present, flow.priority)
            if old is not None:
                self._forget_program(bridge, old)
                if old.flow is not flow and flow.flow_id != old.flow_id:
                    self.flow_ids.release(old.flow_id)
                    flow.flow_id = self.flow_ids.allocate()
                else:
                    flow.flow_id = old.flow_id
                old.flow, old.flow_id, old.program = flow, flow.flow_id, program
                rule = old
            else:
                flow.flow_id = self._id_for_new(subtable.shape.key_class, key, flow.priority)
                rule = Rule(flow, flow.flow_id, flow.priority, program)
                if present is None:
                    subtable.rules[match.value] = rule
                else:
                    rules = present if isinstance(present, list) else [present]
                    rules.append(rule)
                    rules.sort(key=lambda r: -r.priority)
                    subtable.rules[match.value] = rules
                bridge.n_conjunctive += subtable.conjunctive
                if subtable.count_in(flow.priority):
                    self._relist.add((bridge_id, flow.table_id))
            bridge.use(program)
            program.users += 1
            present = subtable.rules[match.value]
            if present is rule or (isinstance(present, list) and present[0] is rule):
                self._change(subtable.shape.key_class, key, since, was, self._state(rule))

    def _too_many(self, bridge_id: int, lengths: set[int]) -> bool:
        return len(lengths | self.other_lengths(bridge_id)) > layout.MAX_LENGTHS

    def remove(self, bridge_id: int, flows: Iterable[Flow]) -> None:
        """Take out flows; those that are not here are passed over."""
        bridge = self.bridge(bridge_id)
        since = layout.SINCE.pack(self._reserve(bridge_id))
        for flow in flows:
            value = flow.match.value
            table = bridge.tables.get(flow.table_id)
            if table is None:
                continue
            kind = flow.match.mask
            if bridge.n_conjunctive:
                other = _kind(flow, True)
                if other in table and value in table[other].rules:
                    kind = other
            subtable = table.get(kind)
            if subtable is None:
                continue
            present = subtable.rules.get(value)
            rule = _of_priority(present, flow.priority)
            if rule is None:
                continue
            key_class = subtable.shape.key_class
            key = subtable.shape.key(subtable.id_bytes, value)
            was = self._state(present)
            if isinstance(present, list):
                was_top = present[0] is rule
                present.remove(rule)
                if was_top:
                    self._change(key_class, key, since, was, self._state(present))
                if len(present) == 1:
                    subtable.rules[value] = present[0]
            else:
                del subtable.rules[value]
                self._change(key_class, key, since, was, _NOTHING)
            self._forget_program(bridge, rule)
            self.flow_ids.release(rule.flow_id)
            bridge.n_conjunctive -= subtable.conjunctive
            place = (bridge_id, flow.table_id)
            if subtable.count_out(rule.priority):
                self._lowered.add(place)
            if not subtable.rules:
                del table[kind]
                if not table:
                    del bridge.tables[flow.table_id]
                bridge.masks[flow.match.mask] -= 1
                if not bridge.masks[flow.match.mask]:
                    del bridge.masks[flow.match.mask]
                self._retired.append((place, subtable.slot))
                self._retiring.setdefault(place, {})[subtable.slot] = subtable.listed

    def flows(self, bridge_id: int) -> Iterator[Flow]:
        """All flows of a bridge."""
        return _flows(self.bridge(bridge_id))

    def forget_bridge(self, bridge_id: int) -> None:
        """A bridge is gone, its flows before it."""
        self.bridges.pop(bridge_id, None)

    def keys(self) -> list[bytes]:
        """The keys that the next commit changes."""
        return [key for pending in self._pending for key in pending]

    def write(self) -> None:
        """Write all that the next commit changes; no packet sees it yet.

        Raises DatapathError where a map is full; then it may be amended and written again.
        """
        for rules, pending, written, void in zip(
            self._rules, self._pending, self._written, self._void, strict=True
        ):
            if void:
                rules.delete_all(list(void))
                void.clear()
            try:
                for keys, values in zip(
                    _parts(list(pending)), _parts(list(pending.values())), strict=True
                ):
                    rules.put_all(keys, values)
                    self.breathe()
            except DatapathError:
                written.update(pending)
                raise
        for place in self._relist:
            self._list_subtables(place)
        self._relist.clear()

    def published(self) -> list[Duty]:
        """The commit counts; what remains to be done when no packet looks at what was before.

        The first duty is to delete the rules that are gone; a commit of a single change, of which
        packets cannot see a half, may do it at once.
        """
        gone: list[list[bytes]] = []
        head, size = layout.SINCE.size, layout.RULE_STATE.size
        for pending, written in zip(self._pending, self._written, strict=True):
            gone.append([k for k, v in pending.items() if v[head : head + size] == _NOTHING])
            pending.clear()
            written.clear()
        duties: list[Duty] = [partial(self._delete, gone)]
        if self._lowered or self._retired:
            self._relist_later.update(self._lowered)
            duties.append(partial(self._lower, self._lowered, self._retired))
            self._lowered, self._retired = set(), []
        unused = self.programs.take_unused()
        if unused:
            duties.append(partial(self.programs.sweep, unused))
        return duties

    def _delete(self, gone: list[list[bytes]]) -> None:
        for rules, keys in zip(self._rules, gone, strict=True):
            for part in _parts(keys):
                rules.delete_all(part)
                self.breathe()

    def _lower(self, places: set[_Place], retired: list[tuple[_Place, int]]) -> None:
        """List tables by what is in them, and no more by what was."""
        for place, slot in retired:
            retiring = self._retiring[place]
            del retiring[slot]
            if not retiring:
                del self._retiring[place]
        self._relist_later.subtract(places)
        for place in places | {place for place, _ in retired}:
            # A later commit, or the one at hand, may need it for packets of before.
            last = self._relist_later[place] <= 0
            if last:
                del self._relist_later[place]
            self._list_subtables(place, exactly=last and place not in self._lowered)
        slots = [slot for _, slot in retired]
        if slots:
            self.later(partial(self._release_slots, slots))

    def _release_slots(self, slots: list[int]) -> None:
        """No list has these subtables, nor has a packet that reads one."""
        for slot in slots:
            self._subtables.write(slot, bytes(layout.SUBTABLE_HEAD.size))
        self._free_slots += slots

    def _leave_other_kind(
        self, bridge_id: int, bridge: BridgeFlows, flow: Flow, conjunctive: bool
    ) -> None:
        """A flow that becomes an alternative of a conjunction, or ceases to be one, moves."""
        table = bridge.tables.get(flow.table_id, {})
        subtable = table.get(_kind(flow, not conjunctive))
        present = subtable.rules.get(flow.match.value) if subtable else None
        rule = _of_priority(present, flow.priority)
        if rule is not None:
            self.remove(bridge_id, [rule.flow])

    def _state(self, present: Rule | list[Rule] | None) -> bytes:
        """`struct rule_state` of a key's rule."""
        if present is None:
            return _NOTHING
        rule = present if isinstance(present, Rule) else present[0]
        return layout.RULE_STATE.pack(
            rule.flow_id,
            self.flow_ids.generation(rule.flow_id),
            rule.program.program_id,
            rule.priority + 1,
        )

    def _change(self, key_class: int, key: bytes, since: bytes, was: bytes, state: bytes) -> None:
        """What counts at a key gives way to `state` with the next commit."""
        pending, inherited = self._pending[key_class], self._inherited_rules[key_class]
        cell = pending.get(key)
        if cell is not None:
            was = cell[layout.SINCE.size + layout.RULE_STATE.size :]
        elif inherited:
            was = inherited.pop(key, was)
        if was != state:
            pending[key] = since + state + was
        elif key not in self._written[key_class]:
            pending.pop(key, None)
        elif was != _NOTHING:
            pending[key] = since + was + was
        else:
            pending.pop(key, None)
            self._void[key_class].add(key)
            return
        self._void[key_class].discard(key)

    def _id_for_new(self, key_class: int, key: bytes, priority: int) -> int:
        """A fresh id; the inherited one where this rule was there before the daemon."""
        state = self._inherited_rules[key_class].get(key)
        if state is not None:
            flow_id, _, _, was = layout.RULE_STATE.unpack(state)
            if was == priority + 1:
                return int(flow_id)
        return self.flow_ids.allocate()

    def _forget_program(self, bridge: BridgeFlows, rule: Rule) -> None:
        bridge.leave(rule.program)
        self.programs.release(rule.program)

    def _new_subtable(
        self,
        bridge_id: int,
        bridge: BridgeFlows,
        table_id: int,
        mask: int,
        kind: int,
        conjunctive: bool,
    ) -> Subtable:
        shape = key_shape(mask)
        words = shape.words_bytes()
        inherited = self._inherited_slots.get((bridge_id * 256 + table_id, conjunctive, words))
        listed = 0
        if inherited:
            slot, listed = inherited.pop()
        else:
            slot = self._free_slot()
            head = layout.SUBTABLE_HEAD.pack(slot, len(shape.words), shape.key_class, conjunctive)
            self._subtables.write(slot, (head + words).ljust(layout.SUBTABLE_SIZE, b"\0"))
        subtable = Subtable(slot, _slot_bytes(slot), shape, conjunctive, listed)
        bridge.tables.setdefault(table_id, {})[kind] = subtable
        bridge.masks[mask] += 1
        return subtable

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

    def _list_subtables(self, place: _Place, *, exactly: bool = False) -> None:
        """Write a table's list: (highest priority + 1, slot), the highest first.

        Unless `exactly`, as much as packets of any version that is under way look for.
        """
        bridge_id, table_id = place
        bridge = self.bridges.get(bridge_id)
        table = bridge.tables.get(table_id, {}) if bridge else {}
        entries = [listed << 32 | slot for slot, listed in self._retiring.get(place, {}).items()]
        for subtable in table.values():
            highest = subtable.highest() + 1
            subtable.listed = highest if exactly else max(highest, subtable.listed)
            entries.append(subtable.listed << 32 | subtable.slot)
        entries.sort(key=lambda entry: (-(entry >> 32), entry & 0xFFFFFFFF))
        at = (bridge_id * 256 + table_id) * 2
        words = self._tables.words64
        words[at] = self._index.write(words[at], entries)


def _parts(keys: list[bytes]) -> Iterator[list[bytes]]:
    """What takes the kernel a few milliseconds at a time."""
    for start in range(0, len(keys), _PART):
        yield keys[start : start + _PART]


def _slot_bytes(slot: int) -> bytes:
    """A subtable's number as keys have it."""
    return slot.to_bytes(4, "little")


def _kind(flow: Flow, conjunctive: bool) -> int:
    """What tells the subtables of a table apart: the mask, and for alternatives of conjunctions
    the priority too, since each of them counts."""
    return flow.match.mask | (flow.priority + 1) << KEY_BITS if conjunctive else flow.match.mask


def _of_priority(present: Rule | list[Rule] | None, priority: int) -> Rule | None:
    if present is None:
        return None
    if isinstance(present, Rule):
        return present if present.priority == priority else None
    return next((rule for rule in present if rule.priority == priority), None)


def _flows(bridge: BridgeFlows) -> Iterator[Flow]:
    for table in bridge.tables.values():
        for subtable in table.values():
            for present in subtable.rules.values():
                if isinstance(present, Rule):
                    yield present.flow
                else:
                    yield from (rule.flow for rule in present)
