"""Connections in the kernel (bpf/conntrack.h): read, removed, limited; docs/conntrack.md has the rules.

The kernel makes, moves and expires connections by itself.  The daemon reads
them, removes some, and says how many there may be and how long they live.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from gossamer.datapath import layout
from gossamer.datapath.ct_records import Records, zones
from gossamer.datapath.ct_tuple import canonical, pack, unpack
from gossamer.datapath.layout import CtConfigFlag, CtFlag
from gossamer.datapath.maps import HashMap, MappedArray, PerCpuArray, Ring
from gossamer.datapath.nat_rules import NatRules
from gossamer.errors import DatapathError
from gossamer.pipeline.conntrack.timeouts import DEFAULTS
from gossamer.pipeline.conntrack.tuple import Tuple


@dataclass(frozen=True, slots=True)
class Peer:
    """A side of a TCP connection; `state` is a name of layout.CT_TCP_STATES."""

    state: str
    wscale: int
    """0 to 14."""
    wscale_known: bool
    """Its SYN had a window scale."""
    liberal: bool
    """Its SYN was not seen, so windows are taken for the widest there are."""


@dataclass(frozen=True, slots=True)
class Connection:
    """What the kernel keeps of a connection, at the time it was read."""

    orig: Tuple
    """Of the packet that made it."""
    reply: Tuple
    """Of answers; the reverse of `orig` unless addresses are translated."""
    flags: CtFlag
    mark: int
    label: int
    """128 bits."""
    timeout_s: float
    """Seconds that it lives if no packet comes; 0 where its time is up."""
    age_s: float
    n_packets: tuple[int, int]
    """Of the originator, of answers."""
    n_bytes: tuple[int, int]
    peers: tuple[Peer, Peer] | None
    """The originator's and the other; TCP only."""
    policy: int
    alg: int
    """0, 21 (FTP) or 69 (TFTP)."""
    parent: Tuple | None
    """The connection whose helper expected it."""
    key: bytes
    """Where the kernel finds it."""

    @property
    def zone(self) -> int:
        """Its zone."""
        return self.orig.zone


@dataclass(frozen=True, slots=True)
class Expectation:
    """A connection that a helper read of in another one.

    `first` is the tuple of its first packet, with source port 0, and with a
    source address of zeros where that may be any.  With `nat`, answers are
    translated: their destination where `nat_destination`, else their source,
    and then its port too where `nat_port` is not 0.
    """

    first: Tuple
    parent: Tuple
    mark: int = 0
    label: int = 0
    nat: bytes | None = None
    nat_destination: bool = False
    nat_port: int = 0


@dataclass(frozen=True, slots=True)
class SequenceShift:
    """How sequence numbers of one direction of a connection move, where a helper made a text longer
    or shorter: numbers up to and including `until` by `before`, those after it by `after`."""

    until: int = 0
    before: int = 0
    after: int = 0


class EventType(IntEnum):
    """bpf/conntrack.h, enum ct_event_type."""

    NEW = 1
    INVALID = 2
    GONE = 3
    DENIED = 4


@dataclass(frozen=True, slots=True)
class Event:
    """Something the kernel told of a connection; `time_s` on time.monotonic()'s clock."""

    time_s: float
    type: EventType
    in_port_id: int
    """Where the packet came in; 0 for GONE."""
    orig: Tuple
    """Of the originator; of INVALID the packet's own."""
    mark: int
    flags: CtFlag
    n_packets: tuple[int, int]
    n_bytes: tuple[int, int]


@dataclass(frozen=True, slots=True)
class ZoneLimit:
    """Connections a zone may have (0: any number) and has; `own` where the limit is not the
    default one."""

    limit: int
    count: int
    own: bool


