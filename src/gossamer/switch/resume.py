"""NXT_RESUME: go on with a packet that waited at a controller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.errors import PacketError
from gossamer.openflow import message as m
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.key_parts import BESIDE_HEADERS
from gossamer.switch.continuation import NO_BRIDGE, frozen_of
from gossamer.switch.packet_out import account, deliver
from gossamer.switch.world import world_of

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
    brought = message.metadata.value & BESIDE_HEADERS
    pipeline = Pipeline(world_of(switch))
    try:
        result = pipeline.resume(
            bridge.name, in_port, message.data, frozen_of(going_on), brought
        )
    except PacketError as e:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_PACKET, e.message) from e
    account(switch, result, len(message.data))
    deliver(switch, result)
