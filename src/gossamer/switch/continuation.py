"""How to go on with a packet that waits at a controller (ovs-actions(7), controller(pause)).

What is left to do goes to the controller inside the packet-in and comes back
with the packet (`resume.py`); the switch itself remembers nothing.
"""

from __future__ import annotations

from typing import Final

from gossamer.openflow import message as m
from gossamer.pipeline.frozen import Frozen, Remaining

NO_BRIDGE: Final = bytes(16)


def continuation_of(frozen: Frozen | None, bridge: bytes) -> m.Continuation | None:
    """How to go on with a packet, as controllers are told it; None where it does not wait.

    `bridge` is the UUID of the bridge it waits in.
    """
    if frozen is None:
        return None
    return m.Continuation(
        bridge,
        tuple(m.PausedActions(r.table_id, r.cookie, r.actions) for r in frozen.remaining),
        frozen.action_set,
        frozen.stack,
        conntracked=frozen.conntracked,
    )


def frozen_of(going_on: m.Continuation) -> Frozen:
    """Inverse of continuation_of()."""
    return Frozen(
        tuple(Remaining(p.table_id, p.cookie, p.actions) for p in going_on.paused),
        going_on.action_set,
        going_on.stack,
        going_on.conntracked,
    )
