"""Where a packet stood when its processing was paused, to go on later (NXT_PACKET_IN2, NXT_RESUME)."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.pipeline.action import DROP, Actions


@dataclass(frozen=True, slots=True)
class PausedActions:
    """Actions of one flow that are still to be run, innermost flow first."""

    table_id: int
    cookie: int
    actions: Actions


@dataclass(frozen=True, slots=True)
class Continuation:
    """All that is needed to go on; controllers hand it back as they got it.

    `bridge` is 16 bytes that tell the bridge (its UUID); `stack` has what was pushed, oldest
    first.
    """

    bridge: bytes
    paused: tuple[PausedActions, ...] = ()
    action_set: Actions = DROP
    stack: tuple[bytes, ...] = ()
    mirrors: int = 0
    conntracked: bool = False
