"""A tracker and a clock, and packets that go through one ct() after the other."""

from __future__ import annotations

from dataclasses import dataclass, field

from gossamer.pipeline.action_ct import Nat
from gossamer.pipeline.conntrack.reading import Reading
from gossamer.pipeline.conntrack.tcp import Segment
from gossamer.pipeline.conntrack.timeouts import NS_PER_S
from gossamer.pipeline.conntrack.tracker import Request, Tracker, Verdict
from gossamer.pipeline.conntrack.tuple import Tuple

STATES = ("new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat")
A, B = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
OUTSIDE = bytes((1, 1, 1, 1))
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
TCP, UDP = Tuple(A, B, 6, 1000, 80), Tuple(A, B, 17, 1000, 53)
PING = Tuple(A, B, 1, 7, 8 << 8)
COMMIT = Request(commit=True)
SOURCE = Nat(src=True, addresses=(OUTSIDE, OUTSIDE))


@dataclass
class Tracked:
    """What tests talk to."""

    tracker: Tracker = field(default_factory=Tracker)
    now_s: float = 1000.0

    def see(
        self, t: Tuple, request: Request = COMMIT, segment: Segment | None = None, *,
        error: bool = False, before: int = 0,
    ) -> Verdict:  # fmt: skip
        """What a packet is told."""
        reading = Reading(t, segment, error)
        return self.tracker.track(reading, before, request, int(self.now_s * NS_PER_S))

    def state(
        self, t: Tuple, request: Request = COMMIT, segment: Segment | None = None, *,
        error: bool = False,
    ) -> str:  # fmt: skip
        """Its ct_state, without trk, which is always there."""
        bits = self.see(t, request, segment, error=error).state
        names = [name for i, name in enumerate(STATES) if bits >> i & 1]
        assert "trk" in names
        return " ".join(name for name in names if name != "trk")

    @property
    def count(self) -> int:
        """Connections that live."""
        return len(list(self.tracker.connections(int(self.now_s * NS_PER_S))))


def segment(flags: int, seq: int, ack: int = 0, *, n: int = 0, win: int = 1000) -> Segment:
    """A segment without options."""
    return Segment(seq, ack, flags, win, n)


def handshake(world: Tracked, t: Tuple = TCP, request: Request = COMMIT) -> None:
    """Both sides greet: 101 and 501 are the next sequence numbers."""
    assert world.state(t, request, segment(SYN, 100)) == "new"
    assert world.state(t.reversed(), request, segment(SYN | ACK, 500, 101)) == "est rpl"
    assert world.state(t, request, segment(ACK, 101, 501)) == "est"
