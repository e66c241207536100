"""Packets that meet what the kernel cannot do: the reference pipeline takes them through.

The kernel sends such a packet up as it entered the bridge, or as it went on at a
table after a ct(), and credits nothing with it.  docs/compat.md lists what leads here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.datapath.offload import on_the_wire
from gossamer.pipeline.action import WriteActions
from gossamer.pipeline.action_set import ActionSet
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.key_parts import BESIDE_HEADERS, TUNNEL_BITS
from gossamer.pipeline.labels import n_shown
from gossamer.pipeline.packet import InSight
from gossamer.pipeline.rewrite import tags_of
from gossamer.switch.packet_out import account, deliver
from gossamer.switch.world import slow_path_fdb, world_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gossamer.datapath.settings import Punt
    from gossamer.pipeline.flow import Flow
    from gossamer.pipeline.result import Result
    from gossamer.switch.bridge import Bridge
    from gossamer.switch.switch import Switch


def take_through(switch: Switch, bridge: Bridge, punt: Punt) -> None:
    """Do for a punted packet what the rules say, from the first table of its bridge on, or from
    where it went on after a ct()."""
    pipeline = Pipeline(world_of(switch, slow_path_fdb))
    for frame in on_the_wire(punt.data, punt.gso_size):
        n_bytes = len(frame) if punt.gso_size else punt.controller_id
        result = passed(pipeline, bridge.name, punt, frame, n_bytes, bridge.tables.by_id)
        account(switch, result, n_bytes)
        deliver(switch, result)


def passed(
    pipeline: Pipeline,
    bridge: str,
    punt: Punt,
    frame: bytes,
    n_bytes: int,
    flows: Mapping[int, Flow],
) -> Result:
    """What becomes of a frame of a punted packet, which entered the switch with `n_bytes`; `flows` of
    its bridge by id.  It shows the tags and labels that it showed in the kernel."""
    in_sight = InSight(len(tags_of(punt.key)), n_shown(punt.key))
    if punt.table_id:
        brought, table_id = punt.key & BESIDE_HEADERS, punt.table_id - 1
        written = _written(punt.wrote, flows)
        return pipeline.run_at(
            bridge, punt.in_port, frame, table_id, brought, n_bytes, written, in_sight
        )
    # What came out of a tunnel; and a mark, which goes along over patch ports.
    brought = punt.key & (TUNNEL_BITS | BY_NAME["pkt_mark"].full_mask)
    return pipeline.run(bridge, punt.in_port, frame, brought, n_bytes, in_sight)


def _written(wrote: tuple[int, ...], flows: Mapping[int, Flow]) -> ActionSet:
    """The action set that these flows wrote before a ct(); one that is gone meanwhile adds nothing."""
    action_set = ActionSet()
    for flow_id in wrote:
        flow = flows.get(flow_id)
        for action in flow.actions if flow is not None else ():
            if isinstance(action, WriteActions):
                action_set.write(action.actions)
    return action_set
