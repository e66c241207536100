"""Learned addresses: read, flush, sweep.  Learning itself is the kernel's (bpf/normal.h)."""

from __future__ import annotations

import time
from collections import Counter

from gossamer.datapath import layout
from gossamer.datapath.maps import HashMap
from gossamer.datapath.settings import FdbEntry


class Fdb:
    """The `fdb` map."""

    def __init__(self, entries: HashMap) -> None:
        self._map = entries

    def entries(self, bridge_id: int, ageing_s: float) -> list[FdbEntry]:
        """What a bridge has learned, without what is too old."""
        now = time.monotonic_ns()
        found: list[FdbEntry] = []
        for key, value in self._map.items():
            bridge, mac, vlan, _ = layout.FDB_KEY.unpack(key)
            port_id, _, used = layout.FDB_ENTRY.unpack(value)
            age_s = max(0, now - used) / 1e9
            if bridge == bridge_id and age_s <= ageing_s:
                found.append(FdbEntry(vlan, mac, port_id, age_s))
        return found

    def flush(self, bridge_id: int, port_id: int | None = None) -> int:
        """Forget a bridge's addresses, or those behind one port; returns how many are left."""
        gone: list[bytes] = []
        left = 0
        for key, value in self._map.items():
            if layout.FDB_KEY.unpack(key)[0] != bridge_id:
                continue
            if port_id is None or layout.FDB_ENTRY.unpack(value)[0] == port_id:
                gone.append(key)
            else:
                left += 1
        self._map.delete_all(gone)
        return left

    def sweep(self, ageing_s: dict[int, float], limits: dict[int, int]) -> dict[int, int]:
        """Remove what is too old, and, in a full table, the oldest of the port that has most.

        Returns how many each bridge has left.  Making room at the expense of
        the greediest port keeps one host's flood of addresses from pushing
        out everybody else's.
        """
        now = time.monotonic_ns()
        gone: list[bytes] = []
        live: dict[int, list[tuple[int, int, bytes]]] = {bridge_id: [] for bridge_id in ageing_s}
        for key, value in self._map.items():
            bridge_id = layout.FDB_KEY.unpack(key)[0]
            port_id, _, used = layout.FDB_ENTRY.unpack(value)
            if bridge_id not in live or now - used > ageing_s[bridge_id] * 1e9:
                gone.append(key)
            else:
                live[bridge_id].append((port_id, used, key))
        for bridge_id, entries in live.items():
            limit = limits[bridge_id]
            if len(entries) < limit or not entries:
                continue
            room = max(1, limit // 16)
            for _ in range(len(entries) - limit + room):
                greedy = Counter(port_id for port_id, _, _ in entries).most_common(1)[0][0]
                theirs = [entry for entry in entries if entry[0] == greedy]
                theirs.sort(key=lambda entry: entry[1])
                cut = min(len(theirs), len(entries) - limit + room)
                drop = {key for _, _, key in theirs[:cut]}
                gone.extend(drop)
                entries[:] = [entry for entry in entries if entry[2] not in drop]
                if len(entries) <= limit - room or not entries:
                    break
        self._map.delete_all(gone)
        return {bridge_id: len(entries) for bridge_id, entries in live.items()}
