"""Matches and actions as ovs-ofctl writes them."""

from __future__ import annotations

import pytest

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, SubField
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.flow_syntax import parse_flow
from gossamer.pipeline.format import format_action, format_actions, format_match
from gossamer.pipeline.match import ANY
from gossamer.pipeline.of_port import OfPort


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tcp,in_port=1,dl_vlan=10,dl_src=02:00:00:00:00:01,nw_src=10.0.0.0/8,tp_dst=80",
        "udp6,ipv6_src=fd00::/16,ipv6_label=0x00005,nw_tos=32,nw_ecn=1,tp_src=0x10/0xfff0",
        "arp,in_port=LOCAL,arp_spa=10.0.0.1,arp_tpa=10.0.0.2,arp_op=1,arp_sha=02:00:00:00:00:01",
        "icmp,icmp_type=8,icmp_code=0",
        "icmp6,icmp_type=135,icmp_code=0,nd_target=fd00::1,nd_sll=02:00:00:00:00:01",
        "ip,reg0=0x1/0x3,reg15=0x7,metadata=0x5/0xff,nw_proto=47,nw_frag=later",
        "ip,nw_frag=not_later",
        "tcp,tcp_flags=+syn-ack",
        "tcp,tcp_flags=syn|ack",
        "mpls,mpls_label=16,mpls_tc=1,mpls_bos=1",
        "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,dl_type=0x88cc",
        "vlan_tci=0x0000",
        "vlan_tci=0x1000/0x1000",
        "dl_vlan=10,dl_vlan_pcp=3",
    ],
)
def test_a_match_reads_back_as_it_was_written(text: str) -> None:
    assert format_match(parse_flow(text).match) == text


def test_numbers_of_nsh_are_written_as_open_vswitch_writes_them() -> None:
    wanted = ANY.with_field(BY_NAME["eth_type"], 0x894F)
    wanted = wanted.with_field(BY_NAME["nsh_flags"], 1, 3).with_field(BY_NAME["nsh_mdtype"], 1)
    wanted = wanted.with_field(BY_NAME["nsh_spi"], 0).with_field(BY_NAME["nsh_c1"], 0, 0xF0)
    text = "dl_type=0x894f,nsh_flags=0x01/0x03,nsh_mdtype=1,nsh_spi=0x0,nsh_c1=0x0/0xf0"
    assert format_match(wanted) == text
    assert parse_flow(text).match == wanted


def test_the_priority_stands_first_where_it_is_not_the_default() -> None:
    match = parse_flow("ip").match
    assert format_match(match, 32768) == "ip"
    assert format_match(match, 5) == "priority=5,ip"
    assert format_match(ANY, 0) == "priority=0"


def test_ports_have_names_where_they_are_known() -> None:
    match = parse_flow("in_port=1").match
    assert format_match(match, names={1: "vm1"}) == "in_port=vm1"
    assert format_action(act.Output(2), {2: "vm2"}) == "output:vm2"


FULL48 = (1 << 48) - 1
REG0 = BY_NAME["reg0"]


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (act.Output(7), "output:7"),
        (act.Output(int(OfPort.NORMAL)), "NORMAL"),
        (act.Output(int(OfPort.LOCAL)), "LOCAL"),
        (act.OutputReg(SubField(REG0, 0, 16)), "output:NXM_NX_REG0[0..15]"),
        (act.Controller(), "CONTROLLER:65535"),
        (act.Controller(max_len=128, controller_id=3), "controller(max_len=128,id=3)"),
        (act.Controller(userdata=b"\x01\xff"), "controller(userdata=01.ff)"),
        (act.SetField(BY_NAME["eth_dst"], 1, FULL48), "set_field:00:00:00:00:00:01->eth_dst"),
        (act.SetField(BY_NAME["ip_src"], 0, 0xFF), "set_field:0.0.0.0/0.0.0.255->ip_src"),
        (act.SetField(BY_NAME["vlan_vid"], 4106, 0x1FFF), "set_field:4106->vlan_vid"),
        (act.SetField(REG0, 5, 0xF), "set_field:0x5/0xf->reg0"),
        (act.SetField(BY_NAME["tcp_dst"], 80, 0xFFFF), "set_field:80->tcp_dst"),
        (act.RegLoad(SubField(REG0, 0, 32), 5), "load:0x5->NXM_NX_REG0[]"),
        (
            act.RegMove(SubField(BY_NAME["ip_dst"], 0, 8), SubField(REG0, 3, 8)),
            "move:NXM_OF_IP_DST[0..7]->NXM_NX_REG0[3..10]",
        ),
        (act.RegLoad(SubField(BY_NAME["ipv6_src"], 4, 1), 0), "load:0->NXM_NX_IPV6_SRC[4]"),
        (act.PushVlan(0x88A8), "push_vlan:0x88a8"),
        (act.SetVlanVid(5), "mod_vlan_vid:5"),
        (act.DecTtl(), "dec_ttl"),
        (act.DecTtl((1, 2)), "dec_ttl(1,2)"),
        (act.Resubmit(table_id=2), "resubmit(,2)"),
        (act.Resubmit(in_port=3), "resubmit:3"),
        (act.Resubmit(in_port=3, table_id=4), "resubmit(3,4)"),
        (act.Note(b"\x01\x02"), "note:01.02"),
        (act.WriteMetadata(5, 0xF), "write_metadata:0x5/0xf"),
        (act.WriteActions((act.PopVlan(), act.Output(1))), "write_actions(pop_vlan,output:1)"),
        (act.GotoTable(9), "goto_table:9"),
    ],
)
def test_actions_are_written_as_open_vswitch_writes_them(action: Action, text: str) -> None:
    assert format_action(action) == text


def test_no_action_at_all_is_drop() -> None:
    assert format_actions(()) == "drop"
