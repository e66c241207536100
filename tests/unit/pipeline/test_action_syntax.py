"""Actions as people write them, and as they are shown again."""

from __future__ import annotations

import pytest

from gossamer.errors import FieldError
from gossamer.pipeline import action as act
from gossamer.pipeline.action import SubField
from gossamer.pipeline.action_choice import Bundle, BundleAlgorithm, HashFields
from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.format import format_actions
from gossamer.pipeline.of_port import OfPort

SHOWN = [
    "drop",
    "output:1",
    "LOCAL",
    "NORMAL",
    "IN_PORT",
    "CONTROLLER:65535",
    "controller(max_len=128,id=3,userdata=01.ff,pause,meter_id=7)",
    "controller(reason=invalid_ttl)",
    "output:NXM_NX_REG0[0..15]",
    "output(port=LOCAL,max_len=64)",
    "enqueue:1:5",
    "group:7",
    "mod_vlan_vid:5,mod_vlan_pcp:3,strip_vlan",
    "push_vlan:0x88a8,set_field:4106->vlan_vid,pop_vlan",
    "mod_dl_src:00:11:22:33:44:55,mod_nw_dst:10.0.0.1,mod_nw_tos:48,mod_tp_src:80",
    "set_tunnel:0x5,set_tunnel64:0",
    "set_mpls_label(5),set_mpls_tc(2),set_mpls_ttl(64),dec_mpls_ttl",
    "push_mpls:0x8847,pop_mpls:0x0800,push_pbb:0x88e7,pop_pbb,copy_ttl_out,copy_ttl_in",
    "set_field:00:00:00:00:00:01->eth_dst,set_field:0x5/0xf->reg0",
    "set_field:fe80::1->ipv6_src",
    "load:0x5->NXM_NX_REG0[],load:0->NXM_NX_IPV6_SRC[4]",
    "move:NXM_OF_IP_DST[0..7]->NXM_NX_REG0[3..10]",
    "push:NXM_NX_REG0[],pop:OXM_OF_PKT_REG1[]",
    "dec_ttl,dec_ttl(1,2)",
    "set_queue:5,pop_queue",
    "resubmit:3,resubmit(,2),resubmit(3,4),resubmit(,4,ct)",
    "fin_timeout(idle_timeout=10,hard_timeout=20)",
    "conjunction(7,2/3)",
    "multipath(symmetric_l3l4+udp,50,iter_hash,4,7,NXM_NX_REG1[4..11])",
    "bundle(eth_src,0,hrw,ofport,members:4,8,LOCAL)",
    "bundle_load(nw_dst,1,active_backup,ofport,NXM_NX_REG0[],members:4)",
    "sample(probability=1,collector_set_id=2,obs_domain_id=3,obs_point_id=4,sampling_port=LOCAL,"
    "egress)",
    "note:01.02.03",
    "clone(output:1,clone(drop),set_field:1->reg0)".replace("1->", "0x1->"),
    "check_pkt_larger(1500)->NXM_NX_REG0[3]",
    "exit",
    "ct(),ct(table=1),ct_clear",
    "ct(commit,force,table=4,zone=NXM_NX_REG0[0..15],nat(src=10.0.0.1-10.0.0.9:1024-65535,random))",
    "ct(commit,zone=7,nat(dst=[fe80::1]-[fe80::9]:80,persistent,hash),exec(set_field:0x5->ct_mark))",
    "ct(commit,nat(dst=fe80::1),exec(load:0x1->NXM_NX_CT_LABEL[3],set_field:0x5/0xff->ct_mark))",
    "ct(commit,nat(src),alg=ftp),ct(commit,nat,alg=tftp)",
    "meter:5,output:1,clear_actions,write_actions(pop_vlan,output:1),write_metadata:0x5/0xf,"
    "goto_table:9",
    "learn(table=1,eth_type=0x800,nw_tos=252,ct_nw_src=1.2.3.4,tun_flags=oam,tun_gbp_flags=0x3)",
    "learn(table=1,eth_type=0x800,nw_proto=6,tcp_flags=syn|ack,vlan_vid=5)",
    "learn(table=2,idle_timeout=10,fin_hard_timeout=6,priority=5,send_flow_rem,cookie=0x77,"
    "NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])",
    "learn(table=3,limit=9,result_dst=NXM_NX_REG0[3],eth_type=0x800,ip_src=10.0.0.1,in_port=LOCAL,"
    "NXM_NX_REG1[8..11]=0x5,load:0->NXM_NX_REG0[0..11],"
    "load:NXM_NX_REG0[0..7]->NXM_NX_REG1[24..31])",
]


