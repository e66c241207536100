"""Devices are made, changed and let go as their ports come and go."""

from __future__ import annotations

from pathlib import Path

import pytest
from port_world import World, ofports


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_missing_device_is_an_error_until_it_appears(world: World) -> None:
    world.port("v0")
    world.converge()
    status = world.ports.status().ports["v0"].interfaces["v0"]
    assert status.ofport == -1
    assert status.error == "could not open network device v0 (No such device)"
    world.devices.appear("v0")
    world.device_events()
    status = world.ports.status().ports["v0"].interfaces["v0"]
    assert (status.ofport, status.error, status.link_state) == (1, None, "up")


def test_internal_devices_come_and_go_with_their_ports(world: World) -> None:
    world.port("i0", type="internal")
    world.converge()
    assert "i0" in world.devices.links
    del world.wanted["i0"]
    world.converge()
    assert "i0" not in world.devices.links and set(ofports(world)) == {"br0"}


def test_a_removed_system_device_stays_in_the_system(world: World) -> None:
    world.devices.appear("v0")
    world.port("v0")
    world.converge()
    world.wanted.clear()
    world.converge()
    assert "v0" in world.devices.links and set(ofports(world)) == {"br0"}


def test_devices_are_promiscuous_while_they_are_ports(world: World) -> None:
    world.devices.appear("v0")
    world.devices.appear("v1")
    world.devices.promiscuous.add("v1")
    world.port("v0")
    world.port("v1")
    world.port("i0", type="internal")
    world.converge()
    assert world.devices.promiscuous == {"v0", "v1"}
    world.wanted.clear()
    world.converge()
    assert world.devices.promiscuous == {"v1"}, "what was so before stays so"


def test_an_address_in_the_bridges_own_interface_is_warned_of(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.port("br0", type="internal", mac=b"\2\0\0\0\0\1")
    world.converge()
    assert "other_config:hwaddr" in caplog.text
