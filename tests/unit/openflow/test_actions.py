"""Every action in every version that has it: bytes, text, and what ovs-ofctl makes of both."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from gossamer.openflow.action import decode_action_list, decode_actions, encode_actions
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.instruction import decode_instructions, encode_instructions
from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action
from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.format import format_actions
from tests.unit.openflow.every_action import EVERYWHERE, SINCE_13

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


@needs_ofctl
@pytest.mark.parametrize("version", [4, 5, 6])
def test_headers_are_put_around_packets_from_openflow_13_on(version: int) -> None:
    for action, text in SINCE_13:
        data = encode_actions((action,), version)
        assert decode_actions(data, version) == (action,)
        assert format_actions((action,)) == text
        assert parsed("actions", version, data) == f"actions={text}\n\n"
        with pytest.raises(OpenFlowError) as e:
            decode_actions(data, 3)
        assert e.value.code is ErrorCode.BAD_ACTION_BAD_VENDOR_TYPE


WRONG_HEADERS = [
    ("a header nobody puts on", "002e 0000 00010800", ErrorCode.BAD_ACTION_BAD_HEADER_TYPE),
    ("a property of a class that is not known", "002e 0000 0001894f 0005 01 05 01000000",
     ErrorCode.BAD_ACTION_UNKNOWN_ED_PROP),
    ("a property that is not known", "002e 0000 0001894f 0004 09 05 01000000",
     ErrorCode.BAD_ACTION_UNKNOWN_ED_PROP),
    ("a property that is cut", "002e 0000 0001894f 0004 01 15 01000000", ErrorCode.BAD_ACTION_BAD_LEN),
    ("an option longer than its property", "002e 0000 0001894f 0004 02 08 1000 0a 04",
     ErrorCode.BAD_ACTION_BAD_ED_PROP),
    ("decap with a property", "002f 0000 0000fffe 0004 01 05 01000000",
     ErrorCode.BAD_ACTION_UNKNOWN_ED_PROP),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code"), [(b, c) for _, b, c in WRONG_HEADERS], ids=[n for n, *_ in WRONG_HEADERS])
def test_wrong_headers_are_refused(body: str, code: ErrorCode) -> None:
    rest = bytes.fromhex(body)
    head = b"\xff\xff" + (8 + len(rest)).to_bytes(2, "big") + bytes.fromhex("00002320")
    with pytest.raises(OpenFlowError) as e:
        decode_actions(head + rest, 4)
    assert e.value.code is code


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


def test_a_load_may_write_more_of_nsh_ttl_than_a_set_field() -> None:
    wanted = parse_actions("load:0x40->nsh_ttl[]")
    loaded = encode_actions(wanted, 4)  # NXAST_REG_LOAD2
    assert format_actions(decode_actions(loaded, 4)) == "set_field:64->nsh_ttl"
    with pytest.raises(OpenFlowError, match="nsh_ttl"):
        decode_actions(encode_actions(wanted, 6), 6)
