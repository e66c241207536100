"""The ports of one bridge that are ends of tunnels."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gossamer.datapath.settings import PortKind
from gossamer.switch.encapsulation import settings_of
from gossamer.switch.tunnel_options import parse_tunnel

if TYPE_CHECKING:
    from gossamer.pipeline.tunnel import Tunnel
    from gossamer.switch.config import InterfaceConfig
    from gossamer.switch.contract import Datapath
    from gossamer.switch.port import Port
    from gossamer.switch.tunnels import Tunnels

log = logging.getLogger(__name__)


class TunnelPorts:
    """What their options say goes to the datapath; what is found of their way comes back."""

    def __init__(self, bridge_id: int, datapath: Datapath, tunnels: Tunnels) -> None:
        self._bridge_id = bridge_id
        self._datapath = datapath
        self._tunnels = tunnels
        self._ports: dict[str, Port] = {}

    def note(self, port: Port) -> None:
        """Take account of a port that is there, or is another one now."""
        self.forget(port.name)
        if port.kind is PortKind.TUNNEL:
            self._ports[port.name] = port

    def forget(self, name: str) -> None:
        """A port went; nothing where it is not known."""
        self._ports.pop(name, None)

    def claim(self, interface: InterfaceConfig, port: Port | None) -> Tunnel:
        """Read the options of an interface and reserve its packets; `port`: what there is of it.

        Raises DeviceError where they are wrong, or another port has these packets.
        """
        tunnel, warnings = parse_tunnel(interface.name, interface.type, interface.options)
        if port is None or port.tunnel != tunnel:
            for text in warnings:
                log.warning("%s", text)
        self._tunnels.claim(interface.name, tunnel)
        return tunnel

    def let_go(self, port: Port, interface: InterfaceConfig) -> None:
        """Give up a port's packets where its interface has other options now.

        Two tunnels that exchange their keys must not stand in each other's way.
        """
        if port.tunnel is None or port.interface.options == interface.options:
            return
        self._datapath.set_tunnel(port.port_id, None)
        self._datapath.fdb.flush(self._bridge_id, port.port_id)
        port.tunnel = None

    def set(self, port: Port, tunnel: Tunnel) -> bool:
        """Tell the datapath of a tunnel; False where it was told.

        Raises DatapathError where the datapath refuses it.
        """
        if tunnel == port.tunnel:
            return False
        self._datapath.set_tunnel(port.port_id, settings_of(tunnel))
        port.tunnel = tunnel
        return True

    def follow_egress(self, names: Iterable[str] | None = None) -> list[str]:
        """Note which way tunnels' packets leave, all without `names`; those that leave by another."""
        changed: list[str] = []
        for name in names if names is not None else self._ports:
            port = self._ports.get(name)
            if port is not None and port.tunnel is not None:
                egress = self._tunnels.egress(name)
                if egress != port.egress:
                    port.egress = egress
                    changed.append(name)
        return changed
