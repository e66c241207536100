"""Addresses: read, put by hand, flush, sweep.  Learning itself is the kernel's (bpf/normal.h)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from gossamer.datapath import layout
from gossamer.datapath.maps import HashMap
from gossamer.datapath.settings import FdbEntry


@dataclass(slots=True)
class Removed:
    """How many learned addresses of a bridge were taken out, and why."""

    expired: int = 0
    evicted: int = 0
    flushed: int = 0


class Fdb:
    """The `fdb` map."""

    def __init__(self, entries: HashMap) -> None:
        self._map = entries
        self.removed: dict[int, Removed] = {}
        """By bridge."""

    def entries(self, bridge_id: int, ageing_s: float) -> list[FdbEntry]:
        """What a bridge knows, without what is too old."""
        now = time.monotonic_ns()
        found: list[FdbEntry] = []
        for key, value in self._map.items():
            bridge, mac, vlan, _ = layout.FDB_KEY.unpack(key)
            port_id, fixed, used = layout.FDB_ENTRY.unpack(value)
            age_s = max(0, now - used) / 1e9
            if bridge == bridge_id and (fixed or age_s <= ageing_s):
                found.append(FdbEntry(vlan, mac, port_id, age_s, bool(fixed)))
        return found

    def put(self, bridge_id: int, port_id: int, vlan: int, mac: bytes) -> bool:
        """Put an address behind a port, for good; True where the bridge did not know it."""
        key = layout.FDB_KEY.pack(bridge_id, mac, vlan, 0)
        new = self._map.get(key) is None
        self._map.put(key, layout.FDB_ENTRY.pack(port_id, 1, time.monotonic_ns()))
        return new

    def delete(self, bridge_id: int, vlan: int, mac: bytes) -> bool:
        """Take out an address that was put there by hand; False where there is none."""
        key = layout.FDB_KEY.pack(bridge_id, mac, vlan, 0)
        value = self._map.get(key)
        if value is None or not layout.FDB_ENTRY.unpack(value)[1]:
            return False
        self._map.delete(key)
        return True

    def flush(self, bridge_id: int, port_id: int | None = None, *, whole: bool = False) -> int:
        """Forget what a bridge learned, or all that is behind one port; returns how many are left.

        `whole` takes those put by hand too: the bridge goes.
        """
        gone: list[bytes] = []
        left = flushed = 0
        for key, value in self._map.items():
            if layout.FDB_KEY.unpack(key)[0] != bridge_id:
                continue
            behind, fixed, _ = layout.FDB_ENTRY.unpack(value)
            if (whole or not fixed) if port_id is None else behind == port_id:
                gone.append(key)
                flushed += not fixed
            else:
                left += 1
        self._map.delete_all(gone)
        self._removed(bridge_id).flushed += flushed
        if whole:
            self.removed.pop(bridge_id, None)
        return left

    def _removed(self, bridge_id: int) -> Removed:
        return self.removed.setdefault(bridge_id, Removed())

    def sweep(self, ageing_s: dict[int, float], limits: dict[int, int]) -> dict[int, int]:
        """Remove what is too old, and, in a full table, the oldest of the port that has most.

        Returns how many each bridge has left.  Making room at the expense of
        the greediest port keeps one host's flood of addresses from pushing
        out everybody else's.
        """
        now = time.monotonic_ns()
        gone: list[bytes] = []
        fixed_ones = dict.fromkeys(ageing_s, 0)
        live: dict[int, list[tuple[int, int, bytes]]] = {bridge_id: [] for bridge_id in ageing_s}
        for key, value in self._map.items():
            bridge_id = layout.FDB_KEY.unpack(key)[0]
            port_id, fixed, used = layout.FDB_ENTRY.unpack(value)
            if bridge_id not in live:
                gone.append(key)
            elif fixed:
                fixed_ones[bridge_id] += 1
            elif now - used > ageing_s[bridge_id] * 1e9:
                gone.append(key)
                self._removed(bridge_id).expired += 1
            else:
                live[bridge_id].append((port_id, used, key))
        for bridge_id, entries in live.items():
            evicted = _surplus(entries, limits[bridge_id], fixed_ones[bridge_id])
            if evicted:
                gone.extend(evicted)
                self._removed(bridge_id).evicted += len(evicted)
                entries[:] = [entry for entry in entries if entry[2] not in evicted]
        self._map.delete_all(gone)
        return {
            bridge_id: len(entries) + fixed_ones[bridge_id] for bridge_id, entries in live.items()
        }


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
