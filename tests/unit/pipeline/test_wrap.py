"""What packets are wrapped in: the bytes of outer headers, and where packets go."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from gossamer.pipeline.action import Output, SetField
from gossamer.pipeline.checksum import checksum
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.fields import BY_NAME, put_slot
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import ANY, match
from gossamer.pipeline.packet import parse
from gossamer.pipeline.steps import Drop
from gossamer.pipeline.tlv import LAYOUT, OptionMap
from gossamer.pipeline.world import Bridge, Port, World
from gossamer.pipeline.wrap import encapsulate, outer_of
from gossamer.switch.tunnel_options import parse_tunnel

FRAME = bytes.fromhex(
    "020000000002020000000001080045b80028000100004006667b0a0000010a000002"
    "00010050000000000000000050002000000000000000000000000000"
)


def _address(text: str) -> bytes:
    raw = ip_address(text).packed
    return raw if len(raw) == 16 else bytes(10) + b"\xff\xff" + raw


def _tunnel(kind: str, text: str):  # type: ignore[no-untyped-def]
    return parse_tunnel("t", kind, dict(p.split("=", 1) for p in text.split()))[0]


def _wrapped(kind: str, options: str, source: str = "10.9.0.1", **slots: int) -> bytes:
    key = parse(FRAME, 1)
    for name, value in slots.items():
        key = put_slot(key, name, value)
    outer = outer_of(_tunnel(kind, options), key)
    assert outer is not None
    return encapsulate(outer, FRAME, key, _address(source), sequence=7)


def test_vxlan() -> None:
    packet = _wrapped("vxlan", "remote_ip=10.9.0.2 key=0x123456")
    assert packet[:1] == b"\x45" and packet[6:10] == bytes.fromhex("40004011")
    assert checksum(packet[:20]) == 0
    assert packet[12:20] == bytes([10, 9, 0, 1, 10, 9, 0, 2])
    assert packet[22:24] == (4789).to_bytes(2, "big")
    assert packet[26:36] == bytes.fromhex("0000 0800000012345600")
    assert packet[36:] == FRAME


def test_a_group_policy_goes_in_the_header_of_vxlan() -> None:
    packet = _wrapped("vxlan", "remote_ip=10.9.0.2 exts=gbp", tun_gbp_id=0x99, tun_gbp_flags=0x48)
    assert packet[28:36] == bytes.fromhex("88480099 00000000")


def test_udp_checksums_are_there_where_asked_for_and_over_ipv6() -> None:
    packet = _wrapped("vxlan", "remote_ip=fd00::2", source="fd00::1")
    assert packet[0] >> 4 == 6 and packet[6] == 17
    pseudo = packet[8:40] + len(packet[40:]).to_bytes(4, "big") + bytes([0, 0, 0, 17])
    assert packet[46:48] != b"\0\0" and checksum(pseudo + packet[40:]) == 0
    packet = _wrapped("geneve", "remote_ip=10.9.0.2 csum=true")
    pseudo = packet[12:20] + bytes([0, 17]) + len(packet[20:]).to_bytes(2, "big")
    assert checksum(pseudo + packet[20:]) == 0


def test_gre_with_key_sequence_and_checksum() -> None:
    packet = _wrapped("gre", "remote_ip=10.9.0.2 key=5 seq=true csum=true")
    assert packet[9] == 47
    assert packet[20:24] == bytes.fromhex("b0006558")
    assert packet[28:36] == bytes.fromhex("0000000500000007")
    assert checksum(packet[20:]) == 0
    assert packet[36:] == FRAME
    assert _wrapped("gre", "remote_ip=10.9.0.2")[20:24] == bytes.fromhex("00006558")


def test_gre_without_ethernet() -> None:
    packet = _wrapped("gre", "remote_ip=10.9.0.2 packet_type=legacy_l3")
    assert packet[20:24] == bytes.fromhex("00000800")
    assert packet[24:] == FRAME[14:]


def test_geneve_carries_the_options_that_are_there() -> None:
    LAYOUT.claim(0, 4)
    LAYOUT.claim(1, 8)
    try:
        maps = (OptionMap(0xFFFF, 0x80, 4, 0), OptionMap(0x102, 1, 8, 1))
        key = parse(FRAME, 1)
        f = LAYOUT.fields[0]
        key |= 0x1234 << f.shift | f.marks
        outer = outer_of(_tunnel("geneve", "remote_ip=10.9.0.2 key=9"), key, maps)
        assert outer is not None
        packet = encapsulate(outer, FRAME, key, _address("10.9.0.1"))
    finally:
        LAYOUT.release(0)
        LAYOUT.release(1)
    assert packet[28:36] == bytes.fromhex("02406558 00000900")
    assert packet[36:44] == bytes.fromhex("ffff8001 00001234")
    assert packet[44:] == FRAME


def test_erspan_of_both_types() -> None:
    one = _wrapped("erspan", "remote_ip=10.9.0.2 key=5 erspan_ver=1 erspan_idx=12")
    assert one[20:36] == bytes.fromhex("100088be00000007 1000000500000012")
    two = _wrapped("erspan", "remote_ip=10.9.0.2 key=5 erspan_ver=2 erspan_dir=1 erspan_hwid=3f")
    assert two[20:40] == bytes.fromhex("100022eb00000007 20000005 00000000 000003f8")


INNER_TOS = [("", 0x00), ("tos=inherit", 0xB8), ("tos=0x20", 0x20)]


@pytest.mark.parametrize(("options", "tos"), INNER_TOS)
def test_dscp_is_the_tunnels_or_the_packets(options: str, tos: int) -> None:
    assert _wrapped("vxlan", f"remote_ip=10.9.0.2 {options}")[1] == tos


@pytest.mark.parametrize(("inner", "outer"), [(0, 0), (1, 1), (2, 2), (3, 2)])
def test_ecn_is_always_the_packets_and_congestion_begins_anew(inner: int, outer: int) -> None:
    assert _wrapped("vxlan", "remote_ip=10.9.0.2", nw_tos=inner)[1] == outer


def test_ttl_and_df() -> None:
    packet = _wrapped("vxlan", "remote_ip=10.9.0.2 ttl=inherit df_default=false", nw_ttl=9)
    assert packet[8] == 9 and packet[6:8] == b"\0\0"


def _world(options: str, *actions: object, kind: str = "vxlan") -> World:
    ports = [Port(1), Port(2, tunnel=_tunnel(kind, options), name="t")]
    return World([Bridge("br0", ports, [Flow(0, 1, ANY, tuple(actions))])])  # type: ignore[arg-type]


def test_flows_say_where_packets_go() -> None:
    world = _world(
        "remote_ip=flow key=flow",
        SetField(BY_NAME["tun_id"], 77, (1 << 64) - 1),
        SetField(BY_NAME["tun_dst"], 0x0A090002, 0xFFFFFFFF),
        Output(2),
    )
    (output,) = Pipeline(world).run("br0", 1, FRAME).outputs
    assert output.outer is not None
    assert (output.outer.key, output.outer.destination) == (77, _address("10.9.0.2"))
    assert output.packet == FRAME


def test_a_packet_that_nobody_gave_a_destination_is_dropped() -> None:
    result = Pipeline(_world("remote_ip=flow", Output(2))).run("br0", 1, FRAME)
    assert not result.outputs and result.drops == [Drop.TUNNEL_ROUTE]


def test_what_came_to_us_is_not_sent_to_us() -> None:
    world = _world("remote_ip=flow local_ip=flow", Output(1), Output(2))
    key = put_slot(put_slot(0, "tun_dst", 0x0A090001), "tun_src", 0x0A090002)
    world.bridges["br0"].ports[3] = Port(3)
    result = Pipeline(world).run("br0", 3, FRAME, key)
    assert [o.ofport for o in result.outputs] == [1]
    assert result.drops == [Drop.TUNNEL_LOOP]


def test_rules_match_what_a_packet_brought_out_of_its_tunnel() -> None:
    flow = Flow(0, 5, match(tun_id=5, tun_src=0x0A090002), (Output(1),))
    world = World([Bridge("br0", [Port(1), Port(2)], [flow])])
    brought = put_slot(put_slot(0, "tun_id", 5), "tun_src", 0x0A090002)
    assert Pipeline(world).run("br0", 2, FRAME, brought).outputs
    assert not Pipeline(world).run("br0", 2, FRAME).outputs


def test_a_patch_port_ends_what_is_known_of_the_tunnel() -> None:
    first = Bridge("br0", [Port(1), Port(2, peer=("br1", 1))], [Flow(0, 1, ANY, (Output(2),))])
    flows = [Flow(0, 5, match(tun_id=5), ()), Flow(0, 1, ANY, (Output(2),))]
    second = Bridge("br1", [Port(1, peer=("br0", 2)), Port(2)], flows)
    result = Pipeline(World([first, second])).run("br0", 1, FRAME, put_slot(0, "tun_id", 5))
    assert [o.bridge for o in result.outputs] == ["br1"]


def test_the_route_is_told_step_by_step() -> None:
    world = _world("remote_ip=10.9.0.2", Output(2))
    world.route = lambda outer: ["tunneling to 10.9.0.2 via eth0"]
    result = Pipeline(world).run("br0", 1, FRAME)
    texts = [s.text for s in result.steps.steps[0].steps[0].steps] or [
        s.text for s in result.steps.steps[0].steps
    ]
    assert "output to native tunnel" in texts and "tunneling to 10.9.0.2 via eth0" in texts
    world.route = lambda outer: None
    assert Pipeline(world).run("br0", 1, FRAME).drops == [Drop.TUNNEL_ROUTE]
