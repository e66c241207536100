"""What a subtable's filter says of keys: never no of one that the kernel holds."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from struct import pack
from types import SimpleNamespace

import pytest

from gossamer.datapath import layout
from gossamer.datapath.rule_filters import RuleFilters, key_hash, place_of

NUMBER, OTHER = pack("=I", 1), pack("=I", 2)
KEY_CLASS = 1
WORDS = layout.KEY_CLASSES[KEY_CLASS]


class World:
    """Filters over memory of this process."""

    def __init__(self, room: int = 4096) -> None:
        self.words = SimpleNamespace(
            words64=memoryview(bytearray(8 * room)).cast("Q"), entries=room, name="rule_filters"
        )
        size = layout.SUBTABLE_SIZE
        self.subtables = SimpleNamespace(
            words64=memoryview(bytearray(size * 4)).cast("Q"), offset=lambda slot: slot * size
        )
        self.filters = self.of_a_new_daemon()

    def of_a_new_daemon(self) -> RuleFilters:
        """Over what is in memory by now."""
        return RuleFilters(self.words, self.subtables)  # type: ignore[arg-type]

    def ref(self, number: bytes) -> int:
        """As the kernel reads it."""
        slot = int.from_bytes(number, "little")
        return int(self.subtables.words64[slot * layout.SUBTABLE_SIZE // 8 + 1])

    def passes(self, key: bytes) -> bool:
        """What the kernel makes of it (`filtered_out()`, bpf/classify.h)."""
        ref = self.ref(key[:4])
        if not ref:
            return True
        at, bits = place_of(ref, key_hash(_words(key)))
        return bool(self.words.words64[at] & bits == bits)


def _words(key: bytes) -> Sequence[int]:
    return memoryview(key[4:]).cast("I")


def _keys(n: int, rng: Random, number: bytes = NUMBER) -> list[bytes]:
    return [number + pack(f"={WORDS}I", *(rng.getrandbits(32) for _ in range(WORDS))) for _ in range(n)]


def test_keys_that_were_added_pass_and_most_others_do_not() -> None:
    world, rng = World(), Random(1)
    world.filters.begin(NUMBER, KEY_CLASS)
    keys = _keys(1000, rng)
    for n in (1, 2, 5, 100, 892):
        part, keys[:n] = keys[:n], []
        world.filters.add(part)
        assert all(world.passes(key) for key in part)
    strangers = sum(world.passes(key) for key in _keys(2000, rng))
    assert strangers < 100


def test_all_keys_still_pass_while_others_come_and_go() -> None:
    world, rng = World(), Random(2)
    world.filters.begin(NUMBER, KEY_CLASS)
    there: list[bytes] = []
    for _ in range(200):
        fresh = _keys(rng.randrange(30), rng)
        world.filters.add(fresh)
        there += fresh
        rng.shuffle(there)
        cut = rng.randrange(len(there) + 1) if rng.random() < 0.3 else len(there)
        gone, there = there[cut:], there[:cut]
        world.filters.forget(gone)
        assert all(world.passes(key) for key in there)
    # What is gone is not kept for ever.
    assert (world.ref(NUMBER) & 0xFFFFFFFF) * 4 < 200 * 15


def test_a_key_that_came_twice_passes_after_it_went_once() -> None:
    world, rng = World(), Random(3)
    world.filters.begin(NUMBER, KEY_CLASS)
    key, *others = _keys(9, rng)
    world.filters.add([key])
    world.filters.add([key])
    world.filters.forget([key])
    world.filters.add(others)
    assert world.passes(key)


def test_a_new_daemon_goes_on_with_the_filters_it_finds() -> None:
    world, rng = World(), Random(4)
    world.filters.begin(NUMBER, KEY_CLASS)
    old = _keys(100, rng)
    world.filters.add(old)
    world.filters = world.of_a_new_daemon()
    world.filters.adopt(NUMBER, KEY_CLASS)
    world.filters.know(old)
    world.filters.begin(OTHER, KEY_CLASS)
    assert all(world.passes(key) for key in old)
    new = _keys(300, rng) + _keys(300, rng, OTHER)
    world.filters.add(new)
    assert all(world.passes(key) for key in old + new)


def test_where_there_is_no_room_for_a_filter_every_key_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gossamer.datapath.index.time.sleep", lambda s: None)
    monkeypatch.setattr("gossamer.datapath.index.GRACE_S", 0.0)
    world, rng = World(room=4), Random(5)
    world.filters.begin(NUMBER, KEY_CLASS)
    keys = _keys(200, rng)
    world.filters.add(keys)
    assert world.ref(NUMBER) == 0
    world.filters.add(keys)
    world.filters.forget(keys)
    assert all(world.passes(key) for key in keys)


def test_a_subtable_that_ends_gives_its_filter_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossamer.datapath.index.GRACE_S", 0.0)
    world, rng = World(room=64), Random(6)
    for _ in range(10):
        world.filters.begin(NUMBER, KEY_CLASS)
        world.filters.add(_keys(200, rng))
        assert world.ref(NUMBER) & 0xFFFFFFFF == 64
        world.filters.end(NUMBER)


def test_a_subtable_that_looks_at_nothing_has_no_filter() -> None:
    world = World()
    world.filters.add([NUMBER + bytes(4 * WORDS)])
    assert world.passes(NUMBER + bytes(4 * WORDS))
