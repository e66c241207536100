"""What the datapath in memory has for connections, addresses and packets."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from types import SimpleNamespace

from gossamer.datapath.settings import (
    FdbEntry,
    FdbTotals,
    Punt,
)
from gossamer.pipeline.conntrack.timeouts import DEFAULTS


class FakeZones:
    """Policies by number, zones with their policy and limit."""

    def __init__(self) -> None:
        self.written: dict[int, dict[str, int]] = {}
        self.of: dict[int, int] = {}
        """Zone -> number of its policy."""
        self.limits: dict[int, int] = {}

    def timeouts(self, policy: int) -> dict[str, int]:
        return {**DEFAULTS, **self.written.get(policy, {})}

    def set_timeouts(self, policy: int, timeouts_s: dict[str, int]) -> None:
        self.written[policy] = timeouts_s

    def policies(self) -> dict[int, int]:
        return {zone: policy for zone, policy in self.of.items() if policy}

    def set_policy(self, zone: int, policy: int) -> None:
        self.of[zone] = policy

    def set_limit(self, zone: int, limit: int | None) -> None:
        if limit is None:
            self.limits.pop(zone, None)
        else:
            self.limits[zone] = limit


class FakeConntrack:
    """Settings of connection tracking, and which zones were flushed."""

    def __init__(self) -> None:
        self.zones = FakeZones()
        self.config = SimpleNamespace(default_limit=0)
        self.count = 0
        self.flushed: list[int | None] = []

    def flushing(self, zone: int | None = None, fits: object = None) -> Iterator[int]:
        self.flushed.append(zone)
        yield 0


class FakeFdb:
    """Addresses of bridges, by number, and what was asked of them."""

    def __init__(self) -> None:
        self.known: defaultdict[int, list[FdbEntry]] = defaultdict(list)
        self.forgotten: Counter[int] = Counter()
        self.taught: list[tuple[int, int, int, bytes]] = []
        self.flushed: list[tuple[int, int | None]] = []

    def entries(self, bridge_id: int) -> list[FdbEntry]:
        return self.known[bridge_id]

    def learn(self, bridge_id: int, port_id: int, vlan: int, mac: bytes) -> None:
        self.taught.append((bridge_id, port_id, vlan, mac))

    def put(self, bridge_id: int, port_id: int, vlan: int, mac: bytes) -> None:
        self.delete(bridge_id, vlan, mac)
        self.known[bridge_id].append(FdbEntry(vlan, mac, port_id, 0.0, fixed=True))

    def delete(self, bridge_id: int, vlan: int, mac: bytes) -> bool:
        before = self.known[bridge_id]
        left = [e for e in before if (e.vlan, e.mac, e.fixed) != (vlan, mac, True)]
        self.known[bridge_id] = left
        return len(left) < len(before)

    def _n_learned(self, bridge_id: int) -> int:
        return sum(1 for e in self.known[bridge_id] if not e.fixed)

    def totals(self, bridge_id: int) -> FdbTotals:
        return FdbTotals(self._n_learned(bridge_id) - self.forgotten[bridge_id])

    def clear_totals(self, bridge_id: int) -> None:
        self.forgotten[bridge_id] = self._n_learned(bridge_id)

    def flush(self, bridge_id: int, port_id: int | None = None) -> None:
        self.flushed.append((bridge_id, port_id))
        self.known[bridge_id] = [e for e in self.known[bridge_id] if e.fixed]


class FakePackets:
    """Punts that are to be read, and what was sent or let in."""

    def __init__(self) -> None:
        self.punts: list[Punt] = []
        self.sent: list[tuple[int, bytes]] = []
        self.injected: list[tuple[int, bytes]] = []
        self.fd, self._write_fd = os.pipe()
        os.set_blocking(self.fd, False)

    @property
    def are_here(self) -> bool:
        return bool(self.punts)

    def read(self) -> list[Punt]:
        punts, self.punts = self.punts, []
        return punts

    def run_at(self, port_id: int, packet: bytes) -> list[Punt]:
        self.injected.append((port_id, packet))
        return []

    def let_go_on(self, punt: Punt, packet: bytes) -> None:
        self.injected.append((punt.in_port_id, packet))

    def transmit(self, port_id: int, packet: bytes) -> None:
        self.sent.append((port_id, packet))

    def close(self) -> None:
        os.close(self.fd)
        os.close(self._write_fd)
