"""What happens to flows, for those who want to know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gossamer.pipeline.action import Actions
    from gossamer.pipeline.flow import Flow


class EventKind(IntEnum):
    """What happened to a flow."""

    ADDED = 0
    REMOVED = 1
    MODIFIED = 2


class RemovedReason(IntEnum):
    """Why a flow went (ofp_flow_removed_reason of OpenFlow 1.4)."""

    IDLE_TIMEOUT = 0
    HARD_TIMEOUT = 1
    DELETE = 2
    GROUP_DELETE = 3
    METER_DELETE = 4
    EVICTION = 5


FLAG_SEND_FLOW_REM: Final = 1
"""Bit of `Flow.flags` that asks for flow-removed (OFPFF_SEND_FLOW_REM)."""


@dataclass(frozen=True, slots=True)
class FlowEvent:
    """A change somebody may want to hear of.

    `source` is the connection that asked for it (None: the switch itself),
    `xid` the transaction.
    """

    kind: EventKind
    flow: Flow
    reason: RemovedReason
    source: object
    xid: int
    changed: bool = True
    """False for a modification that left actions and cookie as they were."""
    replaced: Flow | None = None
    """The flow in whose place one was added."""
    old_actions: Actions | None = None
    """What a flow that was modified did before."""

    @property
    def before(self) -> Actions | None:
        """What was done with the packets until then, where somebody did."""
        return self.old_actions if self.replaced is None else self.replaced.actions
