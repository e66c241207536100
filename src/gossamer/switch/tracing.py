"""`ovs-appctl gossamer/trace`: where a packet would go, as JSON.

The packet runs through the reference pipeline over the switch's own tables;
nothing is sent, counted or learned, and connections are foreseen, not made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gossamer.errors import FieldError
from gossamer.pipeline.conntrack.foreseen import Foreseen
from gossamer.pipeline.flow_syntax import parse_flow
from gossamer.pipeline.key_parts import TUNNEL_BITS
from gossamer.pipeline.result import Result
from gossamer.pipeline.trace import trace_flow, trace_packet
from gossamer.pipeline.trace_data import trace_as_data
from gossamer.pipeline.world import World
from gossamer.switch.world import untaught_fdb, world_of

if TYPE_CHECKING:
    from gossamer.switch.switch import Switch


def trace_json(switch: Switch, argv: Sequence[str]) -> str:
    """``gossamer/trace BRIDGE FLOW [PACKET]``: the steps.

    Raises GossamerError for what cannot be understood.
    """
    world, result = _trace(switch, argv)
    return json.dumps(trace_as_data(world, result), indent=1) + "\n"


def _trace(switch: Switch, argv: Sequence[str]) -> tuple[World, Result]:
    # A packet is composed from the flow in any case.
    words = [word for word in argv if word not in ("-generate", "--generate", "--names")]
    if len(words) not in (2, 3):
        raise FieldError("a trace needs a bridge and a flow", remedy="ofproto/trace BRIDGE FLOW")
    name, flow = words[:2]
    world = world_of(switch, untaught_fdb)
    world.tracking = Foreseen()
    if name not in world.bridges:
        raise FieldError(f"{name}: unknown bridge", remedy="ovs-vsctl list-br shows all bridges")
    if len(words) == 2:
        _, result = trace_flow(world, name, flow)
        return world, result
    try:
        packet = bytes.fromhex(words[2])
    except ValueError:
        raise FieldError("the packet is not in hexadecimal", remedy="give its bytes") from None
    ports = {p.name: p.ofport for p in world.bridges[name].ports.values() if p.name}
    parsed = parse_flow(flow, ports)
    brought = parsed.match.value & TUNNEL_BITS
    _, result = trace_packet(world, name, parsed.in_port, packet, brought)
    return world, result