_ZONE_LIMIT, _ZONE_COUNT, _ZONE_REMOVED = 0, 1, 3
"""32-bit words of struct ct_zone; between them, 16 bits each, policy and flags."""
_ZONE_WORDS: Final = layout.CT_ZONE.size // 4
_MAX, _DEFAULT_LIMIT, _FLAGS = 0, 1, 2
"""32-bit words of struct ct_config."""
_MIN_FRAGMENT = 6
_NO_FRAGMENTS: Final = (CtConfigFlag.NO_IPV4_FRAGMENTS, CtConfigFlag.NO_IPV6_FRAGMENTS)
_FLAGS_AT, _ALG_AT = 134, 135
"""Bytes of struct ct_connection."""
_REFERRED_TO: Final = int(CtFlag.SRC_NAT | CtFlag.DST_NAT | CtFlag.EXPECTED)
"""Other maps have something of such a connection."""
_BOUND_FLAGS: Final = bytes(flags & _REFERRED_TO for flags in range(256))
_EXPIRES: Final = 1
"""64-bit word of struct ct_connection."""
_FLUSH_BATCH: Final = 2048
_DECODED_AT_ONCE: Final = 256
"""Connections that take some milliseconds one by one."""
_TEST_NOW = 2
"""64-bit word of it."""
_N, _TRANSLATED, _REMOVED, _TRANSLATED_REMOVED, _EXPECTATIONS = 0, 32, 48, 49, 50
"""32-bit words of struct ct_shared."""


