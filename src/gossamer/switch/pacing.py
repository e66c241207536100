"""Packet-ins in their turn: a rate limit that is fair between ingress ports.

A controller that is limited to N packet-ins a second gets N, and a port that
floods cannot keep those of the others from it: waiting packets are queued by
port, sent in turn, and when too many wait the longest queue loses its oldest
(ovs-vswitchd.conf.db(5), Controller.controller_rate_limit).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PacketInLimits:
    """`rate` None: no limit.  All count packets; `rate` is a second's."""

    rate: int | None = None
    burst: int | None = None
    queue_size: int = 100

    @property
    def tokens(self) -> float:
        """Packets that may go at once: the burst, a quarter of the rate unless it was set."""
        assert self.rate is not None
        return float(max(self.burst or self.rate // 4, 1))


class PacketInPacer:
    """What one connection may be sent, one kind of packet-in (misses, or actions)."""

    def __init__(self, limits: PacketInLimits, now: float) -> None:
        self.dropped = 0
        self._limits = limits
        self._queues: dict[int, deque[bytes]] = {}
        self._waiting = 0
        self._filled_s = now
        self._tokens = limits.tokens if limits.rate is not None else 0.0

    def configure(self, limits: PacketInLimits, now: float) -> None:
        """Take other limits; what waits stays."""
        if limits != self._limits:
            self._limits = limits
            self._filled_s = now
            self._tokens = limits.tokens if limits.rate is not None else 0.0

    def offer(self, port: int, message: bytes, now: float) -> list[bytes]:
        """Messages to send now, for one that came up at `port`."""
        if self._limits.rate is None:
            return [message]
        if not self._waiting and self._take(now):
            return [message]
        if self._waiting >= max(self._limits.queue_size, 1):
            longest = max(self._queues.values(), key=len)
            longest.popleft()
            self._waiting -= 1
            self.dropped += 1
        self._queues.setdefault(port, deque()).append(message)
        self._waiting += 1
        return self.due(now)

    def due(self, now: float) -> list[bytes]:
        """Waiting messages whose time has come."""
        out: list[bytes] = []
        while self._waiting and self._take(now):
            port = next(p for p, queue in self._queues.items() if queue)
            queue = self._queues.pop(port)
            out.append(queue.popleft())
            self._waiting -= 1
            if queue:
                self._queues[port] = queue  # to the end: the next port's turn
        self._queues = {p: q for p, q in self._queues.items() if q} if out else self._queues
        return out

    @property
    def next_s(self) -> float | None:
        """When `due()` will have something, None while nothing waits."""
        if not self._waiting or self._limits.rate is None:
            return None
        return self._filled_s + max(1.0 - self._tokens, 0.0) / max(self._limits.rate, 1)

    def _take(self, now: float) -> bool:
        limits = self._limits
        if limits.rate is None:
            return True
        self._tokens = min(self._tokens + (now - self._filled_s) * limits.rate, limits.tokens)
        self._filled_s = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
