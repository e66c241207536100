"""Outer packets that are too long are cut up, and put together again."""

from __future__ import annotations

from pathlib import Path

import pytest
from tunnel_world import World

from gossamer.datapath.tunnel_settings import Cuts
from gossamer.devices.joining import Wanted
from gossamer.pipeline.action import Output
from gossamer.pipeline.of_port import OfPort
from gossamer.switch.packet_out import perform


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_super_packets_are_cut_before_a_device_that_would_sum_them_wrongly(world: World) -> None:
    world.devices.cutting = {world.un0.ifindex}
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2")
    world.apply()
    assert world.datapath.cuts[world.un0.ifindex] is Cuts.SUMMED
    assert world.datapath.cutter == (0, 0, False, False), "it has no outer checksum"
    world.tunnel("gre0", "gre", "remote_ip=172.16.0.2 csum=true")
    world.apply()
    assert world.datapath.cutter == (*world.devices.cutter, True, False)
    assert any(world.devices.cutter)


def test_what_goes_from_tunnel_to_tunnel_is_cut_between_them(world: World) -> None:
    world.devices.internal = {world.un0.ifindex}
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2")
    world.apply()
    assert world.datapath.cuts[world.un0.ifindex] is Cuts.ALL
    assert world.datapath.cutter == (*world.devices.cutter, True, False)


def test_fragments_are_sent_and_taken_where_a_tunnel_has_no_dont_fragment(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2 key=5 df_default=false")
    world.tunnel("gre0", "gre", "remote_ip=flow key=5")
    world.apply()
    near, far = world.devices.cutter
    assert world.datapath.cutter == (near, far, True, True)
    assert near in world.datapath.uplinks
    assert world.underlay.joining == {Wanted(False, 4789), Wanted(False, 0), Wanted(True, 0)}
    del world.bridges["br0"]["vx0"]
    world.apply()
    assert world.datapath.cutter == (0, 0, False, False)
    assert world.devices.cutter == (0, 0)
    assert near not in world.datapath.uplinks
    assert world.underlay.joining == set()


def test_fragments_of_all_tunnels_are_taken_where_the_database_says_so(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2 key=5")
    world.apply()
    assert world.datapath.cutter == (0, 0, False, False)
    world.other_config["tunnel-reassembly"] = "true"
    world.apply()
    assert world.datapath.cutter == (*world.devices.cutter, False, True)
    assert world.underlay.joining == {Wanted(False, 4789)}


def test_what_the_host_put_together_arrives_if_it_came_by_an_uplink(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2 key=5 df_default=false")
    world.apply()
    world.underlay.came = [(world.un0.ifindex, b"one"), (1, b"from the host itself")]
    world.switch.run()
    assert world.datapath.arrived == [b"one"]


def test_a_packet_out_by_a_tunnel_that_fragments_may_be_cut_up(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2 key=5 df_default=false")
    world.apply()
    ofport = world.status("vx0").ofport
    assert ofport is not None
    frame = bytes.fromhex("02000000000102000000000288b5") + bytes(1500)
    perform(world.switch, world.switch.bridges["br0"], OfPort.CONTROLLER, frame, (Output(ofport),))
    assert world.underlay.sent == []
    (packet,) = world.datapath.cut
    assert packet[6:8] == bytes(2)
    assert packet[36:] == frame
