"""Datapath flows read back, and payloads of composed packets."""

from __future__ import annotations

import struct

import pytest

from gossamer.daemon.appctl.odp_match import format_odp_match
from gossamer.daemon.appctl.odp_parse import OdpFlow, looks_like_odp, port_of
from gossamer.daemon.appctl.payload import with_payload
from gossamer.pipeline.fields import BY_NAME, get_slot
from gossamer.pipeline.flow_syntax import compose, parse_flow
from gossamer.pipeline.match import Match
from gossamer.pipeline.packet import dissect
from gossamer.switch.show import CommandError

_FLOWS = (
    "in_port=1",
    "in_port=1,dl_src=00:00:00:00:00:01,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00",
    "in_port=1,ip,nw_src=10.0.0.0/8,nw_tos=32,nw_ttl=64",
    "in_port=1,tcp,tp_src=1,tp_dst=80,tcp_flags=+syn-ack",
    "in_port=1,tcp6,ipv6_src=fe80::/10,ipv6_dst=::1,ipv6_label=0x12345",
    "in_port=1,udp,dl_vlan=5,dl_vlan_pcp=3",
    "in_port=1,sctp,tp_dst=0x10/0xf0",
    "in_port=1,icmp,icmp_type=8,icmp_code=0",
    "in_port=1,icmp6,icmp_type=135,icmp_code=0,nd_target=fe80::1,nd_sll=00:00:00:00:00:05",
    "in_port=1,arp,arp_op=1,arp_spa=10.0.0.1,arp_tha=00:00:00:00:00:09",
    "in_port=1,mpls,mpls_label=100,mpls_tc=3,mpls_bos=1",
    "in_port=1,dl_type=0x1234",
    "in_port=1,tun_id=0x5,tun_src=1.2.3.4",
    "in_port=1,pkt_mark=0x1/0xff",
    "in_port=1,ct_state=+trk-new+est,ct_zone=5,ct_mark=0x3/0x7,ct_label=0x10000000000000000",
    "in_port=1,ct_state=est|trk",
    "in_port=1,tcp,ct_state=+trk,ct_nw_src=10.0.0.0/8,ct_nw_proto=6,ct_tp_dst=80",
    "in_port=1,udp6,ct_state=+trk,ct_ipv6_dst=fc00::2,ct_nw_proto=17,ct_tp_src=53",
)


@pytest.mark.parametrize("flow", _FLOWS)
@pytest.mark.parametrize("full", [False, True])
def test_what_is_dumped_can_be_read_again(flow: str, full: bool) -> None:
    match = parse_flow(flow).match
    text = format_odp_match(match, str, full=full, userspace=False)
    read = OdpFlow(text)
    assert read.in_port == "1"
    expected = Match(
        match.value & ~BY_NAME["in_port"].full_mask, match.mask & ~BY_NAME["in_port"].full_mask
    )
    # A tag's ethertype is said in a dump, and not in a flow.
    tpid = get_slot(read.match.mask, "vlan_tpid")
    assert tpid in (0, 0xFFFF)
    for slot in ("eth_src", "eth_dst", "eth_type", "vlan_tci", "nw_src", "nw_dst", "nw_proto", "nw_tos",
                 "nw_ttl", "ipv6_src", "ipv6_dst", "ipv6_label", "tp_src", "tp_dst", "tcp_flags",
                 "arp_sha", "arp_tha", "nd_target", "mpls_lse0", "tun_id", "tun_src",
                 "pkt_mark", "ct_state", "ct_zone", "ct_mark", "ct_label", "ct_nw_src", "ct_nw_proto", "ct_tp_src",
                 "ct_tp_dst", "ct_ipv6_dst"):  # fmt: skip
        assert get_slot(read.match.value, slot) == get_slot(expected.value, slot), slot
        assert get_slot(read.match.mask, slot) == get_slot(expected.mask, slot), slot


def test_a_whole_line_of_a_dump_is_a_flow() -> None:
    read = OdpFlow(
        "ufid:7795aa55-ba50-88c8-4a2d-e6448dfe608c, recirc_id(0),dp_hash(0/0),in_port(v1),"
        "packet_type(ns=0,id=0),eth(src=00:00:00:00:00:01),eth_type(0x0800),ipv4(frag=no), "
        "packets:2, bytes:196, used:0.024s, actions:3"
    )
    assert read.in_port == "v1"
    assert get_slot(read.match.value, "eth_type") == 0x0800
    assert port_of("v1", {"v1": 7}) == 7 and port_of("7", {}) == 7


@pytest.mark.parametrize(
    "text",
    [
        "in_port=1",
        "in_port(1),zz(1)",
        "in_port(1),eth(src=zz)",
        "in_port(1),eth(nothing=1)",
        "in_port(1),eth_type(x)",
        "in_port(1),ipv4(src=1.2.3)",
        "in_port(1),ipv4(frag=maybe)",
        "in_port(1),ipv4(proto=300)",
        "in_port(1),tcp_flags(+zz)",
        "in_port(1),encap(eth_type(0x0800)",
    ],
)
def test_the_place_of_a_mistake_is_told(text: str) -> None:
    with pytest.raises(CommandError, match="syntax error at "):
        OdpFlow(text)


def test_a_flow_without_port_is_refused() -> None:
    with pytest.raises(CommandError, match="in_port"):
        OdpFlow("eth_type(0x0800)")


def test_datapath_flows_are_told_from_openflow_ones() -> None:
    assert looks_like_odp("in_port(1),eth()")
    assert looks_like_odp("ufid:7795aa55-ba50-88c8-4a2d-e6448dfe608c, recirc_id(0)")
    assert not looks_like_odp("in_port=1,tcp")
    assert not looks_like_odp("br0")


def _sum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize("flow", ["tcp,nw_src=1.2.3.4,tp_dst=80", "udp,nw_dst=10.0.0.1", "icmp",
                                  "tcp6,ipv6_src=::1", "udp6,ipv6_dst=fe80::9", "icmp6,icmp_type=128",
                                  "sctp,tp_src=9"])  # fmt: skip
def test_another_payload_has_right_lengths_and_checksums(flow: str) -> None:
    match = parse_flow(flow).match
    composed = compose(match)
    assert with_payload(composed, match, bytes(64)) == composed
    packet = with_payload(composed, match, b"hello, world!")
    headers = dissect(packet, 0)
    assert packet.endswith(b"hello, world!")
    assert headers.key == dissect(composed, 0).key
    assert headers.l4_end == len(packet)
    ipv4 = get_slot(headers.key, "eth_type") == 0x0800
    if ipv4:
        assert _sum(packet[headers.l3 : headers.l4]) == 0xFFFF
    if "sctp" in flow:
        return
    addresses = packet[headers.l3 + 12 : headers.l3 + 20] if ipv4 else packet[headers.l3 + 8 : headers.l4]
    pseudo = addresses + struct.pack("!II", len(packet) - headers.l4, headers.l4_proto)
    assert _sum((b"" if flow == "icmp" else pseudo) + packet[headers.l4 :]) == 0xFFFF


def test_packets_that_carry_nothing_stay_as_they_are() -> None:
    for flow in ("arp", "icmp6,icmp_type=135,icmp_code=0", "dl_type=0x1234"):
        match = parse_flow(flow).match
        assert with_payload(compose(match), match, b"x") == compose(match)
