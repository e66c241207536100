"""Packets that meet what the kernel cannot do: the reference pipeline takes them through.

The kernel sends such a packet up as it entered the bridge, or as it went on at a
table after a ct(), with how many flows are credited with it already.  docs/compat.md lists what leads here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.datapath.offload import on_the_wire
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.journey import BESIDE_HEADERS, TUNNEL_BITS
from gossamer.switch.packet_out import Credited, account, deliver
from gossamer.switch.world import world_of

if TYPE_CHECKING:
    from gossamer.datapath.settings import Punt
    from gossamer.switch.bridge import Bridge
    from gossamer.switch.switch import Switch


def take_through(switch: Switch, bridge: Bridge, punt: Punt) -> None:
    """Do for a punted packet what the rules say, from the first table of its bridge on, or from
    where it went on after a ct()."""
    pipeline = Pipeline(world_of(switch))
    for frame in on_the_wire(punt.data, punt.gso_size):
        if punt.table_id:
            brought, table_id = punt.key & BESIDE_HEADERS, punt.table_id - 1
            result = pipeline.run_at(bridge.name, punt.in_port, frame, table_id, brought)
        else:
            result = pipeline.run(bridge.name, punt.in_port, frame, punt.key & TUNNEL_BITS)
        account(switch, result, len(frame), Credited(punt.controller_id, punt.userdata_id))
        deliver(switch, result)
