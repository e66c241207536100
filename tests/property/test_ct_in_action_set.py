"""ct() and ct_clear that rules write into the action set: in the kernel, as all of it is."""

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
SHOW = "move:NXM_NX_CT_STATE[0..7]->NXM_OF_ETH_DST[0..7],move:NXM_NX_CT_MARK[]->NXM_OF_ETH_SRC[0..31]"
ACTIONS = {
    "alone": "write_actions(ct(commit,table=2,zone=1))",
    "without table, the packet ends": "write_actions(ct(commit,zone=1)),goto_table:2",
    "after changes": "write_actions(ct(commit,table=2,nat(src=10.0.9.9)),set_field:5->nw_ttl,push_vlan:0x8100)",
    "the last of two": "write_actions(ct(commit,table=3)),write_actions(ct(table=2,zone=4))",
    "an output overrules": "write_actions(ct(table=2),output:2)",
    "a group overrules": "write_actions(ct(table=2),group:1,ct_clear)",
    "a resubmit overrules": "write_actions(resubmit(,3),ct(table=2))",
    "ct_clear overrules": "ct(table=4),write_actions(ct_clear,ct(table=2))",
    "cleared": "write_actions(ct(table=2)),clear_actions,write_actions(set_field:5->nw_ttl)",
    "zone and mark of registers as they are at the end": (
        "write_actions(ct(commit,table=2,zone=NXM_NX_REG0[0..15],"
        "exec(move:NXM_NX_REG1[]->NXM_NX_CT_MARK[],set_field:0x50/0xf0->ct_mark))),"
        "set_field:3->reg0,set_field:9->reg1"
    ),
    "in a clone's own": "clone(resubmit(,5)),output:4,write_actions(ct(table=3))",
    "carried over another ct()": "write_actions(ct(commit,table=2,nat(dst=10.0.9.9))),ct(table=6,zone=1)",
    "over two, and cleared there": "write_actions(ct(table=2),ct_clear),ct(table=7)",
}  # fmt: skip


def case(actions: str) -> Case:
    """A bridge that does `actions` with what comes in, and a packet of a connection each way."""
    texts = (
        f"table=0,actions={actions}",
        f"table=2,actions={SHOW},output:3",
        "table=3,actions=output:4",
        f"table=4,ct_state=+trk,actions=write_actions(ct_clear,output:3),{SHOW},output:2",
        "table=5,actions=write_actions(set_field:9->nw_ttl,ct(commit,table=2,zone=7))",
        "table=6,actions=ct(table=8,zone=2)",
        "table=7,actions=write_actions(set_field:4->nw_ttl),goto_table:9",
        "table=8,actions=set_field:7->nw_tos",
        f"table=9,actions=clear_actions,write_actions(ct(table=2,zone=3)),{SHOW},output:4",
    )
    buckets = tuple(Bucket(parse_actions(f"output:{port}")) for port in (2, 3))
    ports, groups = tuple(Port(n) for n in (1, 2, 3, 4)), (Group(1, GroupType.ALL, buckets),)
    bridge = BridgeCase("br0", ports, tuple(map(rule, texts)), groups=groups)
    there = PacketCase("br0", 1, p.udp(FLOW, b"data"))
    back = PacketCase("br0", 2, p.udp(FLOW.reversed(), b"data"))
    return Case((bridge,), (there, there, back, there))


@pytest.mark.parametrize("what", ACTIONS)
def test_a_ct_that_rules_wrote_runs_at_the_end_in_the_kernel(
    datapath: Datapath, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr("tests.property.slow.SlowPath.take_through", _nobody)
    assert disagreement(datapath, case(ACTIONS[what])) == ""


def _nobody(*arguments: object) -> None:
    pytest.fail("the daemon was asked to take a packet through")
