"""What a bridge is known by: its MAC address and its datapath id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.switch.addresses import default_mac, own_address

if TYPE_CHECKING:
    from gossamer.switch.config import BridgeConfig
    from gossamer.switch.port import Port


class Identity:
    """Both follow the addresses of the bridge's ports, where the configuration names none."""

    def __init__(self, config: BridgeConfig) -> None:
        self.mac = default_mac(config)
        self.datapath_id = 0
        self._addresses: dict[str, bytes] = {}
        """Those that the bridge may have as its own, by port."""

    def note(self, port: Port) -> None:
        """Take account of a port that is there, or may have another address."""
        address = own_address(port)
        if address is None:
            self._addresses.pop(port.name, None)
        else:
            self._addresses[port.name] = address

    def forget(self, name: str) -> None:
        """A port went; nothing where it is not known."""
        self._addresses.pop(name, None)

    def settle(self, config: BridgeConfig) -> bool:
        """Follow what was noted; True where the datapath id was another one before."""
        lowest = min(self._addresses.values(), default=None)
        self.mac = config.hwaddr or lowest or default_mac(config)
        before, self.datapath_id = self.datapath_id, config.datapath_id or 0
        if config.datapath_id is None:
            self.datapath_id = int.from_bytes(self.mac, "big")
        return before not in (0, self.datapath_id)
