"""The switch as the reference pipeline sees it: for packet-outs and traces.

Tables are shared with the switch, ports are copied when they changed, learned
addresses are asked of the datapath only when NORMAL wants to know one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gossamer.pipeline import world as model
from gossamer.pipeline.world import Fdb, Learned, TableMiss, UntaughtFdb, World

if TYPE_CHECKING:
    from gossamer.switch.bridge import Bridge
    from gossamer.switch.contract import Datapath
    from gossamer.switch.port import Port
    from gossamer.switch.switch import Switch


class LearnedByDatapath(Fdb):
    """The addresses a bridge learned, read once and only if somebody asks.

    What a packet-out would teach is forgotten with this object: the kernel
    learns from packets that come in, as a switch does.
    """

    def __init__(
        self,
        datapath: Datapath,
        bridge_id: int,
        ofport_of: Callable[[int], int | None],
        ageing_s: float = 300.0,
        size: int = 8192,
    ) -> None:
        super().__init__(ageing_s, size)
        self.datapath = datapath
        self.bridge_id = bridge_id
        self._ofport_of = ofport_of
        self._loaded = False

    def _load(self, now_s: float) -> None:
        if self._loaded:
            return
        self._loaded = True
        for entry in self.datapath.fdb.entries(self.bridge_id):
            ofport = self._ofport_of(entry.port_id)
            if ofport is not None:
                mac = int.from_bytes(entry.mac, "big")
                self.entries[entry.vlan, mac] = Learned(ofport, now_s - entry.age_s)

    def lookup(self, vlan: int, mac: int, now_s: float) -> int | None:
        """The port behind which `mac` was seen in `vlan`."""
        self._load(now_s)
        return super().lookup(vlan, mac, now_s)

    def learn(self, vlan: int, mac: int, ofport: int, now_s: float) -> bool:
        """Note that `mac` is behind `ofport`; True when that is news."""
        self._load(now_s)
        return super().learn(vlan, mac, ofport, now_s)


class TaughtToDatapath(LearnedByDatapath):
    """The same for packets that came in and that the kernel left to the daemon: it knows of their
    senders what these teach.

    `port_id_of` is the datapath's number of an OpenFlow port, None where it is gone.
    """

    def __init__(
        self,
        datapath: Datapath,
        bridge_id: int,
        ofport_of: Callable[[int], int | None],
        port_id_of: Callable[[int], int | None],
        ageing_s: float = 300.0,
        size: int = 8192,
    ) -> None:
        super().__init__(datapath, bridge_id, ofport_of, ageing_s, size)
        self._port_id_of = port_id_of

    def learn(self, vlan: int, mac: int, ofport: int, now_s: float) -> bool:
        """Note that `mac` is behind `ofport`, here and in the kernel; True when that is news."""
        port_id = self._port_id_of(ofport)
        if port_id is not None:
            self.datapath.fdb.learn(self.bridge_id, port_id, vlan, mac.to_bytes(6, "big"))
        return super().learn(vlan, mac, ofport, now_s)


def packet_out_fdb(bridge: Bridge) -> Fdb:
    """Addresses for a packet that did not come in: it teaches nothing."""
    config = bridge.config
    return LearnedByDatapath(
        bridge.datapath,
        bridge.ports.bridge_id,
        lambda port_id: _number(bridge.ports.by_port_id.get(port_id)),
        float(config.mac_aging_time_s),
        config.mac_table_size,
    )


def slow_path_fdb(bridge: Bridge) -> Fdb:
    """Addresses for one that did."""
    config = bridge.config

    def port_id_of(ofport: int) -> int | None:
        port = bridge.ports.by_ofport.get(ofport)
        return None if port is None else port.port_id

    return TaughtToDatapath(
        bridge.datapath,
        bridge.ports.bridge_id,
        lambda port_id: _number(bridge.ports.by_port_id.get(port_id)),
        port_id_of,
        float(config.mac_aging_time_s),
        config.mac_table_size,
    )


def _number(port: Port | None) -> int | None:
    return None if port is None else port.ofport


def untaught_fdb(bridge: Bridge) -> Fdb:
    """Addresses for a traced packet, which is not real."""
    return UntaughtFdb(packet_out_fdb(bridge))


def world_of(switch: Switch, fdb_of: Callable[[Bridge], Fdb] = packet_out_fdb) -> World:
    """All bridges as they are now; to be used at once, since it shares the tables."""
    bridges = []
    for bridge in switch.bridges.values():
        view = bridge.view
        if view is None:
            bridge.view = view = _view(switch, bridge)
        view.fdb = fdb_of(bridge)
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
