"""Every action that all versions have, and its text."""

from __future__ import annotations

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, SubField
from gossamer.pipeline.action_choice import (
    Bundle,
    BundleAlgorithm,
    HashFields,
    Multipath,
    MultipathAlgorithm,
)
from gossamer.pipeline.action_ct import CT_ALG_FTP, CT_ALG_TFTP, Ct, CtClear, Nat
from gossamer.pipeline.action_encap import Decap, DecNshTtl, Encap, NshMdType, NshTlv, PacketType
from gossamer.pipeline.action_learn import Learn, LearnSpec, LearnTo
from gossamer.pipeline.field_views import NXM_IN_PORT, XREGS
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.of_port import OfPort

REG0, REG1 = BY_NAME["reg0"], BY_NAME["reg1"]
VLAN_TCI, ETH_SRC, ETH_DST = BY_NAME["vlan_tci"], BY_NAME["eth_src"], BY_NAME["eth_dst"]
BIT = SubField(REG0, 3, 1)
IN_PORT = SubField(NXM_IN_PORT, 0, 16)

EVERYWHERE: list[tuple[Action, str]] = [
    (act.Output(3), "output:3"),
    (act.Output(OfPort.TABLE), "TABLE"),
    (act.Group(7), "group:7"),
    (act.PushMpls(0x8848), "push_mpls:0x8848"),
    (act.PopMpls(0x86DD), "pop_mpls:0x86dd"),
    (act.DecMplsTtl(), "dec_mpls_ttl"),
    (act.NamedSet(BY_NAME["mpls_ttl"], 9, 0xFF, "set_mpls_ttl"), "set_mpls_ttl(9)"),
    (act.SetQueue(5), "set_queue:5"),
    (act.PopQueue(), "pop_queue"),
    (act.DecTtl((1, 2)), "dec_ttl(1,2)"),
    (act.Resubmit(3, 9), "resubmit(3,9)"),
    (act.Resubmit(table_id=9, with_ct=True), "resubmit(,9,ct)"),
    (act.StackPush(SubField(REG0, 0, 32)), "push:NXM_NX_REG0[]"),
    (act.StackPop(SubField(XREGS[1], 0, 64)), "pop:OXM_OF_PKT_REG1[]"),
    (act.StackPush(SubField(BY_NAME["ipv6_src"], 0, 128)), "push:NXM_NX_IPV6_SRC[]"),
    (act.OutputReg(SubField(REG0, 0, 16), 0), "output:NXM_NX_REG0[0..15]"),
    (act.OutputTrunc(5, 100), "output(port=5,max_len=100)"),
    (act.OutputTrunc(OfPort.LOCAL, 64), "output(port=LOCAL,max_len=64)"),
    (act.CheckPktLarger(BIT, 1500), "check_pkt_larger(1500)->NXM_NX_REG0[3]"),
    (act.Note(b"abcdef"), "note:61.62.63.64.65.66"),
    (act.Exit(), "exit"),
    (act.FinTimeout(10, 20), "fin_timeout(idle_timeout=10,hard_timeout=20)"),
    (
        Multipath(
            HashFields.SYMMETRIC_L3L4_UDP, 50, MultipathAlgorithm.ITER_HASH, 4, 7,
            SubField(REG1, 4, 8),
        ),
        "multipath(symmetric_l3l4+udp,50,iter_hash,4,7,NXM_NX_REG1[4..11])",
    ),
    (
        Bundle(
            HashFields.ETH_SRC, 0, BundleAlgorithm.HRW, (4, 8, OfPort.ANY, OfPort.LOCAL)
        ),
        "bundle(eth_src,0,hrw,ofport,members:4,8,ANY,LOCAL)",
    ),
    (
        Bundle(
            HashFields.NW_DST, 1, BundleAlgorithm.ACTIVE_BACKUP, (4,), SubField(REG0, 0, 32)
        ),
        "bundle_load(nw_dst,1,active_backup,ofport,NXM_NX_REG0[],members:4)",
    ),
    (Bundle(HashFields.NW_SRC, 2, BundleAlgorithm.HRW, ()),
     "bundle(nw_src,2,hrw,ofport,members:)"),
    (
        act.Sample(12345, 1, 2, 3),
        "sample(probability=12345,collector_set_id=1,obs_domain_id=2,obs_point_id=3)",
    ),
    (
        act.Sample(1, 2, 3, 4, 5),
        "sample(probability=1,collector_set_id=2,obs_domain_id=3,obs_point_id=4,sampling_port=5)",
    ),
    (
        act.Sample(1, 2, 3, 4, OfPort.LOCAL, 2),
        "sample(probability=1,collector_set_id=2,obs_domain_id=3,obs_point_id=4,"
        "sampling_port=LOCAL,egress)",
    ),
    (act.Clone((act.Output(1), act.Clone((act.Output(2),)))), "clone(output:1,clone(output:2))"),
    (act.Clone(()), "clone(drop)"),
    (Ct(), "ct()"),
    (Ct(table=4, zone=65535, nat=Nat()), "ct(table=4,zone=65535,nat)"),
    (
        Ct(
            True, True, 0, zone_field=SubField(REG0, 8, 16),
            nat=Nat(
                src=True, addresses=(b"\x0a\0\0\1", b"\x0a\0\0\x09"), ports=(1024, 65535),
                persistent=True, random=True,
            ),
        ),
        "ct(commit,force,table=0,zone=NXM_NX_REG0[8..23],"
        "nat(src=10.0.0.1-10.0.0.9:1024-65535,persistent,random))",
    ),
    (
        Ct(
            True,
            nat=Nat(
                dst=True, addresses=(bytes(15) + b"\1", bytes(15) + b"\2"), ports=(80, 80), hash=True
            ),
            actions=(
                act.RegMove(SubField(REG1, 0, 32), SubField(BY_NAME["ct_mark"], 0, 32)),
                act.RegMove(SubField(REG0, 0, 16), SubField(BY_NAME["ct_label"], 112, 16)),
            ),
            alg=CT_ALG_FTP,
        ),
        "ct(commit,nat(dst=[::1]-[::2]:80,hash),"
        "exec(move:NXM_NX_REG1[]->NXM_NX_CT_MARK[],"
        "move:NXM_NX_REG0[0..15]->NXM_NX_CT_LABEL[112..127]),"
        "alg=ftp)",
    ),
    (
        Ct(
            True, nat=Nat(src=True, addresses=(bytes(15) + b"\1",) * 2), alg=CT_ALG_TFTP
        ),
        "ct(commit,nat(src=::1),alg=tftp)",
    ),
    (Ct(True, nat=Nat(dst=True)), "ct(commit,nat(dst))"),
    (CtClear(), "ct_clear"),
    (
        act.Controller(1234, 5678, 2, b"\1\2\3", True, as_output=False),
        "controller(reason=invalid_ttl,max_len=1234,id=5678,userdata=01.02.03,pause)",
    ),
    (
        act.Controller(128, 0, 1, b"x", False, 99, as_output=False),
        "controller(max_len=128,userdata=78,meter_id=99)",
    ),
    (
        Learn(
            (
                LearnSpec(SubField(VLAN_TCI, 0, 12), 12, LearnTo.MATCH, SubField(VLAN_TCI, 0, 12)),
                LearnSpec(SubField(ETH_SRC, 0, 48), 48, LearnTo.MATCH, SubField(ETH_DST, 0, 48)),
                LearnSpec(SubField(NXM_IN_PORT, 0, 16), 16, LearnTo.OUTPUT),
            ),
            2, 10, 20, 5, 0x77, 3, 4, 6,
        ),
        "learn(table=2,idle_timeout=10,hard_timeout=20,fin_idle_timeout=4,fin_hard_timeout=6,"
        "priority=5,send_flow_rem,delete_learned,cookie=0x77,NXM_OF_VLAN_TCI[0..11],"
        "NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])",
    ),
    (
        Learn(
            (
                LearnSpec(0x800, 16, LearnTo.MATCH, SubField(BY_NAME["eth_type"], 0, 16)),
                LearnSpec(0x0A000001, 32, LearnTo.MATCH, SubField(BY_NAME["ip_src"], 0, 32)),
                LearnSpec(OfPort.LOCAL, 32, LearnTo.MATCH, SubField(NXM_IN_PORT, 0, 32)),
                LearnSpec(5, 4, LearnTo.MATCH, SubField(REG1, 8, 4)),
                LearnSpec(0, 12, LearnTo.LOAD, SubField(REG0, 0, 12)),
                LearnSpec(SubField(REG0, 0, 8), 8, LearnTo.LOAD, SubField(REG1, 24, 8)),
            ),
            3, limit=9, flags=4, result=BIT,
        ),
        "learn(table=3,limit=9,result_dst=NXM_NX_REG0[3],eth_type=0x800,ip_src=10.0.0.1,"
        "in_port=LOCAL,NXM_NX_REG1[8..11]=0x5,load:0->NXM_NX_REG0[0..11],"
        "load:NXM_NX_REG0[0..7]->NXM_NX_REG1[24..31])",
    ),
]  # fmt: skip

SINCE_13: list[tuple[Action, str]] = [
    (Encap(PacketType.ETHERNET), "encap(ethernet)"),
    (Encap(PacketType.MPLS), "encap(mpls)"),
    (Encap(PacketType.MPLS_MC), "encap(mpls_mc)"),
    (Encap(PacketType.NSH, (NshMdType(1),)), "encap(nsh(md_type=1))"),
    (
        Encap(
            PacketType.NSH,
            (NshMdType(2), NshTlv(0x1000, 10, b"\x02\x34\x56"), NshTlv(1, 255, bytes(9))),
        ),
        "encap(nsh(md_type=2,tlv(0x1000,10,0x23456),tlv(0x0001,255,0)))",
    ),
    (Decap(), "decap()"),
    (Decap(0), "decap(packet_type(ns=0,type=0))"),
    (Decap(0x10800), "decap(packet_type(ns=1,type=0x800))"),
    (DecNshTtl(), "dec_nsh_ttl"),
]
"""Those that OpenFlow 1.3 and later have."""
