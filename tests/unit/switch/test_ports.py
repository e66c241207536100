"""Ports follow the configuration and the devices."""

from __future__ import annotations

from pathlib import Path

import pytest
from port_world import World, ofports

from gossamer.datapath.settings import VlanMode
from gossamer.switch.config import InterfaceConfig, PortConfig, VlanModeName
from gossamer.switch.port import NO_FLOOD, PORT_DOWN


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_bridge_has_its_own_port_without_being_asked(world: World) -> None:
    world.converge()
    assert ofports(world) == {"br0": 65534}
    assert world.devices.links["br0"].mac == world.ports.identity.mac
    assert world.datapath.port_named("br0").ofport == 0xFFFFFFFE


def test_a_device_that_vanishes_and_comes_back_keeps_its_number(world: World) -> None:
    for name in ("v0", "v1"):
        world.devices.appear(name)
        world.port(name)
    world.converge()
    before = ofports(world)
    world.heard.take()
    world.devices.vanish("v0")
    world.device_events()
    assert "v0" not in world.ports.ports and world.heard.take() == [("delete", "v0")]
    world.devices.appear("v2")
    world.port("v2")
    world.converge()
    new = world.devices.appear("v0")
    world.device_events()
    assert ofports(world) == {**before, "v2": 3}
    assert world.datapath.port_named("v0").ifindex == new.ifindex


def test_a_device_made_anew_between_two_looks_is_attached_anew(world: World) -> None:
    world.devices.appear("v0")
    world.port("v0")
    world.converge()
    first = world.ports.ports["v0"].port_id
    world.devices.vanish("v0")
    new = world.devices.appear("v0")
    world.device_events()
    assert world.ports.ports["v0"].port_id != first
    assert world.datapath.port_named("v0").ifindex == new.ifindex
    assert ofports(world)["v0"] == 1


def test_a_requested_number_is_given_and_changed(world: World) -> None:
    world.devices.appear("v0")
    world.port("v0", ofport_request=7)
    world.converge()
    assert ofports(world)["v0"] == 7
    world.port("v0", ofport_request=9)
    world.converge()
    assert ofports(world)["v0"] == 9


def test_the_number_of_the_database_survives_a_restart(world: World) -> None:
    world.devices.appear("v0")
    world.port("v0", ofport=42)
    world.converge()
    assert ofports(world)["v0"] == 42


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, "p: patch type requires valid 'peer' argument"),
        ({"peer": "p"}, "p: patch peer must not be self"),
    ],
)
def test_a_patch_port_needs_another_as_its_peer(
    world: World, options: dict[str, str], error: str
) -> None:
    world.port("p", type="patch", options=options)
    world.converge()
    assert world.ports.errors == {"p": error}


def test_an_unknown_type_is_an_error(world: World) -> None:
    world.port("x", type="warp")
    world.converge()
    assert "Address family not supported" in world.ports.errors["x"]


def test_a_change_of_carrier_is_told_once_and_counted(world: World) -> None:
    world.devices.appear("v0")
    world.port("v0")
    world.converge()
    world.device_events()
    world.heard.take()
    world.devices.change("v0", carrier=False)
    world.device_events()
    world.device_events()
    assert world.heard.take() == [("modify", "v0")]
    port = world.ports.ports["v0"]
    assert port.state_bits == 1 and port.link_resets == 1
    assert port.status().link_state == "down"


def test_port_mods_reach_the_datapath_and_the_device(world: World) -> None:
    world.devices.appear("v0")
    world.port("v0")
    world.converge()
    port = world.ports.ports["v0"]
    world.ports.modify_port(port, NO_FLOOD | PORT_DOWN, NO_FLOOD | PORT_DOWN)
    settings = world.datapath.port_named("v0")
    assert not settings.flood and not settings.up
    assert not world.devices.links["v0"].admin_up
    world.ports.modify_port(port, 0, NO_FLOOD)
    assert world.datapath.port_named("v0").flood and port.config_bits == PORT_DOWN


@pytest.mark.parametrize(
    ("mode", "tag", "expected"),
    [
        (None, None, VlanMode.TRUNK),
        (None, 10, VlanMode.ACCESS),
        (VlanModeName.TRUNK, 10, VlanMode.TRUNK),
        (VlanModeName.NATIVE_TAGGED, 10, VlanMode.NATIVE_TAGGED),
        (VlanModeName.NATIVE_UNTAGGED, 10, VlanMode.NATIVE_UNTAGGED),
    ],
)
def test_vlan_modes_are_those_of_the_database(
    world: World, mode: VlanModeName | None, tag: int | None, expected: VlanMode
) -> None:
    world.devices.appear("v0")
    interface = InterfaceConfig("v0")
    world.wanted["v0"] = PortConfig(
        "v0", (interface,), vlan_mode=mode, tag=tag, trunks=frozenset({1, 2})
    )
    world.converge()
    settings = world.datapath.port_named("v0")
    assert (settings.vlan_mode, settings.tag, settings.trunks) == (expected, tag or 0, {1, 2})


def test_policing_is_handed_down(world: World) -> None:
    world.devices.appear("v0")
    world.port("v0", ingress_policing_rate_kbps=1000, ingress_policing_burst_kb=100)
    world.converge()
    settings = world.datapath.port_named("v0")
    assert (settings.policing_rate_kbps, settings.policing_burst_kb) == (1000, 100)


def test_nothing_is_done_twice(world: World) -> None:
    world.devices.appear("v0")
    world.port("v0")
    world.converge()
    world.device_events()
    world.heard.take()
    world.converge()
    assert world.heard.take() == []


def test_removal_leaves_nothing(world: World) -> None:
    world.devices.appear("v0")
    world.port("v0")
    world.port("i0", type="internal")
    world.converge()
    world.ports.remove()
    assert set(world.devices.links) == {"v0"}
    assert not world.datapath.ports and not world.datapath.bridges
