"""Encapsulation and decapsulation, packet by packet, against headers read and built in Python."""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import replace

import pytest

from gossamer.datapath.tunnel_settings import (
    FLOW,
    INHERIT,
    PacketMode,
    TunnelOption,
)
from gossamer.pipeline import action as act
from gossamer.pipeline.fields import BY_NAME, SLOTS, Field, get_slot
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.tlv import option_field
from tests.property import outer as wire
from tests.property.inner import frames
from tests.property.outer import Option, address
from tests.property.tunnels.world import (
    KINDS,
    LOCAL,
    REMOTE,
    TUNNEL,
    World,
    alike,
    ecn_of,
    expected,
    incoming,
    set_field,
    settings,
)

needs_kernel = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("clang") is None, reason="needs root and clang"
)
pytestmark = needs_kernel


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_of_frame_goes_in_and_comes_out_unchanged(
    world: World, kind: str, family: int
) -> None:
    world.datapath.set_tunnel(world.tunnel, settings(kind, family))
    for frame in frames(random.Random(1), 60):
        world.tell(act.Output(TUNNEL))
        alike(world.send(frame), expected(kind, frame, family))
        back = replace(
            expected(kind, frame, family, tos=ecn_of(frame) or 0),
            source=REMOTE[family], destination=LOCAL[family],
        )  # fmt: skip
        got = world.receive(wire.build(back))
        assert got is not None, world.datapath.drops()
        assert got[0] == frame
        assert get_slot(got[1], "tun_id") == 77


@pytest.mark.parametrize("n_labels", [1, 2, 3])
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_label_that_was_pushed_goes_inside_with_the_packet(
    world: World, kind: str, n_labels: int
) -> None:
    world.datapath.set_tunnel(world.tunnel, settings(kind))
    push = [act.PushMpls(0x8847)] * n_labels
    for frame in frames(random.Random(30), 60):
        at = 12
        while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
            at += 4
        if frame[at : at + 2] == b"\x88\x47":
            continue  # random labels, which may have no bottom
        world.tell(*push, act.Output(OfPort.IN_PORT), act.Output(TUNNEL))
        captured = world.run.run(world.other, frame)
        assert [c.port_id for c in captured] == [world.other, world.tunnel], frame.hex()
        labelled = captured[0].data
        assert labelled[at : at + 2] == b"\x88\x47"
        assert labelled[at + 2 + 4 * n_labels :] == frame[at + 2 :]
        alike(wire.read(captured[1].data), expected(kind, labelled))


def test_a_checksum_covers_header_and_packet(world: World) -> None:
    for kind in (wire.VXLAN, wire.GENEVE, wire.GRE):
        world.datapath.set_tunnel(world.tunnel, settings(kind, csum=True))
        for frame in frames(random.Random(2), 40):
            alike(world.send(frame), expected(kind, frame, csum=True))


@pytest.mark.parametrize("family", [4, 6])
def test_what_was_damaged_on_the_way_is_dropped_by_its_outer_checksum(
    world: World, family: int
) -> None:
    rng = random.Random(20)
    for kind in (wire.VXLAN, wire.GENEVE, wire.GRE):
        world.datapath.set_tunnel(world.tunnel, settings(kind, family))
        for frame in frames(rng, 40):
            right = wire.build(
                incoming(kind, frame, csum=True, source=REMOTE[family], destination=LOCAL[family])
            )
            got = world.receive(right)
            assert got is not None, world.datapath.drops()
            assert got[0] == frame
            at = rng.randrange(len(right) - len(frame), len(right))
            wrong = right[:at] + bytes((right[at] ^ 1 << rng.randrange(8),)) + right[at + 1 :]
            before = world.datapath.drops()
            assert world.receive(wrong) is None
            assert world.new_drops(before) == {"tunnel_checksum": 1}


def test_keys_may_be_absent_fixed_or_the_flows(world: World) -> None:
    frame = next(frames(random.Random(3), 1))
    for kind in (wire.VXLAN, wire.GENEVE, wire.GRE):
        world.datapath.set_tunnel(world.tunnel, settings(kind, in_key=None, out_key=None))
        alike(world.send(frame), expected(kind, frame, key=None if kind == wire.GRE else 0))
        world.datapath.set_tunnel(world.tunnel, settings(kind, in_key=FLOW, out_key=FLOW))
        world.tell(set_field("tun_id", 0xABCDEF), act.Output(TUNNEL))
        alike(world.send(frame), expected(kind, frame, key=0xABCDEF))
        world.tell(act.Output(TUNNEL))
    world.datapath.set_tunnel(world.tunnel, settings(wire.GRE, out_key=0xFFFFFFFE))
    alike(world.send(frame), expected(wire.GRE, frame, key=0xFFFFFFFE))


