"""When to connect to a controller again, and when to give up on a silent one.

A connection goes through BACKOFF, CONNECTING, ACTIVE and IDLE, the states
that ovs-vswitchd shows in Controller.status.  Time is CLOCK_MONOTONIC seconds
and always handed in, so that a test needs no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where a connection stands."""

    VOID = "VOID"
    BACKOFF = "BACKOFF"
    CONNECTING = "CONNECTING"
    ACTIVE = "ACTIVE"
    IDLE = "IDLE"


TALKING: Final = frozenset({State.ACTIVE, State.IDLE})
"""The version is negotiated and nobody has hung up."""


@dataclass(slots=True)
class Reconnect:
    """The life of one active connection; it begins in BACKOFF with nothing to wait for."""

    max_backoff_s: float
    probe_interval_s: float
    """0: a silent peer is never probed."""
    state: State = State.BACKOFF
    entered_s: float = 0.0
    backoff_s: float = 0.0
    backoff_until_s: float = 0.0
    connected_at_s: float | None = None
    disconnected_at_s: float | None = None
    last_error: str = ""

    def enter(self, state: State, now: float) -> None:
        """Change state."""
        self.state, self.entered_s = state, now

    def should_connect(self, now: float) -> bool:
        """Time for another attempt."""
        return self.state is State.BACKOFF and now >= self.backoff_until_s

    def connecting(self, now: float) -> None:
        """An attempt began."""
        self.enter(State.CONNECTING, now)

    def connected(self, now: float) -> None:
        """The version is negotiated."""
        self.connected_at_s = now
        self.last_error = ""
        self.enter(State.ACTIVE, now)

    def received(self, now: float) -> None:
        """Anything came from the peer."""
        if self.state is State.IDLE:
            self.enter(State.ACTIVE, now)

    def disconnected(self, now: float, error: str) -> None:
        """The connection or the attempt ended; waits 1 s, then twice as long each time."""
        if self.state in TALKING:
            self.disconnected_at_s = now
        if error:
            self.last_error = error
        if now >= self.backoff_until_s + self.backoff_s and self.state is not State.CONNECTING:
            self.backoff_s = 0.0
        self.backoff_s = min(max(1.0, 2 * self.backoff_s), max(self.max_backoff_s, 1.0))
        self.backoff_until_s = now + self.backoff_s
        self.enter(State.BACKOFF, now)

    def attempt_is_over(self, now: float) -> bool:
        """A connection attempt that takes too long."""
        return self.state is State.CONNECTING and now >= self.entered_s + max(1.0, self.backoff_s)

    def wants_probe(self, now: float, last_received_s: float) -> bool:
        """True once when the peer was silent for the probe interval: send an echo request."""
        silent_since = max(last_received_s, self.entered_s)
        if (
            self.state is State.ACTIVE
            and self.probe_interval_s
            and now >= silent_since + self.probe_interval_s
        ):
            self.enter(State.IDLE, now)
            return True
        return False

    def is_dead(self, now: float) -> bool:
        """No answer to the probe within another interval."""
        return (
            self.state is State.IDLE
            and bool(self.probe_interval_s)
            and now >= self.entered_s + self.probe_interval_s
        )

    def next_s(self, last_received_s: float) -> float | None:
        """When to look again, None when only the peer can change something."""
        if self.state is State.BACKOFF:
            return self.backoff_until_s
        if self.state is State.CONNECTING:
            return self.entered_s + max(1.0, self.backoff_s)
        if not self.probe_interval_s or self.state is State.VOID:
            return None
        if self.state is State.IDLE:
            return self.entered_s + self.probe_interval_s
        return max(last_received_s, self.entered_s) + self.probe_interval_s

    def status(self, now: float) -> dict[str, str]:
        """Controller.status, as ovs-vswitchd writes it."""
        out = {"state": str(self.state)}
        if self.connected_at_s is not None:
            out["sec_since_connect"] = str(int(now - self.connected_at_s))
        if self.disconnected_at_s is not None:
            out["sec_since_disconnect"] = str(int(now - self.disconnected_at_s))
        if self.last_error:
            out["last_error"] = self.last_error
        return out
