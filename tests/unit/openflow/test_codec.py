"""Bytes to messages and back, in every version."""

from __future__ import annotations

import pytest

from gossamer.openflow import encode
from gossamer.openflow import message as m
from gossamer.openflow.action import decode_actions, encode_actions
from gossamer.openflow.codec import Context, decode, frame_length
from gossamer.openflow.error import ErrorCode, OpenFlowError, encode_error, wire_code
from gossamer.openflow.instruction import decode_instructions, encode_instructions
from gossamer.openflow.match import (
    decode_match,
    decode_ofp_match,
    encode_match,
    encode_ofp_match,
)
from gossamer.pipeline import action as act
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.match import ANY, Match, match
from gossamer.pipeline.of_port import OfPort

MATCHES = [
    ANY,
    match(in_port=3),
    match(
        in_port=0xFFFFFFFE, eth_type=0x800, ip_src=(0x0A000000, 0xFF000000), nw_proto=6, tcp_dst=80
    ),
    match(eth_type=0x806, arp_op=1, arp_spa=0x0A000001),
    match(eth_dst=0x0180C2000000, vlan_vid=0x1005, vlan_pcp=3),
    match(vlan_vid=0),
    match(eth_type=0x800, nw_proto=1, icmp_type=8, icmp_code=0),
]


@pytest.mark.parametrize("version", range(1, 7))
@pytest.mark.parametrize("wanted", MATCHES)
def test_a_match_survives_the_wire(version: int, wanted: Match) -> None:
    body = encode_match(wanted, version)
    assert decode_match(body) == wanted
    assert decode_match(body) == wanted, "the second time by its known shape"


@pytest.mark.parametrize("version", range(1, 7))
@pytest.mark.parametrize("wanted", MATCHES)
def test_every_version_s_own_structure_says_the_same(version: int, wanted: Match) -> None:
    if wanted == match(vlan_vid=0) and version <= 2:
        wanted = match(vlan_tci=0)  # "no tag" is said of the whole TCI there
    body = encode_ofp_match(wanted, version)
    assert len(body) % 8 == 0
    assert decode_ofp_match(body, 0, version) == (wanted, len(body))


def test_openflow_11_says_as_oxm_what_its_structure_cannot() -> None:
    wanted = match(reg0=5, eth_type=0x86DD, ipv6_dst=1)
    assert decode_ofp_match(encode_ofp_match(wanted, 2), 0, 2)[0] == wanted


def test_known_shapes_still_refuse_bits_outside_the_mask() -> None:
    good = encode_match(match(eth_type=0x800, ip_src=(0x0A000000, 0xFF000000)), 4)
    assert decode_match(good)
    bad = good[:-5] + b"\1" + good[-4:]
    with pytest.raises(OpenFlowError) as e:
        decode_match(bad)
    assert e.value.code is ErrorCode.BAD_MATCH_BAD_WILDCARDS


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("800000", ErrorCode.BAD_MATCH_BAD_LEN),
        ("8000fe0400000001", ErrorCode.BAD_MATCH_BAD_FIELD),
        ("80001a020050", ErrorCode.BAD_MATCH_BAD_PREREQ),
        ("8000000400000001" * 2, ErrorCode.BAD_MATCH_DUP_FIELD),
        ("80000003000001", ErrorCode.BAD_MATCH_BAD_FIELD),
        ("80000004000000", ErrorCode.BAD_MATCH_BAD_LEN),
        ("800000040000ff00", ErrorCode.BAD_MATCH_BAD_VALUE),
        ("80000c021fff" + "80000e01ff", ErrorCode.BAD_MATCH_BAD_VALUE),
        ("80000f020206", ErrorCode.BAD_MATCH_BAD_MASK),
        ("0001090401000100", ErrorCode.BAD_MATCH_BAD_FIELD),
        ("00000a0205", ErrorCode.BAD_MATCH_BAD_LEN),
    ],
)
def test_a_wrong_match_has_the_specification_s_error(data: str, code: ErrorCode) -> None:
    with pytest.raises(OpenFlowError) as e:
        decode_match(bytes.fromhex(data))
    assert e.value.code is code


ACTIONS = (
    act.SetField(BY_NAME["eth_dst"], 5, (1 << 48) - 1),
    act.RegLoad(act.SubField(BY_NAME["reg0"], 4, 16), 7),
    act.RegMove(act.SubField(BY_NAME["eth_src"], 0, 32), act.SubField(BY_NAME["reg1"], 0, 32)),
    act.PopVlan(),
    act.DecTtl(),
    act.Resubmit(3, 9),
    act.OutputReg(act.SubField(BY_NAME["reg0"], 0, 16), 0),
    act.Note(b"abcdef"),
    act.Controller(128, 7, 1, as_output=False),
    act.Exit(),
    act.Output(OfPort.NORMAL),
)


