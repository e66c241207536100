"""Addresses that bridges know: read, put by hand, flushed, swept, counted.

The kernel learns by itself (bpf/normal.h); the daemon from packets that the kernel leaves to it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gossamer.datapath import layout
from gossamer.datapath.bridges import Bridges
from gossamer.datapath.maps import HashMap
from gossamer.datapath.settings import FdbEntry, FdbTotals


@dataclass(slots=True)
class Removed:
    """How many learned addresses of a bridge were taken out, and why."""

    expired: int = 0
    evicted: int = 0
    flushed: int = 0


class Fdb:
    """The `fdb` map, and how many of it the kernel counts for each bridge."""

    def __init__(
        self, entries: HashMap, bridges: Bridges, now_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """`now_ns` is the programs' clock, by which addresses have their age."""
        self._now_ns = now_ns
        self._map = entries
        self._bridges = bridges
        self._ageing_s: dict[int, float] = {}
        """By bridge: when learned addresses are too old."""
        self._removed: dict[int, Removed] = {}
        """By bridge."""
        self._before: dict[int, FdbTotals] = {}
        """What `clear_totals()` found."""
        self.changed: Callable[[int], None] = lambda bridge_id: None
        """Called with the number of a bridge some of whose addresses are elsewhere, or gone, by hand."""

    def set_ageing(self, bridge_id: int, ageing_s: float) -> None:
        """When a bridge's learned addresses are too old."""
        self._ageing_s[bridge_id] = ageing_s

    def knows(self, bridge_id: int) -> bool:
        """Whether `set_ageing()` was called for it."""
        return bridge_id in self._ageing_s

    def entries(self, bridge_id: int) -> list[FdbEntry]:
        """What a bridge knows, without what is too old."""
        ageing_s = self._ageing_s[bridge_id]
        now = self._now_ns()
        found: list[FdbEntry] = []
        for key, value in self._map.items():
            bridge, mac, vlan, _ = layout.FDB_KEY.unpack(key)
            port_id, fixed, used = layout.FDB_ENTRY.unpack(value)
            age_s = max(0, now - used) / 1e9
            if bridge == bridge_id and (fixed or age_s <= ageing_s):
                found.append(FdbEntry(vlan, mac, port_id, age_s, bool(fixed)))
        return found

    def learn(self, bridge_id: int, port_id: int, vlan: int, mac: bytes) -> None:
        """Note that an address was seen behind a port, as bpf/normal.h does.

        Raises DatapathError where there is no room for it.
        """
        bridges = self._bridges
        key = layout.FDB_KEY.pack(bridge_id, mac, vlan, 0)
        value = self._map.get(key)
        n_learned = bridges.learned(bridge_id)
        if value is None:
            if n_learned < bridges.limit(bridge_id):
                self._map.put(key, layout.FDB_ENTRY.pack(port_id, 0, self._now_ns()))
                bridges.set_learned(bridge_id, n_learned + 1)
            return
        before, fixed, _ = layout.FDB_ENTRY.unpack(value)
        if fixed:
            return
        self._map.put(key, layout.FDB_ENTRY.pack(port_id, 0, self._now_ns()))
        if before != port_id:
            bridges.count_move(bridge_id)

    def put(self, bridge_id: int, port_id: int, vlan: int, mac: bytes) -> None:
        """Put an address behind a port: it neither moves nor ages, and a flush leaves it.

        Raises DatapathError where there is no room for it.
        """
        key = layout.FDB_KEY.pack(bridge_id, mac, vlan, 0)
        new = self._map.get(key) is None
        self._map.put(key, layout.FDB_ENTRY.pack(port_id, 1, self._now_ns()))
        if new:
            self._bridges.set_learned(bridge_id, self._bridges.learned(bridge_id) + 1)
        self.changed(bridge_id)

    def delete(self, bridge_id: int, vlan: int, mac: bytes) -> bool:
        """Take out an address that was put there by hand; False where there is none."""
        key = layout.FDB_KEY.pack(bridge_id, mac, vlan, 0)
        value = self._map.get(key)
        if value is None or not layout.FDB_ENTRY.unpack(value)[1]:
            return False
        self._map.delete(key)
        self._bridges.set_learned(bridge_id, max(0, self._bridges.learned(bridge_id) - 1))
        self.changed(bridge_id)
        return True

    def flush(self, bridge_id: int, port_id: int | None = None) -> None:
        """Forget what a bridge learned, or all that is behind one port."""
        gone: list[bytes] = []
        left = flushed = 0
        for key, value in self._map.items():
            if layout.FDB_KEY.unpack(key)[0] != bridge_id:
                continue
            behind, fixed, _ = layout.FDB_ENTRY.unpack(value)
            if not fixed if port_id is None else behind == port_id:
                gone.append(key)
                flushed += not fixed
            else:
                left += 1
        self._map.delete_all(gone)
        self._removed_of(bridge_id).flushed += flushed
        self._bridges.set_learned(bridge_id, left)
        self.changed(bridge_id)

    def forget_bridge(self, bridge_id: int) -> None:
        """A bridge is gone, and all its addresses."""
        self._map.delete_all(
            [key for key, _ in self._map.items() if layout.FDB_KEY.unpack(key)[0] == bridge_id]
        )
        self._ageing_s.pop(bridge_id, None)
        self._removed.pop(bridge_id, None)
        self._before.pop(bridge_id, None)

    def sweep(self) -> None:
        """Remove what is too old, and, in a full table, the oldest of the port that has most.

        Making room at the expense of the greediest port keeps one host's flood
        of addresses from pushing out everybody else's.
        """
        now = self._now_ns()
        gone: list[bytes] = []
        fixed_ones = dict.fromkeys(self._ageing_s, 0)
        live: dict[int, list[tuple[int, int, bytes]]] = {b: [] for b in self._ageing_s}
        for key, value in self._map.items():
            bridge_id = layout.FDB_KEY.unpack(key)[0]
            port_id, fixed, used = layout.FDB_ENTRY.unpack(value)
            if bridge_id not in live:
                gone.append(key)
            elif fixed:
                fixed_ones[bridge_id] += 1
            elif now - used > self._ageing_s[bridge_id] * 1e9:
                gone.append(key)
                self._removed_of(bridge_id).expired += 1
            else:
                live[bridge_id].append((port_id, used, key))
        left: dict[int, int] = {}
        for bridge_id, entries in live.items():
            fixed = fixed_ones[bridge_id]
            evicted = _surplus(entries, self._bridges.limit(bridge_id), fixed)
            gone.extend(evicted)
            self._removed_of(bridge_id).evicted += len(evicted)
            left[bridge_id] = len(entries) - len(evicted) + fixed
        self._map.delete_all(gone)
        for bridge_id, count in left.items():
            self._bridges.set_learned(bridge_id, count)

    def totals(self, bridge_id: int) -> FdbTotals:
        """What happened to a bridge's addresses since `clear_totals()`, or the daemon's start."""
        now = self._totals(bridge_id)
        before = self._before.get(bridge_id, FdbTotals())
        return FdbTotals(
            learned=now.learned - before.learned,
            expired=now.expired - before.expired,
            evicted=now.evicted - before.evicted,
            moved=(now.moved - before.moved) % (1 << 32),
        )

    def clear_totals(self, bridge_id: int) -> None:
        """Begin counting at zero again."""
        self._before[bridge_id] = self._totals(bridge_id)

    def _totals(self, bridge_id: int) -> FdbTotals:
        removed = self._removed_of(bridge_id)
        # Only the daemon takes addresses out, so those that went and those there are, are all.
        there = sum(1 for e in self.entries(bridge_id) if not e.fixed)
        return FdbTotals(
            learned=removed.expired + removed.evicted + removed.flushed + there,
            expired=removed.expired,
            evicted=removed.evicted,
            moved=self._bridges.moves(bridge_id),
        )

    def _removed_of(self, bridge_id: int) -> Removed:
        return self._removed.setdefault(bridge_id, Removed())


def _surplus(entries: Iterable[tuple[int, int, bytes]], limit: int, fixed: int) -> set[bytes]:
    """The learned entries (port, used, key) that go where the table is full."""
    left = list(entries)
    if len(left) + fixed < limit:
        return set()
    room = max(1, limit // 16)
    gone: set[bytes] = set()
    while left and len(left) + fixed > limit - room:
        greedy = Counter(port_id for port_id, _, _ in left).most_common(1)[0][0]
        theirs = sorted((e for e in left if e[0] == greedy), key=lambda entry: entry[1])
        gone |= {key for _, _, key in theirs[: len(left) + fixed - limit + room]}
        left = [entry for entry in left if entry[2] not in gone]
    return gone
