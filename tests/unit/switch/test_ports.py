"""Ports follow the configuration and the devices."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_datapath import FakeDatapath, FakeDevices

from gossamer.datapath.settings import VlanMode
from gossamer.switch.config import BridgeConfig, InterfaceConfig, PortConfig, VlanModeName
from gossamer.switch.port import NO_FLOOD, PORT_DOWN, Port
from gossamer.switch.ports import BridgePorts, PortListener


class Heard(PortListener):
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def port_added(self, port: Port) -> None:
        self.events.append(("add", port.name))

    def port_modified(self, port: Port) -> None:
        self.events.append(("modify", port.name))

    def port_deleted(self, port: Port) -> None:
        self.events.append(("delete", port.name))

    def datapath_id_changed(self) -> None:
        self.events.append(("dpid", ""))

    def take(self) -> list[tuple[str, str]]:
        events, self.events = self.events, []
        return events


class World:
    def __init__(self, tmp_path: Path) -> None:
        self.datapath, self.devices, self.heard = FakeDatapath(), FakeDevices(), Heard()
        self.ports = BridgePorts(BridgeConfig("br0"), self.datapath, self.devices, tmp_path)
        self.ports.listener = self.heard
        self.wanted: dict[str, PortConfig] = {}

    def port(self, name: str, tag: int | None = None, **interface: object) -> None:
        config = InterfaceConfig(name, **interface)  # type: ignore[arg-type]
        self.wanted[name] = PortConfig(name, (config,), tag=tag)

    def converge(self, **bridge: object) -> None:
        ports = tuple(self.wanted.values())
        self.ports.converge(BridgeConfig("br0", ports=ports, **bridge))  # type: ignore[arg-type]

    def device_events(self) -> None:
        for name in self.devices.run():
            self.ports.device_changed(name)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def ofports(world: World) -> dict[str, int]:
    return {name: port.database_ofport for name, port in world.ports.ports.items()}


def test_a_bridge_has_its_own_port_without_being_asked(world: World) -> None:
    world.converge()
    assert ofports(world) == {"br0": 65534}
    assert world.devices.links["br0"].mac == world.ports.mac
    assert world.datapath.port_named("br0").ofport == 0xFFFFFFFE


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


def test_the_mac_is_the_lowest_universal_one_and_makes_the_datapath_id(world: World) -> None:
    for name, mac in (("a", "00:22:00:00:00:01"), ("b", "00:11:00:00:00:01"), ("c", "")):
        world.devices.appear(name, mac)
        world.port(name)
    world.converge()
    assert world.ports.mac == bytes.fromhex("001100000001")
    assert world.ports.datapath_id == 0x001100000001
    assert world.devices.links["br0"].mac == world.ports.mac
    del world.wanted["b"]
    world.converge()
    assert world.ports.datapath_id == 0x002200000001
    assert ("dpid", "") in world.heard.take()


def test_hwaddr_and_datapath_id_can_be_set(world: World) -> None:
    world.devices.appear("a", "00:22:00:00:00:01")
    world.port("a")
    world.converge(hwaddr=bytes.fromhex("0000000000aa"), datapath_id=0x123456789)
    assert world.devices.links["br0"].mac == bytes.fromhex("0000000000aa")
    assert world.ports.datapath_id == 0x123456789


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


def test_a_device_takes_the_mtu_asked_for_and_shows_it_at_once(world: World) -> None:
    world.devices.appear("v0")
    world.port("v0", mtu_request=1400)
    world.converge()
    assert world.devices.links["v0"].mtu == 1400
    ports = world.ports.status().ports
    assert (ports["v0"].interfaces["v0"].mtu, ports["br0"].interfaces["br0"].mtu) == (1400, 1400)
    assert world.devices.links["br0"].mtu == 1400


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
