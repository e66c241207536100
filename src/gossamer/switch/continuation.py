"""How to go on with a packet that waits at a controller (ovs-actions(7), controller(pause)).

The datapath ends the pipeline at the pausing action and sends the packet up.
What is left of the flow's actions goes to the controller inside the packet-in
and comes back with the packet (`resume.py`); the switch itself remembers
nothing.  What tables that had resubmitted to the flow would have done
afterwards is not done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gossamer.openflow import message as m
from gossamer.pipeline.action import (
    Action,
    Actions,
    Controller,
    GotoTable,
    Resubmit,
    SetField,
    WriteActions,
    WriteMetadata,
)
from gossamer.pipeline.fields import BY_NAME

if TYPE_CHECKING:
    from gossamer.pipeline.flow import Flow
    from gossamer.switch.bridge import Bridge

NO_BRIDGE: Final = bytes(16)


def continuation(
    bridge: Bridge, flow: Flow | None, controller_id: int, userdata: bytes
) -> m.Continuation | None:
    """How to go on with a packet that a flow sent up; None where it does not wait."""
    for i, action in enumerate(flow.actions if flow is not None else ()):
        if (
            isinstance(action, Controller)
            and action.pause
            and (action.controller_id, action.userdata) == (controller_id, userdata)
        ):
            assert flow is not None
            left, action_set = _portable(flow.actions[i + 1 :])
            paused = (m.PausedActions(flow.table_id, flow.cookie, left),) if left else ()
            return m.Continuation(bridge.config.uuid or NO_BRIDGE, paused, action_set)
    return None


def _portable(actions: Actions) -> tuple[Actions, Actions]:
    """Instructions as the actions they amount to, and what they put into the action set."""
    left: list[Action] = []
    action_set: Actions = ()
    for action in actions:
        if isinstance(action, GotoTable):
            left.append(Resubmit(table_id=action.table_id))
        elif isinstance(action, WriteMetadata):
            if action.mask:
                value = action.value & action.mask
                left.append(SetField(BY_NAME["metadata"], value, action.mask))
        elif isinstance(action, WriteActions):
            action_set = action.actions
        else:
            left.append(action)
    return tuple(left), action_set
