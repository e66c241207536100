"""TCP: what segments make of a connection (docs/conntrack.md, States and bits).

The windows are those of Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Final

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
_U32: Final = 0xFFFFFFFF
_U16: Final = 0xFFFF
_MAX_SCALE: Final = 14
_SLACK: Final = 0xFFFF + 1500
"""How far an acknowledgement may lie back, and by how much a window is widened for what comes
late."""
_HEADER: Final = 20
_END, _NOP, _WINDOW_SCALE = 0, 1, 3


class State(IntEnum):
    """Of one side of a connection; rules compare them by their order."""

    CLOSED = 0
    SYN_SENT = 2
    ESTABLISHED = 4
    CLOSING = 7
    FIN_WAIT_2 = 9
    TIME_WAIT = 10


class Move(Enum):
    """What a packet makes of its connection."""

    NEW = 1
    ESTABLISHED = 2
    INVALID = 3
    RESTART = 4
    """It ends the connection and may begin another one."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What is read of a segment; `scale` is None without the option."""

    seq: int
    ack: int
    flags: int
    win: int
    payload: int
    scale: int | None = None

    @property
    def has_possible_flags(self) -> bool:
        """Whether the flags can stand together."""
        flags = self.flags
        if flags & SYN:
            if flags & (RST | FIN):
                return False
        elif not flags & (ACK | RST):
            return False
        return bool(flags & ACK) or not flags & (FIN | PSH | URG)

    @property
    def may_begin(self) -> bool:
        """Whether it begins a connection: any but the answer to a SYN."""
        return self.has_possible_flags and self.flags & (SYN | ACK) != SYN | ACK

    @property
    def end(self) -> int:
        """The sequence number behind it."""
        return (self.seq + self.payload + bool(self.flags & SYN) + bool(self.flags & FIN)) & _U32


def read_segment(data: bytes) -> Segment:
    """The segment in the bytes of an IP payload that has its whole header."""
    header = (data[12] >> 4) * 4
    return Segment(
        seq=int.from_bytes(data[4:8], "big"),
        ack=int.from_bytes(data[8:12], "big"),
        flags=data[13],
        win=int.from_bytes(data[14:16], "big"),
        payload=len(data) - header,
        scale=_window_scale(data[_HEADER:header]),
    )


def _window_scale(options: bytes) -> int | None:
    scale: int | None = None
    at, left = 0, len(options)
    while left >= 3:
        kind = options[at]
        if kind == _END:
            break
        if kind == _NOP:
            at, left = at + 1, left - 1
            continue
        if kind == _WINDOW_SCALE:
            scale = min(options[at + 2], _MAX_SCALE)
        length = max(options[at + 1], 2)
        at, left = at + length, left - length
    return scale


@dataclass(slots=True)
class Peer:
    """One side: what it sent, and what it may send."""

    state: State = State.CLOSED
    seqlo: int = 0
    seqhi: int = 1
    max_win: int = 1
    scale: int = 0
    known: bool = False
    """It told its window scale."""
    unknown: bool = False
    """Nobody heard whether it told one: the connection was met half way."""


@dataclass(slots=True)
class Peers:
    """Both sides: the originator, and the one who answers."""

    sides: tuple[Peer, Peer] = field(default_factory=lambda: (Peer(), Peer()))

    @staticmethod
    def begun_by(segment: Segment) -> Peers:
        """A connection whose first segment seen is this one."""
        peers = Peers()
        src, dst = peers.sides
        src.seqlo = segment.seq
        flags = segment.flags
        src.seqhi = segment.seq + segment.payload + 1 + bool(flags & SYN) + bool(flags & FIN)
        src.seqhi &= _U32
        if flags & SYN:
            src.known, src.scale = segment.scale is not None, segment.scale or 0
        else:
            src.unknown = dst.unknown = True
        src.max_win = _divided(max(segment.win, 1), src.scale)
        src.state = State.SYN_SENT
        return peers

    def move(self, segment: Segment, reply: bool, check: bool) -> tuple[Move, str | None]:
        """What a segment makes of it, and the name of the timeout it begins, or None.

        `check`: windows count.
        """
        if not segment.has_possible_flags:
            return Move.INVALID, None
        src, dst = self.sides[reply], self.sides[not reply]
        if segment.flags & (SYN | ACK) == SYN:
            if src.state >= State.FIN_WAIT_2 and dst.state >= State.FIN_WAIT_2:
                src.state = dst.state = State.CLOSED
                return Move.RESTART, None
            if src.state <= State.SYN_SENT:
                src.state = State.SYN_SENT
                return Move.NEW, "tcp_syn_sent"
        return _Step(src, dst, segment, check).take()


