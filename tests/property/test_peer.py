"""The reference pipeline agrees with ovs-vswitchd itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gossamer.pipeline import action as act
from gossamer.pipeline.action import SubField
from gossamer.pipeline.action_ct import Ct
from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.conntrack.foreseen import Foreseen
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.fields import BY_NAME, ETH_IPV4, get_slot
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.flow_syntax import parse_flow
from gossamer.pipeline.group import Bucket, Group, GroupType
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.steps import Drop, Step, StepKind
from gossamer.pipeline.trace import trace_flow
from gossamer.pipeline.world import Bridge, Port, VlanMode, World
from tests.property import peer as peers
from tests.property.features import FEATURES
from tests.property.generate import case
from tests.unit.pipeline.test_trace import FLOW, NORMAL, flow

N_WORLDS = 16
N_PACKETS = 10
SHARED = FEATURES - {
    "copy_ttl", "output_trunc", "check_pkt_larger", "meter", "multipath", "bundle",
}  # fmt: skip
"""What both have, and random worlds can show: the hashes are each one's own, and a cut or a look
at the length comes in Open vSwitch before changes that wait to be written to the packet.  What is
set of a tunnel's fields is not compared there yet."""

needs_peer = pytest.mark.skipif(
    not all(map(shutil.which, ("ovs-vswitchd", "ovsdb-server", "ovs-ofctl"))),
    reason="needs Debian's Open vSwitch",
)
LATE = {Drop.TOO_DEEP, Drop.PASSES, Drop.MPLS_STACK}
"""What voids a packet here, and there only what has not left yet when it is parsed again; and
loops end at other bounds there.  A label that comes and goes does not set the ethertype there."""


def ran(step: Step) -> set[type[act.Action]]:
    """The kinds of actions that a packet met."""
    here = {type(step.action)} if step.action is not None else set()
    return here.union(*(ran(below) for below in step.steps))


def differs(kinds: set[type[act.Action]]) -> bool:
    """Whether a packet that met these fares otherwise there: a clone of Open vSwitch 3.1 begins with
    a copy of the action set and of the stack around it, and executes the former (docs/compat.md)."""
    copied = act.Clone in kinds and bool(kinds & {act.WriteActions, act.StackPush})
    return copied or {act.PushMpls, act.PopMpls} <= kinds


def aborts(first: Step) -> bool:
    """Whether ovs-vswitchd ends at an assertion: where a ct() with a table is met while there is
    something in the action set (`action_set_len <= ofpacts_len`, in recirc_alloc_id__())."""
    passes = [first]
    for entered in passes:
        gathered = False
        left = entered.steps[::-1]
        while left:
            step = left.pop()
            if step.kind in (StepKind.BRIDGE, StepKind.RESUME):
                passes.append(step)
                continue
            if step.kind is StepKind.ACTION_SET_IS:
                gathered = bool(step.actions)
            elif step.kind in (StepKind.ACTION_SET_WAS, StepKind.ACTION_SET):
                gathered = False
            elif gathered and isinstance(step.action, Ct) and step.action.table is not None:
                return True
            left += step.steps[::-1]
    return False


def other_family(step: Step) -> bool:
    """Whether a ct() met a packet of another family than the addresses of its nat(), which are
    written into the packet there all the same (docs/conntrack.md)."""
    action = step.action
    if isinstance(action, Ct) and action.nat is not None and action.nat.addresses is not None:
        ipv4 = len(action.nat.addresses[0]) == 4
        if ipv4 != (get_slot(step.before, "eth_type") == ETH_IPV4):
            return True
    return any(map(other_family, step.steps))


def in_order(step: Step) -> list[Step]:
    """A step and all below it, as they came."""
    return [step, *(s for below in step.steps for s in in_order(below))]


def leaks(first: Step) -> bool:
    """Whether a nat() behind a patch port met a packet that left in front of it afterwards: there it
    has the new address then, too (docs/compat.md)."""
    steps = in_order(first)
    for at, step in enumerate(steps[1:], 1):
        if step.kind is StepKind.BRIDGE:
            behind = in_order(step)
            after = steps[at + len(behind) :]
            if any(isinstance(s.action, Ct) and s.action.nat for s in behind) and any(
                s.kind in (StepKind.OUTPUT, StepKind.PUNT) for s in after
            ):
                return True
    return False


