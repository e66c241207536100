"""Flows into the kernel: rules in subtables, subtables in tables (bpf/classify.h).

A rule's key in the kernel holds what counts and what counted before, with the
version of the bridge at which that changed.  So all that a commit changes is
written while nobody sees it, and counts when the bridge gets its next version:
first `write()`, then that store, then `published()`, whose duties remain to be
done when no packet is on its way under the version before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from gossamer.breath import parts
from gossamer.datapath import layout
from gossamer.datapath.bridge_flows import BridgeFlows
from gossamer.datapath.flow_ids import FlowIds
from gossamer.datapath.grace import Duty
from gossamer.datapath.index import IndexArray
from gossamer.datapath.maps import HashMap, MappedArray
from gossamer.datapath.programs import Programs
from gossamer.datapath.rule_cells import NOTHING, RuleCells
from gossamer.datapath.rule_filters import RuleFilters
from gossamer.datapath.subtable import Rule, Subtable, kind_of
from gossamer.datapath.subtable_lists import Place, SubtableLists
from gossamer.errors import DatapathError
from gossamer.pipeline.flow import Flow


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
        filters: RuleFilters,
        counters: MappedArray,
        programs: Programs,
        reserve: Callable[[int], int],
    ) -> None:
        self._reserve = reserve
        self.bridges: dict[int, BridgeFlows] = {}
        self.flow_ids = FlowIds(counters)
        self.programs = programs
        self.cells = RuleCells(rules, filters)
        self.lists = SubtableLists(subtables, tables, table_index, filters, self._subtables_of)
        self.other_lengths: Callable[[int], frozenset[int]] = lambda bridge_id: frozenset()
        """Lengths that groups of a bridge ask about."""
        self._inherited_bridges: dict[bytes, int] = {}
        """A subtable's number, as in keys -> its bridge."""

    # -- take-over ---------------------------------------------------------------

    def inherit(self, version: Callable[[int], int]) -> None:
        """Read what an earlier daemon left; the ids of what is the same are used again.

        `version(bridge)` is the one that counts: what it did not come to publish is taken back.
        """
        bridges = self._inherited_bridges = self.lists.inherit()
        versions = {bridge_id: version(bridge_id) for bridge_id in bridges.values()}
        for flow_id in self.cells.inherit(bridges, versions):
            self.flow_ids.take(flow_id)
        self.programs.inherit()

    def disinherit(self) -> None:
        """What was inherited and not inserted again goes with the next commit."""
        self.lists.disinherit()
        bridges = self._inherited_bridges
        for flow_id in self.cells.disinherit(lambda subtable: self._reserve(bridges[subtable])):
            self.flow_ids.release(flow_id)
        bridges.clear()

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
            if program.lengths:
                self._check_lengths(bridge_id, program.lengths)
            match = flow.match
            value = match.value
            kind = match.mask
            if program.conjunctive or bridge.n_conjunctive:
                kind = kind_of(flow, conjunctive=program.conjunctive)
                self._leave_other_kind(bridge_id, bridge, flow, kind)
            table = bridge.tables.get(flow.table_id)
            subtable = table.get(kind) if table is not None else None
            if subtable is None:
                place = (bridge_id, flow.table_id)
                subtable = self.lists.make(place, match.mask, conjunctive=program.conjunctive)
                bridge.add_subtable(flow.table_id, kind, match.mask, subtable)
            key_class = subtable.shape.key_class
            key = subtable.shape.key(subtable.id_bytes, value)
            first = subtable.first(value)
            was = self._state(first) if first is not None else NOTHING
            rule = subtable.find(value, flow.priority) if first is not None else None
            if rule is None:
                flow.flow_id = self._id_for_new(key_class, key, flow.priority)
                rule = Rule(flow, flow.flow_id, flow.priority, program)
                bridge.n_conjunctive += subtable.conjunctive
                if subtable.add(value, rule):
                    self.lists.raised((bridge_id, flow.table_id))
            else:
                self._forget_program(bridge, rule)
                self._replace(rule, flow)
                rule.program = program
            bridge.use(program)
            program.users += 1
            if first is None or subtable.first(value) is rule:
                self.cells.change(key_class, key, since, was, self._state(rule))

    def _check_lengths(self, bridge_id: int, lengths: set[int]) -> None:
        together = lengths | self.bridge(bridge_id).footprint.lengths
        if len(together | self.other_lengths(bridge_id)) > layout.MAX_LENGTHS:
            raise DatapathError(
                f"the flows of a bridge ask about more than {layout.MAX_LENGTHS} lengths",
                remedy="use fewer different lengths in check_pkt_larger",
            )

    def _leave_other_kind(
        self, bridge_id: int, bridge: BridgeFlows, flow: Flow, kind: int
    ) -> None:
        """A flow that becomes an alternative of a conjunction, or ceases to be one, moves."""
        found = bridge.find(flow)
        if found is not None and found[1] != kind:
            self.remove(bridge_id, [found[2].flow])

    def _replace(self, rule: Rule, flow: Flow) -> None:
        """A flow takes the place of the one that a rule was made of, which may be itself."""
        if rule.flow is not flow and flow.flow_id != rule.flow_id:
            self.flow_ids.release(rule.flow_id)
            flow.flow_id = self.flow_ids.allocate()
        else:
            flow.flow_id = rule.flow_id
        rule.flow, rule.flow_id = flow, flow.flow_id

    def _id_for_new(self, key_class: int, key: bytes, priority: int) -> int:
        """A fresh id; the inherited one where this rule was there before the daemon."""
        state = self.cells.inherited(key_class, key)
        if state is not None:
            flow_id, _, _, was = layout.RULE_STATE.unpack(state)
            if was == priority + 1:
                return int(flow_id)
        return self.flow_ids.allocate()

    def _state(self, rule: Rule) -> bytes:
        """`struct rule_state`."""
        return layout.RULE_STATE.pack(
            rule.flow_id,
            self.flow_ids.generation(rule.flow_id),
            rule.program.program_id,
            rule.priority + 1,
        )

    def remove(self, bridge_id: int, flows: Iterable[Flow]) -> None:
        """Take out flows; those that are not here are passed over."""
        bridge = self.bridge(bridge_id)
        since = layout.SINCE.pack(self._reserve(bridge_id))
        for flow in flows:
            found = bridge.find(flow)
            if found is None:
                continue
            subtable, kind, rule = found
            value = flow.match.value
            place = (bridge_id, flow.table_id)
            first = subtable.first(value)
            was = self._state(rule) if first is rule else NOTHING
            if subtable.discard(value, rule):
                self.lists.lowered(place)
            if first is rule:
                following = subtable.first(value)
                state = self._state(following) if following is not None else NOTHING
                key = subtable.shape.key(subtable.id_bytes, value)
                self.cells.change(subtable.shape.key_class, key, since, was, state)
            self._forget_program(bridge, rule)
            self.flow_ids.release(rule.flow_id)
            bridge.n_conjunctive -= subtable.conjunctive
            if not subtable.rules:
                bridge.drop_subtable(flow.table_id, kind, flow.match.mask)
                self.lists.retire(place, subtable)

    def _forget_program(self, bridge: BridgeFlows, rule: Rule) -> None:
        bridge.leave(rule.program)
        self.programs.release(rule.program)

    def flows(self, bridge_id: int) -> Iterator[Flow]:
        """All flows of a bridge."""
        return iter(self.bridge(bridge_id))

    def forget_bridge(self, bridge_id: int) -> None:
        """A bridge is gone, its flows before it."""
        self.bridges.pop(bridge_id, None)

    def _subtables_of(self, place: Place) -> Iterable[Subtable]:
        bridge = self.bridges.get(place[0])
        return bridge.tables.get(place[1], {}).values() if bridge is not None else ()

    # -- commits -------------------------------------------------------------------

    def keys(self) -> list[bytes]:
        """The keys that the next commit changes."""
        return self.cells.keys()

    def write(self) -> None:
        """Write all that the next commit changes; no packet sees it yet.

        Raises DatapathError where a map is full; then it may be amended and written again.
        """
        self.cells.write()
        self.lists.write()

    def published(self) -> tuple[list[Duty], list[Duty]]:
        """The commit counts; what remains to be done when no packet looks at what was before.

        The first are to delete the rules that are gone; a commit of a single change, of which
        packets cannot see a half, may do that at once.
        """
        deleting: list[Duty] = [partial(self.cells.delete, g) for g in self.cells.published()]
        duties = self.lists.published()
        unused = self.programs.take_unused()
        duties += (partial(self.programs.sweep, part) for part in parts(unused))
        return deleting, duties