@pytest.mark.parametrize("text", SHOWN)
def test_what_is_shown_can_be_read_again(text: str) -> None:
    assert format_actions(parse_actions(text)) == text


REG0 = BY_NAME["reg0"]


@pytest.mark.parametrize(
    ("text", "actions"),
    [
        ("2", (act.Output(2),)),
        ("vm1", (act.Output(9),)),
        ("output:vm1, local", (act.Output(9), act.Output(OfPort.LOCAL))),
        ("controller", (act.Controller(),)),
        ("push:reg0[]", (act.StackPush(SubField(REG0, 0, 32)),)),
        ("output:reg0[0..15]", (act.OutputReg(SubField(REG0, 0, 16), 65535),)),
        ("dec_ttl()", (act.DecTtl(),)),
        ("enqueue(1,5)", (act.Enqueue(1, 5),)),
        ("set_field:10.0.0.1->nw_src", (act.SetField(BY_NAME["ip_src"], 0x0A000001, 0xFFFFFFFF),)),
        ("bundle(nw_src,0,hrw,ofport,slaves:[1,2])",
         (Bundle(HashFields.NW_SRC, 0, BundleAlgorithm.HRW, (1, 2)),)),
    ],
)  # fmt: skip
def test_actions_have_more_than_one_spelling(text: str, actions: act.Actions) -> None:
    assert parse_actions(text, {"vm1": 9}) == actions


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "nonsense:5",
        "output:",
        "resubmit()",
        "load:5",
        "load:0x100->reg0[0..7]",
        "move:reg0[]->reg1[0..3]",
        "push:reg0[30..40]",
        "set_field:1->nothing",
        "conjunction(1,3/2)",
        "multipath(eth_src,0,modulo_n,5,0,reg0[0..1])",
        "bundle(eth_src,0,hrw,ofport)",
        "sample(collector_set_id=1)",
        "learn(table=255)",
        "learn(eth_src=reg0[])",
        "note:0g",
        "clone(output:1",
        "mod_vlan_vid:4096",
        "controller(reason=boredom)",
        "check_pkt_larger(5)->reg0[0..1]",
        "output(port=1,max_len=3)",
        "ct(force)",
        "ct(table=255)",
        "ct(zone=65536)",
        "ct(alg=sip)",
        "ct(commit,nat(src=10.0.0.2-10.0.0.1))",
        "ct(commit,nat(src=10.0.0.2,dst=10.0.0.1))",
        "ct(commit,nat(hash))",
        "ct(commit,nat(src=10.0.0.2,hash,random))",
        "ct(commit,nat(src=10.0.0.2:9-8))",
        "ct(commit,exec(output:1))",
        "ct(commit,exec(set_field:1->reg0))",
        "ct(never)",
    ],
)
def test_what_makes_no_sense_is_refused_with_words(text: str) -> None:
    with pytest.raises(FieldError):
        parse_actions(text)


def test_a_mask_of_all_bits_is_kept_where_a_field_fills_no_whole_bytes() -> None:
    text = "set_field:3/0xf->tun_erspan_ver"
    assert format_actions(parse_actions(text)) == text
    assert format_actions(parse_actions("set_field:3/0xff->nw_ttl")) == "set_field:3->nw_ttl"
