"""Conversations of hosts: packets that mostly make sense, one after the other, in both directions.

What one side sends goes through the reference pipeline before the other answers, so that
answers go to the addresses that NAT has made.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final, Protocol

from tests.property import ip_packets as p
from tests.property.ip_packets import Flow

Rng = random.Random
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
_ODD_FLAGS: Final = (0, FIN, SYN | FIN, SYN | RST, RST, RST | ACK, PSH, ACK | URG, SYN | PSH, 0x3F)
_STEPS: Final = (-70000, -66000, -1000, -1, 1, 2, 1000, 66000, 70000, 1 << 31)
_WINDOWS: Final = (0, 1, 512, 8192, 65535)
_OPTIONS: Final = (
    b"", b"", b"\x03\x03\x07\x00", b"\x01\x03\x03\x00", b"\x02\x04\x05\xb4\x01\x03\x03\x0e",
    b"\x03\x03\x14\x00", b"\x00\x03\x03\x07", b"\x01\x01\x03\x03\x02\x00\x00\x00",
)  # fmt: skip
INSIDE, OUTSIDE = 1, 2
"""Ports of the bridge where the two sides are."""


class Kind(Protocol):
    """What is said in a conversation."""

    def say(self, rng: Rng, flow: Flow, side: int) -> bytes:
        """The next frame of a side (0 began the conversation), as `flow` has it."""


@dataclass
class Tcp:
    """A connection of TCP whose sides now and then say what they should not."""

    seq: list[int]
    once: bool = False
    """A connection that is over is not begun again."""
    begun: list[bool] = field(default_factory=lambda: [False, False])

    def say(self, rng: Rng, flow: Flow, side: int) -> bytes:
        options, n = b"", 0
        if not self.begun[side] and rng.random() < 0.9:
            flags = SYN | ACK if self.begun[1 - side] else SYN
            options = rng.choice(_OPTIONS)
        elif rng.random() < 0.1:
            flags = rng.choice(_ODD_FLAGS)
        elif rng.random() < 0.08:
            flags, options = SYN, rng.choice(_OPTIONS)
        elif rng.random() < 0.2:
            flags = FIN | ACK
        elif rng.random() < 0.05:
            flags = RST | ACK
        else:
            flags, n = ACK, rng.choice((0, 0, 1, 100, 1000))
        if self.once and (side or self.begun[0]) and flags == SYN:
            flags |= ACK
        self.begun[side] = True
        odd_seq = rng.choice(_STEPS) if rng.random() < 0.1 else 0
        odd_ack = rng.choice(_STEPS) if rng.random() < 0.08 else 0
        seq = self.seq[side] + odd_seq
        ack = self.seq[1 - side] + odd_ack if flags & ACK or rng.random() < 0.5 else 0
        if flags & RST and rng.random() < 0.2:
            ack = 0
        if not odd_seq or rng.random() < 0.2:
            self.seq[side] += n + bool(flags & SYN) + bool(flags & FIN)
        return p.tcp(flow, flags, seq, ack, rng.choice(_WINDOWS), options, n)


class Udp:
    """Datagrams."""

    def say(self, rng: Rng, flow: Flow, side: int) -> bytes:
        summed = len(flow.src) == 16 or rng.random() < 0.8
        return p.udp(flow, rng.randbytes(rng.randrange(9)), summed=summed)


class Query:
    """Questions and answers of ICMP and ICMPv6."""

    def say(self, rng: Rng, flow: Flow, side: int) -> bytes:
        asks, answers = (8, 0) if flow.proto == p.ICMP else (128, 129)
        if flow.proto == p.ICMP and flow.sport % 3 == 0:
            asks, answers = 13, 14
        kind = answers if side else asks
        if rng.random() < 0.05:
            kind = rng.choice((8, 0, 128, 135, 200, 17))
        code = 1 if rng.random() < 0.05 else 0
        return p.icmp(flow, kind, code, flow.sport.to_bytes(2, "big") + rng.randbytes(12))


class Other:
    """A protocol without ports."""

    def say(self, rng: Rng, flow: Flow, side: int) -> bytes:
        return p.ethernet(p.ip(flow.src, flow.dst, flow.proto, bytes(8)))


@dataclass
class Conversation:
    """Two sides: `flow` is as the one that began sees it, `translated` as the other one does."""

    flow: Flow
    kind: Kind
    translated: Flow
    last: dict[int, bytes] = field(default_factory=dict)
    """What came out last, by the side that sent it."""

    def say(self, rng: Rng, side: int) -> bytes:
        """A frame of a side."""
        flow = self.translated.reversed() if side else self.flow
        return self.kind.say(rng, flow, side)

    def heard(self, side: int, frames: list[bytes]) -> None:
        """What came out of what a side said."""
        for frame in frames:
            flow = p.read(frame)
            if flow is None or flow.proto != self.flow.proto:
                continue
            self.last[side] = frame
            if not side:
                self.translated = flow

    def complain(self, rng: Rng, side: int, *, whole: bool) -> bytes | None:
        """An ICMP error of a side about what it heard last; `whole`: with all of its headers."""
        frame = self.last.get(1 - side)
        if frame is None:
            return None
        about = p.read(frame)
        if about is None:
            return None
        ipv4 = len(about.src) == 4
        network = frame[14:]
        head = 20 if ipv4 else 40
        cut = network[
            : head + (rng.choice((20, 28, 64)) if whole else rng.choice((0, 8, 12, 20, 40)))
        ]
        if rng.random() < 0.1:
            cut = cut[: head - 4] if not whole else network[:head]
        sender = about.dst
        if rng.random() < 0.3:
            sender = bytes(len(sender) - 1) + b"\x09" if not ipv4 else b"\x0a\x09\x09\x09"
        to = about.src if rng.random() < 0.95 else about.dst
        kind = rng.choice((3, 4, 5, 11, 12) if ipv4 else (1, 2, 3, 4))
        flow = Flow(sender, to, p.ICMP if ipv4 else p.ICMPV6)
        return p.icmp(flow, kind, rng.choice((0, 1)), bytes(4) + cut)


def conversation(rng: Rng, *, once: bool = False) -> Conversation:
    """Some hosts, of few, with something to say."""
    ipv4 = rng.random() < 0.65
    net = b"\x0a\0\0" if ipv4 else bytes.fromhex("fd00") + bytes(13)
    near, far = net + bytes((rng.randint(1, 3),)), net + bytes((rng.randint(4, 5),))
    proto = rng.choice((p.TCP, p.TCP, p.TCP, p.UDP, p.UDP, p.ICMP if ipv4 else p.ICMPV6, p.GRE))
    sport = rng.choice((0, 1, 500, 550, 900, 1024, 40000, 40001, 65535))
    dport = rng.choice((53, 80, 80, 0 if rng.random() < 0.1 else 443))
    if sport == 0 and rng.random() < 0.8:
        sport = 5000
    flow = Flow(near, far, proto, sport, dport)
    if proto in (p.ICMP, p.ICMPV6):
        # Open vSwitch translates no identifiers: there they are never the same.
        flow = Flow(near, far, proto, rng.getrandbits(16) if once else rng.choice((1, 2, 3)))
    elif proto == p.GRE:
        flow = Flow(near, far, proto)
    kinds: dict[int, Kind] = {
        p.TCP: Tcp([rng.getrandbits(32), rng.choice((0, 1, rng.getrandbits(32)))], once),
        p.UDP: Udp(),
        p.GRE: Other(),
    }
    return Conversation(flow, kinds.get(proto, Query()), flow)
