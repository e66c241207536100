"""NXT_RESUME: go on with a packet that waited at a controller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.openflow import message as m
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.pipeline.action import WriteActions
from gossamer.pipeline.fields import BY_NAME
from gossamer.switch.continuation import NO_BRIDGE
from gossamer.switch.packet_out import perform, presets

if TYPE_CHECKING:
    from gossamer.switch.bridge import Bridge
    from gossamer.switch.switch import Switch


def resume(switch: Switch, bridge: Bridge, message: m.Resume) -> None:
    """Go on with a packet, as the controller may have changed it.

    Raises OpenFlowError(RESUME_STALE) where the bridge is another one now.
    """
    going_on = message.continuation
    if going_on.bridge != (bridge.config.uuid or NO_BRIDGE):
        raise OpenFlowError(ErrorCode.RESUME_STALE)
    in_port, _ = message.metadata.field(BY_NAME["in_port"])
    actions = presets(message.metadata)
    if going_on.action_set:
        actions.append(WriteActions(going_on.action_set))
    for paused in going_on.paused:
        actions += paused.actions
    perform(switch, bridge, in_port, message.data, tuple(actions))
