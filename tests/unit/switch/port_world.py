"""A bridge's ports over a datapath and devices that are not there."""

from __future__ import annotations

from pathlib import Path

from fake_datapath import FakeDatapath
from fake_devices import FakeDevices

from gossamer.switch.config import BridgeConfig, InterfaceConfig, PortConfig
from gossamer.switch.port import Port
from gossamer.switch.port_listener import PortListener
from gossamer.switch.ports import BridgePorts


class Heard(PortListener):
    """What was told of ports."""

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
    """A bridge, what is asked for in it, and what it told."""

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


def ofports(world: World) -> dict[str, int]:
    """The numbers that ports have."""
    return {name: port.database_ofport for name, port in world.ports.ports.items()}
