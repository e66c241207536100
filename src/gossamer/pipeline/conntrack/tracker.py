"""The tracker: packets one by one, each with the ct() it goes through (docs/conntrack.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from gossamer.pipeline.action_ct import Nat
from gossamer.pipeline.commit import Frame
from gossamer.pipeline.conntrack.connection import Connection
from gossamer.pipeline.conntrack.expected import Expectation, Expectations
from gossamer.pipeline.conntrack.fragments import Fragments
from gossamer.pipeline.conntrack.nat import translated_reply
from gossamer.pipeline.conntrack.reading import Reading, read
from gossamer.pipeline.conntrack.sequences import SequenceShift
from gossamer.pipeline.conntrack.tcp import Move
from gossamer.pipeline.conntrack.timeouts import DEFAULTS
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.pipeline.steps import Drop

NEW, EST, REL, RPL, INV, TRK, SNAT, DNAT = (1 << i for i in range(8))
"""Bits of ct_state (ovs-fields(7))."""
MAX_CONNECTIONS: Final = 3_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """What a ct() asks for; `mark` and `label` are (value, mask) of its exec(...)."""

    commit: bool = False
    force: bool = False
    zone: int = 0
    nat: Nat | None = None
    alg: int = 0
    mark: tuple[int, int] = (0, 0)
    label: tuple[int, int] = (0, 0)
    goes_on: bool = False
    """A copy goes on at a table."""
    n_bytes: int = 0
    """Of the packet as it entered the switch."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What tracking says of a packet.

    `translated` is the tuple that the packet (or what an ICMP error quotes, reversed) has from
    here on; `drop`: it ends here.
    """

    state: int = TRK | INV
    mark: int = 0
    label: int = 0
    original: Tuple | None = None
    translated: Tuple | None = None
    drop: Drop | None = None
    shifts: tuple[SequenceShift, SequenceShift] | None = None
    """How its sequence number moves, and back what it acknowledges."""


class Tracking(Protocol):
    """What the pipeline asks of a tracker."""

    @property
    def fragments(self) -> Fragments:
        """Fragments under way."""

    def read(self, frame: Frame) -> Reading | None:
        """What a packet is taken for; None for one that cannot be tracked."""

    def track(
        self, reading: Reading | None, before: int, request: Request, now_ns: int, frame: Frame
    ) -> Verdict:
        """What becomes of a packet in a ct(); `before` is its ct_state in this zone, None as
        `reading` says that it cannot be tracked.  `frame` is the packet."""


@dataclass(slots=True)
class Zone:
    """A zone: at most `limit` connections (0: any number; None: the default limit)."""

    limit: int | None = None
    timeouts: Mapping[str, int] = field(default_factory=lambda: DEFAULTS)


class Tracker:
    """All connections."""

    def __init__(self) -> None:
        self._plain: dict[Tuple, Connection] = {}
        """By both tuples."""
        self._translated: dict[Tuple, Connection] = {}
        """By the original one; by the other one are the aliases."""
        self._aliases: dict[Tuple, Connection] = {}
        self._fragments = Fragments()
        self.expectations = Expectations()
        self.zones: dict[int, Zone] = {}
        self.default_limit = 0
        self.maximum = MAX_CONNECTIONS
        self.check_windows = True
        self.guessed = False
        """A connection had to go, and others would have done as well: the datapath takes which of
        them it happens to look at first."""

    @property
    def fragments(self) -> Fragments:
        """Fragments under way."""
        return self._fragments

    def read(self, frame: Frame) -> Reading | None:
        """What a packet says."""
        return read(frame)

    # -- what is kept ------------------------------------------------------------------

    def connections(self, now_ns: int, zone: int | None = None) -> Iterator[Connection]:
        """Those that live, of a zone or of all, in the order in which they began."""
        for t, connection in [*self._plain.items(), *self._translated.items()]:
            if t != connection.original or now_ns >= connection.expires_ns:
                continue
            if zone in (None, t.zone):
                yield connection

    def find(self, t: Tuple, now_ns: int) -> Connection | None:
        """The connection that has a tuple: one that is not translated goes before one whose
        originator sends so, and that before one whose answers do."""
        for tuples in (self._plain, self._translated, self._aliases):
            connection = tuples.get(t)
            if connection is not None and now_ns < connection.expires_ns:
                return connection
        return None

    def remove(self, connection: Connection) -> None:
        """Forget a connection."""
        for tuples in (self._plain, self._translated, self._aliases):
            for t in (connection.original, connection.reply):
                if tuples.get(t) is connection:
                    del tuples[t]

    def flush(self, zone: int | None = None) -> None:
        """Forget all connections, or those of a zone."""
        for connection in [*self._plain.values(), *self._translated.values()]:
            if zone in (None, connection.original.zone):
                self.remove(connection)

    # -- packets -----------------------------------------------------------------------

    def track(
        self,
        reading: Reading | None,
        before: int,
        request: Request,
        now_ns: int,
        frame: Frame | None = None,
    ) -> Verdict:
        """What becomes of a packet in a ct(); `before` is its ct_state in this zone."""
        if reading is None:
            return Verdict()
        return _Tracked(self, reading, before, request, now_ns).verdict()

    def room(self, zone: int, now_ns: int) -> Drop | None:
        """Why a zone can have no further connection, or None; something may go for it."""
        own = self.zones.get(zone, Zone()).limit
        limit = self.default_limit if own is None else own
        if limit and sum(1 for _ in self.connections(now_ns, zone)) >= limit:
            return Drop.CT_ZONE_LIMIT
        full = len(self._plain) + len(self._translated) >= self.maximum
        living = list(self.connections(now_ns)) if full else []
        if len(living) < self.maximum:
            return None
        dispensable = [connection for connection in living if not connection.protected]
        if not dispensable:
            return Drop.CT_FULL
        least = min(connection.worth for connection in dispensable)
        candidates = [connection for connection in dispensable if connection.worth == least]
        self.guessed |= len(candidates) > 1
        self.remove(candidates[0])
        return None

    def add(self, connection: Connection) -> None:
        """Keep a new connection."""
        if connection.src_nat is None:
            self._plain[connection.original] = self._plain[connection.reply] = connection
        else:
            self._translated[connection.original] = connection
            self._aliases[connection.reply] = connection


class _Tracked:
    """One packet in one ct()."""

    def __init__(
        self, tracker: Tracker, reading: Reading, before: int, request: Request, now_ns: int
    ) -> None:
        self.tracker, self.reading, self.request = tracker, reading, request
        self.now_ns = now_ns
        self.before = before
        self.tuple = replace(reading.tuple, zone=request.zone)
        self.connection: Connection | None = None
        self.reply = False
        self.state = before
        self.translated: Tuple | None = None
        self.expected: Expectation | None = None

    def verdict(self) -> Verdict:
        self.look_up()
        if self.request.force and self.reply and self.connection is not None:
            self.tracker.remove(self.connection)
            self.connection, self.reply = None, False
            self.tuple = replace(self.reading.tuple, zone=self.request.zone)
        begins = self.connection is None
        if self.connection is not None:
            begins = self.of_connection(self.connection)
        if begins:
            drop = self.begin()
            if drop is not None:
                return Verdict(drop=drop)
        connection = self.connection
        if connection is None and self.expected is not None:
            e = self.expected
            return Verdict(self.state | TRK, e.mark, e.label, e.parent)
        if connection is None:
            return Verdict(self.state | TRK, original=self.tuple, translated=self.translated)
        self.translate(connection)
        if self.request.commit and connection.parent is None:
            for name in ("mark", "label"):
                value, mask = getattr(self.request, name)
                setattr(connection, name, getattr(connection, name) & ~mask | value)
        return Verdict(
            self.state | TRK, connection.mark, connection.label,
            connection.parent or connection.original, self.translated, shifts=self.shifts(connection),
        )  # fmt: skip

    def shifts(self, connection: Connection) -> tuple[SequenceShift, SequenceShift] | None:
        """As NAT does, once in a zone."""
        again = self.before & (SNAT | DNAT)
        if not connection.shifts or self.request.nat is None or again or self.reading.segment is None:
            return None
        there, back = connection.shifts
        return (back, there) if self.reply else (there, back)

    def look_up(self) -> None:
        """Find the connection, of a packet that was translated by what it has become."""
        natted = bool(self.before & (SNAT | DNAT))
        key = self.tuple.reversed() if natted else self.tuple
        found = self.tracker.find(key, self.now_ns)
        if found is None:
            return
        self.connection = found
        self.reply = (key != found.original) != natted
        if natted:
            self.tuple = found.reply if self.reply else found.original

    def of_connection(self, connection: Connection) -> bool:
        """The bits of a packet that belongs to a connection; whether it ends it for a new one."""
        direction = RPL if self.reply else 0
        if self.reading.error:
            self.state |= REL | direction
        elif self.before & TRK:
            pass  # it moved its connection when it was tracked here first
        elif self.reading.later:
            connection.count(self.reply, self.request.n_bytes)
            self.state |= EST | direction if connection.replied else NEW
        else:
            connection.count(self.reply, self.request.n_bytes)
            if connection.parent is not None:
                self.state |= REL
            move = connection.move(
                self.reading, self.reply, self.now_ns, check_windows=self.tracker.check_windows
            )
            if move is Move.RESTART:
                self.tracker.remove(connection)
                self.connection, self.reply = None, False
                self.tuple = replace(self.reading.tuple, zone=self.request.zone)
                return True
            if move is Move.INVALID:
                self.state = INV
            elif move is Move.ESTABLISHED:
                self.state |= EST | direction
            else:
                self.state |= NEW
        return False

    def begin(self) -> Drop | None:
        """The packet is the first of its connection, or none can be."""
        request, reading = self.request, self.reading
        if reading.error or not reading.may_begin:
            self.state = INV
            return None
        self.state = NEW
        if not reading.later:
            self.expected = self.tracker.expectations.find(self.tuple)
        if self.expected is not None:
            self.state |= REL
        if not request.commit or reading.later:
            return None
        drop = self.tracker.room(request.zone, self.now_ns)
        if drop is not None:
            return drop
        reply, src_nat = self.tuple.reversed(), None
        nat = request.nat
        if nat is not None and self.expected is not None:
            nat = self.expected.translation()
        if nat is not None and (nat.src or nat.dst):
            chosen = translated_reply(self.tuple, nat, self.is_free)
            if chosen is None:
                return Drop.CT_NAT_FULL
            if nat.addresses is None or len(nat.addresses[0]) == len(self.tuple.src):
                src_nat = nat.src
            reply = chosen
        if src_nat is None and not self.is_free(reply):
            # Answers to it would be taken for those of a connection that is translated, or these for its.
            return Drop.CT_NAT_FULL
        timeouts = self.tracker.zones.get(request.zone, Zone()).timeouts
        connection = Connection.begun(reading, self.tuple, reply, timeouts, self.now_ns)
        connection.src_nat, connection.alg = src_nat, request.alg
        connection.count(False, request.n_bytes)
        if self.expected is not None:
            expected = self.expected
            connection.parent = expected.parent
            connection.mark, connection.label = expected.mark, expected.label
            self.tracker.expectations.remove(expected)
        self.tracker.add(connection)
        self.connection = connection
        return None

    def is_free(self, t: Tuple) -> bool:
        return self.tracker.find(t, self.now_ns) is None

    def translate(self, connection: Connection) -> None:
        """Write what NAT decided for the connection, once in a zone."""
        if connection.src_nat is None or self.request.nat is None or self.state & (SNAT | DNAT):
            return
        self.state |= SNAT if connection.src_nat != self.reply else DNAT
        other = connection.original if self.reply else connection.reply
        self.translated = other.reversed()