def test_addresses_may_be_the_flows(world: World) -> None:
    frame = next(frames(random.Random(4), 1))
    world.datapath.set_tunnel(world.tunnel, settings(wire.VXLAN, remote=FLOW, local=FLOW))
    v4 = {"source": address("192.0.2.9"), "destination": address("198.51.100.7")}
    world.tell(
        set_field("tun_src", int.from_bytes(v4["source"], "big")),
        set_field("tun_dst", int.from_bytes(v4["destination"], "big")),
        act.Output(TUNNEL),
    )
    alike(world.send(frame), replace(expected(wire.VXLAN, frame), **v4))  # type: ignore[arg-type]
    v6 = {"source": address("2001:db8::9"), "destination": address("2001:db8::7")}
    world.tell(
        set_field("tun_ipv6_src", int.from_bytes(v6["source"], "big")),
        set_field("tun_ipv6_dst", int.from_bytes(v6["destination"], "big")),
        act.Output(TUNNEL),
    )
    want = replace(expected(wire.VXLAN, frame, 6), **v6)  # type: ignore[arg-type]
    alike(world.send(frame), want)


def test_several_outputs_each_go_by_the_values_of_their_moment(world: World) -> None:
    """Head-end replication: one packet, many remotes and keys, and a port without a tunnel."""
    frame = next(frames(random.Random(5), 1))
    world.datapath.set_tunnel(world.tunnel, settings(wire.VXLAN, remote=FLOW, out_key=FLOW))
    actions: list[act.Action] = []
    for n in range(1, 4):
        actions += [set_field("tun_dst", 0xC6336400 + n), set_field("tun_id", n), act.Output(TUNNEL)]
    world.tell(*actions, act.Output(OfPort.IN_PORT))
    captured = world.run.run(world.other, frame)
    assert [c.port_id for c in captured] == [world.tunnel] * 3 + [world.other]
    for n, one in enumerate(captured[:3], 1):
        alike(wire.read(one.data), replace(
            expected(wire.VXLAN, frame, key=n), destination=bytes((198, 51, 100, n))))  # fmt: skip
    assert captured[3].data == frame


def test_ttl_and_tos_are_fixed_or_inherited(world: World) -> None:
    for frame in frames(random.Random(6), 30):
        world.datapath.set_tunnel(world.tunnel, settings(wire.GRE, ttl=9, tos=0x48, df=False))
        alike(world.send(frame), expected(wire.GRE, frame, ttl=9, tos=0x48, df=False))
        world.datapath.set_tunnel(world.tunnel, settings(wire.GRE, ttl=INHERIT, tos=INHERIT))
        got = world.send(frame)
        at = frame.find(b"\x45", 14)
        if frame[12:14] == b"\x08\x00" and at == 14:
            assert (got.ttl, got.tos) == (frame[22], frame[15])
        elif ecn_of(frame) is None:
            assert (got.ttl, got.tos) == (64, 0)


def test_group_policy_goes_both_ways(world: World) -> None:
    frame = next(frames(random.Random(7), 1))
    world.datapath.set_tunnel(world.tunnel, settings(wire.VXLAN, gbp=True))
    world.tell(
        set_field("tun_gbp_id", 0x1234), set_field("tun_gbp_flags", 0x48), act.Output(TUNNEL)
    )
    alike(world.send(frame), expected(wire.VXLAN, frame, gbp=(0x48, 0x1234)))
    got = world.receive(wire.build(incoming(wire.VXLAN, frame, gbp=(0x08, 0x4321))))
    assert got is not None
    assert get_slot(got[1], "tun_gbp_id") == 0x4321
    assert get_slot(got[1], "tun_gbp_flags") == 8


def test_options_of_geneve_go_both_ways(world: World) -> None:
    frame = next(frames(random.Random(8), 1))
    world.datapath.set_tunnel(world.tunnel, settings(wire.GENEVE))
    world.datapath.set_tlv_map(
        world.bridge, [TunnelOption(0xFFFF, 1, 8, 4), TunnelOption(0x102, 0x80, 4, 48)]
    )
    data = Field("o", "tun_metadata", 64, 8, None, None, True, True, BY_NAME["tun_id"].prerequisite,
                 low_bit=(SLOTS["tun_metadata"].length - 12) * 8)  # fmt: skip
    present = Field("p", "tun_present", 16, 2, None, None, True, True,
                    BY_NAME["tun_id"].prerequisite)  # fmt: skip
    world.tell(
        act.SetField(data, 0x0102030405060708, (1 << 64) - 1),
        act.SetField(present, 1 << 1, 1 << 1),
        act.Output(TUNNEL),
    )
    option = Option(0xFFFF, 1, bytes(range(1, 9)))
    alike(world.send(frame), expected(wire.GENEVE, frame, options=(option,)))
    unknown = Option(0x7777, 3, bytes(12))
    back = incoming(wire.GENEVE, frame, oam=True,
                    options=(unknown, Option(0x102, 0x80, b"abcd"), option))  # fmt: skip
    got = world.receive(wire.build(back))
    assert got is not None
    assert get_slot(got[1], "tun_present") == 1 << 1 | 1 << 12
    assert get_slot(got[1], "tun_flags") == 1
    raw = get_slot(got[1], "tun_metadata").to_bytes(SLOTS["tun_metadata"].length, "big")
    assert (raw[4:12], raw[48:52]) == (bytes(range(1, 9)), b"abcd")


