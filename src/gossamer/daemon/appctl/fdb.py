"""fdb/*: learned addresses, and those put there by hand (ovs-vswitchd(8))."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gossamer.datapath.settings import PortKind
from gossamer.pipeline.of_port import OfPort
from gossamer.switch.show import Command, CommandError

if TYPE_CHECKING:
    from gossamer.switch.bridge import Bridge
    from gossamer.switch.switch import Switch

_MAC: Final = re.compile(r"[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}")
_MAX_VLAN: Final = 4095


class FdbCommands:
    """The commands, over a switch."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    def commands(self) -> dict[str, Command]:
        """The commands, by name."""
        return {
            "fdb/show": Command("bridge", 1, 1, lambda argv: self.show(argv[0])),
            "fdb/stats-show": Command("bridge", 1, 1, lambda argv: self.stats_show(argv[0])),
            "fdb/stats-clear": Command("[bridge]", 0, 1, self.stats_clear),
            "fdb/flush": Command("[bridge]", 0, 1, self.flush),
            "fdb/add": Command("bridge port vlan mac", 4, 4, self.add),
            "fdb/del": Command("bridge vlan mac", 3, 3, self.delete),
        }

    def _bridge(self, name: str) -> Bridge:
        try:
            return self._switch.bridges[name]
        except KeyError:
            raise CommandError("no such bridge") from None

    def show(self, name: str) -> str:
        """Addresses with the OpenFlow number of the port each was seen on, the oldest first."""
        bridge = self._bridge(name)
        lines = [" port  VLAN  MAC                Age"]
        entries = self._switch.datapath.fdb.entries(bridge.ports.bridge_id)
        for entry in sorted(entries, key=lambda e: (-int(e.age_s), e.vlan, e.mac)):
            port = bridge.ports.by_port_id.get(entry.port_id)
            if port is None:
                continue  # its port went a moment ago; the entry goes with it
            number = "LOCAL" if port.ofport == OfPort.LOCAL else str(port.ofport)
            age = "static" if entry.fixed else f"{int(entry.age_s):3d}"
            lines.append(f"{number:>5}  {entry.vlan:4d}  {entry.mac.hex(':')}  {age}")
        return "\n".join(lines) + "\n"

    def stats_show(self, name: str) -> str:
        """How full the table is."""
        bridge = self._bridge(name)
        entries = self._switch.datapath.fdb.entries(bridge.ports.bridge_id)
        totals = self._switch.datapath.fdb.totals(bridge.ports.bridge_id)
        fixed = sum(1 for entry in entries if entry.fixed)
        return (
            f'Statistics for bridge "{name}":\n'
            f"  Current/maximum MAC entries in the table: "
            f"{len(entries)}/{bridge.config.mac_table_size}\n"
            f"  Current static MAC entries in the table : {fixed}\n"
            f"  Total number of learned MAC entries     : {totals.learned}\n"
            f"  Total number of expired MAC entries     : {totals.expired}\n"
            f"  Total number of evicted MAC entries     : {totals.evicted}\n"
            f"  Total number of port moved MAC entries  : {totals.moved}\n"
        )

    def _bridges(self, argv: Sequence[str]) -> list[Bridge]:
        return [self._bridge(argv[0])] if argv else list(self._switch.bridges.values())

    def stats_clear(self, argv: Sequence[str]) -> str:
        """Count from zero again, for one bridge or for all."""
        for bridge in self._bridges(argv):
            self._switch.datapath.fdb.clear_totals(bridge.ports.bridge_id)
        return "statistics successfully cleared"

    def flush(self, argv: Sequence[str]) -> str:
        """Forget what was learned, by one bridge or by all; static entries stay."""
        for bridge in self._bridges(argv):
            self._switch.datapath.fdb.flush(bridge.ports.bridge_id)
        return "table successfully flushed"

    def add(self, argv: Sequence[str]) -> str:
        """Put an address behind a port, for good."""
        bridge = self._bridge(argv[0])
        port = bridge.ports.ports.get(argv[1])
        if port is None:
            raise CommandError(f"no such port {argv[1]}")
        vlan, mac = self._place(argv[2], argv[3])
        if port.kind is PortKind.PATCH and port.patch_peer is None:
            raise CommandError(f"port {argv[1]} leads nowhere")
        self._switch.datapath.fdb.put(bridge.ports.bridge_id, port.port_id, vlan, mac)
        return ""

    def delete(self, argv: Sequence[str]) -> str:
        """Take out an address that was put there by hand."""
        bridge = self._bridge(argv[0])
        vlan, mac = self._place(argv[1], argv[2])
        if not self._switch.datapath.fdb.delete(bridge.ports.bridge_id, vlan, mac):
            raise CommandError("could not find static mac entry")
        return ""

    def _place(self, vlan: str, mac: str) -> tuple[int, bytes]:
        if not _MAC.fullmatch(mac):
            raise CommandError("bad MAC address")
        address = bytes(int(part, 16) for part in mac.split(":"))
        if not vlan.isdigit() or int(vlan) > _MAX_VLAN:
            raise CommandError("bad VLAN")
        return int(vlan), address
