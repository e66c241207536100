"""A switch on a host with addresses and routes that are not there."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from fake_datapath import FakeDatapath
from fake_devices import FakeDevices

from gossamer.devices.routes import Route
from gossamer.devices.underlay import Address
from gossamer.switch.config import BridgeConfig, InterfaceConfig, PortConfig, SwitchConfig
from gossamer.switch.status import InterfaceStatus, SwitchStatus
from gossamer.switch.switch import Switch


def address(text: str) -> bytes:
    """An address as tunnels have it, 16 bytes."""
    raw = ip_address(text).packed
    return raw if len(raw) == 16 else bytes(10) + b"\xff\xff" + raw


def options(text: str) -> dict[str, str]:
    """Options of an interface, of "key=value key=value"."""
    return dict(pair.split("=", 1) for pair in text.split())


class World:
    """A host with the uplink un0, 172.16.0.1, and the route to 10.0.0.0/8."""

    def __init__(self, rundir: Path) -> None:
        self.datapath, self.devices = FakeDatapath(), FakeDevices()
        self.un0 = self.devices.appear("un0")
        underlay = self.underlay = self.devices.underlay
        underlay.own = [
            Address(1, address("127.0.0.1")),
            Address(self.un0.ifindex, address("172.16.0.1")),
            Address(self.un0.ifindex, address("fd01::1")),
        ]
        to_peers = Route(self.un0.ifindex, source=address("172.16.0.1"))
        underlay.ways = {address("172.16.0.0")[:14]: to_peers, address("fd01::")[:8]: to_peers}
        self.switch = Switch(self.datapath, self.devices, rundir)
        self.bridges: dict[str, dict[str, InterfaceConfig]] = {"br0": {}}
        self.other_config: dict[str, str] = {}

    def tunnel(self, name: str, kind: str, text: str, bridge: str = "br0") -> None:
        interface = InterfaceConfig(name, type=kind, options=options(text))
        self.bridges.setdefault(bridge, {})[name] = interface

    def apply(self) -> SwitchStatus:
        return self.switch.apply(
            SwitchConfig(
                tuple(
                    BridgeConfig(name, ports=tuple(PortConfig(n, (i,)) for n, i in ports.items()))
                    for name, ports in self.bridges.items()
                ),
                other_config=self.other_config,
            )
        )

    def status(self, name: str, bridge: str = "br0") -> InterfaceStatus:
        return self.switch.status().bridges[bridge].ports[name].interfaces[name]

    def told(self, name: str) -> object:
        port = self.switch.find_port(name)
        assert port is not None
        return self.datapath.tunnels.get(port[1].port_id)
