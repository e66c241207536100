"""The datapaths that commands speak of: ``system@ovs-system`` and ``netdev@ovs-netdev``.

There is one datapath, in the kernel.  As in Open vSwitch each bridge belongs
to a datapath of its type, so that scripts find their bridges under the name
they know; a type without bridges does not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gossamer.datapath.settings import PortKind
from gossamer.switch.capabilities import datapath_type
from gossamer.switch.show import CommandError

if TYPE_CHECKING:
    from gossamer.switch.bridge import Bridge
    from gossamer.switch.port import Port
    from gossamer.switch.switch import Switch

KINDS: Final = ("netdev", "system")


def kind_of(bridge: Bridge) -> str:
    """The type of the datapath a bridge is in."""
    return datapath_type(bridge)


def name_of(kind: str) -> str:
    """``system@ovs-system``."""
    return f"{kind}@ovs-{kind}"


def bridges_of(switch: Switch, kind: str) -> list[Bridge]:
    """The bridges of a datapath, by name."""
    found = [b for b in switch.bridges.values() if kind_of(b) == kind]
    return sorted(found, key=lambda b: b.name)


def kinds(switch: Switch) -> list[str]:
    """The datapaths that exist."""
    return [kind for kind in KINDS if bridges_of(switch, kind)]


def find(switch: Switch, name: str) -> str | None:
    """The kind of a datapath by its name, which may leave out ``system@``."""
    type_, at, rest = name.partition("@")
    kind, datapath = (type_ or "system", rest) if at else ("system", name)
    exists = kind in kinds(switch) and datapath == f"ovs-{kind}"
    return kind if exists else None


def the_only(switch: Switch) -> str:
    """The datapath of a command that names none.  Raises CommandError unless there is just one."""
    found = kinds(switch)
    if len(found) == 1:
        return found[0]
    why = "multiple datapaths, specify one" if found else "no datapaths exist"
    raise CommandError(f"ovs-vswitchd: {why}\novs-vswitchd: datapath not found (Invalid argument)")


def port_type(kind: str, port: Port) -> str:
    """What a datapath port is, empty for a plain device."""
    if port.kind is PortKind.INTERNAL:
        return "tap" if kind == "netdev" else "internal"
    return ""


def ports_of(switch: Switch, kind: str) -> list[tuple[Bridge, Port]]:
    """The ports of a datapath by number; patch ports are in none."""
    found = [
        (bridge, port)
        for bridge in bridges_of(switch, kind)
        for port in bridge.ports.ports.values()
        if port.kind is not PortKind.PATCH
    ]
    return sorted(found, key=lambda pair: pair[1].port_id)


class PortNames:
    """How ports are written: by their number in the datapath, or by name."""

    def __init__(self, switch: Switch, *, names: bool) -> None:
        self._names = names
        self._by_id = {
            port.port_id: port for b in switch.bridges.values() for port in b.ports.ports.values()
        }

    def by_id(self, port_id: int) -> str:
        """A port by its number in the datapath."""
        port = self._by_id.get(port_id)
        return port.name if self._names and port is not None else str(port_id)

    def in_bridge(self, bridge: Bridge) -> Callable[[int], str]:
        """Ports of a bridge by their OpenFlow number."""

        def text(ofport: int) -> str:
            port = bridge.ports.by_ofport.get(ofport)
            return self.by_id(port.port_id) if port is not None else str(ofport)

        return text