@needs_peer
def test_open_vswitch_sends_the_same_packets_to_the_same_ports(tmp_path: Path) -> None:
    compared = 0
    with peers.Peer(tmp_path) as peer:
        for seed in range(N_WORLDS):
            built = peers.build(peer, case(seed, N_PACKETS, SHARED))
            pipeline = Pipeline(built.case.world())
            for packet in built.case.packets:
                result = pipeline.run(packet.bridge, packet.in_port, packet.data)
                if aborts(result.steps) or other_family(result.steps) or leaks(result.steps):
                    break  # what is known there of later packets is not what is known here
                expected = peers.sent(result.outputs, built)
                known = LATE & set(result.drops) or differs(ran(result.steps))
                patience_s = peers.BRIEFLY_S if known else peers.PATIENCE_S
                sent = built.send(packet.bridge, packet.in_port, packet.data, expected, patience_s)
                if known:
                    continue
                assert sent == expected, f"seed {seed}: {packet}"
                compared += 1
    assert compared > N_WORLDS * N_PACKETS // 4


@needs_peer
def test_open_vswitch_traces_a_packet_in_the_same_words(tmp_path: Path) -> None:
    rules = {
        "br0": [
            "table=0,priority=100,tcp,in_port=1,actions=set_field:10.0.0.9->ip_dst,"
            "move:NXM_OF_TCP_DST[0..3]->NXM_NX_REG1[4..7],goto_table:1",
            "table=1,cookie=0x77,priority=5,tcp,actions=resubmit(,2),resubmit(,3),output:10,"
            "output:1,dec_ttl,write_actions(output:2)",
            "table=2,priority=9,actions=NORMAL",
        ],
        "br1": ["priority=1,actions=NORMAL"],
    }
    with peers.Peer(tmp_path) as peer:
        command = ["ovs-vsctl"]
        for bridge, ports in (("br0", ("p1=1", "p2=2")), ("br1", ("p3=3",))):
            command += ["--", "add-br", bridge, "--", "set", "bridge", bridge]
            command += ["datapath_type=dummy", "fail-mode=secure"]
            for name, _, ofport in (p.partition("=") for p in ports):
                command += ["--", "add-port", bridge, name, "--", "set", "interface", name]
                command += ["type=dummy", f"ofport_request={ofport}"]
        for bridge, name, other in (("br0", "pa", "pb"), ("br1", "pb", "pa")):
            command += ["--", "add-port", bridge, name, "--", "set", "interface", name]
            command += ["type=patch", f"options:peer={other}", "ofport_request=10"]
        peer.run(*command, "--", "set", "port", "p2", "tag=10")
        for bridge, texts in rules.items():
            for text in texts:
                peer.run("ovs-ofctl", "-OOpenFlow15", "add-flow", bridge, text)
        theirs = [
            peer.run("ovs-appctl", "ofproto/trace", "br0", text)
            for text in (FLOW, "in_port=p2,arp")
        ]
    ours = [trace_flow(traced(), "br0", text)[0] for text in (FLOW, "in_port=p2,arp")]
    for their, our in zip(theirs, ours, strict=True):
        assert comparable(our) == comparable(their)


