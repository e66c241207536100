"""PACKET_OUT: a packet a controller sends through the switch (OpenFlow 1.3.5, 7.3.7).

The reference pipeline carries out its actions; what comes of them goes out of
ports, or back up to controllers.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from gossamer.errors import DatapathError, DeviceError, PacketError
from gossamer.openflow import message as m
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.pipeline.action import SetField
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.result import Result
from gossamer.switch.packet_in import from_pipeline
from gossamer.switch.world import world_of

if TYPE_CHECKING:
    from gossamer.pipeline.action import Action, Actions
    from gossamer.pipeline.action_learn import Learn
    from gossamer.pipeline.match import Match
    from gossamer.switch.bridge import Bridge
    from gossamer.switch.switch import Switch

log = logging.getLogger(__name__)

_ETHERNET_HEADER: Final = 14


def check(message: m.PacketOut) -> None:
    """Raises OpenFlowError for a packet that cannot be sent: none is ever buffered here."""
    if message.buffer_id != m.NO_BUFFER:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BUFFER_UNKNOWN)
    if len(message.data) < _ETHERNET_HEADER:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_PACKET, "shorter than an Ethernet header")


def account(switch: Switch, result: Result, n_bytes: int) -> None:
    """Credit flows and groups with a packet that the reference pipeline took past them, and learn
    from it."""
    now = time.monotonic()
    for name, table_id in result.misses:
        switch.datapath.count_miss(switch.bridges[name].ports.bridge_id, table_id)
    for use in result.groups:
        bridge_id = switch.bridges[use.bridge].ports.bridge_id
        switch.datapath.count_group(bridge_id, use.group_id, use.buckets, n_bytes)
    for flow in result.flows:
        flow.own_packets += 1
        flow.own_bytes += n_bytes
        flow.used_s = now
    by_bridge: dict[str, list[tuple[Learn, int]]] = {}
    for learned in result.learned:
        by_bridge.setdefault(learned.bridge, []).append((learned.action, learned.key))
    for name, lessons in by_bridge.items():
        switch.bridges[name].learn(lessons)


def packet_out(switch: Switch, bridge: Bridge, message: m.PacketOut) -> None:
    """Carry out the actions on the packet, and transmit what comes of it.

    Raises OpenFlowError where the request is wrong; a packet the actions drop is no error.
    """
    check(message)
    actions = (*presets(message.match), *message.actions)
    perform(switch, bridge, message.in_port, message.data, actions)


def presets(match: Match) -> list[Action]:
    """Actions that give the pipeline fields of a match their values; in_port is not among them."""
    return [
        SetField(field, value, mask)
        for field, value, mask in match.fields()
        if field.writable and field.name != "in_port"
    ]


def perform(switch: Switch, bridge: Bridge, in_port: int, data: bytes, actions: Actions) -> None:
    """Run actions on a frame as if it had come by `in_port`; raises as packet_out()."""
    pipeline = Pipeline(world_of(switch))
    try:
        result = pipeline.execute_actions(bridge.name, in_port, data, actions)
    except PacketError as e:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_PACKET, e.message) from e
    account(switch, result, len(data))
    deliver(switch, result)


def deliver(switch: Switch, result: Result) -> None:
    """Send what the reference pipeline let out: by ports, and up to controllers."""
    for output in result.outputs:
        sender = switch.bridges[output.bridge]
        port = sender.ports.by_ofport[output.ofport]
        try:
            if output.outer is not None:
                switch.tunnels.send(output)
            else:
                switch.datapath.packets.transmit(port.port_id, output.packet)
        except (DatapathError, DeviceError) as e:
            # A device that is down or gone loses packets; that is nobody's fault.
            log.debug("bridge=%s port=%s: %s", output.bridge, port.name, e)
    for sampled in result.samples:
        switch.sampling.seen(switch.bridges[sampled.bridge], sampled)
    for punt in result.punts:
        sender = switch.bridges[punt.bridge]
        sender.packet_in(from_pipeline(punt, sender))
