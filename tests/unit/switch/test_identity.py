"""A bridge is known by its ports' addresses, or as it is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from port_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_mac_is_the_lowest_universal_one_and_makes_the_datapath_id(world: World) -> None:
    for name, mac in (("a", "00:22:00:00:00:01"), ("b", "00:11:00:00:00:01"), ("c", "")):
        world.devices.appear(name, mac)
        world.port(name)
    world.converge()
    assert world.ports.identity.mac == bytes.fromhex("001100000001")
    assert world.ports.identity.datapath_id == 0x001100000001
    assert world.devices.links["br0"].mac == world.ports.identity.mac
    del world.wanted["b"]
    world.converge()
    assert world.ports.identity.datapath_id == 0x002200000001
    assert ("dpid", "") in world.heard.take()


def test_hwaddr_and_datapath_id_can_be_set(world: World) -> None:
    world.devices.appear("a", "00:22:00:00:00:01")
    world.port("a")
    world.converge(hwaddr=bytes.fromhex("0000000000aa"), datapath_id=0x123456789)
    assert world.devices.links["br0"].mac == bytes.fromhex("0000000000aa")
    assert world.ports.identity.datapath_id == 0x123456789
