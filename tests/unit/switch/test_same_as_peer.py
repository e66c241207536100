"""ovs-ofctl tells the same of our switch as of Open vSwitch, in every version."""

from __future__ import annotations

from typing import Final

import pytest
from both_switches import Both, needs_peer
from tests.unit.openflow.every_action import EVERYWHERE

pytestmark = needs_peer

MATCHES: Final = (
    "ip", "tcp,tp_dst=80", "ipv6,ipv6_src=fe80::/64", "arp,arp_op=1,arp_spa=1.2.3.4",
    "icmp6,icmp_type=135,nd_target=fe80::1", "mpls,mpls_label=5", "dl_vlan=5,dl_vlan_pcp=3",
    "vlan_tci=0x1000/0x1000", "reg3=5/0xff", "xreg1=0x55", "tun_id=5", "metadata=0x5/0xff",
    "in_port=1", "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00", "tcp,tcp_flags=+syn-ack",
    "ip,nw_tos=48,nw_ecn=1,nw_ttl=5", "ct_state=+trk+est,ct_zone=5", "ct_mark=0x5/0xf", "ct_state=new|trk",
    "ct_state=0x21/0x31", "ct_label=0x1/0x3", "ct_state=+trk-inv,ip,ct_nw_src=10.0.0.0/8,ct_nw_proto=6",
    "ct_state=+est,ip,ct_nw_proto=17,ct_tp_dst=53/0xfff0",
    "pkt_mark=3", "conj_id=7,ip", "ip,ip_frag=later", "udp6,tp_src=53/0xfff0", "sctp,tp_dst=5",
    "rarp", "mplsm", "tun_src=1.2.3.4", "tun_ipv6_dst=::1", "tun_gbp_id=5", "tun_flags=oam",
    "ipv6,ipv6_label=5", "actset_output=1", "xxreg1=5", "dl_type=0x88cc", "icmp,icmp_type=8",
)  # fmt: skip
FLOWS: Final = (
    "priority=1,actions=group:1",
    "actions=write_actions(group:1,output:2),goto_table:5",
    "ip,actions=mod_nw_src:1.2.3.4,mod_dl_dst:00:00:00:00:00:01,mod_nw_tos:48,output:1",
    "tcp,actions=mod_tp_dst:80",
    "actions=mod_vlan_vid:5,mod_vlan_pcp:3,strip_vlan",
    "dl_vlan=5,actions=set_field:4102->vlan_vid,pop_vlan",
    "actions=push_vlan:0x88a8,set_field:4106->vlan_vid",
    "actions=load:5->OXM_OF_METADATA[]",
    "actions=set_field:0x1/0xf->reg0,move:reg0[]->reg1[]",
    "ip,actions=conjunction(3,1/2)",
    "actions=enqueue:1:5",
    "actions=set_tunnel:5,set_tunnel64:6",
    "mpls,actions=set_mpls_label:5,set_mpls_tc:1",
    "send_flow_rem,priority=77,actions=1",
    "idle_timeout=500,hard_timeout=900,priority=79,actions=controller",
    "priority=80,actions=controller(max_len=5,id=2,userdata=01.02)",
    "priority=82,ct_state=-trk,ip,actions=ct(table=1,zone=NXM_NX_REG0[0..15])",
    "priority=83,tcp,actions=ct(commit,zone=5,nat(src=10.0.0.1-10.0.0.9:1024-65535,random),alg=ftp)",
    "priority=84,udp6,actions=ct(commit,force,nat(dst=[fe80::1]:53),exec(load:5->NXM_NX_CT_MARK[]))",
    "priority=85,ip,actions=ct(commit,exec(set_field:0x1/0x3->ct_label,move:reg0[]->ct_mark[])),ct_clear",
    "priority=86,ipv6,actions=ct(commit,nat(src),table=3),ct(nat,table=4)",
    "priority=81,actions=clear_actions,write_metadata:5/0xf",
)
GROUPS: Final = (
    "group_id=1,type=all,bucket=output:1,bucket=output:2",
    "group_id=2,type=select,bucket=weight:5,output:1,bucket=weight:6,output:2",
    "group_id=3,type=ff,bucket=watch_port:1,output:1,bucket=watch_group:1,output:2",
    "group_id=4,type=indirect,bucket=mod_vlan_vid:5,group:1",
    "group_id=7,type=all",
)
METERS: Final = (
    "meter=1,kbps,burst,bands=type=drop,rate=1000,burst_size=100",
    "meter=3,pktps,stats,bands=type=drop,rate=1,type=drop,rate=9",
)
REFUSED: Final = (
    ("add-flow", "actions=group:99"),
    ("mod-flows", "table=9,actions=group:98"),
    ("add-group", "group_id=1,type=all,bucket=output:1"),
    ("mod-group", "group_id=99,type=all,bucket=output:1"),
)

def flows() -> list[str]:
    """A flow for each action and each match there is."""
    lines = list(FLOWS)
    for table, (_, text) in enumerate(EVERYWHERE, 1):
        needs = ""
        if text.startswith("ct("):
            needs = "ipv6," if "::" in text else "ip,"
            needs = "tcp6," if "=ftp" in text else "udp6," if "=tftp" in text else needs
        elif ",ct)" in text:
            needs = "ct_state=+trk+est,ip,"
        elif text.startswith("fin_"):
            needs = "tcp,"
        elif "IPV6" in text:
            needs = "ipv6,"
        elif "mpls" in text and not text.startswith("push"):
            needs = "mpls,"
        elif "ttl" in text:
            needs = "ip,"
        lines.append(f"table={table},priority=5,{needs}actions={text}")
    for number, match in enumerate(MATCHES):
        lines.append(f"table={number + 100},priority=7,cookie={number},{match},actions=output:2")
    return lines


def is_same(answers: tuple[list[str], list[str]]) -> list[str]:
    """The answer, which both must give."""
    theirs, ours = answers
    assert ours == theirs
    return ours


@pytest.mark.parametrize("version", [0, 1, 3, 5])
def test_flows_groups_and_meters_are_told_alike(both: Both, version: int) -> None:
    for command in ("del-flows", "del-groups", "del-meters"):
        both.ofctl(3, command, "br0")
    for group in GROUPS:
        assert not is_same(both.ofctl(version, "add-group", "br0", group))
    for meter in METERS if version >= 3 else ():
        assert not is_same(both.ofctl(version, "add-meter", "br0", meter))
    # Some flows cannot be said in the first versions.
    n_added = sum(not is_same(both.ofctl(version, "add-flow", "br0", flow)) for flow in flows())
    assert n_added >= (len(flows()) if version >= 2 else len(EVERYWHERE))
    for reader in range(6):
        told = is_same(both.ofctl(reader, "--no-stats", "dump-flows", "br0"))
        assert len(told) > n_added - len(FLOWS)  # some of these take each other's place
    assert len(is_same(both.ofctl(version, "dump-groups", "br0"))) == len(GROUPS) + 1
    if version >= 3:
        is_same(both.ofctl(version, "dump-meters", "br0"))
    if version >= 4:
        is_same(both.ofctl(version, "dump-table-desc", "br0"))
    for command, text in REFUSED:
        assert "OFPT_ERROR" in " ".join(is_same(both.ofctl(version, command, "br0", text)))
