"""All connections of the kernel as they lie in its map, for those who go over very many.

Reading a million of them must not cost a Python object a field: batches are
taken apart by `struct`, a zone is picked before anything else is looked at,
and whoever wants one decoded decodes that one (connection.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

from gossamer.datapath import layout
from gossamer.datapath.conntrack.store import KEY_AT, VALUE_AT, Chunks, families
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
_RECORD: Final = Struct("=8x" + layout.CT_TUPLE.format[1:] + layout.CT_CONNECTION.format[1:] + "8x")
_KEY_FIELDS: Final = 7
_PROTO_AT: Final = KEY_AT + 36
_ZONE_AT: Final = KEY_AT + 38
_STATES_AT: Final = (VALUE_AT + 83, VALUE_AT + 95)
"""Bytes of struct ct_record."""
_EXPIRES: Final = 7
"""64-bit word of it."""


@dataclass(frozen=True, slots=True)
class Records:
    """What is there at `now_ns`, of the clock that connections live by."""

    chunks: Chunks
    parents: HashMap
    now_ns: int
    n_slots: int
    """The first ones, in which all of them are."""

    @classmethod
    def of(cls, chunks_fd: int, parents_fd: int, now_ns: int, n_slots: int) -> Records:
        """Over the file descriptors of the two maps.  Raises DatapathError for other maps."""
        size = layout.CT_TUPLE.size
        return cls(Chunks(chunks_fd), HashMap("ct_parents", parents_fd, size, size), now_ns, n_slots)

    def windows(self) -> Iterator[bytes]:
        """The records themselves, some thousands behind each other; those of free slots too."""
        yield from self.chunks.windows(self.n_slots)

    def batches(self, zone: int | None = None) -> Iterator[list[tuple[Key, Value]]]:
        """Connections that live, of all zones or of one; some thousands at a time."""
        now = self.now_ns
        for records in self.windows():
            there = families(records)
            if there.count(0) == len(there):
                continue
            if zone is None:
                flat = _RECORD.iter_unpack(records)
            else:
                flat = iter(
                    [
                        _RECORD.unpack_from(records, i * layout.CT_RECORD_SIZE)
                        for i, its_zone in enumerate(zones(records))
                        if its_zone == zone
                    ]
                )
            yield [
                (one[:_KEY_FIELDS], one[_KEY_FIELDS:])
                for one in flat
                if one[_KEY_FIELDS - 2] and one[_KEY_FIELDS + EXPIRES] > now
            ]

    def states(self, zone: int | None = None) -> Iterator[tuple[int, int, int]]:
        """Of each connection that lives, of all zones or of one, its protocol and both sides' states."""
        now, size = self.now_ns, layout.CT_RECORD_SIZE
        for records in self.windows():
            there = families(records)
            if there.count(0) == len(there):
                continue
            expires = memoryview(records).cast("Q")[_EXPIRES :: size // 8].tolist()
            for is_one, time_ns, its_zone, proto, state0, state1 in zip(
                there,
                expires,
                zones(records),
                *(records[at::size] for at in (_PROTO_AT, *_STATES_AT)),
                strict=True,
            ):
                if is_one and time_ns > now and zone in (None, its_zone):
                    yield proto, state0, state1

    def parent(self, key: Key) -> Key | None:
        """The originator's tuple of the connection whose helper expected this one."""
        raw = self.parents.get(layout.CT_TUPLE.pack(*key))
        return layout.CT_TUPLE.unpack(raw) if raw is not None else None

    def seconds_left(self, value: Value) -> float:
        """How long a connection lives if no packet comes."""
        return max(0.0, float(value[EXPIRES] - self.now_ns) / NS_PER_S)


def unpacked(records: bytes, i: int) -> tuple[Key, Value]:
    """The i-th of records that lie behind each other."""
    one = _RECORD.unpack_from(records, i * layout.CT_RECORD_SIZE)
    return one[:_KEY_FIELDS], one[_KEY_FIELDS:]


def zones(records: bytes) -> memoryview:
    """The zones of records that lie behind each other."""
    return memoryview(records).cast("H")[_ZONE_AT // 2 :: layout.CT_RECORD_SIZE // 2]
