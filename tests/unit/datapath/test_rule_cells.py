"""What a commit changes of the rules maps, also where it has to be amended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pytest

from gossamer.datapath import layout
from gossamer.datapath.rule_cells import NOTHING, RuleCells
from gossamer.errors import DatapathError

KEY, OTHER = b"\1\0\0\0" + bytes(12), b"\1\0\0\0" + b"\2" * 12
OLD = layout.SINCE.pack(1)
NEW = layout.SINCE.pack(2)
ONE = layout.RULE_STATE.pack(1, 1, 1, 6)
TWO = layout.RULE_STATE.pack(2, 1, 1, 6)


class Map:
    """A hash map in memory, with room for `room` keys."""

    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.there: dict[bytes, bytes] = {}

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self.there and len(self.there) >= self.room:
            raise DatapathError("full")
        self.there[key] = value

    def put_all(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        for key, value in zip(keys, values, strict=True):
            self.put(key, value)

    def delete_all(self, keys: Sequence[bytes]) -> int:
        return sum(self.there.pop(key, None) is not None for key in keys)

    def items(self) -> list[tuple[bytes, bytes]]:
        return list(self.there.items())


class Filters:
    """Which keys were told to be there."""

    def __init__(self) -> None:
        self.there: set[bytes] = set()
        self.breathe: Callable[[], object] = lambda: None

    def know(self, keys: Iterable[bytes]) -> None:
        self.there |= set(keys)

    def add(self, keys: Iterable[bytes]) -> None:
        self.there |= set(keys)

    def forget(self, keys: Iterable[bytes]) -> None:
        self.there -= set(keys)


def cells(rules: Map, filters: Filters | None = None) -> RuleCells:
    return RuleCells([rules], filters or Filters())  # type: ignore[list-item,arg-type]


def test_a_cell_has_what_counts_and_what_counted_before() -> None:
    rules = Map()
    writer = cells(rules)
    writer.change(0, KEY, OLD, NOTHING, ONE)
    writer.write()
    assert writer.published() == []
    writer.change(0, KEY, NEW, ONE, TWO)
    writer.write()
    assert rules.there == {KEY: NEW + TWO + ONE}


def test_a_rule_that_went_is_deleted_when_nobody_looks_at_it_any_more() -> None:
    rules = Map()
    writer = cells(rules)
    writer.change(0, KEY, OLD, ONE, NOTHING)
    writer.write()
    assert rules.there == {KEY: OLD + NOTHING + ONE}
    (gone,) = writer.published()
    assert gone == (0, [KEY])
    writer.delete(gone)
    assert not rules.there


def test_what_is_as_before_after_all_is_not_written() -> None:
    writer = cells(Map())
    writer.change(0, KEY, NEW, ONE, TWO)
    writer.change(0, KEY, NEW, TWO, ONE)
    assert writer.keys() == []


def test_a_commit_that_did_not_fit_leaves_nothing_when_it_is_amended() -> None:
    rules = Map(room=1)
    writer = cells(rules)
    writer.change(0, KEY, OLD, NOTHING, ONE)
    writer.change(0, OTHER, OLD, NOTHING, TWO)
    with pytest.raises(DatapathError):
        writer.write()
    assert rules.there  # the first fitted
    writer.change(0, KEY, OLD, ONE, NOTHING)
    writer.change(0, OTHER, OLD, TWO, NOTHING)
    writer.write()
    assert not rules.there


def test_what_a_killed_daemon_did_not_publish_is_taken_back() -> None:
    rules = Map()
    stranger = b"\7\0\0\0" + bytes(12)
    rules.there = {
        KEY: NEW + TWO + ONE,
        OTHER: NEW + TWO + NOTHING,
        stranger: OLD + ONE + NOTHING,
    }
    writer = cells(rules)
    found = list(writer.inherit({KEY[:4]: 1}, {1: 1}))
    assert found == [1]
    assert writer.inherited(0, KEY) == ONE
    assert rules.there == {KEY: layout.SINCE.pack(0) + ONE + NOTHING}


def test_what_is_not_set_again_after_a_take_over_goes_with_the_next_commit() -> None:
    rules = Map()
    rules.there = {KEY: OLD + ONE + NOTHING, OTHER: OLD + TWO + NOTHING}
    writer = cells(rules)
    assert list(writer.inherit({KEY[:4]: 1}, {1: 1})) == [1, 2]
    writer.change(0, KEY, NEW, NOTHING, ONE)
    assert list(writer.disinherit(lambda subtable: 2)) == [2]
    assert writer.keys() == [OTHER]
    writer.write()
    assert rules.there == {KEY: OLD + ONE + NOTHING, OTHER: NEW + NOTHING + TWO}


def test_filters_have_a_key_as_long_as_the_kernel_has_it() -> None:
    rules, filters = Map(), Filters()
    writer = cells(rules, filters)
    writer.change(0, KEY, OLD, NOTHING, ONE)
    writer.change(0, OTHER, OLD, NOTHING, ONE)
    assert not filters.there
    writer.write()
    assert filters.there == {KEY, OTHER}
    writer.published()
    writer.change(0, KEY, NEW, ONE, TWO)
    writer.change(0, OTHER, NEW, ONE, NOTHING)
    writer.write()
    (gone,) = writer.published()
    assert filters.there == {KEY, OTHER}
    writer.delete(gone)
    assert filters.there == set(rules.there) == {KEY}


def test_filters_know_the_keys_that_an_earlier_daemon_left() -> None:
    rules, filters = Map(), Filters()
    rules.there = {KEY: OLD + ONE + NOTHING, OTHER: OLD + NOTHING + ONE}
    list(cells(rules, filters).inherit({KEY[:4]: 0}, {0: 1}))
    assert filters.there == {KEY} == set(rules.there)
