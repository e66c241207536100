"""Whether a packet has ports is asked at each ct(): actions may have written 0 to one, or over one."""

from __future__ import annotations

import pytest

from gossamer.datapath.datapath import Datapath
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.world import Port
from tests.property import ip_packets as p
from tests.property.case import BridgeCase, Case, PacketCase
from tests.property.compare import disagreement
from tests.property.connections import rule

ACTIONS = {
    "0 behind a ct()": ("udp,actions=ct(zone=1),set_field:0->udp_dst,ct(zone=2,table=1)", 53, 3),
    "0 before it": ("udp,actions=set_field:0->udp_dst,ct(zone=2,table=1)", 53, 3),
    "over 0 behind a ct()": (
        "udp,actions=ct(zone=1),set_field:53->udp_dst,ct(zone=2,table=1)",
        0,
        2,
    ),
}


@pytest.mark.parametrize("what", ACTIONS)
def test_a_port_of_0_is_seen_where_it_was_written(datapath: Datapath, what: str) -> None:
    actions, port, leaves_by = ACTIONS[what]
    flows = (
        f"table=0,{actions}",
        "table=1,ct_state=+new+trk,udp,actions=output:2",
        "table=1,ct_state=+inv+trk,udp,actions=output:3",
    )
    flow = p.Flow(bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)), p.UDP, 4000, port)
    bridge = BridgeCase("br0", (Port(1), Port(2), Port(3)), tuple(map(rule, flows)))
    wanted = Case((bridge,), (PacketCase("br0", 1, p.udp(flow, b"data")),))
    sent = Pipeline(wanted.world()).run("br0", 1, wanted.packets[0].data).outputs
    assert [output.ofport for output in sent] == [leaves_by]
    assert disagreement(datapath, wanted) == ""