def test_options_that_are_not_mapped_are_skipped_unless_they_are_critical(world: World) -> None:
    """Up to the 252 bytes that all options may have, the longest of 128 and the shortest of 4."""
    frame = next(frames(random.Random(8), 1))
    world.datapath.set_tunnel(world.tunnel, settings(wire.GENEVE))
    world.datapath.set_tlv_map(world.bridge, [TunnelOption(0xFFFF, 1, 8, 4)])
    world.tell(act.Output(TUNNEL))
    known = Option(0xFFFF, 1, bytes(range(1, 9)))
    many = (
        (*(Option(0x7777, n, b"") for n in range(60)), known),
        (known, Option(0x7777, 1, bytes(124)), Option(0x7777, 2, bytes(108))),
        (Option(0x7777, 1, bytes(112)), known, Option(0x7777, 2, bytes(120))),
    )
    for options in many:
        packet = wire.build(incoming(wire.GENEVE, frame, options=options))
        got = world.receive(packet)
        assert got is not None
        assert got[0] == frame
        assert get_slot(got[1], "tun_present") == 1 << 1
        raw = get_slot(got[1], "tun_metadata").to_bytes(SLOTS["tun_metadata"].length, "big")
        assert raw == bytes(4) + bytes(range(1, 9)) + bytes(44)
        critical = tuple(replace(o, option_type=0x81) if o.data and o != known else o for o in options)
        if critical == options:
            critical = (*options[:-1], Option(0x7777, 0xFF, b""))
        before = world.datapath.drops()
        assert world.receive(wire.build(incoming(wire.GENEVE, frame, options=critical))) is None
        assert world.new_drops(before) == {"tunnel_option": 1}


def test_an_option_that_is_deleted_does_not_go_on(world: World) -> None:
    frame = next(frames(random.Random(8), 1))
    world.datapath.set_tunnel(world.tunnel, settings(wire.GENEVE))
    world.datapath.set_tlv_map(
        world.bridge, [TunnelOption(0xFFFF, 1, 8, 4), TunnelOption(0x102, 0x80, 4, 48)]
    )
    gone, kept = option_field(0, 8, 4), option_field(1, 4, 48)
    world.tell(
        act.SetField(gone, 0x0102030405060708, (1 << 64) - 1),
        act.SetField(kept, 9, 0xFFFFFFFF),
        act.DeleteField(gone),
        act.Output(TUNNEL),
    )
    option = Option(0x102, 0x80, b"\0\0\0\x09")
    alike(world.send(frame), expected(wire.GENEVE, frame, options=(option,)))


def test_erspan_of_both_versions(world: World) -> None:
    frame = next(frames(random.Random(9), 1))
    world.datapath.set_tunnel(world.tunnel, settings(
        wire.ERSPAN, erspan_version=2, erspan_direction=1, erspan_hwid=33))  # fmt: skip
    alike(world.send(frame),
          expected(wire.ERSPAN, frame, version=2, index=0, direction=1, hwid=33))  # fmt: skip
    world.datapath.set_tunnel(world.tunnel, settings(
        wire.ERSPAN, erspan_version=FLOW, erspan_index=FLOW, erspan_direction=FLOW,
        erspan_hwid=FLOW, in_key=FLOW, out_key=FLOW))  # fmt: skip
    world.tell(set_field("tun_erspan_ver", 1), set_field("tun_erspan_idx", 0xABCDE),
               set_field("tun_id", 1023), act.Output(TUNNEL))  # fmt: skip
    alike(world.send(frame), expected(wire.ERSPAN, frame, key=1023, index=0xABCDE))
    got = world.receive(
        wire.build(incoming(wire.ERSPAN, frame, key=9, version=2, hwid=12, direction=1))
    )
    assert got is not None
    assert get_slot(got[1], "tun_erspan_ver") == 2
    assert get_slot(got[1], "tun_erspan") == 1 << 6 | 12
    numbers = [world.send(frame).sequence for _ in range(2) if world.tell(
        set_field("tun_erspan_ver", 1), act.Output(TUNNEL)) is None]  # fmt: skip
    assert numbers[1] == (numbers[0] or 0) + 1


def test_layer_3_packets_lose_their_ethernet_header_and_get_one(world: World) -> None:
    eth = bytes(range(12)) + b"\x08\x00"
    packet = next(f for f in frames(random.Random(10), 50) if f[12:15] == b"\x08\x00\x45")[14:]
    for kind, more in ((wire.GRE, {}), (wire.VXLAN, {"gpe": True})):
        for mode in (PacketMode.LEGACY_L3, PacketMode.PTAP):
            world.datapath.set_tunnel(world.tunnel, settings(kind, packet_mode=mode, **more))
            if mode is PacketMode.LEGACY_L3:
                world.tell(act.Output(TUNNEL))
                alike(replace(world.send(eth + packet), inner=eth + packet),
                      expected(kind, eth + packet, protocol=0x800, **more))  # fmt: skip
            back = incoming(kind, packet, protocol=0x800, tos=packet[1] & 3, **more)
            got = world.receive(wire.build(back))
            assert got is not None, world.datapath.drops()
            assert got[0] == bytes(12) + b"\x08\x00" + packet
