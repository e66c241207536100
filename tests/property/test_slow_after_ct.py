"""What only the daemon can do, after a ct() that has carried an action set along: the set goes up too."""

from __future__ import annotations

import pytest

from gossamer.datapath.datapath import Datapath
from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.group import Bucket, Group, GroupType
from gossamer.pipeline.world import Port
from tests.property import ip_packets as p
from tests.property.case import BridgeCase, Case, PacketCase
from tests.property.compare import disagreement
from tests.property.connections import rule

FLOW = p.Flow(bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)), p.UDP, 4000, 53)
PACKET = PacketCase("br0", 1, p.udp(FLOW, b"data"))
SLOW = "push_pbb:0x88e7,pop_pbb"
WRITTEN = {
    "an output": ("write_actions(output:2)", "goto_table:1"),
    "changes, moves and an output": (
        "set_field:7->reg1,write_actions(set_field:5->nw_ttl,move:NXM_NX_REG1[0..5]->OXM_OF_IP_DSCP[],"
        "push_vlan:0x8100,output:3)",
        "goto_table:1",
    ),
    "a group": ("write_actions(dec_ttl,output:2,group:1)", "goto_table:1"),
    "by three rules": ("write_actions(set_field:5->nw_ttl,output:2)", "goto_table:3"),
    "after another was cleared": (
        "write_actions(set_field:5->nw_ttl,output:2)",
        "clear_actions,write_actions(output:3),goto_table:1",
    ),
    "in a clone": ("clone(resubmit(,4),ct(table=2,zone=1)),write_actions(output:3)", "goto_table:6"),
    "over two ct()": ("write_actions(output:2)", "ct(table=5,zone=1)"),
    "by a rule that came twice": (
        "resubmit(,11),resubmit(,11),write_actions(output:2)",
        "goto_table:1",
    ),
}  # fmt: skip


def case(first: str, then: str) -> Case:
    """`first` in table 0, which goes on to 8 where `then` goes on."""
    texts = (
        f"table=8,actions={first},goto_table:9",
        "table=0,actions=set_field:9->reg1,set_field:4->reg2,goto_table:8",
        f"table=9,actions={then}",
        "table=11,actions=write_actions(move:NXM_NX_REG1[]->NXM_NX_REG2[],load:7->NXM_NX_REG1[],"
        "move:NXM_NX_REG2[0..5]->OXM_OF_IP_DSCP[])",
        "table=1,actions=ct(table=2,zone=1)",
        f"table=2,actions={SLOW},output:4",
        "table=3,actions=write_actions(set_field:6->nw_ttl),goto_table:10",
        "table=10,actions=write_actions(set_field:1->ip_dscp,output:3),goto_table:1",
        "table=4,actions=write_actions(set_field:3->nw_ttl,output:2)",
        "table=5,actions=write_actions(set_field:2->nw_ttl),goto_table:1",
        "table=6,actions=output:4",
    )
    buckets = tuple(Bucket(parse_actions(f"output:{port}")) for port in (2, 3))
    ports, groups = tuple(Port(n) for n in (1, 2, 3, 4)), (Group(1, GroupType.ALL, buckets),)
    bridge = BridgeCase("br0", ports, tuple(map(rule, texts)), groups=groups)
    return Case((bridge,), (PACKET, PACKET))


@pytest.mark.parametrize("what", WRITTEN)
def test_an_action_set_goes_up_with_a_packet_that_only_the_daemon_can_take_on(
    datapath: Datapath, what: str
) -> None:
    before = datapath.drops().get("slow_set", 0)
    assert disagreement(datapath, case(*WRITTEN[what])) == ""
    assert datapath.drops().get("slow_set", 0) == before
