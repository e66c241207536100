"""Encapsulation and decapsulation, packet by packet, against headers read and built in Python."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gossamer.datapath.datapath import Datapath
from gossamer.datapath.settings import PortKind, PortSettings
from gossamer.datapath.testrun import TestRun
from gossamer.datapath.tunnel_settings import (
    FLOW,
    INHERIT,
    LocalAddress,
    PacketMode,
    TunnelKind,
    TunnelOption,
    TunnelSettings,
)
from gossamer.pipeline import action as act
from gossamer.pipeline.fields import BY_NAME, SLOTS, Field, get_slot
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import Match
from gossamer.pipeline.tlv import option_field
from tests.fuzz import tunnels as fuzz
from tests.property import outer as wire
from tests.property.inner import frames
from tests.property.outer import Option, Outer, address

needs_kernel = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("clang") is None, reason="needs root and clang"
)
pytestmark = needs_kernel

LOCAL = {4: address("192.0.2.1"), 6: address("2001:db8::1")}
REMOTE = {4: address("192.0.2.2"), 6: address("2001:db8::2")}
KINDS = {
    wire.VXLAN: (TunnelKind.VXLAN, 4789),
    wire.GENEVE: (TunnelKind.GENEVE, 6081),
    wire.GRE: (TunnelKind.GRE, 0),
    wire.ERSPAN: (TunnelKind.ERSPAN, 0),
}
TUNNEL, OTHER = 1, 2
"""OpenFlow numbers of the ports."""


class World:
    """A bridge with a tunnel port, and another port where all goes in or comes out."""

    def __init__(self, pin_dir: Path) -> None:
        self.datapath = Datapath.open(pin_dir, capturing=True)
        self.bridge = self.datapath.add_bridge("br0")
        self.tunnel = self.add(TUNNEL, PortKind.TUNNEL)
        self.other = self.add(OTHER, PortKind.DEVICE)
        self.run = TestRun(self.datapath)
        self.flows: list[Flow] = []
        self.datapath.set_local_addresses([LocalAddress(a, 1) for a in LOCAL.values()])

    def add(self, ofport: int, kind: PortKind) -> int:
        """A port."""
        return self.datapath.add_port(self.bridge, PortSettings(f"p{ofport}", ofport, kind))

    def tell(self, *actions: act.Action) -> None:
        """What becomes of every packet."""
        flow = Flow(0, 0, Match(0, 0), actions)
        with self.datapath.transaction():
            self.datapath.remove_flows(self.bridge, self.flows)
            self.datapath.insert_flows(self.bridge, [flow])
        self.flows = [flow]

    def send(self, frame: bytes) -> Outer:
        """What leaves by the tunnel, read from its bytes."""
        captured = self.run.run(self.other, frame)
        assert [c.port_id for c in captured] == [self.tunnel], self.datapath.drops()
        return wire.read(captured[0].data)

    def receive(self, frame: bytes) -> tuple[bytes, int] | None:
        """What comes out of the tunnel, with its key; None where it is dropped."""
        self.tell(act.Controller(max_len=0xFFFF))
        captured = self.run.uplink(frame)
        assert captured is not None, "went on to the host"
        if not captured:
            return None
        (one,) = captured
        assert one.punt is not None
        assert one.punt.in_port_id == self.tunnel
        return one.punt.data, one.punt.key

    def new_drops(self, before: dict[str, int]) -> dict[str, int]:
        """What was dropped since."""
        now = self.datapath.drops()
        return {k: n - before.get(k, 0) for k, n in now.items() if n != before.get(k, 0)}


@pytest.fixture(scope="module")
def module_world() -> Iterator[World]:
    pin_dir = Path(f"/sys/fs/bpf/tunnels-{os.getpid()}")
    world = World(pin_dir)
    yield world
    world.datapath.destroy()


@pytest.fixture
def world(module_world: World) -> World:
    module_world.datapath.set_tunnel(module_world.tunnel, None)
    module_world.datapath.set_tlv_map(module_world.bridge, ())
    module_world.tell(act.Output(TUNNEL))
    return module_world


def settings(kind: str, family: int = 4, **more: object) -> TunnelSettings:
    number, port = KINDS[kind]
    values: dict[str, object] = {
        "remote": REMOTE[family], "local": LOCAL[family], "in_key": 77, "out_key": 77,
        "dst_port": port, "erspan_index": 5 if kind == wire.ERSPAN else 0,
    } | more  # fmt: skip
    return TunnelSettings(number, **values)  # type: ignore[arg-type]


def expected(kind: str, inner: bytes, family: int = 4, **more: object) -> Outer:
    values: dict[str, object] = {"key": 77, "destination_port": KINDS[kind][1]}
    if kind in wire.UDP_KINDS:
        values["csum"] = family == 6
    if kind == wire.ERSPAN:
        values |= {"version": 1, "index": 5}
    values |= more
    return Outer(kind, LOCAL[family], REMOTE[family], inner, **values)  # type: ignore[arg-type]


def alike(got: Outer, want: Outer) -> None:
    """The same, but for what nobody can know beforehand."""
    if got.kind in wire.UDP_KINDS:
        assert 32768 <= got.source_port < 61000
    inner_ecn = ecn_of(want.inner)
    if inner_ecn is not None:
        want = replace(want, tos=want.tos & 0xFC | inner_ecn)
    got = replace(got, source_port=0, sequence=None)
    assert got == replace(want, source_port=0, sequence=None)


def ecn_of(frame: bytes) -> int | None:
    """The congestion bits of an IP packet in a frame."""
    at = 12
    while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    if frame[at : at + 2] == b"\x08\x00" and len(frame) > at + 11 and frame[at + 2] >> 4 == 4:
        return frame[at + 3] & 3
    if frame[at : at + 2] == b"\x86\xdd" and len(frame) > at + 11 and frame[at + 2] >> 4 == 6:
        return frame[at + 3] >> 4 & 3
    return None


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
        world.tell(*push, act.Output(act.OfPort.IN_PORT), act.Output(TUNNEL))
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
    world.tell(*actions, act.Output(act.OfPort.IN_PORT))
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


def incoming(kind: str, frame: bytes, **more: object) -> Outer:
    """As the remote sends it."""
    values = {"source": REMOTE[4], "destination": LOCAL[4], "tos": ecn_of(frame) or 0} | more
    return replace(expected(kind, frame), **values)  # type: ignore[arg-type]


def set_field(name: str, value: int) -> act.SetField:
    """Whole."""
    f = BY_NAME[name]
    return act.SetField(f, value, (1 << f.n_bits) - 1)
