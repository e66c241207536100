"""Connections in memory, as ConntrackCommands ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

from gossamer.datapath import layout
from gossamer.datapath.conntrack.connection import Connection, Peer
from gossamer.datapath.conntrack.records import Key, Records, Value
from gossamer.datapath.conntrack.tuple import pack
from gossamer.datapath.conntrack.zones import ZoneLimit
from gossamer.datapath.layout import CtFlag
from gossamer.errors import DatapathError
from gossamer.pipeline.conntrack.tuple import Tuple


def direction(
    src: str, dst: str, proto: int, sport: int = 0, dport: int = 0, zone: int = 0
) -> Tuple:
    return Tuple(ip_address(src).packed, ip_address(dst).packed, proto, sport, dport, zone)


def connection(orig: Tuple, reply: Tuple | None = None, **others: Any) -> Connection:
    values: dict[str, Any] = {
        "flags": CtFlag(0), "mark": 0, "label": 0, "timeout_s": 29.9, "age_s": 1.0,
        "n_packets": (0, 0), "n_bytes": (0, 0), "peers": None, "policy": 0, "alg": 0,
        "parent": None, "key": pack(orig),
    }  # fmt: skip
    return Connection(orig=orig, reply=reply or orig.reversed(), **{**values, **others})


def peers(first: str, second: str) -> tuple[Peer, Peer]:
    return Peer(first, 7, True, False), Peer(second, 0, False, True)


NOW_NS = 10**12


def peer_fields(peer: Peer | None) -> tuple[int, ...]:
    if peer is None:
        return (0,) * 5
    flags = peer.wscale_known * layout.CT_WSCALE_FLAG | peer.liberal * layout.CT_WSCALE_UNKNOWN
    return 0, 0, 0, flags | peer.wscale, layout.CT_TCP_STATES.index(peer.state)


def record(c: Connection) -> tuple[Key, Value]:
    """As it would lie in the kernel at NOW_NS."""
    key = layout.CT_TUPLE.unpack(pack(c.orig))
    packets, n_bytes = c.n_packets, c.n_bytes
    expires = NOW_NS + int(c.timeout_s * 1e9)
    values = (
        0, 0, expires, *packets, *n_bytes, NOW_NS // 10**9 - int(c.age_s),
        c.mark.to_bytes(4, "big"), c.label.to_bytes(16, "big"),
        *(f for peer in c.peers or (None, None) for f in peer_fields(peer)),
        *layout.CT_TUPLE.unpack(pack(c.reply))[:4], 0,
        int(c.flags | (CtFlag.EXPECTED if c.parent else CtFlag(0))), c.alg,
    )  # fmt: skip
    return key, layout.CT_CONNECTION.unpack(layout.CT_CONNECTION.pack(*values))


class FakeRecords(Records):
    """Records that lie nowhere."""

    connections: list[Connection]

    def __init__(self, connections: list[Connection]) -> None:
        object.__setattr__(self, "now_ns", NOW_NS)
        object.__setattr__(self, "n_slots", 0)
        object.__setattr__(self, "connections", connections)

    def windows(self) -> Iterator[bytes]:
        yield bytes(layout.CT_RECORD_SIZE)
        for c in self.connections:
            key, value = record(c)
            raw = bytes(8) + layout.CT_TUPLE.pack(*key) + layout.CT_CONNECTION.pack(*value)
            yield raw.ljust(layout.CT_RECORD_SIZE, b"\0")

    def batches(self, zone: int | None = None) -> Iterator[list[tuple[Key, Value]]]:
        for c in self.connections:
            if zone in (None, c.zone):
                yield [record(c)]

    def parent(self, key: Key) -> Key | None:
        found = [c.parent for c in self.connections if record(c)[0] == key]
        return layout.CT_TUPLE.unpack(pack(found[0])) if found[0] else None


class FakeConfig:
    """Settings in memory."""

    def __init__(self) -> None:
        self.sequence_check = True
        self.default_limit = 0
        self._maximum = 1000

    @property
    def maximum(self) -> int:
        return self._maximum

    @maximum.setter
    def maximum(self, n: int) -> None:
        if n > 5000:
            raise DatapathError("too many")
        self._maximum = n


class FakeZones:
    """Limits in memory."""

    def __init__(self, connections: list[Connection], config: FakeConfig) -> None:
        self._connections = connections
        self._config = config
        self._limits: dict[int, int] = {}

    def limit(self, zone: int) -> ZoneLimit:
        own = zone in self._limits
        n = sum(c.zone == zone for c in self._connections)
        return ZoneLimit(self._limits.get(zone, self._config.default_limit), n, own)

    def set_limit(self, zone: int, limit: int | None) -> None:
        if limit is None:
            self._limits.pop(zone, None)
        else:
            self._limits[zone] = limit

    def limited(self) -> dict[int, ZoneLimit]:
        return {zone: self.limit(zone) for zone in self._limits}


class FakeConntrack:
    """Connections in memory."""

    def __init__(self, *connections: Connection) -> None:
        self.all = list(connections)
        self.config = FakeConfig()
        self.zones = FakeZones(self.all, self.config)

    def records(self) -> Records:
        return FakeRecords(self.all)

    def find(self, t: Tuple) -> Connection | None:
        return next((c for c in self.all if t in (c.orig, c.reply)), None)

    def remove(self, c: Connection) -> bool:
        self.all.remove(c)
        return True

    def flushing(
        self, zone: int | None = None, fits: Callable[[Connection], bool] = lambda c: True
    ) -> Iterator[int]:
        for c in [c for c in self.all if zone in (None, c.zone) and fits(c)]:
            yield self.remove(c)

    @property
    def count(self) -> int:
        return len(self.all)
