"""The flows of one bridge as the datapath holds them, and what its packets are told apart by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gossamer.datapath.footprint import Footprint
from gossamer.datapath.programs import ProgramRecord
from gossamer.datapath.subtable import Rule, Subtable, kind_of
from gossamer.pipeline.flow import Flow


@dataclass(slots=True)
class BridgeFlows:
    """The tables of one bridge."""

    tables: dict[int, dict[int, Subtable]] = field(default_factory=dict)
    """By table and by `kind_of()` the flow."""
    n_conjunctive: int = 0
    """Flows that are alternatives of conjunctions."""
    footprint: Footprint = field(default_factory=Footprint)
    """Of masks and programs."""
    _programs: dict[ProgramRecord, int] = field(default_factory=dict)
    """Program -> how many flows have it."""

    def add_subtable(self, table_id: int, kind: int, mask: int, subtable: Subtable) -> None:
        """A table has rules of another mask."""
        self.tables.setdefault(table_id, {})[kind] = subtable
        self.footprint.add(mask, 0)

    def drop_subtable(self, table_id: int, kind: int, mask: int) -> None:
        """It has none any more."""
        table = self.tables[table_id]
        del table[kind]
        if not table:
            del self.tables[table_id]
        self.footprint.discard(mask, 0)

    def find(self, flow: Flow) -> tuple[Subtable, int, Rule] | None:
        """Where the flow of this table, match and priority is: subtable, its kind, the rule."""
        table = self.tables.get(flow.table_id)
        if table is None:
            return None
        value = flow.match.value
        if self.n_conjunctive:
            kind = kind_of(flow, conjunctive=True)
            subtable = table.get(kind)
            rule = subtable.find(value, flow.priority) if subtable is not None else None
            if subtable is not None and rule is not None:
                return subtable, kind, rule
        kind = flow.match.mask
        subtable = table.get(kind)
        rule = subtable.find(value, flow.priority) if subtable is not None else None
        return (subtable, kind, rule) if subtable is not None and rule is not None else None

    def use(self, program: ProgramRecord) -> None:
        """One more flow has this program."""
        n = self._programs.get(program, 0)
        self._programs[program] = n + 1
        if not n:
            self.footprint.add(program.reads, program.writes, program.lengths)

    def leave(self, program: ProgramRecord) -> None:
        """One flow less has it."""
        left = self._programs[program] - 1
        if left:
            self._programs[program] = left
        else:
            del self._programs[program]
            self.footprint.discard(program.reads, program.writes, program.lengths)

    def __iter__(self) -> Iterator[Flow]:
        for table in self.tables.values():
            for subtable in table.values():
                for present in subtable.rules.values():
                    if isinstance(present, Rule):
                        yield present.flow
                    else:
                        yield from (rule.flow for rule in present)
