"""Packets on their way to controllers, wherever they come from: a punt, or a packet-out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gossamer.datapath.offload import on_the_wire
from gossamer.openflow import message as m
from gossamer.pipeline.action import Controller
from gossamer.pipeline.meter import METER_CONTROLLER
from gossamer.switch.async_config import PacketInReason
from gossamer.switch.continuation import NO_BRIDGE, continuation_of
from gossamer.switch.references import flatten

if TYPE_CHECKING:
    from gossamer.datapath.settings import Punt
    from gossamer.pipeline.flow import Flow
    from gossamer.pipeline.result import Punt as PipelinePunt
    from gossamer.switch.bridge import Bridge

_LAST_OF_PROTOCOL: Final = PacketInReason.PACKET_OUT


@dataclass(frozen=True, slots=True)
class PacketForController:
    """A packet-in before it is known who gets it; `data` is cut to what was asked for."""

    reason: PacketInReason
    controller_id: int
    table_id: int
    cookie: int
    in_port: int
    key: int
    data: bytes
    total_len: int
    userdata: bytes = b""
    continuation: m.Continuation | None = None
    meter_id: int = METER_CONTROLLER
    """What limits it: that of controllers, unless the action names another."""

    def message(self, version: int) -> m.PacketIn:
        """As a connection of `version` is told of it."""
        return m.PacketIn(
            data=self.data,
            total_len=self.total_len,
            reason=self.reason.wire(version),
            table_id=self.table_id,
            cookie=self.cookie,
            in_port=self.in_port,
            key=self.key,
            userdata=self.userdata,
            continuation=self.continuation,
        )


def reason_of(wire: int, flow: Flow | None) -> PacketInReason:
    """The reason, told apart further: a table-miss flow matches everything at priority 0."""
    if flow is None and wire == PacketInReason.NO_MATCH:
        return PacketInReason.IMPLICIT_MISS
    if (
        flow is not None
        and wire == PacketInReason.ACTION
        and not flow.priority
        and not flow.match.mask
    ):
        return PacketInReason.EXPLICIT_MISS
    return PacketInReason(wire) if wire <= _LAST_OF_PROTOCOL else PacketInReason.ACTION


def _meter_of(flow: Flow | None, controller_id: int, userdata: bytes) -> int:
    """The meter of the action that sent a packet up."""
    sender = (controller_id, userdata)
    for action in flatten(flow.actions) if flow is not None else ():
        if (
            isinstance(action, Controller)
            and action.meter_id
            and (action.controller_id, action.userdata) == sender
        ):
            return action.meter_id
    return METER_CONTROLLER


def as_on_the_wire(punt: Punt) -> list[Punt]:
    """The packets a wire would have carried for one that came whole from a virtual device."""
    if len(punt.data) < punt.total_len:
        return [punt]
    frames = on_the_wire(punt.data, punt.gso_size)
    return [replace(punt, data=f, total_len=len(f)) for f in frames]


def from_datapath(punt: Punt, flow: Flow | None, userdata: bytes) -> PacketForController:
    """A packet the datapath sent up; `flow` is the one that sent it, where it still exists."""
    return PacketForController(
        reason=reason_of(punt.reason, flow),
        controller_id=punt.controller_id,
        table_id=punt.table_id,
        cookie=flow.cookie if flow else m.NO_COOKIE,
        in_port=punt.in_port,
        key=punt.key,
        data=punt.data,
        total_len=punt.total_len,
        userdata=userdata,
        meter_id=_meter_of(flow, punt.controller_id, userdata),
    )


def from_pipeline(punt: PipelinePunt, bridge: Bridge) -> PacketForController:
    """A packet that the reference pipeline sent up."""
    action, flow = punt.action, punt.flow
    # A packet-out's action may say that nothing matched; no table did.
    said = action.reason == punt.reason == PacketInReason.NO_MATCH
    return PacketForController(
        reason=PacketInReason.NO_MATCH if said else reason_of(punt.reason, flow),
        controller_id=action.controller_id,
        table_id=punt.table_id,
        cookie=flow.cookie if flow else m.NO_COOKIE,
        in_port=punt.in_port,
        key=punt.key,
        data=punt.packet,
        total_len=len(punt.packet),
        userdata=action.userdata,
        continuation=continuation_of(punt.frozen, bridge.config.uuid or NO_BRIDGE),
        meter_id=action.meter_id or METER_CONTROLLER,
    )
