"""What arrives for tunnels: whose it is, what is wrong with it, and what is matched of it."""

from __future__ import annotations

import os
import random
import shutil

import pytest

from gossamer.datapath.settings import PortKind
from gossamer.datapath.tunnel_settings import (
    FLOW,
)
from gossamer.pipeline import action as act
from gossamer.pipeline.fields import BY_NAME, get_slot
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import Match
from tests.fuzz import tunnels as fuzz
from tests.property import outer as wire
from tests.property.inner import frames
from tests.property.outer import Option, address
from tests.property.tunnels.world import LOCAL, REMOTE, World, incoming, set_field, settings

needs_kernel = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("clang") is None, reason="needs root and clang"
)
pytestmark = needs_kernel


def test_a_packet_belongs_to_the_tunnel_that_fits_it_best(world: World) -> None:
    frame = next(frames(random.Random(11), 1))
    datapath = world.datapath
    shapes: list[dict[str, object]] = [
        {"in_key": key, "remote": remote, "local": local}
        for key in (77, FLOW)
        for remote in (REMOTE[4], FLOW)
        for local in (LOCAL[4], None, FLOW)
    ]
    ports = [world.add(10 + i, PortKind.TUNNEL) for i in range(len(shapes))]
    try:
        for port, shape in zip(ports, shapes, strict=True):
            datapath.set_tunnel(port, settings(wire.VXLAN, **shape))
        world.tell(act.Controller(max_len=0xFFFF))
        for i, port in enumerate(ports):
            captured = world.run.uplink(wire.build(incoming(wire.VXLAN, frame)))
            assert captured is not None
            assert captured[0].punt is not None
            assert captured[0].punt.in_port_id == ports[i]
            datapath.set_tunnel(port, None)
    finally:
        for port in ports:
            datapath.remove_port(port)


def test_the_same_packets_are_not_two_tunnels(world: World) -> None:
    from gossamer.errors import DatapathError

    world.datapath.set_tunnel(world.tunnel, settings(wire.VXLAN))
    other = world.add(30, PortKind.TUNNEL)
    with pytest.raises(DatapathError, match="another tunnel"):
        world.datapath.set_tunnel(other, settings(wire.VXLAN, out_key=9))
    world.datapath.remove_port(other)


def test_what_is_wrong_is_dropped_under_its_name(world: World) -> None:
    frame = next(frames(random.Random(12), 1))
    world.datapath.set_tunnel(world.tunnel, settings(wire.VXLAN))
    good = wire.build(incoming(wire.VXLAN, frame))
    elsewhere = address("192.0.2.99")
    fragment = bytearray(good)
    fragment[20:22] = b"\x20\x00"
    fragment[24:26] = bytes(2)
    fragment[24:26] = wire.checksum(bytes(fragment[14:34])).to_bytes(2, "big")
    cases = {
        "tunnel_key": wire.build(incoming(wire.VXLAN, frame, key=78)),
        "tunnel_spoofed": wire.build(incoming(wire.VXLAN, frame, source=elsewhere)),
        "tunnel_no_port": wire.build(incoming(wire.VXLAN, frame, source=elsewhere, key=1)),
        "tunnel_malformed": good[:42] + b"\x00" + good[43:],
        "tunnel_fragment": bytes(fragment),
    }
    for reason, packet in cases.items():
        before = world.datapath.drops()
        assert world.receive(packet) is None
        assert world.new_drops(before) == {reason: 1}
    assert world.receive(good) is not None


def test_a_packet_cut_anywhere_is_no_harm(world: World) -> None:
    frame = next(frames(random.Random(13), 1))
    world.datapath.set_tunnel(world.tunnel, settings(wire.GENEVE))
    good = wire.build(incoming(wire.GENEVE, frame, options=(Option(1, 2, bytes(8)),)))
    for length in range(34, len(good)):  # a test run needs the outer IP header
        before = world.datapath.drops()
        captured = world.run.uplink(good[:length])
        assert not captured
        if captured is not None:
            assert set(world.new_drops(before)) == {"tunnel_malformed"}


