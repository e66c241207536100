"""Changed keys into packets: headers, tags and checksums."""

from __future__ import annotations

import struct

import pytest

from gossamer.pipeline.commit import Frame, commit
from gossamer.pipeline.crc32c import crc32c
from gossamer.pipeline.fields import put_slot
from gossamer.pipeline.flow_syntax import compose, parse_flow
from gossamer.pipeline.packet import dissect, parse

TCP = "tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_ttl=64,tp_src=1,tp_dst=2"
UDP6 = "udp6,ipv6_src=fd00::1,ipv6_dst=fd00::2,nw_ttl=64,tp_src=1,tp_dst=2"


def packet(flow: str) -> bytes:
    return compose(parse_flow(flow).match)


def changed(before: bytes, **slots: int) -> bytes:
    key = parse(before, 0)
    new = key
    for name, value in slots.items():
        new = put_slot(new, name, value)
    return commit(before, key, new)


def ones_sum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def l4_sum(data: bytes) -> int:
    """0xffff where the transport checksum is right."""
    h = dissect(data, 0)
    ipv6 = data[h.l3] >> 4 == 6
    addresses = data[h.l3 + 8 : h.l3 + 40] if ipv6 else data[h.l3 + 12 : h.l3 + 20]
    segment = data[h.l4 : h.l4_end]
    return ones_sum(addresses + struct.pack("!II", len(segment), h.l4_proto) + segment)


@pytest.mark.parametrize(
    ("flow", "slots"),
    [
        (TCP, {"nw_src": 0xC0A80001}),
        (TCP, {"nw_dst": 0, "tp_src": 0xFFFF, "tp_dst": 0}),
        (TCP, {"nw_tos": 0xFF, "nw_ttl": 1}),
        (UDP6, {"ipv6_src": 1 << 127, "tp_dst": 53}),
        (UDP6, {"nw_tos": 0x12, "ipv6_label": 0xABCDE, "nw_ttl": 3}),
        (
            "icmp6,icmp_type=135,nd_target=fd00::9,nd_sll=2:0:0:0:0:1",
            {"nd_target": 5, "arp_sha": 9},
        ),
        # A solicitation becomes the advertisement that answers it.
        (
            "icmp6,icmp_type=135,nd_target=fd00::9,nd_sll=2:0:0:0:0:1",
            {"tp_src": 136, "pbb_isid": 0x60000000, "tcp_flags": 2, "arp_sha": 0, "arp_tha": 9},
        ),
        ("icmp6,icmp_type=128", {"tp_src": 129, "ipv6_dst": 7}),
    ],
)
def test_right_checksums_stay_right(flow: str, slots: dict[str, int]) -> None:
    after = changed(packet(flow), **slots)
    assert l4_sum(after) == 0xFFFF
    key = parse(after, 0)
    for name, value in slots.items():
        assert put_slot(key, name, value) == key, name
    h = dissect(after, 0)
    if after[h.l3] >> 4 == 4:
        assert ones_sum(after[h.l3 : h.l3 + 20]) == 0xFFFF


def test_a_wrong_checksum_stays_wrong_by_as_much() -> None:
    right = packet(TCP)
    at = dissect(right, 0).l4 + 16
    wrong = right[:at] + bytes((right[at] ^ 1, right[at + 1])) + right[at + 2 :]
    after_right, after_wrong = changed(right, tp_dst=77), changed(wrong, tp_dst=77)
    assert after_right != after_wrong
    assert l4_sum(wrong) == l4_sum(after_wrong) != 0xFFFF


def test_a_udp_packet_without_checksum_stays_without() -> None:
    before = packet("udp,tp_src=1,tp_dst=2")
    at = dissect(before, 0).l4 + 6
    bare = before[:at] + b"\0\0" + before[at + 2 :]
    assert changed(bare, nw_src=5, tp_dst=9)[at : at + 2] == b"\0\0"


def test_a_udp_checksum_that_comes_to_zero_is_written_as_ones() -> None:
    before = packet("udp,tp_src=1,tp_dst=2")
    at = dissect(before, 0).l4 + 6
    checksum = int.from_bytes(before[at : at + 2], "big")
    # Raising the port by the checksum itself takes the checksum to zero.
    after = changed(before, tp_dst=2 + checksum)
    assert after[at : at + 2] == b"\xff\xff"


def test_icmp_has_no_pseudo_header() -> None:
    before = packet("icmp,icmp_type=8")
    after = changed(before, nw_src=0x01020304)
    at = dissect(before, 0).l4
    assert after[at:] == before[at:]


def test_a_header_that_was_not_found_is_not_written() -> None:
    cut = packet(TCP)[:40]
    assert changed(cut, nw_src=1, tp_src=1) == cut
    later = packet("tcp,nw_frag=later,nw_src=10.0.0.1")
    assert changed(later, tp_src=99) == later


def test_an_address_change_in_a_later_fragment_leaves_its_data_alone() -> None:
    later = packet("udp,nw_frag=later")
    after = changed(later, nw_dst=0x0A0A0A0A)
    assert after[34:] == later[34:]
    assert ones_sum(after[14:34]) == 0xFFFF


def test_tags_are_pushed_changed_and_popped() -> None:
    plain = packet(TCP)
    one = changed(plain, vlan_tci=0x100A, vlan_tpid=0x8100)
    assert one == plain[:12] + bytes.fromhex("8100000a") + plain[12:]
    assert changed(one, vlan_tci=0x700B) == plain[:12] + bytes.fromhex("8100600b") + plain[12:]
    assert changed(one, vlan_tci=0, vlan_tpid=0) == plain


def test_an_inner_tag_that_stays_keeps_its_dei_bit() -> None:
    plain = packet(TCP)
    inner = bytes.fromhex("8100100a")
    two = plain[:12] + bytes.fromhex("88a81005") + inner + plain[12:]
    popped = changed(two, vlan_tci=0x100A, vlan_tpid=0x8100, vlan1_tci=0, vlan1_tpid=0)
    assert popped == plain[:12] + inner + plain[12:]
    assert changed(two, vlan_tci=0x1006)[12:20] == bytes.fromhex("88a80006") + inner


def test_an_arp_opcode_above_255_survives_other_changes() -> None:
    before = packet("arp,arp_op=1")
    odd = before[:20] + b"\x01\x02" + before[22:]
    after = changed(odd, nw_src=7)
    assert after[20:22] == b"\x01\x02"
    assert parse(after, 0) == put_slot(parse(odd, 0), "nw_src", 7)


def test_sctp_ports_keep_the_crc_right() -> None:
    before = packet("sctp,tp_src=1,tp_dst=2")
    after = changed(before, tp_dst=99)
    at = dissect(after, 0).l4
    chunk = after[at : at + 8] + bytes(4) + after[at + 12 :]
    assert after[at + 8 : at + 12] == crc32c(chunk).to_bytes(4, "little")


def test_headers_are_found_again_after_tags_changed() -> None:
    frame = Frame.received(packet(TCP), 1)
    tagged = frame.commit(put_slot(put_slot(frame.key, "vlan_tci", 0x1005), "vlan_tpid", 0x8100))
    assert tagged.headers.l4 == frame.headers.l4 + 4
    assert l4_sum(tagged.commit(put_slot(tagged.key, "tp_src", 9)).packet) == 0xFFFF
