"""Tunnels are told to the datapath, and follow what they run over."""

from __future__ import annotations

from pathlib import Path

import pytest
from tunnel_world import World, address

from gossamer.devices.routes import Route
from gossamer.devices.underlay import Address
from gossamer.pipeline.action import Output
from gossamer.pipeline.of_port import OfPort
from gossamer.switch.packet_out import perform


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_packets_are_taken_where_the_host_has_addresses_and_nowhere_else(world: World) -> None:
    world.devices.appear("other")
    world.apply()
    assert world.datapath.uplinks == set()
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2")
    world.apply()
    assert world.datapath.uplinks == {world.un0.ifindex}
    shown = {a.address for a in world.datapath.local_addresses}
    assert shown == {bytes([172, 16, 0, 1]), address("fd01::1")}
    del world.bridges["br0"]["vx0"]
    world.apply()
    assert world.datapath.uplinks == set()
    assert world.datapath.local_addresses == []


def test_a_new_address_is_followed_while_running(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2")
    world.apply()
    second = world.devices.appear("un1")
    world.underlay.own.append(Address(second.ifindex, address("172.17.0.1")))
    world.underlay.changed = True
    world.switch.run()
    assert world.datapath.uplinks == {world.un0.ifindex, second.ifindex}


def test_a_tunnel_with_a_local_address_is_looked_for_only_there(world: World) -> None:
    second = world.devices.appear("un1")
    world.underlay.own.append(Address(second.ifindex, address("172.17.0.1")))
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2 local_ip=172.16.0.1")
    world.apply()
    assert world.datapath.uplinks == {world.un0.ifindex}


def test_an_address_of_lo_can_be_reached_by_every_uplink(world: World) -> None:
    second = world.devices.appear("un1")
    world.underlay.own += [
        Address(second.ifindex, address("172.17.0.1")),
        Address(1, address("192.0.2.1")),
    ]
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2 local_ip=192.0.2.1")
    world.apply()
    assert world.datapath.uplinks == {world.un0.ifindex, second.ifindex}


def test_a_group_is_joined_where_its_route_leads(world: World) -> None:
    world.underlay.ways[address("239.0.0.0")[:13]] = Route(world.un0.ifindex)
    world.tunnel("mc", "vxlan", "remote_ip=239.1.1.1 local_ip=172.16.0.1 key=7")
    world.apply()
    assert world.underlay.joined == {(address("239.1.1.1"), world.un0.ifindex)}
    assert bytes([239, 1, 1, 1]) in {a.address for a in world.datapath.local_addresses}
    assert world.status("mc").status["tunnel_egress_iface"] == "un0"
    del world.bridges["br0"]["mc"]
    world.apply()
    assert world.underlay.joined == set()


def test_routers_are_heard_for_the_protocols_that_tunnels_run_over(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2")
    world.apply()
    assert world.underlay.heard_of == {17}
    world.tunnel("gre0", "gre", "remote_ip=172.16.0.2")
    world.apply()
    assert world.underlay.heard_of == {17, 47}
    del world.bridges["br0"]["vx0"]
    world.apply()
    assert world.underlay.heard_of == {47}


def test_a_packet_out_by_a_tunnel_is_sent_by_the_hosts_routes(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2 key=5")
    world.apply()
    frame = bytes.fromhex("02000000000102000000000288b5") + bytes(46)
    ofport = world.status("vx0").ofport
    assert ofport is not None
    perform(world.switch, world.switch.bridges["br0"], OfPort.CONTROLLER, frame, (Output(ofport),))
    ((packet, destination),) = world.underlay.sent
    assert destination == address("172.16.0.2")
    assert packet[12:20] == bytes([172, 16, 0, 1, 172, 16, 0, 2])
    assert packet[28:] == bytes.fromhex("0800000000000500") + frame
