"""The ports that the database asks for in a bridge, and how they differ from those before."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.switch.config import InterfaceConfig, PortConfig


@dataclass(frozen=True, slots=True)
class Difference:
    """What another set of rows asks for that the one before did not."""

    changed: set[str]
    """Interfaces that are new or different."""
    gone: list[str]
    """Interfaces that are asked for no more."""
    rows: set[str]
    """Names of port rows that are gone, or are others now."""


class WantedPorts:
    """All interfaces of a bridge's ports; its own one too, where the database has none of it."""

    def __init__(self, bridge: str) -> None:
        local = InterfaceConfig(bridge, type="internal")
        self._bridge = bridge
        self._own_row = PortConfig(bridge, (local,))
        """What stands for the bridge's own port where the database has none."""
        self._rows: dict[int, PortConfig] = {}
        """What the database asks for, by id()."""
        self.interfaces: dict[str, tuple[PortConfig, InterfaceConfig]] = {}
        """By name, with the row of their port."""
        self.requests: dict[str, int] = {}
        """Numbers that interfaces ask for."""

    def take(self, ports: tuple[PortConfig, ...]) -> Difference:
        """Take what the database asks for.

        A row that did not change is the same object, so that one port's change costs no more
        among many.
        """
        before, self._rows = self._rows, dict(zip(map(id, ports), ports, strict=True))
        gone, come = before.keys() - self._rows.keys(), self._rows.keys() - before.keys()
        dropped = {
            i.name: port.name
            for port in ([port for row, port in before.items() if row in gone] if gone else ())
            for i in port.interfaces
        }
        for name in dropped:
            del self.interfaces[name]
            self.requests.pop(name, None)
        changed: set[str] = set()
        for port in [port for row, port in self._rows.items() if row in come] if come else ():
            for interface in port.interfaces:
                changed.add(interface.name)
                self.interfaces[interface.name] = (port, interface)
                if interface.ofport_request is not None:
                    self.requests[interface.name] = interface.ofport_request
        if self._bridge not in self.interfaces:
            changed.add(self._bridge)
            self.interfaces[self._bridge] = (self._own_row, self._own_row.interfaces[0])
        missing = [name for name in dropped if name not in self.interfaces]
        return Difference(changed, missing, set(dropped.values()))
