"""Connections in the kernel (bpf/conntrack.h): read, found, removed; docs/conntrack.md has the rules.

The kernel makes, moves and expires connections by itself.  The daemon reads
them, removes some, and says how many there may be and how long they live.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from gossamer.datapath import layout
from gossamer.datapath.conntrack.config import Config
from gossamer.datapath.conntrack.connection import Connection, decode
from gossamer.datapath.conntrack.events import Events
from gossamer.datapath.conntrack.expectations import Expectations
from gossamer.datapath.conntrack.nat_rules import NatRules
from gossamer.datapath.conntrack.records import Records, zones
from gossamer.datapath.conntrack.room import Room
from gossamer.datapath.conntrack.sequences import Sequences
from gossamer.datapath.conntrack.store import (
    KEY_AT,
    SLOTS_AT_ONCE,
    VALUE_AT,
    ConnectionStore,
    families,
)
from gossamer.datapath.conntrack.tuple import canonical, pack
from gossamer.datapath.conntrack.zones import Zones
from gossamer.datapath.layout import CtFlag
from gossamer.datapath.maps import HashMap, MappedArray, PerCpuArray
from gossamer.pipeline.conntrack.tuple import Tuple

_FLAGS_AT: Final = 134
"""Byte of struct ct_connection."""
_DECODED_AT_ONCE: Final = 256
"""Connections that take some milliseconds one by one."""
_N, _EXPECTATIONS, _FRAGMENTS = 0, 48, 64
"""32-bit words of struct ct_shared."""


class Conntrack:
    """All connections, and what belongs to them.

    `forget_fd` is the program that removes some, `inherit_fd` the one that takes over others': without
    them they can only be read.
    """

    def __init__(self, fds: dict[str, int], forget_fd: int = -1, inherit_fd: int = -1) -> None:
        def hashed(name: str, value: int) -> HashMap:
            return HashMap(name, fds[name], layout.CT_TUPLE.size, value)

        def array(name: str, size: int, entries: int) -> MappedArray:
            return MappedArray(name, fds[name], size, entries)

        self._parents = hashed("ct_parents", layout.CT_TUPLE.size)
        self._shared = array("ct_shared", layout.CT_SHARED.size, 1)
        self._counters = PerCpuArray("ct_counters", fds["ct_counters"], 8, len(layout.CT_COUNTS))
        self.config = Config(array("ct_config", layout.CT_CONFIG.size, 1))
        self.zones = Zones(
            array("ct_zones", layout.CT_ZONE.size, layout.CT_ZONES),
            array("ct_timeouts", layout.CT_POLICY.size, layout.CT_POLICIES),
            self.config,
        )
        self.expectations = Expectations(
            hashed("ct_expectations", layout.CT_EXPECTATION.size), self._count_expectation
        )
        self.sequences = Sequences(hashed("ct_sequences", layout.CT_SEQUENCES.size))
        self.events = Events(fds["ct_events"], self.config)
        self.nat_rules = NatRules(
            HashMap("ct_nat_rules", fds["ct_nat_rules"], 4, layout.CT_NAT_RULE.size)
        )
        self.store = ConnectionStore(
            fds["ct_index"], fds["ct_chunks"], self.config.index_secrets, forget_fd, inherit_fd
        )
        self.room = Room(self.store.chunks, self.config, self._shared)

    def close(self) -> None:
        """Let go of the maps."""
        self.room.close()
        self.store.close()
        self.events.close()
        self.zones.close()
        self.config.close()
        self._shared.close()

    @property
    def count(self) -> int:
        """Connections there are, those included whose time is up but that nobody has removed."""
        return int(self._shared.words32[_N])

    @property
    def n_fragments(self) -> int:
        """Fragments of datagrams that are not whole; for 15 to 20 seconds after a datagram began."""
        now = self.config.now_ns() // layout.CT_FRAGMENT_EPOCH_NS
        words = self._shared.words32[_FRAGMENTS : _FRAGMENTS + 2 * layout.CT_FRAGMENT_EPOCHS]
        n = sum(
            n
            for epoch, n in zip(words[::2], words[1::2], strict=True)
            if now - epoch < layout.CT_FRAGMENT_EPOCHS
        )
        # Some that were lost may have been taken off (load_fragments(), bpf/fragment.h).
        return 0 if n & 0x80000000 else n & 0xFFFFFFFF

    def counters(self) -> dict[str, int]:
        """What happened since the maps were made, by the names of layout.CT_COUNTS."""
        return {
            name: self._counters.sums(i)[0] for i, name in enumerate(layout.CT_COUNTS)
        }

    def connections(self, zone: int | None = None) -> Iterator[Connection]:
        """All connections, or those of a zone; what changes meanwhile may or may not be seen.

        Those whose time is up are left out, though the kernel may not have removed them yet.
        """
        now = self.config.now_ns()
        for records in self.store.chunks.windows(self.room.top):
            for key, value in _pairs(records, zone):
                found = self._decode(key, value, now)
                if found.timeout_s > 0:
                    yield found

    def records(self) -> Records:
        """All connections as they lie in the kernel, for those who go over very many."""
        now = self.config.now_ns()
        return Records(self.store.chunks, self._parents, now, self.room.top)

    def find(self, packet: Tuple) -> Connection | None:
        """The connection that a packet of this tuple belongs to, in either direction."""
        now = self.config.now_ns()
        for key in (
            pack(canonical(packet)[0]),
            pack(packet, layout.CT_TRANSLATED),
            pack(packet, layout.CT_ALIAS),
        ):
            pair = self.store.get(key)
            if pair is not None:
                found = self._decode(*pair, now)
                if found.timeout_s > 0:
                    return found
        return None

    def remove(self, connection: Connection) -> bool:
        """Remove a connection; False where it was gone already."""
        return bool(self.store.forget([connection.key]))

    def flush(self, zone: int | None = None) -> int:
        """Remove all connections, or those of a zone; how many there were."""
        return sum(self.flushing(zone))

    def flushing(
        self, zone: int | None = None, fits: Callable[[Connection], bool] | None = None
    ) -> Iterator[int]:
        """Remove all connections, those of a zone, or those that fit; a part at each step.

        A step takes a few milliseconds at most, and says how many it removed.
        """
        if fits is not None:
            yield from self._removing_what_fits(zone, fits)
            return
        for first in range(0, top := self.room.top, SLOTS_AT_ONCE):
            yield self.store.forget_slots(range(first, min(first + SLOTS_AT_ONCE, top)), zone)

    def _removing_what_fits(
        self, zone: int | None, fits: Callable[[Connection], bool]
    ) -> Iterator[int]:
        now = self.config.now_ns()
        for records in self.store.chunks.windows(self.room.top):
            pairs = _pairs(records, zone)
            while part := list(islice(pairs, _DECODED_AT_ONCE)):
                found = [self._decode(key, value, now) for key, value in part]
                yield self.store.forget([c.key for c in found if c.timeout_s > 0 and fits(c)])
            yield 0

    def _count_expectation(self) -> None:
        self._shared.words32[_EXPECTATIONS] += 1

    def flush_tuple(self, packet: Tuple) -> bool:
        """Remove the connection that a packet of this tuple belongs to; False where none is."""
        found = self.find(packet)
        return found is not None and self.remove(found)

    def sweeping(self, parts: int) -> Iterator[int]:
        """Remove connections whose time is up, of about the next slots: the n-th part of all.

        A step takes 0.15 ms at most, and says how many it removed.  The
        kernel removes them itself where it needs the room; this keeps counts
        exact.
        """
        self.room.draw_together()
        for slots in self.room.walk(parts):
            n, behind = self.store.expire_slots(slots)
            self.room.saw(behind)
            yield n

    def _decode(self, key: bytes, value: bytes, now_ns: int) -> Connection:
        expected = value[_FLAGS_AT] & CtFlag.EXPECTED
        return decode(key, value, now_ns, self._parents.get(key) if expected else None)


def _pairs(records: bytes, zone: int | None) -> Iterator[tuple[bytes, bytes]]:
    """Keys and connections in records that lie behind each other; of one zone, or all."""
    its_zone = zones(records)
    for i, is_one in enumerate(families(records)):
        if is_one and (zone is None or its_zone[i] == zone):
            at = i * layout.CT_RECORD_SIZE
            value = at + VALUE_AT
            yield records[at + KEY_AT : value], records[value : value + layout.CT_CONNECTION.size]
