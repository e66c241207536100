"""Every action in every version that has it: bytes, text, and what ovs-ofctl makes of both."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from gossamer.openflow.action import decode_action_list, decode_actions, encode_actions
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.instruction import decode_instructions, encode_instructions
from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, LearnSpec, LearnTo, OfPort, SubField
from gossamer.pipeline.field_views import NXM_IN_PORT, XREGS
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.format import format_actions

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
        act.Multipath(
            act.HashFields.SYMMETRIC_L3L4_UDP, 50, act.MultipathAlgorithm.ITER_HASH, 4, 7,
            SubField(REG1, 4, 8),
        ),
        "multipath(symmetric_l3l4+udp,50,iter_hash,4,7,NXM_NX_REG1[4..11])",
    ),
    (
        act.Bundle(
            act.HashFields.ETH_SRC, 0, act.BundleAlgorithm.HRW, (4, 8, OfPort.ANY, OfPort.LOCAL)
        ),
        "bundle(eth_src,0,hrw,ofport,members:4,8,ANY,LOCAL)",
    ),
    (
        act.Bundle(
            act.HashFields.NW_DST, 1, act.BundleAlgorithm.ACTIVE_BACKUP, (4,), SubField(REG0, 0, 32)
        ),
        "bundle_load(nw_dst,1,active_backup,ofport,NXM_NX_REG0[],members:4)",
    ),
    (act.Bundle(act.HashFields.NW_SRC, 2, act.BundleAlgorithm.HRW, ()),
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
    (
        act.Controller(1234, 5678, 2, b"\1\2\3", True, as_output=False),
        "controller(reason=invalid_ttl,max_len=1234,id=5678,userdata=01.02.03,pause)",
    ),
    (
        act.Controller(128, 0, 1, b"x", False, 99, as_output=False),
        "controller(max_len=128,userdata=78,meter_id=99)",
    ),
    (
        act.Learn(
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
        act.Learn(
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

needs_ofctl = pytest.mark.skipif(not shutil.which("ovs-ofctl"), reason="needs ovs-ofctl")


def parsed(kind: str, version: int, data: bytes) -> str:
    """What ovs-ofctl makes of actions or instructions."""
    done = subprocess.run(
        ["ovs-ofctl", f"parse-{kind}", f"OpenFlow1{version - 1}"],
        input=data.hex(),
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.mark.parametrize("version", range(1, 7))
@pytest.mark.parametrize(("action", "text"), EVERYWHERE, ids=[t for _, t in EVERYWHERE])
def test_an_action_survives_the_wire(action: Action, text: str, version: int) -> None:
    data = encode_actions((action,), version)
    assert decode_actions(data, version) == (action,)
    assert format_actions((action,)) == text


@needs_ofctl
@pytest.mark.parametrize("version", range(1, 7))
def test_ovs_ofctl_reads_every_action_and_writes_it_alike(version: int) -> None:
    data = "\n".join(encode_actions((a,), version).hex() for a, _ in EVERYWHERE)
    done = subprocess.run(
        ["ovs-ofctl", "parse-actions", f"OpenFlow1{version - 1}"],
        input=data,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split("\n\n")[:-1] == [f"actions={text}" for _, text in EVERYWHERE]


@pytest.mark.parametrize("version", [2, 3, 4, 5, 6])
def test_ttl_is_copied_from_openflow_11_on(version: int) -> None:
    wanted = (act.CopyTtlOut(), act.CopyTtlIn())
    assert decode_actions(encode_actions(wanted, version), version) == wanted
    assert format_actions(wanted) == "copy_ttl_out,copy_ttl_in"


@pytest.mark.parametrize("version", [4, 5, 6])
def test_pbb_is_pushed_from_openflow_13_on(version: int) -> None:
    wanted = (act.PushPbb(), act.PopPbb())
    assert decode_actions(encode_actions(wanted, version), version) == wanted
    assert format_actions(wanted) == "push_pbb:0x88e7,pop_pbb"
    with pytest.raises(OpenFlowError) as e:
        decode_actions(encode_actions(wanted, version), 3)
    assert e.value.code is ErrorCode.BAD_ACTION_BAD_TYPE


@needs_ofctl
@pytest.mark.parametrize("version", [4, 5, 6])
def test_a_meter_is_an_instruction_and_in_openflow_15_an_action(version: int) -> None:
    wanted = (act.Meter(9), act.Output(1), act.GotoTable(2))
    data = encode_instructions(wanted, version)
    assert decode_instructions(data, version) == wanted
    text = parsed("instructions", version, data)
    assert text == "actions=meter:9,output:1,goto_table:2\n\n"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("name", "value", "spelling", "text"),
    [
        ("eth_src", 0x001122334455, "set_dl_src", "mod_dl_src:00:11:22:33:44:55"),
        ("eth_dst", 1, "set_dl_dst", "mod_dl_dst:00:00:00:00:00:01"),
        ("ip_src", 0x01020304, "set_nw_src", "mod_nw_src:1.2.3.4"),
        ("ip_dst", 0xC0A80001, "set_nw_dst", "mod_nw_dst:192.168.0.1"),
        ("ip_dscp", 12, "set_nw_tos", "mod_nw_tos:48"),
        ("tcp_src", 80, "set_tp_src", "mod_tp_src:80"),
        ("tun_id", 0, "set_tunnel", "set_tunnel:0"),
        ("tun_id", 5, "set_tunnel64", "set_tunnel64:0x5"),
        ("mpls_label", 5, "set_mpls_label", "set_mpls_label(5)"),
        ("mpls_tc", 2, "set_mpls_tc", "set_mpls_tc(2)"),
    ],
)
def test_what_early_versions_set_comes_back_under_its_name(
    name: str, value: int, spelling: str, text: str, version: int
) -> None:
    f = BY_NAME[name]
    wanted = (act.NamedSet(f, value, (1 << f.n_bits) - 1, spelling),)
    assert decode_actions(encode_actions(wanted, version), version) == wanted
    assert format_actions(wanted) == text
    later = (act.SetField(f, value, (1 << f.n_bits) - 1),)
    assert decode_actions(encode_actions(wanted, 4), 4) == later


def test_lists_nest_only_so_deep() -> None:
    data = b""
    for _ in range(40):
        head = b"\xff\xff" + (16 + len(data)).to_bytes(2, "big") + bytes.fromhex("00002320002a")
        data = head + bytes(6) + data
    with pytest.raises(OpenFlowError) as e:
        decode_actions(data, 4)
    assert e.value.code is ErrorCode.BAD_ACTION_TOO_MANY


@pytest.mark.parametrize(
    ("actions", "code"),
    [
        ((act.WriteMetadata(1, 1), act.Output(1)), ErrorCode.BAD_ACTION_UNSUPPORTED_ORDER),
        ((act.WriteMetadata(1, 1),) * 2, ErrorCode.BAD_ACTION_UNSUPPORTED_ORDER),
        ((act.WriteMetadata(1, 1),), ErrorCode.BAD_INSTRUCTION_UNSUP_INST),
        ((act.Conjunction(1, 0, 2), act.Output(1)), ErrorCode.BAD_ACTION_BAD_CONJUNCTION),
        ((act.Output(1), act.Conjunction(1, 0, 2)), ErrorCode.BAD_ACTION_BAD_CONJUNCTION),
    ],
)
def test_lists_that_cannot_be_run_are_refused(actions: tuple[Action, ...], code: ErrorCode) -> None:
    with pytest.raises(OpenFlowError) as e:
        decode_action_list(b"".join(encode_actions((a,), 6) for a in actions), 6)
    assert e.value.code is code


def test_meters_stand_anywhere_in_openflow_15() -> None:
    wanted = (act.Output(1), act.Meter(1), act.Output(2), act.Meter(2))
    assert decode_instructions(encode_instructions(wanted, 6), 6) == wanted


def test_conjunctions_stand_beside_notes() -> None:
    wanted = (act.Conjunction(7, 1, 3), act.Conjunction(8, 0, 2), act.Note(bytes(6)))
    assert decode_actions(encode_actions(wanted, 4), 4) == wanted
    text = "conjunction(7,2/3),conjunction(8,1/2),note:00.00.00.00.00.00"
    assert format_actions(wanted) == text