def test_tunnels_in_tunnels_come_to_an_end(world: World) -> None:
    world.datapath.set_tunnel(world.tunnel, settings(wire.VXLAN))
    frame = next(frames(random.Random(14), 1))
    for depth in range(1, 5):
        frame = wire.build(incoming(wire.VXLAN, frame))
        before = world.datapath.drops()
        got = world.receive(frame)
        if depth <= 2:
            assert got is not None
        else:
            assert got is None
            assert world.new_drops(before) == {"tunnel_loop": 1}


def test_our_own_packet_that_comes_back_is_a_loop(world: World) -> None:
    world.datapath.set_tunnel(world.tunnel, settings(wire.VXLAN, remote=FLOW))
    frame = next(frames(random.Random(15), 1))
    before = world.datapath.drops()
    assert world.receive(wire.build(incoming(wire.VXLAN, frame, source=LOCAL[4]))) is None
    assert world.new_drops(before) == {"tunnel_loop": 1}


@pytest.mark.parametrize(
    ("inner", "outer", "after"),
    [(0, 0, 0), (0, 1, 0), (0, 2, 0), (0, 3, None), (1, 3, 3), (2, 3, 3), (2, 1, 1), (1, 2, 1),
     (3, 0, 3), (3, 2, 3), (2, 0, 2)],
)  # fmt: skip
def test_congestion_is_carried_over(
    world: World, inner: int, outer: int, after: int | None
) -> None:
    """RFC 6040, figure 4."""
    world.datapath.set_tunnel(world.tunnel, settings(wire.VXLAN))
    head = bytes((0x45, 0x40 | inner)) + (28).to_bytes(2, "big") + bytes(4) + b"\x40\xfd\0\0"
    head += bytes((10, 0, 0, 1, 10, 0, 0, 2))
    head = head[:10] + wire.checksum(head).to_bytes(2, "big") + head[12:]
    frame = bytes(12) + b"\x08\x00" + head + bytes(8)
    before = world.datapath.drops()
    got = world.receive(wire.build(incoming(wire.VXLAN, frame, tos=outer)))
    if after is None:
        assert got is None
        assert world.new_drops(before) == {"tunnel_ecn": 1}
        return
    assert got is not None
    assert got[0][15] == 0x40 | after
    assert wire.checksum(got[0][14:34]) == 0


def test_what_is_not_ours_goes_on_to_the_host(world: World) -> None:
    frame = next(frames(random.Random(16), 1))
    world.datapath.set_tunnel(world.tunnel, settings(wire.GRE))
    for packet in (
        wire.build(incoming(wire.GRE, frame, destination=address("192.0.2.50"))),
        wire.build(incoming(wire.GRE, frame, source=address("192.0.2.77"), key=3)),
        wire.build(incoming(wire.VXLAN, frame)),
        *frames(random.Random(17), 40),
    ):
        assert world.run.uplink(packet) is None


def test_values_of_a_tunnel_are_matched_and_cached(world: World) -> None:
    """Packets that differ in their key alone take different flows, the first time and later."""
    world.datapath.set_tunnel(world.tunnel, settings(wire.VXLAN, in_key=FLOW))
    frame = next(frames(random.Random(18), 1))
    tun_id = BY_NAME["tun_id"]
    flows = [
        Flow(0, 9, Match(n << tun_id.shift, tun_id.full_mask), (set_field("reg0", n), act.Controller()))
        for n in (5, 6)
    ]
    world.tell()
    world.datapath.insert_flows(world.bridge, flows)
    try:
        for n in (5, 6, 7, 5, 6, 7):
            captured = world.run.uplink(wire.build(incoming(wire.VXLAN, frame, key=n)))
            assert captured is not None
            regs = [get_slot(c.punt.key, "reg0") for c in captured if c.punt is not None]
            assert regs == ([] if n == 7 else [n])
    finally:
        world.datapath.remove_flows(world.bridge, flows)


def test_mutated_packets_are_dropped_by_name_or_come_out_right() -> None:
    """A million of them nightly: make fuzz."""
    ended = fuzz.run(20_000, random.randrange(1 << 32))
    assert ended["out"] > 5000
    assert ended["dropped"] > 2000
