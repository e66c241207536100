"""A subtable knows its highest priority, and which rule of a match counts."""

from __future__ import annotations

from gossamer.datapath.key_shape import key_shape
from gossamer.datapath.programs import ProgramRecord
from gossamer.datapath.subtable import Rule, Subtable, kind_of
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import Match

MASK = 0xFFFF
PROGRAM = ProgramRecord((), 0)


def rule(value: int, priority: int) -> Rule:
    return Rule(Flow(0, priority, Match(value, MASK), ()), 0, priority, PROGRAM)


def test_the_rule_of_the_highest_priority_comes_first_wherever_it_was_added() -> None:
    subtable = Subtable(1, b"\1\0\0\0", key_shape(MASK))
    middle, highest, lowest = rule(5, 20), rule(5, 30), rule(5, 10)
    assert subtable.add(5, middle)
    assert subtable.add(5, highest)
    assert not subtable.add(5, lowest)
    assert subtable.first(5) is highest
    assert subtable.find(5, 10) is lowest
    assert subtable.find(5, 15) is None
    assert subtable.first(6) is None


def test_only_the_last_rule_of_the_highest_priority_lowers_it() -> None:
    subtable = Subtable(1, b"\1\0\0\0", key_shape(MASK))
    rules = [rule(1, 30), rule(2, 30), rule(1, 10)]
    for one in rules:
        subtable.add(one.flow.match.value, one)
    assert not subtable.discard(1, rules[0])
    assert subtable.highest() == 30
    assert subtable.discard(2, rules[1])
    assert subtable.highest() == 10
    assert subtable.first(1) is rules[2]
    assert subtable.discard(1, rules[2])
    assert subtable.highest() == -1
    assert not subtable.rules


def test_a_priority_that_went_and_came_again_is_the_highest_again() -> None:
    subtable = Subtable(1, b"\1\0\0\0", key_shape(MASK))
    subtable.add(1, rule(1, 10))
    high = rule(2, 40)
    for _ in range(3):
        assert subtable.add(2, high)
        assert subtable.discard(2, high)
    assert subtable.highest() == 10


def test_alternatives_of_conjunctions_have_a_subtable_for_each_priority() -> None:
    one, other = rule(1, 10).flow, rule(1, 20).flow
    assert kind_of(one, conjunctive=False) == kind_of(other, conjunctive=False)
    assert kind_of(one, conjunctive=True) != kind_of(other, conjunctive=True)
