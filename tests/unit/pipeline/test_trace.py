"""Where did my packet go?  As text and as data."""

from __future__ import annotations

import json

import pytest

from gossamer.errors import FieldError
from gossamer.pipeline import action as act
from gossamer.pipeline.action import SubField
from gossamer.pipeline.action_ct import Ct, Nat
from gossamer.pipeline.conntrack.foreseen import Foreseen
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.flow_syntax import parse_flow
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.trace import trace_flow
from gossamer.pipeline.trace_data import trace_as_data
from gossamer.pipeline.world import Bridge, Port, VlanMode, World

NORMAL = act.Output(int(OfPort.NORMAL))
REG = {i: BY_NAME[f"reg{i}"] for i in (0, 1)}
FLOW = "in_port=p1,tcp,nw_dst=10.0.0.1,nw_src=10.0.0.2,nw_ttl=64,dl_src=02:00:00:00:00:01,tp_dst=80"


def flow(table_id: int, text: str, *actions: act.Action, cookie: int = 0) -> Flow:
    parsed = parse_flow(text)
    return Flow(table_id, parsed.priority or 0, parsed.match, actions, cookie=cookie)


@pytest.fixture
def patched() -> World:
    """br0 (p1; p2 in VLAN 10) joined to br1 (p3) by a patch."""
    rules = [
        flow(
            0,
            "priority=100,tcp,in_port=1",
            act.SetField(BY_NAME["ip_dst"], 0x0A000009, 0xFFFFFFFF),
            act.RegMove(SubField(BY_NAME["tcp_dst"], 0, 4), SubField(REG[1], 4, 4)),
            act.GotoTable(1),
        ),
        flow(
            1,
            "priority=5,tcp",
            act.Resubmit(table_id=2),
            act.Resubmit(table_id=3),
            act.Output(10),
            act.Output(1),
            act.WriteActions((act.Output(2),)),
            cookie=0x77,
        ),
        flow(2, "priority=9", NORMAL),
    ]
    far = [
        flow(
            0,
            "priority=1",
            act.PushVlan(),
            act.SetField(BY_NAME["vlan_vid"], 4107, 0x1FFF),
            act.Output(3),
        )
    ]
    return World(
        [
            Bridge(
                "br0",
                [
                    Port(1, name="p1"),
                    Port(2, VlanMode.ACCESS, 10, name="p2"),
                    Port(10, name="pa", peer=("br1", 10)),
                ],
                rules,
            ),
            Bridge("br1", [Port(3, name="p3"), Port(10, name="pb", peer=("br0", 10))], far),
        ]
    )


TEXT = """\
Flow: tcp,in_port=1,vlan_tci=0x0000,dl_src=02:00:00:00:00:01,dl_dst=00:00:00:00:00:00,\
nw_src=10.0.0.2,nw_dst=10.0.0.1,nw_tos=0,nw_ecn=0,nw_ttl=64,nw_frag=no,tp_src=0,tp_dst=80,\
tcp_flags=0

bridge("br0")
-------------
 0. tcp,in_port=1, priority 100
    set_field:10.0.0.9->ip_dst
    move:NXM_OF_TCP_DST[0..3]->NXM_NX_REG1[4..7]
     -> NXM_NX_REG1[4..7] is now 0
    goto_table:1
     1. tcp, priority 5, cookie 0x77
            resubmit(,2)
             2. priority 9
                    NORMAL
                     -> learned that 02:00:00:00:00:01 is on port p1 in VLAN 0
                     -> no learned MAC for destination, flooding

                bridge("br1")
                -------------
                 0. priority 1
                    push_vlan:0x8100
                    set_field:4107->vlan_vid
                    output:3
            resubmit(,3)
             3. No match.
                    drop
            output:10

            bridge("br1")
            -------------
                 0. priority 1
                    push_vlan:0x8100
                    set_field:4107->vlan_vid
                    output:3
            output:1
             >> skipping output to input port
            write_actions(output:2)
             -> action set is: output:2
--. Executing action set:
    output:2
"""


