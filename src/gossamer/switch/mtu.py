"""How long the packets of a bridge's devices may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gossamer.datapath.settings import PortKind
from gossamer.errors import DeviceError

if TYPE_CHECKING:
    from gossamer.switch.complaints import Complaints
    from gossamer.switch.config import InterfaceConfig
    from gossamer.switch.contract import Devices
    from gossamer.switch.port import Port
    from gossamer.switch.tunnels import Tunnels

DEFAULT_MTU: Final = 1500


class Mtus:
    """Devices get the MTU that is asked for, and internal ones else the lowest of all others."""

    def __init__(
        self, bridge: str, devices: Devices, tunnels: Tunnels, complaints: Complaints
    ) -> None:
        self._bridge = bridge
        self._devices = devices
        self._tunnels = tunnels
        self._complaints = complaints
        self._found: dict[str, int] = {}
        """Of devices, which the bridge's own ones follow."""
        self._given: dict[str, Port] = {}
        """Ports whose device gets an MTU from here."""

    def note(self, port: Port) -> None:
        """Take account of a port that is there, or is another one now."""
        self.forget(port.name)
        interface = port.interface
        if port.kind is PortKind.DEVICE and port.link is not None:
            self._found[port.name] = port.link.mtu
        asks = interface.mtu_request is not None or _asks_for_tunnel_mtu(interface)
        if port.kind is PortKind.INTERNAL or asks:
            self._given[port.name] = port

    def forget(self, name: str) -> None:
        """A port went; nothing where it is not known."""
        self._found.pop(name, None)
        self._given.pop(name, None)

    @property
    def follow_tunnels(self) -> bool:
        """Whether one of them depends on what fits into tunnels."""
        return any(_asks_for_tunnel_mtu(port.interface) for port in self._given.values())

    def settle(self) -> list[str]:
        """Give devices the MTUs they are to have; the ports whose device has another one now."""
        changed: list[str] = []
        following: list[Port] = []
        for port in self._given.values():
            wanted = port.interface.mtu_request
            if wanted is None and _asks_for_tunnel_mtu(port.interface):
                wanted = self._tunnels.least_mtu()
            if wanted is None:
                following.append(port)
            elif self._set(port, wanted):
                changed.append(port.name)
        lowest = min(self._found.values(), default=DEFAULT_MTU)
        changed += [port.name for port in following if self._set(port, lowest)]
        return changed

    def _set(self, port: Port, wanted: int) -> bool:
        if port.link is None or wanted == port.link.mtu:
            return False
        subject = f"bridge={self._bridge} port={port.name} mtu={wanted}"
        try:
            self._devices.set_mtu(port.device, wanted)
            self._complaints.settled(subject)
        except DeviceError as e:
            # The device lives on with the MTU it has, as in ovs-vswitchd.
            self._complaints.say(subject, f"{e.message}; it stays {port.link.mtu}")
            return False
        # No event comes of what was read by ourselves.
        port.link = self._devices.link(port.device) or port.link
        if port.name in self._found:
            self._found[port.name] = port.link.mtu
        return True


def _asks_for_tunnel_mtu(interface: InterfaceConfig) -> bool:
    """Whether its device is to carry what fits into the switch's tunnels, and no more."""
    return interface.other_config.get("tunnel-mtu") == "true"
