"""fdb/*: learned addresses, and those put there by hand (ovs-vswitchd(8)).

The kernel learns and looks up (bpf/normal.h) and knows no static entries, so
the daemon writes those again every second: should such an address speak up
behind another port, it is back after that at most, and when the daemon is
gone it ages like any other.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gossamer.datapath import layout, libbpf
from gossamer.datapath.maps import HashMap
from gossamer.datapath.settings import PortKind
from gossamer.errors import DatapathError
from gossamer.pipeline.action import OfPort
from gossamer.switch.show import Command, CommandError

if TYPE_CHECKING:
    from gossamer.switch.bridge import Bridge
    from gossamer.switch.switch import Switch

_MAC: Final = re.compile(r"[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}")
_MAX_VLAN: Final = 4095

Place = tuple[str, int, bytes]
"""(bridge, VLAN, address)."""


class FdbCommands:
    """The commands and the static entries; `pin_dir` is where the datapath is pinned.

    Raises DatapathError where it is not.
    """

    def __init__(self, switch: Switch, pin_dir: Path) -> None:
        path = pin_dir / f"maps-{layout.LAYOUT_VERSION}" / "fdb"
        fd = libbpf.object_get(path)
        if fd is None:
            raise DatapathError("the datapath is not pinned here", place=str(path))
        self._switch = switch
        self._map = HashMap("fdb", fd, layout.FDB_KEY.size, layout.FDB_ENTRY.size)
        self._static: dict[Place, str] = {}
        """Place -> name of the port."""

    def commands(self) -> dict[str, Command]:
        """The commands, by name."""
        return {
            "fdb/show": Command("bridge", 1, 1, lambda argv: self.show(argv[0])),
            "fdb/stats-show": Command("bridge", 1, 1, lambda argv: self.stats_show(argv[0])),
            "fdb/flush": Command("[bridge]", 0, 1, self.flush),
            "fdb/add": Command("bridge port vlan mac", 4, 4, self.add),
            "fdb/del": Command("bridge vlan mac", 3, 3, self.delete),
        }

    def close(self) -> None:
        """Let go of the map."""
        os.close(self._map.fd)

    def refresh(self) -> None:
        """Write the static entries again; forget those whose bridge or port is gone."""
        for place, name in list(self._static.items()):
            bridge = self._switch.bridges.get(place[0])
            if bridge is None or name not in bridge.ports.ports:
                del self._static[place]
            else:
                self._write(bridge, place, name)

    def _write(self, bridge: Bridge, place: Place, name: str) -> None:
        entry = layout.FDB_ENTRY.pack(bridge.ports.ports[name].port_id, 0, time.monotonic_ns())
        self._map.put(self._key(bridge, place), entry)

    def _key(self, bridge: Bridge, place: Place) -> bytes:
        return layout.FDB_KEY.pack(bridge.ports.bridge_id, place[2], place[1], 0)

    def _bridge(self, name: str) -> Bridge:
        try:
            return self._switch.bridges[name]
        except KeyError:
            raise CommandError("no such bridge") from None

    def show(self, name: str) -> str:
        """Addresses with the OpenFlow number of the port each was seen on, the oldest first."""
        bridge = self._bridge(name)
        self.refresh()
        lines = [" port  VLAN  MAC                Age"]
        entries = self._switch.datapath.fdb(bridge.ports.bridge_id)
        for entry in sorted(entries, key=lambda e: (-int(e.age_s), e.vlan, e.mac)):
            port = bridge.ports.by_port_id.get(entry.port_id)
            if port is None:
                continue  # its port went a moment ago; the entry goes with it
            number = "LOCAL" if port.ofport == OfPort.LOCAL else str(port.ofport)
            fixed = (name, entry.vlan, entry.mac) in self._static
            age = "static" if fixed else f"{int(entry.age_s):3d}"
            lines.append(f"{number:>5}  {entry.vlan:4d}  {entry.mac.hex(':')}  {age}")
        return "\n".join(lines) + "\n"

    def stats_show(self, name: str) -> str:
        """How full the table is."""
        bridge = self._bridge(name)
        self.refresh()
        entries = self._switch.datapath.fdb(bridge.ports.bridge_id)
        fixed = sum(1 for place in self._static if place[0] == name)
        return (
            f'Statistics for bridge "{name}":\n'
            f"  Current/maximum MAC entries in the table: "
            f"{len(entries)}/{bridge.config.mac_table_size}\n"
            f"  Current static MAC entries in the table : {fixed}\n"
        )

    def flush(self, argv: Sequence[str]) -> str:
        """Forget what was learned, by one bridge or by all; static entries stay."""
        bridges = [self._bridge(argv[0])] if argv else list(self._switch.bridges.values())
        for bridge in bridges:
            self._switch.datapath.flush_fdb(bridge.ports.bridge_id)
        self.refresh()
        return "table successfully flushed"

    def add(self, argv: Sequence[str]) -> str:
        """Put an address behind a port, for good."""
        bridge = self._bridge(argv[0])
        port = bridge.ports.ports.get(argv[1])
        if port is None:
            raise CommandError(f"no such port {argv[1]}")
        place = self._place(argv[0], argv[2], argv[3])
        if port.kind is PortKind.PATCH and port.patch_peer is None:
            raise CommandError(f"port {argv[1]} leads nowhere")
        self._static[place] = port.name
        self._write(bridge, place, port.name)
        return ""

    def delete(self, argv: Sequence[str]) -> str:
        """Take out an address that was put there by hand."""
        bridge = self._bridge(argv[0])
        place = self._place(*argv)
        if self._static.pop(place, None) is None:
            raise CommandError("could not find static mac entry")
        self._map.delete(self._key(bridge, place))
        return ""

    def _place(self, bridge: str, vlan: str, mac: str) -> Place:
        if not _MAC.fullmatch(mac):
            raise CommandError("bad MAC address")
        address = bytes(int(part, 16) for part in mac.split(":"))
        if not vlan.isdigit() or int(vlan) > _MAX_VLAN:
            raise CommandError("bad VLAN")
        return bridge, int(vlan), address
