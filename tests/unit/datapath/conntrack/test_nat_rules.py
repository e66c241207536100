"""Ranges of nat(): shared, and gone with their last program."""

from __future__ import annotations

from typing import Any

import pytest

from gossamer.datapath.conntrack.nat_rules import NatRules
from gossamer.datapath.programs import Programs
from gossamer.errors import DatapathError
from gossamer.pipeline.action import Actions
from gossamer.pipeline.action_syntax import parse_actions


class FakeMap:
    """A hash map in memory, of so many entries."""

    value_size = 0

    def __init__(self, room: int = 1 << 20) -> None:
        self.entries: dict[bytes, bytes] = {}
        self._room = room

    def get(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        if len(self.entries) >= self._room:
            raise DatapathError("full")
        self.entries[key] = value

    def put_all(self, keys: list[bytes], values: list[bytes]) -> None:
        self.entries.update(zip(keys, values, strict=True))

    def delete(self, key: bytes) -> bool:
        return self.entries.pop(key, None) is not None

    def items(self) -> list[tuple[bytes, bytes]]:
        return list(self.entries.items())


def fake(room: int = 1 << 20) -> Any:
    return FakeMap(room)


def translating(n: int, more: str = "") -> Actions:
    return parse_actions(f"ct(commit,nat(src=10.{n >> 16}.{n >> 8 & 255}.{n & 255})){more}")


def test_a_range_is_there_while_somebody_asks_for_it() -> None:
    rules, kernel = fake(), fake()
    it = NatRules(rules)
    number = it.acquire(b"one")
    assert it.acquire(b"one") == number
    assert NatRules(kernel).acquire(b"one") == number, "the same in every daemon"
    it.release(number)
    assert rules.entries
    it.release(number)
    assert not rules.entries


def test_what_an_earlier_daemon_left_stays_only_where_it_is_asked_for_again() -> None:
    rules = fake()
    before = NatRules(rules)
    kept = before.acquire(b"kept")
    before.acquire(b"gone")
    after = NatRules(rules)
    assert after.acquire(b"kept") == kept
    after.disinherit()
    assert list(rules.entries.values()) == [b"kept"]


def test_a_hundred_thousand_ranges_one_after_the_other_find_room() -> None:
    rules = fake(room=64)
    programs = Programs(fake(), fake(), NatRules(rules))
    for n in range(100_000):
        record = programs.record(translating(n))
        programs.acquire(record)
        programs.flush()
        programs.release(record)
        if not n % 50:
            programs.sweep(programs.take_unused())
    programs.sweep(programs.take_unused())
    assert not rules.entries


def test_programs_with_the_same_range_share_it() -> None:
    rules = fake()
    programs = Programs(fake(), fake(), NatRules(rules))
    records = [programs.record(translating(1, more)) for more in ("", ",output:1")]
    for record in records:
        programs.acquire(record)
    for record, left in zip(records, (1, 0), strict=True):
        programs.release(record)
        programs.sweep(programs.take_unused())
        assert len(rules.entries) == left


def test_the_last_range_but_one_too_many_is_told() -> None:
    it = NatRules(fake(room=2))
    for image in (b"a", b"b"):
        it.acquire(image)
    with pytest.raises(DatapathError, match="full"):
        it.acquire(b"c")
