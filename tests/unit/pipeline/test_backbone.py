"""Provider Backbone headers, and IPv6 extension headers as a field."""

from __future__ import annotations

import pytest

from gossamer.pipeline import action as act
from gossamer.pipeline.fields import NONE as NOTHING
from gossamer.pipeline.fields import Field, get_slot
from gossamer.pipeline.packet import parse
from gossamer.pipeline.result import Result
from tests.unit.pipeline.test_execute import TCP, out, rule, run

TAG = b"\x81\x00\x60\x07"
OUTER = bytes.fromhex("020000000a0a020000000b0b")
INNER = TCP[:12]
SERVICE = Field("pbb_isid", "pbb_isid", 24, 3, None, None, True, True, NOTHING)


def sent(*actions: act.Action, packet: bytes) -> bytes:
    result: Result = run(rule(*actions, act.Output(2)), packet=packet)
    assert out(result) == [2], result.drops
    return result.outputs[0].packet


def backbone(i_tag: int, tags: bytes = b"", payload: bytes = TCP[12:]) -> bytes:
    return OUTER + tags + b"\x88\xe7" + i_tag.to_bytes(4, "big") + INNER + payload


def test_the_service_is_in_the_key() -> None:
    key = parse(backbone(0x60123456), 1)
    assert (get_slot(key, "eth_type"), get_slot(key, "pbb_isid")) == (0x88E7, 0x60123456)
    assert get_slot(parse(backbone(0x123456)[:29], 1), "pbb_isid") == 0


def test_a_pushed_header_has_the_addresses_of_the_packet_and_the_priority_of_its_tag() -> None:
    tagged = TCP[:12] + TAG + TCP[12:]
    pushed = sent(act.PushPbb(), packet=tagged)
    assert pushed == TCP[:12] + bytes.fromhex("88e7 60000000") + tagged


def test_a_second_header_copies_the_service() -> None:
    packet = backbone(0x123456)
    assert sent(act.PushPbb(), packet=packet) == OUTER + bytes.fromhex("88e700123456") + packet


def test_a_pop_gives_the_customer_frame_below_the_backbone_tags() -> None:
    assert sent(act.PopPbb(), packet=backbone(1)) == TCP
    assert sent(act.PopPbb(), packet=backbone(1, TAG)) == INNER + TAG + TCP[12:]
    assert sent(act.PopPbb(), packet=TCP) == TCP


def test_a_header_without_a_frame_behind_it_stays() -> None:
    for tags in (b"", TAG):
        for payload in (b"", b"\x08"):
            packet = backbone(1, tags, payload)
            assert sent(act.PopPbb(), packet=packet) == packet


def test_after_a_pop_the_customer_frame_is_seen() -> None:
    result = run(rule(act.PopPbb(), act.DecTtl(), act.Output(2)), packet=backbone(1))
    assert get_slot(parse(result.outputs[0].packet, 0), "nw_ttl") == 63


def test_a_service_can_be_set_and_keeps_its_priority() -> None:
    setting = act.SetField(SERVICE, 0xABCDEF, 0xFFFFFF)
    assert sent(setting, packet=backbone(0x60000001, TAG)) == backbone(0x60ABCDEF, TAG)


def test_what_a_clone_does_to_the_header_is_undone() -> None:
    clone = act.Clone((act.PopPbb(), act.Output(3)))
    result = run(rule(clone, act.Output(2)), packet=backbone(1))
    assert [o.packet for o in result.outputs] == [TCP, backbone(1)]


NONEXT, ESP, AUTH, DEST, FRAG, ROUTER, HOP, UNREP, UNSEQ = (1 << i for i in range(9))


def chain(*headers: int) -> bytes:
    """An IPv6 packet with extension headers of 8 bytes (authentication: 16), then UDP."""
    payload = b"\0\1\0\2\0\x08\0\0"
    following = 17
    for header in reversed(headers):
        if header == 59:
            following, payload = 59, b""
        elif header == 50:
            following, payload = 50, bytes(16)
        else:
            words = 2 if header == 51 else 0
            payload = bytes((following, words)) + bytes(14 if words else 6) + payload
            following = header
    head = bytes((0x60, 0, 0, 0)) + len(payload).to_bytes(2, "big") + bytes((following, 64))
    return INNER + b"\x86\xdd" + head + bytes(15) + b"\1" + bytes(15) + b"\2" + payload


@pytest.mark.parametrize(
    ("headers", "flags"),
    [
        ((), 0),
        ((0,), HOP),
        ((0, 60, 43, 44, 51, 60), HOP | DEST | ROUTER | FRAG | AUTH),
        ((60, 60), DEST),
        ((60, 60, 60), DEST | UNREP),
        ((43, 43), ROUTER | UNREP),
        ((44, 43), FRAG | ROUTER | UNSEQ),
        ((43, 0), HOP | ROUTER | UNSEQ),
        ((60, 44), DEST | FRAG),
        ((44, 60, 43), DEST | FRAG | ROUTER | UNSEQ),
        ((51, 50), AUTH | ESP),
        ((0, 59), HOP | NONEXT),
    ],
)
def test_extension_headers_are_told_by_flags(headers: tuple[int, ...], flags: int) -> None:
    assert get_slot(parse(chain(*headers), 1), "ipv6_exthdr") == flags


def test_a_chain_that_breaks_tells_what_it_announced() -> None:
    broken = chain(0, 43, 44)[: 14 + 40 + 12]
    broken = broken[:18] + (12).to_bytes(2, "big") + broken[20:]
    assert get_slot(parse(broken, 1), "ipv6_exthdr") == HOP | ROUTER


def test_ipv4_has_no_extension_headers() -> None:
    assert get_slot(parse(TCP, 1), "ipv6_exthdr") == 0
