"""Flows as a person types them, and the packets they describe."""

from __future__ import annotations

import pytest

from gossamer.errors import FieldError
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.flow_syntax import compose, parse_flow
from gossamer.pipeline.match import Match
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.packet import parse


@pytest.mark.parametrize(
    "text",
    [
        "tcp,dl_dst=02:00:00:00:00:01,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_tos=32,nw_ttl=9,tp_dst=80",
        "tcp,dl_vlan=10,dl_vlan_pcp=5,tcp_flags=syn|ack,tp_src=1",
        "udp,nw_frag=first,tp_dst=53",
        "udp,nw_frag=later,nw_src=10.0.0.1",
        "sctp,tp_src=7,tp_dst=8",
        "icmp,icmp_type=8,icmp_code=1",
        "tcp6,ipv6_src=fd00::1,ipv6_label=0x12345,nw_ttl=3,tp_dst=443",
        "udp6,nw_frag=first,tp_dst=53",
        "icmp6,icmp_type=135,icmp_code=0,nd_target=fd00::1,nd_sll=2:0:0:0:0:1",
        "icmp6,icmp_type=136,icmp_code=0,nd_target=fd00::1,nd_tll=2:0:0:0:0:1",
        "arp,arp_op=2,arp_spa=10.0.0.1,arp_tha=2:0:0:0:0:1",
        "mpls,mpls_label=99,mpls_bos=1",
        "dl_type=0x88cc,dl_src=02:00:00:00:00:01",
        "ip,nw_proto=47",
        "dl_src=02:00:00:00:00:01",
    ],
)
def test_the_packet_of_a_flow_is_matched_by_it(text: str) -> None:
    match = parse_flow(text).match
    assert match.matches(parse(compose(match), 0))


def test_ports_go_by_number_by_name_and_by_reserved_name() -> None:
    assert parse_flow("in_port=3").in_port == 3
    assert parse_flow("in_port=vm1", {"vm1": 7}).in_port == 7
    assert parse_flow("in_port=local").in_port == OfPort.LOCAL
    assert parse_flow("in_port=65534").in_port == OfPort.LOCAL
    assert parse_flow("ip").in_port == OfPort.ANY


def test_the_names_of_ports_depend_on_the_protocol() -> None:
    assert parse_flow("udp,tp_dst=5").match.field(BY_NAME["udp_dst"]) == (5, 0xFFFF)
    assert parse_flow("tp_dst=5,udp").match == parse_flow("udp,tp_dst=5").match
    assert parse_flow("icmp6,icmp_type=1").match.field(BY_NAME["icmpv6_type"]) == (1, 0xFF)


def test_masks_are_prefix_lengths_addresses_or_bits() -> None:
    for text in ("ip,nw_src=10.1.0.0/16", "ip,nw_src=10.1.2.3/255.255.0.0"):
        assert parse_flow(text).match.field(BY_NAME["ip_src"]) == (0x0A010000, 0xFFFF0000)
    assert parse_flow("reg1=0x3/0x7").match.field(BY_NAME["reg1"]) == (3, 7)


def test_priority_and_table_are_read() -> None:
    flow = parse_flow("priority=7, table=3, ip")
    assert (flow.priority, flow.table_id) == (7, 3)


@pytest.mark.parametrize(
    "text",
    [
        "colour=red",
        "tp_dst=80",
        "tcp,tp_dst=http",
        "tcp,tp_dst",
        "ip,nw_src=10.0.0.256",
        "dl_src=2:0:0:0:0",
        "in_port=nowhere",
        "ip,nw_frag=some",
        "tcp,tcp_flags=+xyz",
        "tcp,tp_dst=70000",
    ],
)
def test_what_is_not_understood_is_said(text: str) -> None:
    with pytest.raises(FieldError):
        parse_flow(text, {"vm1": 1})


def test_an_empty_flow_matches_all() -> None:
    assert parse_flow("").match == Match()