class _Step:
    """One segment, from `src` to `dst`."""

    def __init__(self, src: Peer, dst: Peer, segment: Segment, check: bool) -> None:
        self.src, self.dst, self.segment = src, dst, segment
        self.check = check
        self.win = segment.win
        self.sws = self.dws = 0
        if not segment.flags & SYN:
            if src.known and dst.known:
                self.sws, self.dws = src.scale, dst.scale
            elif src.unknown and dst.unknown:
                self.sws = self.dws = _MAX_SCALE

    def take(self) -> tuple[Move, str | None]:
        src, dst, flags = self.src, self.dst, self.segment.flags
        seq, end, ack = self.segment.seq, self.segment.end, self.segment.ack
        check_ack = not (src.state < State.SYN_SENT and self.first(end))
        if not flags & ACK or (not ack and flags & RST):
            ack = dst.seqlo
        if seq == end:
            seq = end = src.seqlo
        skew = _signed(dst.seqlo - ack) if check_ack else 0
        if not self.check or (
            _at_least(src.seqhi, end)
            and _at_least(seq, src.seqlo - (dst.max_win << self.dws))
            and -_SLACK <= skew <= _SLACK << self.sws
            and (not flags & RST or abs(_signed(self.segment.seq - src.seqlo)) <= 1)
        ):
            self.slide(end, ack)
            self.settle()
            return Move.ESTABLISHED, self.timeout()
        late = (
            dst.state < State.SYN_SENT
            or dst.state >= State.FIN_WAIT_2
            or src.state >= State.FIN_WAIT_2
        )
        if late and _at_least(src.seqhi + _SLACK, end) and _at_least(seq, src.seqlo - _SLACK):
            self.slide(end, ack)
            if flags & FIN and src.state < State.CLOSING:
                src.state = State.CLOSING
            if flags & RST:
                src.state = dst.state = State.TIME_WAIT
            return Move.ESTABLISHED, None
        return Move.INVALID, None

    def first(self, end: int) -> bool:
        """The first segment of its side; whether it sets the window, so that what it
        acknowledges is not looked at."""
        src, dst, segment = self.src, self.dst, self.segment
        if segment.flags & SYN and dst.known:
            if segment.scale is not None:
                src.known, src.scale = True, segment.scale
                self.sws, self.dws = src.scale, dst.scale
                self.win = _divided(self.win, self.sws)
            else:
                src.known, src.scale = False, 0
                dst.max_win = dst.max_win << dst.scale & _U16
                dst.known, dst.scale = False, 0
        src.seqlo = segment.seq
        src.state = State.SYN_SENT
        top = (end + max(1, dst.max_win << self.dws)) & _U32
        sets = src.seqhi == 1 or _at_least(top, src.seqhi)
        if sets:
            src.seqhi = top
        src.max_win = max(src.max_win, self.win)
        return sets

    def slide(self, end: int, ack: int) -> None:
        src, dst = self.src, self.dst
        src.max_win = max(src.max_win, self.win)
        if _signed(end - src.seqlo) > 0:
            src.seqlo = end
        if _at_least(ack + (self.win << self.sws), dst.seqhi):
            dst.seqhi = (ack + max(self.win << self.sws, 1)) & _U32

    def settle(self) -> None:
        src, dst, flags = self.src, self.dst, self.segment.flags
        if flags & FIN and src.state < State.CLOSING:
            src.state = State.CLOSING
        if flags & ACK:
            if dst.state == State.SYN_SENT:
                dst.state = State.ESTABLISHED
            elif dst.state == State.CLOSING:
                dst.state = State.FIN_WAIT_2
        if flags & RST:
            src.state = dst.state = State.TIME_WAIT

    def timeout(self) -> str:
        low, high = sorted((self.src.state, self.dst.state))
        if low >= State.FIN_WAIT_2:
            return "tcp_close"
        if low >= State.CLOSING:
            return "tcp_time_wait"
        if low < State.ESTABLISHED:
            return "tcp_syn_recv"
        return "tcp_fin_wait" if high >= State.CLOSING else "tcp_established"


def _divided(win: int, scale: int) -> int:
    return -(-win >> scale) if scale else win


def _signed(difference: int) -> int:
    difference &= _U32
    return difference - (1 << 32) if difference >> 31 else difference


def _at_least(a: int, b: int) -> bool:
    """Whether sequence number `a` is `b` or behind it."""
    return _signed(a - b) >= 0
