"""The switch as the reference pipeline sees it: for packet-outs and traces.

Tables are shared with the switch, ports are copied when they changed, learned
addresses are asked of the datapath only when NORMAL wants to know one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gossamer.pipeline import world as model
from gossamer.pipeline.world import Fdb, Learned, TableMiss, World

if TYPE_CHECKING:
    from gossamer.switch.bridge import Bridge
    from gossamer.switch.port import Port
    from gossamer.switch.switch import Switch


class _LearnedByDatapath(Fdb):
    """The addresses a bridge learned, read once and only if somebody asks.

    What a packet-out would teach is forgotten with this object: the kernel
    learns from packets that come in, as a switch does.
    """

    def __init__(self, bridge: Bridge) -> None:
        config = bridge.config
        super().__init__(float(config.mac_aging_time_s), config.mac_table_size)
        self._bridge: Bridge | None = bridge

    def _load(self, now_s: float) -> None:
        bridge, self._bridge = self._bridge, None
        if bridge is None:
            return
        for entry in bridge.datapath.fdb(bridge.ports.bridge_id):
            port = bridge.ports.by_port_id.get(entry.port_id)
            if port is not None:
                mac = int.from_bytes(entry.mac, "big")
                self.entries[entry.vlan, mac] = Learned(port.ofport, now_s - entry.age_s)

    def lookup(self, vlan: int, mac: int, now_s: float) -> int | None:
        """The port behind which `mac` was seen in `vlan`."""
        self._load(now_s)
        return super().lookup(vlan, mac, now_s)

    def learn(self, vlan: int, mac: int, ofport: int, now_s: float) -> bool:
        """Note that `mac` is behind `ofport`; True when that is news."""
        self._load(now_s)
        return super().learn(vlan, mac, ofport, now_s)


def world_of(switch: Switch) -> World:
    """All bridges as they are now; to be used at once, since it shares the tables."""
    bridges = []
    for bridge in switch.bridges.values():
        view = bridge.view
        if view is None:
            bridge.view = view = _view(switch, bridge)
        view.fdb = _LearnedByDatapath(bridge)
        view.groups = bridge.rules.groups.values
        view.meters = bridge.rules.meters.values
        view.sampling = bridge.sampling
        view.options = tuple(bridge.rules.options.maps())
        view.miss = {t: TableMiss(int(action)) for t, action in bridge.misses.items()}
        bridges.append(view)
    return World(
        bridges, now_s=time.monotonic(), tracking=switch.tracking, route=switch.tunnels.way
    )


def _view(switch: Switch, bridge: Bridge) -> model.Bridge:
    return model.Bridge(
        bridge.name,
        [_port(switch, port) for port in bridge.ports.in_order()],
        tables={table.table_id: table for table in bridge.tables.tables},
        forward_bpdu=bridge.config.forward_bpdu,
        fragments=bridge.rules.fragments,
    )


def _port(switch: Switch, port: Port) -> model.Port:
    settings = port.wanted_settings()
    return model.Port(
        ofport=port.ofport,
        vlan_mode=model.VlanMode(int(settings.vlan_mode)),
        tag=settings.tag,
        trunks=settings.trunks,
        name=port.name,
        flood=settings.flood,
        forward=settings.forward,
        receive=settings.receive,
        up=settings.up,
        packet_in=settings.packet_in,
        peer=_peer(switch, settings.patch_peer),
        live=settings.live,
        tunnel=port.tunnel,
    )


def _peer(switch: Switch, port_id: int | None) -> tuple[str, int] | None:
    if port_id is None:
        return None
    for bridge in switch.bridges.values():
        port = bridge.ports.by_port_id.get(port_id)
        if port is not None:
            return bridge.name, port.ofport
    return None