@needs_peer
def test_open_vswitch_traces_groups_and_copies_in_the_same_words(tmp_path: Path) -> None:
    rules = (
        "table=0,priority=9,tcp,actions=group:4,push:NXM_NX_REG3[],pop:NXM_NX_REG1[16..31],"
        "pop:NXM_NX_REG1[],set_field:7->reg2,clone(set_field:1->reg1,push:NXM_NX_REG1[],"
        "resubmit(,1),pop:NXM_NX_REG2[0..15],output:2),"
        "multipath(symmetric_l4,0,modulo_n,1,0,NXM_NX_REG0[0..3]),"
        "bundle_load(symmetric_l4,0,hrw,ofport,NXM_NX_REG3[0..15],members:77),"
        "output(port=2,max_len=20),output(port=1,max_len=20),group:1,output:2,"
        "write_actions(group:3,output:2,dec_ttl,set_field:3->reg1),goto_table:4",
        "table=1,priority=3,tcp,actions=write_actions(output:2)",
        "table=3,priority=3,tcp,actions=set_field:3->reg0,exit",
        "table=4,priority=5,tcp,actions=resubmit(,5),goto_table:6",
        "table=6,priority=5,tcp,actions=resubmit(,3)",
    )
    groups = (
        "group_id=3,type=indirect,bucket=bucket_id:0,actions=output:2",
        "group_id=2,type=ff,bucket=bucket_id:0,watch_port:99,actions=output:2,"
        "bucket=bucket_id:1,watch_port:2,actions=IN_PORT",
        "group_id=1,type=all,bucket=bucket_id:0,actions=dec_ttl,output:2,"
        "bucket=bucket_id:1,actions=group:2,bucket=bucket_id:2,actions=resubmit(,3),"
        "bucket=bucket_id:3,actions=drop",
        "group_id=4,type=all,"
        "bucket=bucket_id:0,actions=ct(commit,exec(set_field:1->ct_mark)),set_field:5->reg0,ct_clear,"
        "bucket=bucket_id:1,actions=ct(commit,table=7),dec_ttl",
    )
    flow_text = FLOW.replace("p1", "1")
    with peers.Peer(tmp_path) as peer:
        peer.add_bridge_of_two_ports()
        peer.run("ovs-appctl", "netdev-dummy/set-admin-state", "up")
        for text in groups:
            peer.run("ovs-ofctl", "-OOpenFlow15", "add-group", "br0", text)
        for text in rules:
            peer.run("ovs-ofctl", "-OOpenFlow15", "add-flow", "br0", text)
        their = peer.run("ovs-appctl", "ofproto/trace", "br0", flow_text)
    buckets = (
        Group(3, GroupType.INDIRECT, (bucket(0, "output:2"),)),
        Group(
            2,
            GroupType.FAST_FAILOVER,
            (bucket(0, "output:2", watch_port=99), bucket(1, "IN_PORT", watch_port=2)),
        ),
        Group(
            1,
            GroupType.ALL,
            (
                bucket(0, "dec_ttl,output:2"),
                bucket(1, "group:2"),
                bucket(2, "resubmit(,3)"),
                bucket(3, "drop"),
            ),
        ),
        Group(
            4,
            GroupType.ALL,
            (
                bucket(0, "ct(commit,exec(set_field:1->ct_mark)),set_field:5->reg0,ct_clear"),
                bucket(1, "ct(commit,table=7),dec_ttl"),
            ),
        ),
    )
    flows = []
    for text in rules:
        on, _, actions = text.partition(",actions=")
        parsed = parse_flow(on)
        flows.append(
            Flow(parsed.table_id or 0, parsed.priority or 0, parsed.match, parse_actions(actions))
        )
    ports = [Port(1), Port(2)]
    bridge = Bridge("br0", ports, flows, groups={g.group_id: g for g in buckets})
    world = World([bridge], tracking=Foreseen())
    assert comparable(trace_flow(world, "br0", flow_text)[0]) == comparable(their)


def bucket(number: int, actions: str, watch_port: int = OfPort.ANY) -> Bucket:
    """A bucket by its actions' text."""
    return Bucket(parse_actions(actions), number, watch_port=watch_port)


def traced() -> World:
    """The bridges above, in the reference pipeline."""
    local = int(OfPort.LOCAL)
    near = [
        flow(
            0,
            "priority=100,tcp,in_port=1",
            act.SetField(BY_NAME["ip_dst"], 0x0A000009, 0xFFFFFFFF),
            act.RegMove(SubField(BY_NAME["tcp_dst"], 0, 4), SubField(BY_NAME["reg1"], 4, 4)),
            act.GotoTable(1),
        ),
        flow(
            1,
            "priority=5,tcp",
            act.Resubmit(table_id=2),
            act.Resubmit(table_id=3),
            act.Output(10),
            act.Output(1),
            act.DecTtl(),
            act.WriteActions((act.Output(2),)),
            cookie=0x77,
        ),
        flow(2, "priority=9", NORMAL),
    ]
    ports = [Port(1, name="p1"), Port(2, VlanMode.ACCESS, 10, name="p2"), Port(local)]
    return World(
        [
            Bridge("br0", [*ports, Port(10, name="pa", peer=("br1", 10))], near),
            Bridge(
                "br1",
                [Port(3, name="p3"), Port(10, name="pb", peer=("br0", 10)), Port(local)],
                [flow(0, "priority=1", NORMAL)],
            ),
        ]
    )


def comparable(text: str) -> list[str]:
    """Without what is about Open vSwitch's datapath, and what we learn while tracing."""
    return [
        line
        for line in text.splitlines()
        if not line.startswith(("Megaflow:", "Datapath actions:")) and "-> learned that" not in line
    ]
