"""A connection that was committed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gossamer.pipeline.conntrack.others import Exchange, Heard
from gossamer.pipeline.conntrack.reading import Reading
from gossamer.pipeline.conntrack.sequences import SequenceShift
from gossamer.pipeline.conntrack.tcp import Move, Peers, State
from gossamer.pipeline.conntrack.timeouts import DEFAULTS, NS_PER_S
from gossamer.pipeline.conntrack.tuple import Tuple


@dataclass(slots=True)
class Connection:
    """A connection: `original` is the tuple of the packet that made it, `reply` that of answers.

    `src_nat`: whether its originator's address is translated (False: its destination's is; None:
    nothing is).  Times are in ns of the clock that packets are tracked by.
    """

    original: Tuple
    reply: Tuple
    progress: Peers | Exchange
    expires_ns: int = 0
    mark: int = 0
    label: int = 0
    src_nat: bool | None = None
    alg: int = 0
    shifts: tuple[SequenceShift, SequenceShift] | None = None
    """Where its helper changed a text: how numbers of its originator move, and those of answers."""
    parent: Tuple | None = None
    """The original tuple of the connection that announced it, with whose mark and label it came."""
    replied: bool = False
    timeouts: Mapping[str, int] = field(default_factory=lambda: DEFAULTS)
    n_packets: list[int] = field(default_factory=lambda: [0, 0])
    """Of the originator, of answers."""
    n_bytes: list[int] = field(default_factory=lambda: [0, 0])

    @staticmethod
    def begun(
        reading: Reading, original: Tuple, reply: Tuple, timeouts: Mapping[str, int], now_ns: int
    ) -> Connection:
        """The connection that a packet begins."""
        progress: Peers | Exchange
        if reading.segment is not None:
            progress, first = Peers.begun_by(reading.segment), "tcp_syn_sent"
        else:
            progress = Exchange(query=original.is_icmp)
            first = progress.first_timeout
        connection = Connection(original, reply, progress, timeouts=timeouts)
        connection.live(first, now_ns)
        return connection

    def count(self, reply: bool, n_bytes: int) -> None:
        """A packet of it came."""
        self.n_packets[reply] += 1
        self.n_bytes[reply] += n_bytes

    def live(self, timeout: str, now_ns: int) -> None:
        """Begin a timeout."""
        self.expires_ns = now_ns + self.timeouts[timeout] * NS_PER_S

    def move(self, reading: Reading, reply: bool, now_ns: int, *, check_windows: bool) -> Move:
        """What a packet of it makes of it."""
        timeout: str | None
        if isinstance(self.progress, Peers):
            assert reading.segment is not None, "a connection of TCP has segments"
            move, timeout = self.progress.move(reading.segment, reply, check_windows)
        else:
            move, timeout = self.progress.move(reply)
        if timeout is not None:
            self.live(timeout, now_ns)
        if reply and move is Move.ESTABLISHED:
            self.replied = True
        return move

    @property
    def worth(self) -> tuple[bool, int]:
        """What goes first where room is wanted is the least: one that is closing, then the one that
        would end first."""
        closing = isinstance(self.progress, Peers) and any(
            peer.state >= State.CLOSING for peer in self.progress.sides
        )
        return not closing, self.expires_ns

    @property
    def protected(self) -> bool:
        """Whether it stays when room is wanted: both sides have answered each other."""
        if isinstance(self.progress, Peers):
            return all(peer.state == State.ESTABLISHED for peer in self.progress.sides)
        return self.progress.heard is Heard.BOTH
