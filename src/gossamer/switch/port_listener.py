"""What the ports of a bridge tell of themselves."""

from __future__ import annotations

from gossamer.switch.port import Port


class PortListener:
    """Hears of ports that come, change and go; what controllers are told."""

    def port_added(self, port: Port) -> None:
        """A port is there."""

    def port_modified(self, port: Port) -> None:
        """Its address, configuration, state or speed changed."""

    def port_deleted(self, port: Port) -> None:
        """It went."""

    def settings_changed(self) -> None:
        """A port came, went, or treats packets in another way."""

    def datapath_id_changed(self) -> None:
        """The bridge has another datapath id; controllers must connect anew to learn it."""