@pytest.mark.parametrize("version", range(1, 6))
def test_actions_survive_the_wire(version: int) -> None:
    body = encode_actions(ACTIONS, version)
    wanted = ACTIONS
    if version <= 2:
        # What is set_field elsewhere goes as an action with a name of its own there.
        first = act.NamedSet(BY_NAME["eth_dst"], 5, (1 << 48) - 1, "set_dl_dst")
        strip = act.StripVlan() if version == 1 else act.PopVlan()
        wanted = (first, *ACTIONS[1:3], strip, *ACTIONS[4:])
    assert decode_actions(body, version) == wanted
    assert decode_actions(body, version) is decode_actions(body, version), "equal bytes, same tuple"


def test_openflow_15_has_one_action_for_loads_and_set_fields() -> None:
    wanted = list(ACTIONS)
    wanted[1] = act.SetField(BY_NAME["reg0"], 7 << 4, 0xFFFF << 4)
    assert decode_actions(encode_actions(ACTIONS, 6), 6) == tuple(wanted)


@pytest.mark.parametrize("version", range(2, 7))
def test_instructions_survive_the_wire(version: int) -> None:
    wanted = (
        act.Output(1),
        act.ClearActions(),
        act.WriteActions((act.Output(2),)),
        act.WriteMetadata(5, 0xFF),
        act.GotoTable(7),
    )
    assert decode_instructions(encode_instructions(wanted, version), version) == wanted


@pytest.mark.parametrize(
    ("data", "version", "code"),
    [
        ("00000010ffffff0000000000000000" + "00", 4, ErrorCode.BAD_ACTION_BAD_OUT_PORT),
        ("0013000808000000", 4, ErrorCode.BAD_ACTION_BAD_ARGUMENT),
        ("001d000800000001", 4, ErrorCode.BAD_ACTION_BAD_TYPE),
        ("0000000700000001", 1, ErrorCode.BAD_ACTION_BAD_LEN),
        ("ffff000700000001", 1, ErrorCode.BAD_ACTION_BAD_VENDOR),
        ("00ff000700000001", 1, ErrorCode.BAD_ACTION_BAD_TYPE),
        ("ffff001012345678000100000000000" + "0", 1, ErrorCode.BAD_ACTION_BAD_VENDOR),
        ("ffff00100000232000ff000000000000", 1, ErrorCode.BAD_ACTION_BAD_VENDOR_TYPE),
    ],
)
def test_a_wrong_action_has_the_specification_s_error(
    data: str, version: int, code: ErrorCode
) -> None:
    with pytest.raises(OpenFlowError) as e:
        decode_actions(bytes.fromhex(data), version)
    assert e.value.code is code


def test_headers_tell_where_a_message_ends() -> None:
    assert frame_length(b"\1\0\0") == 0
    assert frame_length(bytes.fromhex("0105000800000001")) == 8
    with pytest.raises(OpenFlowError):
        frame_length(bytes.fromhex("0105000700000001"))


@pytest.mark.parametrize("version", range(1, 7))
def test_unknown_types_are_refused(version: int) -> None:
    data = bytes((version, 99, 0, 8, 0, 0, 0, 1))
    with pytest.raises(OpenFlowError) as e:
        decode(data, Context(version))
    assert e.value.code is ErrorCode.BAD_REQUEST_BAD_TYPE


def test_a_message_of_another_version_is_refused() -> None:
    with pytest.raises(OpenFlowError) as e:
        decode(bytes.fromhex("0405000800000001"), Context(1))
    assert e.value.code is ErrorCode.BAD_REQUEST_BAD_VERSION


def test_errors_have_the_codes_of_their_version() -> None:
    assert wire_code(ErrorCode.FLOW_MOD_FAILED_OVERLAP, 1) == (3, 1)
    assert wire_code(ErrorCode.FLOW_MOD_FAILED_OVERLAP, 4) == (5, 3)
    request = bytes.fromhex("040e000800000007") + bytes(100)
    reply = encode_error(ErrorCode.BAD_REQUEST_BAD_LEN, 4, request, 7)
    assert reply == bytes.fromhex("0401007800000007" + "00010006") + request, "all of it, as OVS"


@pytest.mark.parametrize("version", range(1, 7))
def test_a_packet_in_carries_the_packet(version: int) -> None:
    packet = m.PacketIn(b"x" * 60, 60, 1, 0, 5, 3, 3 << (316 * 8))
    data = encode.packet_in(packet, version)
    assert data.endswith(b"x" * 60)
    assert len(data) == data[2] << 8 | data[3]
