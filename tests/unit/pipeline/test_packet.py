"""Packet headers into the flow key, by the rules above the parser."""

from __future__ import annotations

import struct

import pytest

from gossamer.errors import PacketError
from gossamer.pipeline.fields import FRAG_ANY, FRAG_LATER, get_slot
from gossamer.pipeline.packet import ETH_TYPE_NONE, dissect, parse

ETH = bytes.fromhex("020000000002020000000001")
IPV4 = b"\x0a\0\0\x01\x0a\0\0\x02"
IPV6 = bytes(15) + b"\1" + bytes(15) + b"\2"
TCP = struct.pack("!HHIIHHHH", 1234, 80, 1, 0, 0x5012, 512, 0, 0)


def ipv4(payload: bytes, proto: int = 6, *, frag: int = 0, total: int | None = None) -> bytes:
    total = 20 + len(payload) if total is None else total
    head = struct.pack("!BBHHHBBH", 0x45, 0xB8, total, 0, frag, 64, proto, 0)
    return ETH + b"\x08\0" + head + IPV4 + payload


def ipv6(payload: bytes, following: int) -> bytes:
    return (
        ETH
        + b"\x86\xdd"
        + struct.pack("!IHBB", 0x6ABCDEF0, len(payload), following, 9)
        + IPV6
        + payload
    )


def slots(packet: bytes, *names: str) -> tuple[int, ...]:
    key = parse(packet, 7)
    return tuple(get_slot(key, name) for name in names)


def test_a_frame_shorter_than_its_ethernet_header_is_refused() -> None:
    with pytest.raises(PacketError):
        parse(bytes(13), 1)


def test_ethernet_addresses_type_and_port_are_known() -> None:
    assert slots(ETH + b"\x12\x34", "in_port", "eth_dst", "eth_src", "eth_type") == (
        7,
        0x020000000002,
        0x020000000001,
        0x1234,
    )


def test_two_tags_are_read_and_a_third_is_the_ethertype() -> None:
    packet = ETH + bytes.fromhex("88a8e00a8100000b8100000c0800")
    names = ("vlan_tpid", "vlan_tci", "vlan1_tpid", "vlan1_tci", "eth_type")
    assert slots(packet, *names) == (0x88A8, 0xF00A, 0x8100, 0x100B, 0x8100)


def test_a_tag_cut_short_is_the_ethertype() -> None:
    assert slots(ETH + b"\x81\0\0\x0a\x08", "vlan_tci", "eth_type") == (0, 0x8100)


def test_a_length_in_place_of_a_type_means_no_ethertype() -> None:
    assert slots(ETH + b"\0\x26\x42\x42\x03" + bytes(35), "eth_type") == (ETH_TYPE_NONE,)


def test_snap_names_an_ethertype_and_the_packet_follows_it() -> None:
    inner = ipv4(TCP)[12:]
    packet = ETH + b"\0\x30\xaa\xaa\x03\0\0\0" + inner
    assert slots(packet, "eth_type", "tp_dst") == (0x0800, 80)


def test_tcp_over_ipv4_is_read_down_to_its_flags() -> None:
    names = ("nw_proto", "nw_tos", "nw_ttl", "nw_src", "tp_src", "tp_dst", "tcp_flags")
    assert slots(ipv4(TCP), *names) == (6, 0xB8, 64, 0x0A000001, 1234, 80, 0x012)


@pytest.mark.parametrize("total", [19, 41, 0])
def test_an_ipv4_header_that_lies_about_its_length_is_not_there(total: int) -> None:
    packet = ipv4(TCP, total=total)
    assert slots(packet, "eth_type", "nw_proto", "nw_src", "tp_dst") == (0x0800, 0, 0, 0)


def test_bytes_after_the_ip_packet_do_not_count() -> None:
    packet = ipv4(TCP[:10]) + bytes(30)
    assert slots(packet, "nw_proto", "tp_src") == (6, 0)


def test_a_tcp_header_that_lies_about_its_length_is_not_there() -> None:
    longer = TCP[:12] + b"\x60" + TCP[13:]
    assert slots(ipv4(longer), "nw_proto", "tp_src", "tcp_flags") == (6, 0, 0)


def test_the_first_fragment_has_ports_and_later_ones_have_none() -> None:
    assert slots(ipv4(TCP, frag=0x2000), "nw_frag", "tp_dst") == (FRAG_ANY, 80)
    assert slots(ipv4(TCP, frag=0x0010), "nw_frag", "tp_dst") == (FRAG_ANY | FRAG_LATER, 0)