class Conntrack:
    """The maps of bpf/conntrack.h."""

    def __init__(self, fds: dict[str, int]) -> None:
        def hashed(name: str, value: int) -> HashMap:
            return HashMap(name, fds[name], layout.CT_TUPLE.size, value)

        def array(name: str, size: int, entries: int) -> MappedArray:
            return MappedArray(name, fds[name], size, entries)

        self._connections = hashed("ct_connections", layout.CT_CONNECTION.size)
        self._aliases = hashed("ct_aliases", layout.CT_TUPLE.size)
        self._parents = hashed("ct_parents", layout.CT_TUPLE.size)
        self._sequences = hashed("ct_sequences", layout.CT_SEQUENCES.size)
        self._expectations = hashed("ct_expectations", layout.CT_EXPECTATION.size)
        self._zones = array("ct_zones", layout.CT_ZONE.size, layout.CT_ZONES)
        self._timeouts = array("ct_timeouts", layout.CT_POLICY.size, layout.CT_POLICIES)
        self._config = array("ct_config", layout.CT_CONFIG.size, 1)
        self._shared = array("ct_shared", layout.CT_SHARED.size, 1)
        self.nat_rules = NatRules(
            HashMap("ct_nat_rules", fds["ct_nat_rules"], 4, layout.CT_NAT_RULE.size)
        )
        self._counters = PerCpuArray(
            "ct_counters", fds["ct_counters"], 8, len(layout.CT_COUNTS)
        )
        self._events_fd = fds["ct_events"]
        self._ring: Ring | None = None
        self._events: list[Event] = []
        self._walk = self._connections.batches()
        if not self._config.words32[_MAX]:
            self._config.words32[_MAX] = layout.MAX_CONNECTIONS
            for policy in range(layout.CT_POLICIES):
                self.set_policy(policy, {})

    def close(self) -> None:
        """Let go of the maps."""
        if self._ring is not None:
            self._ring.close()
        for mapped in (self._zones, self._timeouts, self._config, self._shared):
            mapped.close()

    # -- connections -------------------------------------------------------------------

    def connections(self, zone: int | None = None) -> Iterator[Connection]:
        """All connections, or those of a zone; what changes meanwhile may or may not be seen.

        Those whose time is up are left out, though the kernel may not have removed them yet.
        """
        now = self.now_ns()
        for key, value in self._connections.items():
            if zone is not None and int.from_bytes(key[38:40], "little") != zone:
                continue
            found = self._decode(key, value, now)
            if found.timeout_s > 0:
                yield found

    def records(self) -> Records:
        """All connections as they lie in the kernel, for those who go over very many."""
        return Records(self._connections, self._parents, self.now_ns())

    def find(self, packet: Tuple) -> Connection | None:
        """The connection that a packet of this tuple belongs to, in either direction."""
        now = self.now_ns()
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
        if self._tells_gone:
            # The kernel tells only of those that it removes itself.
            self._events.append(
                Event(
                    self.now_ns() / 1e9,
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

    @property
    def _tells_gone(self) -> bool:
        return bool(self._config.words32[_FLAGS] & CtConfigFlag.TELL_GONE)

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
        if self._tells_gone:
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
        for words, at in (
            (self._shared.words32, _REMOVED),
            (self._zones.words32, zone * _ZONE_WORDS + _ZONE_REMOVED),
        ):
            words[at] = words[at] + n & 0xFFFFFFFF

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
            now = self.now_ns()
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
        now = self.now_ns()
        if value is None or int.from_bytes(value[8:16], "little") > now:
            return False
        if any(self._bound(value)):
            return self.remove(self._decode(key, value, now))
        return bool(self._remove_plain(int.from_bytes(key[38:40], "little"), [key]))

    def now_ns(self) -> int:
        """The clock that connections live by: monotonic, or what a test has set."""
        return int(self._config.words64[_TEST_NOW]) or time.monotonic_ns()

    def set_now_ns(self, now: int) -> None:
        """Set the clock (capturing programs only look there); 0: the kernel's again."""
        self._config.words64[_TEST_NOW] = now

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
        if flags & (CtFlag.SRC_NAT | CtFlag.DST_NAT):
            self._aliases.delete(pack(reply))
            self._shared.words32[_TRANSLATED_REMOVED] += 1
        if flags & CtFlag.EXPECTED:
            self._parents.delete(key)
        self._sequences.delete(key)
        return True

    def _decode(self, key: bytes, value: bytes, now_ns: int) -> Connection:
        (
            _, _, expires, packets0, packets1, bytes0, bytes1, created_s, mark, label,
            _, _, _, wscale0, state0, _, _, _, wscale1, state1,
            src, dst, sport, dport, policy, flag_bits, alg,
        ) = layout.CT_CONNECTION.unpack(value)  # fmt: skip
        flags = CtFlag(flag_bits)
        orig = unpack(key)
        if flags & CtFlag.SWAPPED:
            orig = orig.reversed()
        reply = orig.reversed()
        if flags & (CtFlag.SRC_NAT | CtFlag.DST_NAT):
            length = len(orig.src)
            reply = Tuple(
                src[:length],
                dst[:length],
                orig.proto,
                int.from_bytes(sport, "big"),
                int.from_bytes(dport, "big"),
                orig.zone,
            )
        peers = None
        if orig.proto == 6:
            peers = (_peer(wscale0, state0), _peer(wscale1, state1))
        parent = self._parents.get(key) if flags & CtFlag.EXPECTED else None
        return Connection(
            orig,
            reply,
            flags,
            int.from_bytes(mark, "big"),
            int.from_bytes(label, "big"),
            max(0.0, (expires - now_ns) / 1e9),
            max(0.0, now_ns / 1e9 - created_s),
            (packets0, packets1),
            (bytes0, bytes1),
            peers,
            policy,
            alg,
            unpack(parent) if parent is not None else None,
            key,
        )

    # -- how many, how long --------------------------------------------------------------

    @property
    def count(self) -> int:
        """Connections there are, those included whose time is up but that nobody has removed."""
        words = self._shared.words32
        return int(words[_N] - words[_REMOVED]) & 0xFFFFFFFF

    @property
    def maximum(self) -> int:
        """How many there may be."""
        return int(self._config.words32[_MAX])

    @maximum.setter
    def maximum(self, n: int) -> None:
        if not 0 < n <= layout.MAX_CONNECTIONS:
            raise DatapathError(
                f"{n} connections, {layout.MAX_CONNECTIONS} are possible",
                remedy="MAX_CONNECTIONS is in bpf/limits.h",
            )
        self._config.words32[_MAX] = n

    @property
    def default_limit(self) -> int:
        """Connections that zones without a limit of their own may have each; 0: any number."""
        return int(self._config.words32[_DEFAULT_LIMIT])

    @default_limit.setter
    def default_limit(self, n: int) -> None:
        self._config.words32[_DEFAULT_LIMIT] = n

    def zone_limit(self, zone: int) -> ZoneLimit:
        """The limit of a zone, and how many it has."""
        words = self._zones.words32
        at = zone * _ZONE_WORDS
        own = bool(words[at + 2] >> 16 & layout.CT_ZONE_LIMITED)
        return ZoneLimit(
            int(words[at + _ZONE_LIMIT]) if own else self.default_limit,
            int(words[at + _ZONE_COUNT] - words[at + _ZONE_REMOVED]) & 0xFFFFFFFF,
            own,
        )

    def set_zone_limit(self, zone: int, limit: int | None) -> None:
        """Give a zone a limit of its own (0: any number), or the default one again (None)."""
        words = self._zones.words32
        at = zone * _ZONE_WORDS
        words[at + _ZONE_LIMIT] = limit or 0
        own = layout.CT_ZONE_LIMITED << 16 if limit is not None else 0
        words[at + 2] = words[at + 2] & 0xFFFF | own

    def limited_zones(self) -> dict[int, ZoneLimit]:
        """Zones with a limit of their own."""
        words = self._zones.words32
        return {
            zone: self.zone_limit(zone)
            for zone in range(layout.CT_ZONES)
            if words[zone * _ZONE_WORDS + 2] >> 16 & layout.CT_ZONE_LIMITED
        }

    def set_policy(self, policy: int, timeouts_s: dict[str, int]) -> None:
        """The timeouts of a policy, by the names of layout.CT_TIMEOUTS; others are the default
        ones.  Policy 0 is that of zones without one."""
        seconds = {**DEFAULTS, **timeouts_s}
        values = [seconds[name] for name in layout.CT_TIMEOUTS]
        self._timeouts.write(policy, layout.CT_POLICY.pack(*values, 0))

    def policy(self, policy: int) -> dict[str, int]:
        """The timeouts of a policy in seconds, by the names of layout.CT_TIMEOUTS."""
        seconds = layout.CT_POLICY.unpack(self._timeouts.read(policy)[: layout.CT_POLICY.size])
        return dict(zip(layout.CT_TIMEOUTS, seconds, strict=False))

    def zone_policies(self) -> dict[int, int]:
        """Zones whose policy is not the default one, with its number."""
        words = self._zones.words32
        found = ((zone, words[zone * _ZONE_WORDS + 2] & 0xFFFF) for zone in range(layout.CT_ZONES))
        return {zone: policy for zone, policy in found if policy}

    def set_zone_policy(self, zone: int, policy: int) -> None:
        """The policy that connections of a zone get from now on; 0: the default one."""
        words = self._zones.words32
        at = zone * _ZONE_WORDS
        words[at + 2] = words[at + 2] & 0xFFFF0000 | policy

    @property
    def sequence_check(self) -> bool:
        """Whether TCP packets outside the window are invalid (tcp-seq-chk)."""
        return not self._config.words32[_FLAGS] & CtConfigFlag.NO_SEQUENCE_CHECK

    @sequence_check.setter
    def sequence_check(self, check: bool) -> None:
        self._set_flag(CtConfigFlag.NO_SEQUENCE_CHECK, not check)

    def tracks_fragments(self, ipv6: bool) -> bool:
        """Whether fragments of IPv4, or of IPv6, are tracked; else they are invalid."""
        return not self._config.words32[_FLAGS] & _NO_FRAGMENTS[ipv6]

    def track_fragments(self, ipv6: bool, on: bool) -> None:
        """Set that."""
        self._set_flag(_NO_FRAGMENTS[ipv6], not on)

    def shortest_fragment(self, ipv6: bool) -> int:
        """Bytes of the IP packet that a fragment but the last must have; shorter ones are invalid."""
        return int(self._config.words32[_MIN_FRAGMENT + ipv6])

    def set_shortest_fragment(self, ipv6: bool, n_bytes: int) -> None:
        """Set that; 0: any length."""
        self._config.words32[_MIN_FRAGMENT + ipv6] = n_bytes

    def _set_flag(self, flag: CtConfigFlag, on: bool) -> None:
        flags = self._config.words32[_FLAGS] & ~int(flag)
        self._config.words32[_FLAGS] = flags | (int(flag) if on else 0)

    def counters(self) -> dict[str, int]:
        """What happened since the maps were made, by the names of layout.CT_COUNTS."""
        return {
            name: self._counters.sums(i)[0] for i, name in enumerate(layout.CT_COUNTS)
        }

    # -- helpers, NAT, events --------------------------------------------------------------

    def expect(self, expectation: Expectation) -> None:
        """Have the kernel take the connection that `first` begins as related to `parent`."""
        self._expectations.put(
            pack(expectation.first),
            layout.CT_EXPECTATION.pack(
                pack(expectation.parent),
                (expectation.nat or b"").ljust(16, b"\0"),
                expectation.nat_destination,
                expectation.nat_port.to_bytes(2, "big"),
                expectation.mark.to_bytes(4, "big"),
                expectation.label.to_bytes(16, "big"),
            ),
        )
        self._shared.words32[_EXPECTATIONS] += 1

    def expectations(self) -> Iterator[Expectation]:
        """The expectations there are."""
        for key, value in self._expectations.items():
            yield _expectation(unpack(key), value)

    def expectation(self, first: Tuple) -> Expectation | None:
        """The expectation of that first packet, if there is one."""
        value = self._expectations.get(pack(first))
        return _expectation(first, value) if value is not None else None

    def forget(self, expectation: Expectation) -> None:
        """Expect a connection no longer; nothing where it came, or is not expected."""
        self._expectations.delete(pack(expectation.first))

    def sequence_shifts(self, connection: Connection) -> tuple[SequenceShift, SequenceShift]:
        """How sequence numbers move: those of the originator, those of the answers."""
        raw = self._sequences.get(connection.key)
        if raw is None:
            return SequenceShift(), SequenceShift()
        until, before, after, until_back, before_back, after_back = layout.CT_SEQUENCES.unpack(raw)
        return (
            SequenceShift(until, before, after),
            SequenceShift(until_back, before_back, after_back),
        )

    def set_sequence_shifts(
        self, connection: Connection, original: SequenceShift, reply: SequenceShift
    ) -> None:
        """Have the kernel move sequence numbers; acknowledgements of the other side move back."""
        self._sequences.put(
            connection.key,
            layout.CT_SEQUENCES.pack(
                *(original.until, original.before, original.after),
                *(reply.until, reply.before, reply.after),
            ),
        )

    def set_events(self, *, new: bool = False, invalid: bool = False, gone: bool = False) -> None:
        """Which events the kernel is to tell; none unless asked."""
        self._set_flag(CtConfigFlag.TELL_NEW, new)
        self._set_flag(CtConfigFlag.TELL_INVALID, invalid)
        self._set_flag(CtConfigFlag.TELL_GONE, gone)

    @property
    def event_fd(self) -> int:
        """Readable when there are events."""
        return self._open_ring().fd

    def read_events(self) -> list[Event]:
        """The events that came since the last call."""
        self._open_ring().consume()
        out, self._events = self._events, []
        return out

    def _open_ring(self) -> Ring:
        if self._ring is None:
            self._ring = Ring(self._events_fd, lambda raw: self._events.append(_event(raw)))
        return self._ring


def _peer(wscale: int, state: int) -> Peer:
    return Peer(
        layout.CT_TCP_STATES[state], wscale & 0x0F, bool(wscale & 0x80), bool(wscale & 0x40)
    )


def _expectation(first: Tuple, value: bytes) -> Expectation:
    parent, nat, nat_destination, nat_port, mark, label = layout.CT_EXPECTATION.unpack(value)
    return Expectation(
        first,
        unpack(parent),
        int.from_bytes(mark, "big"),
        int.from_bytes(label, "big"),
        nat[: len(first.src)] if any(nat) else None,
        bool(nat_destination),
        int.from_bytes(nat_port, "big"),
    )


def _event(raw: bytes) -> Event:
    now, kind, in_port, packet, mark, flags, p0, p1, b0, b1 = layout.CT_EVENT.unpack(
        raw[: layout.CT_EVENT.size]
    )
    return Event(
        now / 1e9,
        EventType(kind),
        in_port,
        unpack(packet),
        int.from_bytes(mark, "big"),
        CtFlag(flags),
        (p0, p1),
        (b0, b1),
    )
