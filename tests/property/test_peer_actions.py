"""Each kind of action does in the reference pipeline what it does in ovs-vswitchd."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.flow import Flow, FlowTable
from gossamer.pipeline.flow_syntax import compose, parse_flow
from gossamer.pipeline.group import GROUP_ANY, Bucket, Group, GroupType
from gossamer.pipeline.world import Port
from tests.property import peer as peers
from tests.property.case import BridgeCase, Case, PacketCase
from tests.property.test_peer import needs_peer
from tests.unit.pipeline.test_labels import frame

ANY_PORT = 0xFFFFFFFF
TCP = "tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_ttl=64,nw_tos=40,tp_src=1234,tp_dst=80"
TAGGED = f"{TCP},dl_vlan=7,dl_vlan_pcp=3"


@dataclass(frozen=True)
class Scenario:
    """Rules as `table=, match, actions=` in the order of their priority, and packets to port 1."""

    name: str
    rules: tuple[str, ...]
    packets: tuple[str | bytes, ...] = (TCP,)
    groups: tuple[Group, ...] = ()

    def case(self) -> Case:
        ports = [Port(n) for n in (1, 2, 3, 4)]
        near = BridgeCase(
            "br0",
            (*ports, Port(10, peer=("br1", 10))),
            tuple(_flow(text, 100 - i) for i, text in enumerate(self.rules)),
            groups=self.groups,
        )
        far = BridgeCase(
            "br1", (Port(1), Port(10, peer=("br0", 10))), (_flow("actions=output:1", 1),)
        )
        data = [compose(parse_flow(p).match) if isinstance(p, str) else p for p in self.packets]
        return Case((near, far), tuple(PacketCase("br0", 1, d) for d in data))


def _flow(text: str, priority: int) -> Flow:
    on, _, actions = text.partition("actions=")
    parsed = parse_flow(on)
    return Flow(parsed.table_id or 0, priority, parsed.match, parse_actions(actions))


def group(number: int, kind: GroupType, *buckets: str, ports: tuple[int, ...] = ()) -> Group:
    """Buckets by their actions; those of `ports` watch one each."""
    watched = [*ports, *(ANY_PORT for _ in buckets)]
    made = [Bucket(parse_actions(b), i, 1, watched[i], GROUP_ANY) for i, b in enumerate(buckets)]
    return Group(number, kind, tuple(made))


NSH = compose(parse_flow(TCP).match)[:12] + bytes.fromhex(
    "894f 0fc60103 00001234ff 11223344 00000000 00000000 00000002".replace("00001234ff", "001234ff")
) + compose(parse_flow(TCP).match)  # fmt: skip
"""A service header of MD type 1 around a frame."""
NSH_IP = NSH[:17] + b"\x01" + NSH[18:38] + compose(parse_flow(TCP).match)[14:]
LABELLED = NSH[:12] + b"\x88\x47\x00\x04\xd1\x40"
_ON = "encap(nsh(md_type=1)),set_field:0x1234->nsh_spi,set_field:3->nsh_si"
_OFF = "set_field:11:22:33:44:55:66->eth_dst,output:2"

ENCAPSULATIONS = (
    Scenario("a service header on", (f"actions={_ON},encap(ethernet),{_OFF}",), (TCP, TAGGED)),
    Scenario(
        "all of a service header set",
        (
            f"actions={_ON},set_field:0x2/0x2->nsh_flags,set_field:9->nsh_ttl,"
            "set_field:0x11223344->nsh_c1,set_field:0xff/0xff->nsh_c2,load:7->NXOXM_NSH_C4[3..6],"
            f"dec_nsh_ttl,encap(ethernet),{_OFF}",
        ),
    ),
    Scenario(
        "a service header with options",
        (
            "actions=encap(nsh(md_type=2,tlv(0x1000,10,0x12345678),tlv(0x2000,20,0xfedcba98))),"
            f"set_field:0x1234->nsh_spi,encap(ethernet),{_OFF}",
        ),
    ),
    Scenario(
        "IP in a service header, without Ethernet",
        (f"ip,actions=decap(),{_ON},encap(ethernet),{_OFF}",),
    ),
    Scenario(
        "service headers in each other", (f"actions={_ON},{_ON},encap(ethernet),{_OFF}",),
    ),
    Scenario(
        "a service header off",
        ("dl_type=0x894f,nsh_spi=0x1234,nsh_si=255,nsh_c1=0x11223344,actions=decap(),decap(),output:2",),
        (NSH, NSH_IP, TCP),
    ),
    Scenario(
        "a service header off, and what is inside matched",
        (
            "dl_type=0x894f,nsh_mdtype=1,nsh_np=3,actions=decap(),decap(),resubmit(,1)",
            "dl_type=0x894f,nsh_np=1,actions=decap(),decap(),resubmit(,2)",
            "table=1,tcp,actions=dec_ttl,output:2",
            "table=2,packet_type=(1,0x800),actions=encap(ethernet),output:3",
            "table=2,actions=output:4",
        ),
        (NSH, NSH_IP),
    ),
    Scenario(
        "a service header changed on its way",
        ("dl_type=0x894f,actions=dec_nsh_ttl,set_field:7->nsh_si,set_field:0x5->nsh_c3,output:2",),
        (NSH, NSH_IP),
    ),
    Scenario("Ethernet off", ("ip,actions=decap(),output:2", "actions=decap(),output:3"), (TCP, TAGGED)),
    Scenario("Ethernet on a frame", ("actions=encap(ethernet),output:2",)),
    Scenario("a label on a frame", (f"actions=encap(mpls),set_field:77->mpls_label,encap(ethernet),{_OFF}",)),
    Scenario(
        "a label on IP",
        (f"ip,actions=decap(),encap(mpls_mc),set_field:77->mpls_label,encap(ethernet),{_OFF}",),
    ),
    Scenario(
        "a label off",
        ("mpls,mpls_label=77,actions=decap(),decap(packet_type(ns=0,type=0)),output:2",),
        (LABELLED + compose(parse_flow(TCP).match),),
    ),
    Scenario(
        "a label off IP",
        ("mpls,mpls_label=77,actions=decap(),decap(packet_type(ns=1,type=0x800)),resubmit(,1)",
         "table=1,packet_type=(1,0x800),actions=encap(ethernet),output:2"),
        (LABELLED + compose(parse_flow(TCP).match)[14:],),
    ),
)  # fmt: skip

SCENARIOS = (
    *ENCAPSULATIONS,
    Scenario(
        "cut outputs",
        (
            "actions=output(port=2,max_len=30),output:3,output(port=4,max_len=2000),"
            "output(port=10,max_len=30),output(port=1,max_len=30),output:10",
        ),
    ),
    Scenario(
        "lengths",
        (
            "actions=check_pkt_larger(117)->NXM_NX_REG0[4],resubmit(,1)",
            "table=1,reg0=16,actions=output:2",
            "table=1,actions=output:3",
        ),
        (TCP, f"{TCP},dl_vlan=7", "arp"),
    ),
    Scenario(
        "the order of the action set",
        (
            "ip,vlan_tci=0x1000/0x1000,actions=write_actions(set_field:9.9.9.9->ip_src,output:2,dec_ttl,pop_vlan,group:1),"
            "goto_table:1",
            "table=1,ip,actions=write_actions(set_field:8.8.8.8->ip_dst,output:3)",
        ),
        (TAGGED, TAGGED.replace("nw_ttl=64", "nw_ttl=1")),
        (group(1, GroupType.INDIRECT, "set_field:1.2.3.4->ip_dst,output:4,dec_ttl"),),
    ),
    Scenario(
        "labels in the action set",
        (
            "mpls,actions=write_actions(set_field:5->mpls_label,dec_mpls_ttl,output:2,"
            "push_mpls:0x8847,pop_mpls:0x8847)",
        ),
        (frame((1, 9), (2, 8)),),
    ),
    Scenario(
        "an emptied action set, and what actset_output says of it",
        (
            "actions=resubmit(,1),write_actions(output:2),goto_table:2",
            "table=2,actions=resubmit(,1),clear_actions,goto_table:3",
            "table=3,actions=resubmit(,1)",
            "table=1,actset_output=2,actions=output:3",
            "table=1,actions=output:4",
        ),
    ),
    Scenario(
        "labels put on",
        (
            "ip,actions=push_mpls:0x8847,output:2,set_field:77->mpls_label,push_mpls:0x8848,"
            "set_field:9->mpls_ttl,set_field:5->mpls_tc,dec_mpls_ttl,output:3,push_mpls:0x8847,"
            "output:4,output:10",
            "actions=push_mpls:0x8847,output:2",
        ),
        (TCP, TAGGED, "tcp6,nw_ttl=7,nw_tos=8", "arp", "ip,nw_ttl=0", frame((1, 2))),
    ),
    Scenario(
        "labels taken off",
        (
            "mpls,mpls_bos=1,actions=clone(pop_mpls:0x0800,output:2),pop_mpls:0x0800,resubmit(,1),"
            "output:4",
            "mpls,actions=pop_mpls:0x8847,dec_mpls_ttl,output:3",
            "table=1,tcp,tp_dst=80,actions=dec_ttl,set_field:1.1.1.1->ip_dst,output:3",
            "table=1,actions=output:10",
        ),
        (
            frame((1, 64)),
            frame((1, 64), tag=b"\x81\x00\x20\x07"),
            frame((1, 64), (2, 1)),
            frame((1, 64), (2, 5), (3, 6)),
            frame((1, 1), payload=b"\x12\x34"),
        ),
    ),
    Scenario(
        "labels that cannot be",
        (
            "mpls,mpls_label=1,actions=output:2,push_mpls:0x8847,output:3",
            "mpls,actions=output:2,pop_mpls:0x8847,output:3",
        ),
        (
            frame((1, 1), (2, 2), (3, 3)),
            frame((1, 1), (2, 2)),
            frame((9, 1), (2, 2), (3, 3), (4, 4)),
        ),
    ),
    Scenario(
        "a label's end",
        ("mpls,actions=resubmit(,1),output:3", "table=1,mpls,actions=dec_mpls_ttl,output:2"),
        (frame((1, 2)), frame((1, 1)), frame((1, 0))),
    ),
    Scenario(
        "clones",
        (
            "tcp,actions=set_field:3->reg1,push:NXM_NX_REG1[],"
            "clone(dec_ttl,pop:NXM_NX_REG1[],set_field:5->reg2,push_mpls:0x8847,resubmit(,1),"
            "output:2),pop:NXM_NX_REG3[],resubmit(,1),output:3",
            "table=1,reg1=3,reg2=5,mpls,actions=write_actions(output:4)",
            "table=1,reg1=3,reg2=0,reg3=3,tcp,actions=output:4",
        ),
        (TCP, TAGGED),
    ),
    Scenario(
        "an exit in a clone",
        ("actions=output:2,clone(output:3,exit,output:4),output:4",),
    ),
    Scenario(
        "an exit below a resubmit",
        ("actions=resubmit(,1),output:3,write_actions(output:4)", "table=1,actions=output:2,exit"),
    ),
    Scenario(
        "the stack",
        (
            "tcp,actions=push:NXM_OF_TCP_DST[],push:NXM_OF_ETH_SRC[0..7],resubmit(,1),"
            "pop:NXM_NX_REG0[4..7],pop:NXM_NX_REG0[],resubmit(,2)",
            "table=1,tcp,actions=pop:NXM_NX_REG1[16..31],push:NXM_OF_TCP_SRC[0..6]",
            "table=2,tcp,reg0=0x50,actions=move:NXM_NX_REG0[]->NXM_OF_IP_DST[],output:2",
            "table=2,tcp,actions=output:3",
        ),
    ),
    Scenario(
        "groups of all kinds",
        ("actions=group:1,output:4", "table=1,tcp,actions=set_field:7->tcp_dst,output:3,exit"),
        (TCP, TAGGED, "arp"),
        (
            group(3, GroupType.INDIRECT, "resubmit(,1)"),
            group(2, GroupType.FAST_FAILOVER, "output:4", "group:3", ports=(99, 2)),
            group(
                1,
                GroupType.ALL,
                "output:2,pop_vlan",
                "group:2",
                "drop",
                "output:1",
                "output:2",
                "set_field:02:00:00:00:00:09->eth_dst,output:10",
            ),
        ),
    ),
    Scenario(
        "a group without live bucket",
        ("actions=output:2,group:1,output:3",),
        groups=(group(1, GroupType.FAST_FAILOVER, "output:4", "output:4", ports=(98, 99)),),
    ),
    Scenario(
        "labels in buckets",
        ("ip,actions=dec_ttl,group:1,output:4",),
        (TCP, TAGGED),
        (group(1, GroupType.ALL, "push_mpls:0x8847,output:2", "dec_ttl,output:3"),),
    ),
    Scenario(
        "conjunctions",
        (
            "ip,nw_src=10.0.0.1,priority=50,actions=conjunction(7,1/2),conjunction(8,1/3)",
            "ip,nw_src=10.0.0.9,priority=50,actions=conjunction(7,1/2)",
            "ip,nw_dst=10.0.0.0/24,priority=50,actions=conjunction(7,2/2),conjunction(8,2/3)",
            "tcp,tp_dst=81,priority=50,actions=conjunction(8,3/3)",
            "conj_id=7,ip,priority=30,actions=dec_ttl,output:2",
            "ip,priority=10,actions=output:3",
        ),
        (
            TCP,
            TCP.replace("nw_src=10.0.0.1", "nw_src=10.0.0.9"),
            TCP.replace("10.0.0.2", "1.0.0.2"),
        ),
    ),
    Scenario(
        "learned flows",
        (
            "ip,actions=set_field:3->reg0,learn(table=5,priority=9,eth_type=0x800,"
            "NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_OF_IP_SRC[0..7]->NXM_OF_IP_DST[0..7],"
            "load:NXM_OF_VLAN_TCI[0..11]->NXM_NX_REG3[4..15],load:4->NXM_NX_REG2[],"
            "output:NXM_NX_REG0[0..15]),resubmit(,5),resubmit(,6)",
            "table=6,reg2=4,reg3=0x70,actions=output:4",
            "table=6,reg2=4,actions=output:2",
        ),
        (
            f"{TCP},dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02",
            f"{TCP},dl_src=02:00:00:00:00:02,dl_dst=02:00:00:00:00:01",
            f"{TAGGED},dl_src=02:00:00:00:00:03,dl_dst=02:00:00:00:00:02",
            f"{TCP},dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:03",
        ),
    ),
    Scenario(
        "bundles",
        (
            "tcp,actions=bundle(eth_src,0,active_backup,ofport,members:99,3,2),"
            "bundle_load(eth_src,0,hrw,ofport,NXM_NX_REG0[0..15],members:4),"
            "bundle_load(eth_src,0,hrw,ofport,NXM_NX_REG1[16..31],members:98,99),resubmit(,1)",
            "table=1,reg0=4,reg1=0xffff0000,actions=output:2",
        ),
    ),
    Scenario(
        "one link",
        (
            "tcp,actions=set_field:0xffff->reg0,"
            "multipath(symmetric_l4,0,modulo_n,1,0,NXM_NX_REG0[4..7]),resubmit(,1)",
            "table=1,reg0=0xff0f,actions=output:2",
        ),
    ),
)


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[peers.Peer]:
    with peers.Peer(tmp_path_factory.mktemp("peer")) as running:
        yield running


@needs_peer
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name.replace(" ", "_"))
def test_open_vswitch_does_the_same(peer: peers.Peer, scenario: Scenario) -> None:
    case = scenario.case()
    built = peers.build(peer, case)
    assert len(built.case.bridges[0].flows) == len(scenario.rules), "a rule was refused"
    assert built.case.bridges[0].groups == scenario.groups, "a group was refused"
    assert built.case.packets == case.packets
    world = built.case.world()
    pipeline = Pipeline(world)
    for packet in case.packets:
        result = pipeline.run(packet.bridge, packet.in_port, packet.data)
        expected = peers.sent(result.outputs, built)
        assert built.send(packet.bridge, packet.in_port, packet.data, expected) == expected
        for lesson in result.learned:
            learned = lesson.learned
            table = world.bridges[lesson.bridge].tables.setdefault(
                learned.table_id, FlowTable(learned.table_id)
            )
            table.insert(learned)