def test_ipv6_extension_headers_are_walked() -> None:
    hop_by_hop = b"\x3c\0" + bytes(6)
    options = b"\x06\0" + bytes(6)
    names = ("nw_proto", "nw_tos", "ipv6_label", "nw_ttl", "tp_dst")
    assert slots(ipv6(hop_by_hop + options + TCP, 0), *names) == (6, 0xAB, 0xCDEF0, 9, 80)


def test_a_broken_chain_of_extension_headers_leaves_only_the_addresses() -> None:
    too_long = b"\x06\x09" + bytes(6)
    names = ("nw_proto", "nw_frag", "nw_ttl", "ipv6_dst", "tp_dst")
    assert slots(ipv6(too_long + TCP, 0), *names) == (0, 0, 9, 2, 0)


def test_later_ipv6_fragments_show_the_fragment_header_as_their_protocol() -> None:
    fragment = struct.pack("!BBHI", 6, 0, 0x0008, 1)
    names = ("nw_proto", "nw_frag", "tp_dst")
    assert slots(ipv6(fragment + TCP, 44), *names) == (44, FRAG_ANY | FRAG_LATER, 0)


def test_a_fragment_header_that_fragments_nothing_is_passed_over() -> None:
    whole = struct.pack("!BBHI", 6, 0, 0, 1)
    assert slots(ipv6(whole + TCP, 44), "nw_frag", "tp_dst") == (0, 80)


def test_more_than_eight_extension_headers_hide_the_transport() -> None:
    chain = (b"\0\0" + bytes(6)) * 8 + b"\x06\0" + bytes(6)
    assert slots(ipv6(chain + TCP, 0), "nw_proto", "tp_dst") == (0, 0)


def test_neighbour_solicitations_show_target_and_source_address() -> None:
    message = b"\x87\0\0\0" + bytes(4) + IPV6[:16] + b"\x05\1" + bytes(6) + b"\1\1" + ETH[:6]
    names = ("tp_src", "tp_dst", "nd_target", "arp_sha", "arp_tha")
    assert slots(ipv6(message, 58), *names) == (135, 0, 1, 0x020000000002, 0)
    assert dissect(ipv6(message, 58), 1).nd_option == 14 + 40 + 24 + 8


ADVERTISEMENT = b"\x88\0\0\0" + b"\x60\0\0\0" + IPV6[:16]
ND_NAMES = ("nd_target", "pbb_isid", "tcp_flags", "arp_sha", "arp_tha")
"""Of nd_target, nd_reserved, nd_options_type, nd_sll, nd_tll."""


def test_the_first_option_with_an_address_is_the_one_that_has_its_type_shown() -> None:
    both = b"\2\1" + ETH[:6] + b"\1\1" + ETH[6:]
    shown = slots(ipv6(ADVERTISEMENT + both, 58), *ND_NAMES)
    assert shown == (1, 0x60000000, 2, 0x020000000001, 0x020000000002)
    assert dissect(ipv6(ADVERTISEMENT + both, 58), 1).nd_option == 14 + 40 + 24


def test_two_options_of_a_type_hide_target_and_addresses() -> None:
    twice = b"\2\1" + ETH[:6] + b"\2\1" + ETH[6:]
    assert slots(ipv6(ADVERTISEMENT + twice, 58), *ND_NAMES) == (0, 0x60000000, 2, 0, 0)


def test_a_short_solicitation_shows_its_reserved_word() -> None:
    assert slots(ipv6(ADVERTISEMENT[:8], 58), *ND_NAMES) == (0, 0x60000000, 0, 0, 0)


def test_arp_is_read_only_for_ipv4_over_ethernet() -> None:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + ETH[:6] + IPV4[:4] + ETH[6:] + IPV4[4:]
    names = ("nw_proto", "nw_src", "nw_dst", "arp_sha", "arp_tha")
    assert slots(ETH + b"\x08\x06" + body, *names) == (
        2,
        0x0A000001,
        0x0A000002,
        0x020000000002,
        0x020000000001,
    )
    assert slots(ETH + b"\x08\x06\0\x06" + body[2:], *names) == (0, 0, 0, 0, 0)


def test_an_arp_opcode_above_255_shows_as_zero() -> None:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 0x102) + bytes(20)
    assert slots(ETH + b"\x08\x06" + body, "nw_proto") == (0,)


def test_mpls_labels_end_at_the_bottom_of_the_stack() -> None:
    packet = ETH + b"\x88\x47" + bytes.fromhex("000100400002014000030040")
    assert slots(packet, "mpls_lse0", "mpls_lse1", "mpls_lse2") == (0x00010040, 0x00020140, 0)
