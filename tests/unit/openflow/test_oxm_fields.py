"""Every OXM field of OpenFlow 1.3 (1.3.5, table 12), its prerequisites and its masks."""

from __future__ import annotations

import pytest

from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.flow_mod import decode_flow_mod11
from gossamer.openflow.match import decode_match, encode_match
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.flow_syntax import parse_flow
from gossamer.pipeline.format import format_match
from gossamer.pipeline.match import ANY
from tests.unit.openflow.error_cases import flow_mod

ETH = {"ipv4": "80000a020800", "ipv6": "80000a0286dd", "arp": "80000a020806",
       "mpls": "80000a028847", "pbb": "80000a0288e7"}  # fmt: skip
PROTO = {"tcp": "8000140106", "udp": "8000140111", "sctp": "8000140184", "icmp": "8000140101",
         "icmp6": "800014013a"}  # fmt: skip
NONE, VLAN = "", "80000c021005"
IP4, IP6, ARP = ETH["ipv4"], ETH["ipv6"], ETH["arp"]
SOLICIT, ADVERT = (f"{IP6}{PROTO['icmp6']}80003a01{kind}" for kind in ("87", "88"))

FIELDS = [
    # number, bytes, maskable, prerequisites, name of the field
    (0, 4, False, NONE, "in_port"),
    (1, 4, False, "8000000400000001", "in_phy_port"),
    (2, 8, True, NONE, "metadata"),
    (3, 6, True, NONE, "eth_dst"),
    (4, 6, True, NONE, "eth_src"),
    (5, 2, False, NONE, "eth_type"),
    (6, 2, True, NONE, "vlan_vid"),
    (7, 1, False, VLAN, "vlan_pcp"),
    (8, 1, False, IP4, "ip_dscp"),
    (9, 1, False, IP6, "ip_ecn"),
    (10, 1, False, IP4, "nw_proto"),
    (11, 4, True, IP4, "ip_src"),
    (12, 4, True, IP4, "ip_dst"),
    (13, 2, True, IP4 + PROTO["tcp"], "tcp_src"),
    (14, 2, True, IP6 + PROTO["tcp"], "tcp_dst"),
    (15, 2, True, IP4 + PROTO["udp"], "udp_src"),
    (16, 2, True, IP6 + PROTO["udp"], "udp_dst"),
    (17, 2, True, IP4 + PROTO["sctp"], "sctp_src"),
    (18, 2, True, IP4 + PROTO["sctp"], "sctp_dst"),
    (19, 1, False, IP4 + PROTO["icmp"], "icmp_type"),
    (20, 1, False, IP4 + PROTO["icmp"], "icmp_code"),
    (21, 2, False, ARP, "arp_op"),
    (22, 4, True, ARP, "arp_spa"),
    (23, 4, True, ARP, "arp_tpa"),
    (24, 6, True, ARP, "arp_sha"),
    (25, 6, True, ARP, "arp_tha"),
    (26, 16, True, IP6, "ipv6_src"),
    (27, 16, True, IP6, "ipv6_dst"),
    (28, 4, True, IP6, "ipv6_label"),
    (29, 1, False, IP6 + PROTO["icmp6"], "icmpv6_type"),
    (30, 1, False, IP6 + PROTO["icmp6"], "icmpv6_code"),
    (31, 16, True, SOLICIT, "nd_target"),
    (32, 6, True, SOLICIT, "nd_sll"),
    (33, 6, True, ADVERT, "nd_tll"),
    (34, 4, False, ETH["mpls"], "mpls_label"),
    (35, 1, False, ETH["mpls"], "mpls_tc"),
    (36, 1, False, ETH["mpls"], "mpls_bos"),
    (37, 3, True, ETH["pbb"], "pbb_isid"),
    (38, 8, True, NONE, "tun_id"),
    (39, 2, True, IP6, "ipv6_exthdr"),
]
VALUE = 1


def tlv(number: int, length: int, *, masked: bool = False) -> bytes:
    """A field with the value 1, and the mask 1."""
    size = length * (2 if masked else 1)
    head = (0x8000 << 16 | number << 9 | masked << 8 | size).to_bytes(4, "big")
    return head + VALUE.to_bytes(length, "big") * (2 if masked else 1)


def test_there_are_forty() -> None:
    assert [number for number, *_ in FIELDS] == list(range(40))