def test_a_trace_reads_like_open_vswitchs(patched: World) -> None:
    text, _ = trace_flow(patched, "br0", FLOW)
    assert text.partition("\nFinal flow")[0] == TEXT
    last = text.splitlines()[-1]
    assert last == (
        "Datapath actions: set(ip_dst=10.0.0.9),push_vlan(vid=11,pcp=0),p3,p3,pop_vlan,p2"
    )


def test_a_packet_that_nothing_changes_ends_as_it_began(patched: World) -> None:
    text, result = trace_flow(patched, "br0", "in_port=p2,arp")
    assert "\nFinal flow: unchanged\n" in text
    assert " 0. No match.\n    drop\n" in text
    assert text.endswith("Datapath actions: drop\n")
    assert not result.outputs


def test_the_structured_form_holds_the_same_and_is_json(patched: World) -> None:
    _, result = trace_flow(patched, "br0", FLOW)
    data = json.loads(json.dumps(trace_as_data(patched, result)))
    assert [(o["bridge"], o["port"]) for o in data["outputs"]] == [
        ("br0", "p2"),
        ("br1", "p3"),
        ("br1", "p3"),
    ]
    table = data["steps"]["steps"][0]
    assert (table["kind"], table["table"], table["flow"]["priority"]) == ("table", 0, 100)
    assert table["steps"][0] == {
        "kind": "action",
        "action": "set_field:10.0.0.9->ip_dst",
        "changes": ["set(ip_dst=10.0.0.9)"],
    }


def test_why_a_packet_was_dropped_is_told() -> None:
    world = World([Bridge("br0", [Port(1, VlanMode.ACCESS, 5), Port(2)], [flow(0, "", NORMAL)])])
    text, result = trace_flow(world, "br0", "in_port=1,dl_vlan=9")
    assert " >> disallowed VLAN VID for this input port, dropping\n" in text
    assert trace_as_data(world, result)["drops"] == ["vlan_ingress"]


def test_a_flow_that_is_not_understood_is_refused(patched: World) -> None:
    with pytest.raises(FieldError):
        trace_flow(patched, "br0", "in_port=nowhere")


def test_a_loop_is_written_as_json_as_far_as_that_can_be_read_back() -> None:
    back = act.Output(int(OfPort.IN_PORT))
    rules = [flow(0, "", act.Resubmit(table_id=1)), flow(1, "", back)]
    near = Bridge("br0", [Port(1, peer=("br1", 1))], rules)
    far = Bridge("br1", [Port(1, peer=("br0", 1))], [flow(0, "", back)])
    world = World([near, far])
    result = trace_flow(world, "br0", "in_port=1,arp")[1]
    text = json.dumps(trace_as_data(world, result))
    assert "steps within are left out" in text
    assert json.loads(text)["drops"] == ["passes"]


def test_connections_that_are_tracked_are_actions_of_the_datapath() -> None:
    zone = SubField(BY_NAME["reg0"], 0, 16)
    nat = Nat(src=True, addresses=(bytes([192, 0, 2, 1]),) * 2)
    mark = act.SetField(BY_NAME["ct_mark"], 1, 0xFFFFFFFF)
    rules = [
        flow(
            0,
            "tcp",
            act.SetField(BY_NAME["reg0"], 9, 0xFFFFFFFF),
            act.SetField(BY_NAME["ip_dst"], 0x0A000009, 0xFFFFFFFF),
            Ct(commit=True, table=1, zone_field=zone, nat=nat, actions=(mark,)),
        ),
        flow(1, "tcp", Ct(zone=5, table=2, nat=Nat())),
        flow(2, "tcp", act.Output(2)),
    ]
    world = World([Bridge("br0", [Port(1, name="p1"), Port(2, name="p2")], rules)], tracking=Foreseen())
    text, _ = trace_flow(world, "br0", f"{FLOW},tcp_flags=syn")
    actions = [line for line in text.splitlines() if line.startswith("Datapath actions:")]
    assert actions == [
        "Datapath actions: set(ip_dst=10.0.0.9),"
        "ct(commit,zone=9,mark=0x1/0xffffffff,nat(src=192.0.2.1)),recirc(0x1)",
        "Datapath actions: ct(zone=5,nat),recirc(0x2)",
        "Datapath actions: p2",
    ]
