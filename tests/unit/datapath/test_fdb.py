"""Addresses go when they are old, and make room at the expense of who has most."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from gossamer.datapath import layout
from gossamer.datapath.fdb import Fdb

BRIDGE = 1


class Kernel:
    """The map, and what `struct bridge` says of a bridge's addresses."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}
        self.n_learned = 0
        self.most = 100

    def learn(self, port_id: int, n: int, age_s: float = 0.0) -> None:
        """As bpf/normal.h does."""
        mac = (port_id << 24 | n).to_bytes(6, "big")
        used = time.monotonic_ns() - int(age_s * 1e9)
        key = layout.FDB_KEY.pack(BRIDGE, mac, 0, 0)
        self.entries[key] = layout.FDB_ENTRY.pack(port_id, 0, used)
        self.n_learned += 1

    def get(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self.entries[key] = value

    def delete(self, key: bytes) -> bool:
        return self.entries.pop(key, None) is not None

    def delete_all(self, keys: Sequence[bytes]) -> int:
        return sum(self.delete(key) for key in keys)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(list(self.entries.items()))

    def learned(self, bridge_id: int) -> int:
        return self.n_learned

    def set_learned(self, bridge_id: int, count: int) -> None:
        self.n_learned = count

    def limit(self, bridge_id: int) -> int:
        return self.most

    def moves(self, bridge_id: int) -> int:
        return 0


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def fdb(kernel: Kernel) -> Fdb:
    maps: Any = kernel
    found = Fdb(maps, maps)
    found.set_ageing(BRIDGE, 300)
    return found


def ports(fdb: Fdb) -> list[int]:
    return sorted(entry.port_id for entry in fdb.entries(BRIDGE))


def test_what_is_too_old_is_not_shown_and_goes_with_the_next_sweep(
    kernel: Kernel, fdb: Fdb
) -> None:
    kernel.learn(1, 1, age_s=301)
    kernel.learn(2, 1)
    assert ports(fdb) == [2]
    fdb.sweep()
    assert len(kernel.entries) == kernel.n_learned == 1
    assert fdb.totals(BRIDGE).expired == 1


def test_a_full_table_makes_room_at_the_expense_of_the_port_that_has_most(
    kernel: Kernel, fdb: Fdb
) -> None:
    kernel.learn(1, 1, age_s=200)
    for n in range(99):
        kernel.learn(2, n, age_s=n)
    fdb.sweep()
    left = ports(fdb)
    assert left.count(1) == 1
    assert left.count(2) == kernel.n_learned - 1 < 99
    oldest = max(entry.age_s for entry in fdb.entries(BRIDGE) if entry.port_id == 2)
    assert oldest < 99 - fdb.totals(BRIDGE).evicted + 1


def test_what_was_put_by_hand_neither_ages_nor_is_flushed(kernel: Kernel, fdb: Fdb) -> None:
    fdb.put(BRIDGE, 3, 0, b"\2\0\0\0\0\1")
    kernel.learn(1, 1)
    fdb.flush(BRIDGE)
    fdb.sweep()
    assert ports(fdb) == [3]
    assert fdb.delete(BRIDGE, 0, b"\2\0\0\0\0\1")
    assert kernel.n_learned == 0


def test_addresses_of_a_bridge_that_is_gone_are_forgotten(kernel: Kernel, fdb: Fdb) -> None:
    fdb.put(BRIDGE, 3, 0, b"\2\0\0\0\0\1")
    kernel.learn(1, 1)
    fdb.forget_bridge(BRIDGE)
    assert not kernel.entries


def test_totals_begin_again_when_they_are_cleared(kernel: Kernel, fdb: Fdb) -> None:
    kernel.learn(1, 1)
    fdb.clear_totals(BRIDGE)
    kernel.learn(1, 2)
    assert fdb.totals(BRIDGE).learned == 1


def test_who_keeps_paths_hears_of_what_is_changed_by_hand(kernel: Kernel, fdb: Fdb) -> None:
    changed: list[int] = []
    fdb.changed = changed.append
    fdb.learn(BRIDGE, 1, 0, b"\2\0\0\0\0\2")
    assert changed == [], "as the kernel learns, without a word"
    fdb.put(BRIDGE, 3, 0, b"\2\0\0\0\0\1")
    assert fdb.delete(BRIDGE, 0, b"\2\0\0\0\0\1")
    assert not fdb.delete(BRIDGE, 0, b"\2\0\0\0\0\1")
    fdb.flush(BRIDGE)
    assert changed == [BRIDGE] * 3