@pytest.mark.parametrize(("number", "length", "maskable", "before", "name"), FIELDS)
def test_a_field_is_matched(
    number: int, length: int, maskable: bool, before: str, name: str
) -> None:
    data = bytes.fromhex(before) + tlv(number, length)
    match = decode_match(data)
    if name == "in_phy_port":
        name = "in_port"  # no port of ours stands on another one
    assert match.field(BY_NAME[name])[0] == VALUE
    assert decode_match(encode_match(match, 4)) == match
    assert decode_match(data) == match, "the second time by its known shape"
    assert format_match(match)


@pytest.mark.parametrize(("number", "length", "maskable", "before", "name"), FIELDS)
def test_a_field_has_a_mask_where_the_specification_allows_one(
    number: int, length: int, maskable: bool, before: str, name: str
) -> None:
    data = bytes.fromhex(before) + tlv(number, length, masked=True)
    if maskable:
        match = decode_match(data)
        assert match.field(BY_NAME[name]) == (VALUE, VALUE)
        assert decode_match(encode_match(match, 4)) == match
    else:
        with pytest.raises(OpenFlowError) as e:
            decode_match(data)
        assert e.value.code is ErrorCode.BAD_MATCH_BAD_MASK


@pytest.mark.parametrize(
    ("number", "length", "name"), [(n, length, name) for n, length, _, pre, name in FIELDS if pre]
)
def test_a_field_needs_its_prerequisites(number: int, length: int, name: str) -> None:
    with pytest.raises(OpenFlowError) as e:
        decode_match(tlv(number, length))
    assert e.value.code is ErrorCode.BAD_MATCH_BAD_PREREQ


def test_a_physical_port_is_the_port_itself() -> None:
    wrong = bytes.fromhex("8000000400000002") + tlv(1, 4)
    for _ in range(2):
        with pytest.raises(OpenFlowError) as e:
            decode_match(wrong)
        assert e.value.code is ErrorCode.BAD_MATCH_BAD_VALUE


def test_nsh_has_metadata_of_type_1_or_2_only() -> None:
    valid = encode_match(
        ANY.with_field(BY_NAME["eth_type"], 0x894F).with_field(BY_NAME["nsh_mdtype"], 1), 4
    )
    for mdtype in (2, 1):
        wanted = decode_match(valid[:-1] + bytes([mdtype]))
        assert format_match(wanted) == f"dl_type=0x894f,nsh_mdtype={mdtype}"
    for mdtype in (0, 3, 255):
        with pytest.raises(OpenFlowError) as refused:
            decode_match(valid[:-1] + bytes([mdtype]))
        assert refused.value.code is ErrorCode.BAD_MATCH_BAD_VALUE


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ("ct_state=+new,ct_nw_proto=6,ct_tp_src=5", True),
        ("ct_state=+new,ct_nw_src=10.0.0.1,ip", True),
        ("ct_state=-inv+trk,ct_ipv6_dst=fd00::/8,ipv6", True),
        ("ct_state=+new,ct_nw_src=10.0.0.1", False),
        ("ct_state=+new,ct_nw_dst=10.0.0.0/8,ipv6", False),
        ("ct_state=+new,ct_ipv6_src=fd00::1,ip", False),
        ("ct_state=+new,ct_ipv6_dst=fd00::1,arp", False),
    ],
)
def test_a_connections_addresses_need_their_version_of_ip(wanted: str, taken: bool) -> None:
    sent = flow_mod(4, b"", parse_flow(wanted).match)
    if taken:
        assert format_match(decode_flow_mod11(sent, 4).match, 32768) == wanted
        return
    with pytest.raises(OpenFlowError) as refused:
        decode_flow_mod11(sent, 4)
    assert refused.value.code is ErrorCode.BAD_ACTION_MATCH_INCONSISTENT


def test_a_connections_fields_need_a_state_that_says_there_is_one() -> None:
    for wanted in ("ct_nw_src=10.0.0.1,ip", "ct_state=-new,ct_nw_src=10.0.0.1,ip"):
        with pytest.raises(OpenFlowError) as refused:
            decode_match(encode_match(parse_flow(wanted).match, 4))
        assert refused.value.code is ErrorCode.BAD_MATCH_BAD_PREREQ
