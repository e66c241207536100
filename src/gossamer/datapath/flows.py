"""Flows into the kernel: rules in subtables, subtables in tables (bpf/classify.h).

Order of writes: a program before the rules that run it, a subtable's words
before the table lists it, all of it before the bridge's version says that
cached paths are stale.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush

from gossamer.datapath import layout
from gossamer.datapath.compile import IN_PORT_MASK, KeyShape, key_shape
from gossamer.datapath.flow_ids import FlowIds
from gossamer.datapath.footprint import Footprint
from gossamer.datapath.index import IndexArray
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


class FlowWriter:
    """Keeps the kernel's rules as the switch wants them; changes take effect at `flush()`."""

    def __init__(
        self,
        rules: tuple[HashMap, ...],
        subtables: MappedArray,
        tables: MappedArray,
        table_index: IndexArray,
        counters: MappedArray,
        programs: Programs,
    ) -> None:
        self._rules = rules
        self._subtables = subtables
        self._tables = tables
        self._index = table_index
        self.flow_ids = FlowIds(counters)
        self.programs = programs
        self.other_lengths: Callable[[int], set[int]] = lambda bridge_id: set()
        """Lengths that groups of a bridge ask about."""
        self.bridges: dict[int, BridgeFlows] = {}
        self._next_slot = 1
        self._free_slots: list[int] = []
        self._pending: tuple[dict[bytes, bytes | None], ...] = tuple({} for _ in rules)
        self._fresh: tuple[set[bytes], ...] = tuple(set() for _ in rules)
        """Keys that were not there before."""
        self._relist: set[tuple[int, int]] = set()
        self._retired: list[Subtable] = []
        self._sweeping = False
        self._inherited_rules: tuple[dict[bytes, bytes], ...] = tuple({} for _ in rules)
        self._inherited_slots: dict[tuple[int, bool, bytes], list[int]] = {}
        """(table, whether conjunctive, words) -> subtables."""

    # -- take-over ---------------------------------------------------------------

    def inherit(self) -> None:
        """Read what an earlier daemon left; the ids of what is the same are used again."""
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
                self._inherited_slots.setdefault(place, []).append(slot)
        self._next_slot = max(used, default=0) + 1
        self._free_slots = [s for s in range(1, self._next_slot) if s not in used]
        for rules, inherited in zip(self._rules, self._inherited_rules, strict=True):
            for key, value in rules.items():
                inherited[key] = value
                self.flow_ids.take(layout.RULE.unpack(value)[0])
        self.programs.inherit()

    def disinherit(self) -> None:
        """Remove what was inherited and not inserted again."""
        for (table, _, _), slots in self._inherited_slots.items():
            bridge_id, table_id = divmod(table, 256)
            for slot in slots:
                self._relist.add((bridge_id, table_id))
                self._subtables.write(slot, bytes(layout.SUBTABLE_HEAD.size))
                self._free_slots.append(slot)
        self._inherited_slots.clear()
        self.flush()
        for rules, inherited in zip(self._rules, self._inherited_rules, strict=True):
            rules.delete_all(list(inherited))
            for value in inherited.values():
                self.flow_ids.release(layout.RULE.unpack(value)[0])
            inherited.clear()
        self.programs.disinherit()

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
        record_of = self.programs.record
        for flow in flows:
            program = record_of(flow.actions)
            if program.lengths and self._too_many(
                bridge_id, bridge.lengths() | program.lengths
            ):
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
                    self._fresh[subtable.shape.key_class].add(key)
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
                self._write(subtable.shape.key_class, key, rule)

    def _too_many(self, bridge_id: int, lengths: set[int]) -> bool:
        return len(lengths | self.other_lengths(bridge_id)) > layout.MAX_LENGTHS

    def remove(self, bridge_id: int, flows: Iterable[Flow]) -> None:
        """Take out flows; those that are not here are passed over."""
        bridge = self.bridge(bridge_id)
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
            if isinstance(present, list):
                was_top = present[0] is rule
                present.remove(rule)
                if was_top:
                    self._write(key_class, key, present[0])
                if len(present) == 1:
                    subtable.rules[value] = present[0]
            else:
                del subtable.rules[value]
                self._pending[key_class][key] = None
            self._forget_program(bridge, rule)
            self.flow_ids.release(rule.flow_id)
            bridge.n_conjunctive -= subtable.conjunctive
            if subtable.count_out(rule.priority):
                self._relist.add((bridge_id, flow.table_id))
            if not subtable.rules:
                del table[kind]
                if not table:
                    del bridge.tables[flow.table_id]
                bridge.masks[flow.match.mask] -= 1
                if not bridge.masks[flow.match.mask]:
                    del bridge.masks[flow.match.mask]
                self._retired.append(subtable)

    def flows(self, bridge_id: int) -> Iterator[Flow]:
        """All flows of a bridge."""
        return _flows(self.bridge(bridge_id))

    def remove_bridge(self, bridge_id: int) -> None:
        """Take out all flows of a bridge."""
        bridge = self.bridges.get(bridge_id)
        if bridge is None:
            return
        self.remove(bridge_id, list(_flows(bridge)))
        self.flush()
        del self.bridges[bridge_id]

    def flush(self) -> None:
        """Write all that was taken in, delete what was taken out."""
        self.write()
        self.sweep()

    def write(self) -> None:
        """Write what is new, then what has changed: a packet on its way through the tables
        meanwhile finds what changed rules lead to."""
        self.programs.flush()
        relist, self._relist = self._relist, set()
        for new in (True, False):
            for rules, pending, fresh in zip(
                self._rules, self._pending, self._fresh, strict=True
            ):
                puts = {
                    k: v for k, v in pending.items() if v is not None and (k in fresh) is new
                }
                rules.put_all(list(puts), list(puts.values()))
            if new:
                for bridge_id, table_id in relist:
                    self._list_subtables(bridge_id, table_id)

    def sweep(self) -> None:
        """Delete what was taken out: after bridges' versions say that paths are stale."""
        for rules, pending, fresh in zip(self._rules, self._pending, self._fresh, strict=True):
            rules.delete_all([k for k, v in pending.items() if v is None])
            pending.clear()
            fresh.clear()
        self._sweeping = True
        for bridge_id, table_id in self._relist:
            self._list_subtables(bridge_id, table_id)
        self._sweeping = False
        self._relist.clear()
        for subtable in self._retired:
            self._subtables.write(subtable.slot, bytes(layout.SUBTABLE_HEAD.size))
            self._free_slots.append(subtable.slot)
        self._retired.clear()
        self.programs.sweep()

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

    def _write(self, key_class: int, key: bytes, rule: Rule) -> None:
        generation = self.flow_ids.generation(rule.flow_id)
        image = layout.RULE.pack(
            rule.flow_id, generation, rule.program.program_id, rule.priority
        )
        if self._inherited_rules[key_class].pop(key, None) != image:
            self._pending[key_class][key] = image

    def _id_for_new(self, key_class: int, key: bytes, priority: int) -> int:
        """A fresh id; the inherited one where this rule was there before the daemon."""
        image = self._inherited_rules[key_class].get(key)
        if image is not None:
            flow_id, _, _, was = layout.RULE.unpack(image)
            if was == priority:
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
        if inherited:
            slot = inherited.pop()
        else:
            slot = self._free_slot()
            head = layout.SUBTABLE_HEAD.pack(
                slot, len(shape.words), shape.key_class, conjunctive
            )
            self._subtables.write(slot, head + words)
        subtable = Subtable(slot, layout.OFPORT_KEY.pack(slot, 0)[:4], shape, conjunctive)
        bridge.tables.setdefault(table_id, {})[kind] = subtable
        bridge.masks[mask] += 1
        return subtable

    def _free_slot(self) -> int:
        if self._free_slots:
            return self._free_slots.pop()
        if self._next_slot >= layout.MAX_SUBTABLES:
            raise DatapathError(
                f"more than {layout.MAX_SUBTABLES - 1} masks in all tables",
                remedy="use fewer different combinations of match fields",
            )
        self._next_slot += 1
        return self._next_slot - 1

    def _list_subtables(self, bridge_id: int, table_id: int) -> None:
        """Write a table's list: (highest priority + 1, slot), the highest first.

        What is in the list and will be gone stays until `sweep()`, which lists again.
        """
        bridge = self.bridges.get(bridge_id)
        table = bridge.tables.get(table_id, {}) if bridge else {}
        entries = sorted(
            ((s.highest() + 1) << 32 | s.slot for s in table.values()),
            key=lambda entry: (-(entry >> 32), entry & 0xFFFFFFFF),
        )
        at = (bridge_id * 256 + table_id) * 2
        words = self._tables.words64
        if self._retired and not self._sweeping:
            going = {subtable.slot for subtable in self._retired}
            stay = [e for e in self._index.entries(words[at]) if e & 0xFFFFFFFF in going]
            if stay:
                entries = sorted(entries + stay, key=lambda e: (-(e >> 32), e & 0xFFFFFFFF))
                self._relist.add((bridge_id, table_id))
        words[at] = self._index.write(words[at], entries)


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
