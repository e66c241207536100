"""Devices take the MTU asked for, and internal ones follow the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from port_world import World
from tunnel_world import World as TunnelWorld

from gossamer.switch.config import InterfaceConfig


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_device_takes_the_mtu_asked_for_and_shows_it_at_once(world: World) -> None:
    world.devices.appear("v0")
    world.port("v0", mtu_request=1400)
    world.converge()
    assert world.devices.links["v0"].mtu == 1400
    ports = world.ports.status().ports
    assert (ports["v0"].interfaces["v0"].mtu, ports["br0"].interfaces["br0"].mtu) == (1400, 1400)
    assert world.devices.links["br0"].mtu == 1400


def test_internal_ports_take_the_lowest_mtu_unless_one_is_asked_for(world: World) -> None:
    world.devices.appear("v0", mtu=1400)
    world.devices.appear("v1", mtu=9000)
    for name in ("v0", "v1"):
        world.port(name)
    world.port("i0", type="internal")
    world.port("i1", type="internal", mtu_request=1300)
    world.converge()
    mtus = {name: link.mtu for name, link in world.devices.links.items()}
    assert mtus == {"v0": 1400, "v1": 9000, "br0": 1400, "i0": 1400, "i1": 1300}


def test_a_device_that_asks_for_it_gets_the_mtu_that_fits_into_all_tunnels(tmp_path: Path) -> None:
    world = TunnelWorld(tmp_path)
    world.devices.appear("v0", mtu=1500)
    world.bridges["br-int"] = {
        "v0": InterfaceConfig("v0", other_config={"tunnel-mtu": "true"}),
        "i0": InterfaceConfig("i0", type="internal", other_config={"tunnel-mtu": "true"}),
    }
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2 key=5")
    world.apply()
    links = world.devices.links
    assert (links["v0"].mtu, links["i0"].mtu) == (1450, 1450)
    world.tunnel("vx6", "vxlan", "remote_ip=fd01::2 key=5")
    world.apply()
    assert (links["v0"].mtu, links["i0"].mtu) == (1430, 1430)
    del world.bridges["br0"]["vx6"]
    world.apply()
    world.devices.set_mtu("un0", 9000)
    world.underlay.changed = True
    world.switch.run()
    assert (links["v0"].mtu, links["i0"].mtu, links["br0"].mtu) == (8950, 8950, 1500)
