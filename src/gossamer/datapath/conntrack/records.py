"""All connections of the kernel as they lie in its map, for those who go over very many.

Reading a million of them must not cost a Python object a field: batches are
taken apart by `struct`, a zone is picked before anything else is looked at,
and whoever wants one decoded decodes that one (connection.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from gossamer.datapath import layout
from gossamer.datapath.maps import HashMap
from gossamer.pipeline.conntrack.timeouts import NS_PER_S

Key = tuple[bytes, bytes, bytes, bytes, int, int, int]
"""struct ct_tuple: src, dst, sport, dport, proto, family, zone."""
Value = tuple[Any, ...]
"""struct ct_connection, in its order."""

EXPIRES: Final = 2
"""Place in a Value."""
ZONE: Final = 6
"""Place in a Key."""
_EXPIRES_WORD: Final = 1
"""64-bit word of struct ct_connection."""


@dataclass(frozen=True, slots=True)
class Records:
    """What is there at `now_ns`, of the clock that connections live by."""

    connections: HashMap
    parents: HashMap
    now_ns: int

    @classmethod
    def of(cls, connections_fd: int, parents_fd: int, now_ns: int) -> Records:
        """Over the file descriptors of the two maps.  Raises DatapathError for other maps."""
        size = layout.CT_TUPLE.size
        return cls(
            HashMap("ct_connections", connections_fd, size, layout.CT_CONNECTION.size),
            HashMap("ct_parents", parents_fd, size, size),
            now_ns,
        )

    def batches(self, zone: int | None = None) -> Iterator[list[tuple[Key, Value]]]:
        """Connections that live, of all zones or of one; some thousands at a time."""
        now = self.now_ns
        for keys, values in self.connections.batches():
            if zone is None:
                pairs = zip(
                    layout.CT_TUPLE.iter_unpack(keys),
                    layout.CT_CONNECTION.iter_unpack(values),
                    strict=True,
                )
                yield [pair for pair in pairs if pair[1][EXPIRES] > now]
            else:
                yield list(self._of_zone(keys, values, zone))

    def _of_zone(self, keys: bytes, values: bytes, zone: int) -> Iterator[tuple[Key, Value]]:
        expires = memoryview(values).cast("Q")[_EXPIRES_WORD :: layout.CT_CONNECTION.size // 8]
        for i, its_zone in enumerate(zones(keys)):
            if its_zone == zone and expires[i] > self.now_ns:
                yield (
                    layout.CT_TUPLE.unpack_from(keys, i * layout.CT_TUPLE.size),
                    layout.CT_CONNECTION.unpack_from(values, i * layout.CT_CONNECTION.size),
                )

    def parent(self, key: Key) -> Key | None:
        """The originator's tuple of the connection whose helper expected this one."""
        raw = self.parents.get(layout.CT_TUPLE.pack(*key))
        return layout.CT_TUPLE.unpack(raw) if raw is not None else None

    def seconds_left(self, value: Value) -> float:
        """How long a connection lives if no packet comes."""
        return max(0.0, float(value[EXPIRES] - self.now_ns) / NS_PER_S)


def zones(keys: bytes) -> memoryview:
    """The zones of keys that lie behind each other."""
    half = layout.CT_TUPLE.size // 2
    return memoryview(keys).cast("H")[half - 1 :: half]
