"""Connections in the kernel (bpf/conntrack.h): read, found, removed; docs/conntrack.md has the rules.

The kernel makes, moves and expires connections by itself.  The daemon reads
them, removes some, and says how many there may be and how long they live.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

from gossamer.datapath import layout
from gossamer.datapath.conntrack.config import Config
from gossamer.datapath.conntrack.connection import TRANSLATED, Connection, decode
from gossamer.datapath.conntrack.events import Event, Events, EventType
from gossamer.datapath.conntrack.expectations import Expectations
from gossamer.datapath.conntrack.nat_rules import NatRules
from gossamer.datapath.conntrack.records import Records, zones
from gossamer.datapath.conntrack.sequences import Sequences
from gossamer.datapath.conntrack.tuple import canonical, pack
from gossamer.datapath.conntrack.zones import Zones
from gossamer.datapath.layout import CtFlag
from gossamer.datapath.maps import HashMap, MappedArray, PerCpuArray
from gossamer.pipeline.conntrack.tuple import Tuple

_FLAGS_AT, _ALG_AT = 134, 135
"""Bytes of struct ct_connection."""
_BOUND_FLAGS: Final = bytes(
    flags & int(TRANSLATED | CtFlag.EXPECTED) for flags in range(256)
)
"""Not 0 for flags of connections that other maps have something of."""
_EXPIRES: Final = 1
"""64-bit word of struct ct_connection."""
_FLUSH_BATCH: Final = 2048
_DECODED_AT_ONCE: Final = 256
"""Connections that take some milliseconds one by one."""
_N, _REMOVED, _TRANSLATED_REMOVED, _EXPECTATIONS = 0, 48, 49, 50
"""32-bit words of struct ct_shared."""


class Conntrack:
    """All connections, and what belongs to them."""

    def __init__(self, fds: dict[str, int]) -> None:
        def hashed(name: str, value: int) -> HashMap:
            return HashMap(name, fds[name], layout.CT_TUPLE.size, value)

        def array(name: str, size: int, entries: int) -> MappedArray:
            return MappedArray(name, fds[name], size, entries)

        self._connections = hashed("ct_connections", layout.CT_CONNECTION.size)
        self._aliases = hashed("ct_aliases", layout.CT_TUPLE.size)
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
        self._walk = self._connections.batches()

    def close(self) -> None:
        """Let go of the maps."""
        self.events.close()
        self.zones.close()
        self.config.close()
        self._shared.close()

    @property
    def count(self) -> int:
        """Connections there are, those included whose time is up but that nobody has removed."""
        words = self._shared.words32
        return int(words[_N] - words[_REMOVED]) & 0xFFFFFFFF

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
        for key, value in self._connections.items():
            if zone is not None and int.from_bytes(key[38:40], "little") != zone:
                continue
            found = self._decode(key, value, now)
            if found.timeout_s > 0:
                yield found

    def records(self) -> Records:
        """All connections as they lie in the kernel, for those who go over very many."""
        return Records(self._connections, self._parents, self.config.now_ns())

    def find(self, packet: Tuple) -> Connection | None:
        """The connection that a packet of this tuple belongs to, in either direction."""
        now = self.config.now_ns()
        for key in self._keys(packet):
            value = self._connections.get(key)
            if value is not None:
                found = self._decode(key, value, now)
                if found.timeout_s > 0:
                    return found
        return None

    def remove(self, connection: Connection) -> bool:
        """Remove a connection; False where it was gone already."""
        if not self._remove(connection.key, connection.reply, connection.flags):
            return False
        if self.events.tells_gone:
            # The kernel tells only of those that it removes itself.
            self.events.add(
                Event(
                    self.config.now_ns() / 1e9,
                    EventType.GONE,
                    0,
                    connection.orig,
                    connection.mark,
                    connection.flags,
                    connection.n_packets,
                    connection.n_bytes,
                )
            )
        return True

    def flush(self, zone: int | None = None) -> int:
        """Remove all connections, or those of a zone; how many there were."""
        return sum(self.flushing(zone))

    def flushing(
        self, zone: int | None = None, fits: Callable[[Connection], bool] | None = None
    ) -> Iterator[int]:
        """Remove all connections, those of a zone, or those that fit; a part at each step.

        A step takes some milliseconds, and says how many it removed.
        """
        if fits is not None:
            yield from self._removing_what_fits(zone, fits)
            return
        plain: defaultdict[int, list[bytes]] = defaultdict(list)
        key_size, value_size = layout.CT_TUPLE.size, layout.CT_CONNECTION.size
        for keys, values in self._connections.batches():
            n = 0
            bound = self._bound(values)
            for i, its_zone in enumerate(zones(keys)):
                if zone is not None and zone != its_zone:
                    continue
                key = keys[i * key_size : (i + 1) * key_size]
                if bound[i]:
                    value = values[i * value_size : (i + 1) * value_size]
                    n += self.remove(self._decode(key, value, 0))
                else:
                    plain[its_zone].append(key)
            yield n
            for its_zone, those in plain.items():
                while len(those) >= _FLUSH_BATCH:
                    yield self._remove_plain(its_zone, those[:_FLUSH_BATCH])
                    del those[:_FLUSH_BATCH]
        for its_zone, those in plain.items():
            yield self._remove_plain(its_zone, those)

    def _removing_what_fits(
        self, zone: int | None, fits: Callable[[Connection], bool]
    ) -> Iterator[int]:
        n = 0
        for seen, connection in enumerate(self.connections(zone), 1):
            if fits(connection):
                n += self.remove(connection)
            if not seen % _DECODED_AT_ONCE:
                yield n
                n = 0
        yield n

    def _bound(self, values: bytes) -> bytes:
        """Of values behind each other: not 0 for those that are not removed by their key alone."""
        if self.events.tells_gone:
            return b"\1" * (len(values) // layout.CT_CONNECTION.size)
        flags = values[_FLAGS_AT :: layout.CT_CONNECTION.size].translate(_BOUND_FLAGS)
        helpers = values[_ALG_AT :: layout.CT_CONNECTION.size]
        if not any(helpers):
            return flags
        return bytes(a | b for a, b in zip(flags, helpers, strict=True))

    def _remove_plain(self, zone: int, keys: list[bytes]) -> int:
        """Remove connections that nothing else refers to."""
        n = self._connections.delete_all(keys)
        self._count_removed(zone, n)
        return n

    def _count_removed(self, zone: int, n: int) -> None:
        words = self._shared.words32
        words[_REMOVED] = words[_REMOVED] + n & 0xFFFFFFFF
        self.zones.count_removed(zone, n)

    def _count_expectation(self) -> None:
        self._shared.words32[_EXPECTATIONS] += 1

    def flush_tuple(self, packet: Tuple) -> bool:
        """Remove the connection that a packet of this tuple belongs to; False where none is."""
        found = self.find(packet)
        return found is not None and self.remove(found)

    def sweeping(self, limit: int) -> Iterator[int]:
        """Remove connections whose time is up, of about the next `limit`; some at each step.

        A step takes some milliseconds, and says how many it removed.  The
        kernel removes them itself where it needs the room; this keeps counts
        exact.  What is gone over goes on where it ended the last time.
        """
        seen = 0
        key_size, value_size = layout.CT_TUPLE.size, layout.CT_CONNECTION.size
        while seen < limit:
            batch = next(self._walk, None)
            if batch is None:
                self._walk = self._connections.batches()
                return
            keys, values = batch
            now = self.config.now_ns()
            expires = memoryview(values).cast("Q")[_EXPIRES :: value_size // 8].tolist()
            seen += len(expires)
            over = [i for i, time_ns in enumerate(expires) if time_ns <= now]
            yield 0
            for at in range(0, len(over), _DECODED_AT_ONCE):
                yield sum(
                    self._sweep(keys[i * key_size : (i + 1) * key_size])
                    for i in over[at : at + _DECODED_AT_ONCE]
                )

    def _sweep(self, key: bytes) -> bool:
        """Remove a connection if its time is up still: another one may have its key by now."""
        value = self._connections.get(key)
        now = self.config.now_ns()
        if value is None or int.from_bytes(value[8:16], "little") > now:
            return False
        if any(self._bound(value)):
            return self.remove(self._decode(key, value, now))
        return bool(self._remove_plain(int.from_bytes(key[38:40], "little"), [key]))

    def _keys(self, packet: Tuple) -> Iterator[bytes]:
        yield pack(canonical(packet)[0])
        yield pack(packet, layout.CT_TRANSLATED)
        alias = self._aliases.get(pack(packet))
        if alias is not None:
            yield alias

    def _remove(self, key: bytes, reply: Tuple, flags: CtFlag) -> bool:
        if not self._connections.delete(key):
            return False
        zone = int.from_bytes(key[38:40], "little")
        self._count_removed(zone, 1)
        if flags & TRANSLATED:
            self._aliases.delete(pack(reply))
            self._shared.words32[_TRANSLATED_REMOVED] += 1
        if flags & CtFlag.EXPECTED:
            self._parents.delete(key)
        self.sequences.forget(key)
        return True

    def _decode(self, key: bytes, value: bytes, now_ns: int) -> Connection:
        expected = value[_FLAGS_AT] & CtFlag.EXPECTED
        return decode(key, value, now_ns, self._parents.get(key) if expected else None)
