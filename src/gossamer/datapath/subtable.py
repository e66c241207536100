"""A subtable: the rules of one mask in one table, as the datapath holds them (bpf/classify.h)."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush

from gossamer.datapath.key_shape import KeyShape
from gossamer.datapath.programs import ProgramRecord
from gossamer.pipeline.fields import KEY_BITS
from gossamer.pipeline.flow import Flow


@dataclass(slots=True)
class Rule:
    """A flow as the datapath holds it."""

    flow: Flow
    flow_id: int
    priority: int
    program: ProgramRecord


Present = Rule | list[Rule] | None
"""What has one match value: a rule, or rules with the highest priority first."""


@dataclass(slots=True)
class Subtable:
    """The rules of one mask in one table of one bridge."""

    slot: int
    id_bytes: bytes
    """Its number as keys have it."""
    shape: KeyShape
    conjunctive: bool = False
    """Its rules are alternatives of conjunctions, all of one priority."""
    listed: int = 0
    """The priority by which its table lists it, plus one: no rule in the kernel has a higher."""
    rules: dict[int, Rule | list[Rule]] = field(default_factory=dict)
    """By match value."""
    _priorities: dict[int, int] = field(default_factory=dict)
    """Priority -> how many rules have it."""
    _descending: list[int] = field(default_factory=list)
    """A heap of negated priorities, those gone from `_priorities` included."""

    def add(self, value: int, rule: Rule) -> bool:
        """One more rule; True where its priority is a new highest."""
        present = self.rules.get(value)
        if present is None:
            self.rules[value] = rule
        else:
            rules = [*present, rule] if isinstance(present, list) else [present, rule]
            rules.sort(key=lambda r: -r.priority)
            self.rules[value] = rules
        return self._count_in(rule.priority)

    def discard(self, value: int, rule: Rule) -> bool:
        """One rule less, which is here; True where the highest priority is another now."""
        present = self.rules[value]
        if isinstance(present, list):
            left = [r for r in present if r is not rule]
            self.rules[value] = left if len(left) > 1 else left[0]
        else:
            del self.rules[value]
        return self._count_out(rule.priority)

    def find(self, value: int, priority: int) -> Rule | None:
        """The rule of this match value and priority."""
        present = self.rules.get(value)
        if present is None:
            return None
        if isinstance(present, Rule):
            return present if present.priority == priority else None
        return next((rule for rule in present if rule.priority == priority), None)

    def first(self, value: int) -> Rule | None:
        """The rule of the highest priority that has this match value."""
        present = self.rules.get(value)
        return present[0] if isinstance(present, list) else present

    def highest(self) -> int:
        """The highest priority of its rules, -1 where it has none."""
        descending = self._descending
        while descending and -descending[0] not in self._priorities:
            heappop(descending)
        return -descending[0] if descending else -1

    def _count_in(self, priority: int) -> bool:
        n = self._priorities.get(priority, 0)
        if n:
            self._priorities[priority] = n + 1
            return False
        before = self.highest()
        self._priorities[priority] = 1
        heappush(self._descending, -priority)
        return priority > before

    def _count_out(self, priority: int) -> bool:
        left = self._priorities[priority] - 1
        if left:
            self._priorities[priority] = left
            return False
        before = self.highest()
        del self._priorities[priority]
        return self.highest() != before


def kind_of(flow: Flow, *, conjunctive: bool) -> int:
    """What tells the subtables of a table apart: the mask, and for alternatives of conjunctions
    the priority too, since each of them counts."""
    return flow.match.mask | (flow.priority + 1) << KEY_BITS if conjunctive else flow.match.mask
