"""The ports of one bridge, brought to what the configuration says."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from gossamer.datapath.settings import BridgeSettings, PortKind
from gossamer.errors import DatapathError, DeviceError, GossamerError
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.tunnel import Tunnel
from gossamer.switch.addresses import patch_mac
from gossamer.switch.complaints import Complaints
from gossamer.switch.config import BridgeConfig, InterfaceConfig, PortConfig
from gossamer.switch.contract import Datapath, Devices, Link
from gossamer.switch.identity import Identity
from gossamer.switch.mtu import Mtus
from gossamer.switch.numbering import PortNumbers
from gossamer.switch.port import PORT_DOWN, SETTABLE, Port
from gossamer.switch.port_devices import PortDevices
from gossamer.switch.port_kind import kind_of
from gossamer.switch.port_listener import PortListener
from gossamer.switch.status import (
    NO_OFPORT,
    BridgeStatus,
    InterfaceStatus,
    PortStatus,
)
from gossamer.switch.tunnel_ports import TunnelPorts
from gossamer.switch.tunnels import Tunnels
from gossamer.switch.wanted_ports import WantedPorts

log = logging.getLogger(__name__)

VERSION: Final = "gossamer"
"""Bridge.datapath_version."""


class BridgePorts:
    """All ports of a bridge, and what follows from them: its MAC, datapath id and MTU."""

    def __init__(
        self,
        config: BridgeConfig,
        datapath: Datapath,
        devices: Devices,
        rundir: Path,
        tunnels: Tunnels | None = None,
    ) -> None:
        self.name = config.name
        self.config = config
        self.datapath = datapath
        self.devices = devices
        self.rundir = rundir
        self.tunnels = tunnels or Tunnels(datapath, devices)
        self.bridge_id = datapath.add_bridge(config.name)
        self.ports: dict[str, Port] = {}
        self.by_ofport: dict[int, Port] = {}
        self.by_port_id: dict[int, Port] = {}
        self.errors: dict[str, str] = {}
        self.identity = Identity(config)
        self.listener = PortListener()
        self._complaints = Complaints(log)
        self._numbers = PortNumbers()
        self._settings: BridgeSettings | None = None
        self._wanted = WantedPorts(config.name)
        self._told: dict[str, PortStatus] = {}
        """The last status, by port row, of which most goes into the next."""
        self._untold: set[str] = set()
        """Interfaces whose status may be another."""
        self._port_devices = PortDevices(config.name, devices, self._complaints)
        self._mtus = Mtus(config.name, devices, self.tunnels, self._complaints)
        self._tunnel_ports = TunnelPorts(self.bridge_id, datapath, self.tunnels)
        self._accounts = (self.identity, self._mtus, self._tunnel_ports)
        """What of ports concerns others; to ask all of them each time would cost a bridge of many
        ports most of what a change costs."""

    # -- converging ---------------------------------------------------------------------------

    def converge(self, config: BridgeConfig) -> None:
        """Bring ports and settings to what `config` says; errors are kept by interface."""
        self.config = config
        settings = BridgeSettings(
            mac_ageing_s=config.mac_aging_time_s,
            mac_table_size=config.mac_table_size,
            forward_bpdu=config.forward_bpdu,
        )
        if settings != self._settings:
            self.datapath.configure_bridge(self.bridge_id, settings)
            self._settings = settings
        difference = self._wanted.take(config.ports)
        for row in difference.rows:
            self._told.pop(row, None)
        for name in difference.gone:
            self.tunnels.release(name)
            self._complaints.settled(self._place(name))
            if name in self.ports:
                self._remove(self.ports[name], delete_device=True, remember=False)
        interfaces, changed = self._wanted.interfaces, difference.changed
        changed.update(interfaces.keys() - self.ports.keys())
        changed.update(interfaces.keys() & self.errors.keys())
        changed.update(self._numbers.wanting_others(self._wanted.requests))
        self.errors.clear()
        for name in changed:
            self.tunnels.release(name)
            if name in self.ports:
                self._tunnel_ports.let_go(self.ports[name], interfaces[name][1])
        # The bridge's own device first: the others' MTU and MAC go to it.
        ordered = [name for name in interfaces if name in changed]
        ordered.sort(key=lambda name: name != self.name)
        with self.datapath.transaction():
            for name in ordered:
                self._converge_interface(name)
            self._settle(ordered)

    def device_changed(self, name: str) -> bool:
        """A device appeared, vanished or changed; True when it is one of ours."""
        if name not in self._wanted.interfaces:
            return False
        self.errors.pop(name, None)
        self._converge_interface(name)
        self._settle((name,))
        return True

    def _converge_interface(self, name: str) -> None:
        port_config, interface = self._wanted.interfaces[name]
        self._untold.add(name)
        try:
            self._converge_port(port_config, interface)
        except (DeviceError, DatapathError) as e:
            self.errors[name] = e.message
            port = self.ports.get(name)
            if port is not None:
                self._remove(port, delete_device=False, remember=True)
            self.tunnels.release(name)
            self._complaints.say(self._place(name), e.message)
        else:
            self._complaints.settled(self._place(name))

    def _place(self, name: str) -> str:
        return f"bridge={self.name} port={name}"

    def _converge_port(self, port_config: PortConfig, interface: InterfaceConfig) -> None:
        kind = kind_of(interface, self.name)
        if interface.name == self.name:
            self._port_devices.check_local_mac(interface)
        port = self.ports.get(interface.name)
        tunnel = self._tunnel_ports.claim(interface, port) if kind is PortKind.TUNNEL else None
        link = self._device(kind, interface)
        if port is not None and (
            port.kind is not kind
            or (port.link and link and port.link.birth != link.birth)
            or (
                not port.is_local and self._numbers.wants_other(port.name, interface.ofport_request)
            )
        ):
            renumbered = port.kind is kind
            self._remove(port, delete_device=not renumbered, remember=renumbered)
            port = None
            link = self._device(kind, interface)
        if port is None:
            self._add(kind, port_config, interface, link, tunnel)
            return
        if tunnel is not None:
            self._set_tunnel(port, tunnel)
        if link is not port.link:
            if link and port.link and link.carrier != port.link.carrier:
                port.link_resets += 1
            port.take_link(link)
        port.config, port.interface = port_config, interface
        if kind is PortKind.INTERNAL and not port.is_local and interface.mac not in (None, port.mac):
            self._port_devices.set_mac(port, interface.mac)

    def _device(self, kind: PortKind, interface: InterfaceConfig) -> Link | None:
        mac = self.identity.mac if interface.name == self.name else interface.mac
        return self._port_devices.find(kind, interface, mac, known=interface.name in self.ports)

    def _set_tunnel(self, port: Port, tunnel: Tunnel) -> None:
        if self._tunnel_ports.set(port, tunnel):
            self.listener.settings_changed()

    def follow_egress(self, names: Iterable[str] | None = None) -> bool:
        """Note which way tunnels' packets leave; True where that is news for the database."""
        changed = self._tunnel_ports.follow_egress(names)
        self._untold.update(changed)
        if self._mtus.follow_tunnels:
            self._untold.update(self._mtus.settle())
        return bool(changed)

    def _add(
        self,
        kind: PortKind,
        port_config: PortConfig,
        interface: InterfaceConfig,
        link: Link | None,
        tunnel: Tunnel | None = None,
    ) -> None:
        name = interface.name
        if name == self.name:
            ofport = int(OfPort.LOCAL)
        else:
            ofport = self._numbers.allocate(name, interface.ofport_request, interface.ofport)
        port = Port(
            name=name,
            ofport=ofport,
            kind=kind,
            interface=interface,
            config=port_config,
            mac=interface.mac or patch_mac(self.name, name),
            created_s=time.monotonic(),
        )
        port.take_link(link)
        settings = port.wanted_settings()
        try:
            port.port_id = self.datapath.add_port(self.bridge_id, settings)
        except GossamerError:
            self._numbers.release(name, remember=False)
            raise
        port.settings = settings
        if tunnel is not None:
            try:
                self._set_tunnel(port, tunnel)
            except GossamerError:
                self.datapath.remove_port(port.port_id)
                self._numbers.release(name, remember=False)
                raise
        if link is not None and kind is PortKind.DEVICE:
            # Frames to all who are behind it are to come in, not only those to the device itself.
            made = self._port_devices.make_promiscuous(name, True)
            # An earlier daemon will have made it so, of which nothing is written.
            port.made_promiscuous = made or self.datapath.takeover
        if link is not None and port_config.qos is None:
            # What an earlier daemon put on, and is not asked for any more.
            self._port_devices.shape(port, None)
        self.ports[name] = port
        self.by_ofport[ofport] = port
        self.by_port_id[port.port_id] = port
        port.shown = _shown(port)
        log.info("%s: added as port %d", self._place(name), port.database_ofport)
        self.listener.settings_changed()
        self.listener.port_added(port)

    def _remove(self, port: Port, *, delete_device: bool, remember: bool) -> None:
        del self.ports[port.name], self.by_ofport[port.ofport], self.by_port_id[port.port_id]
        for account in self._accounts:
            account.forget(port.name)
        if port.tunnel is not None:
            self.datapath.set_tunnel(port.port_id, None)
        self.datapath.remove_port(port.port_id)
        self._numbers.release(port.name, remember=remember)
        if delete_device and port.kind is PortKind.INTERNAL:
            self.devices.delete_internal(port.name)
        if port.shape is not None:
            self._port_devices.shape(port, None)
        if port.made_promiscuous:
            self._port_devices.make_promiscuous(port.name, False)
        log.info("%s: removed", self._place(port.name))
        self.listener.settings_changed()
        self.listener.port_deleted(port)

    def _settle(self, changed: Iterable[str]) -> None:
        """What follows from all ports together: MAC, datapath id, MTUs; then tell of changes.

        The settings of a port depend on that port alone, so the others are left alone.
        """
        concerned = [
            self.ports[name]
            for name in dict.fromkeys((*changed, self.name))
            if name in self.ports
        ]
        for port in concerned:
            for account in self._accounts:
                account.note(port)
        self._settle_identity()
        self._untold.update(self._mtus.settle())
        for port in concerned:
            self._update(port)

    def _update(self, port: Port) -> None:
        self._untold.add(port.name)
        self._port_devices.follow_qos(port)
        settings = port.wanted_settings()
        if settings != port.settings:
            try:
                self.datapath.update_port(port.port_id, settings)
            except DatapathError as e:
                # Its device may be gone already; that it vanished is about to be told.
                self.errors[port.name] = e.message
                log.warning("bridge=%s port=%s: %s", self.name, port.name, e.message)
                return
            port.settings = settings
            self.listener.settings_changed()
        shown = _shown(port)
        if shown != port.shown:
            port.shown = shown
            self.listener.port_modified(port)

    def _settle_identity(self) -> None:
        renamed = self.identity.settle(self.config)
        local, mac = self.ports.get(self.name), self.identity.mac
        if local is not None and local.mac != mac:
            try:
                self.devices.set_mac(self.name, mac)
                local.mac = mac
            except DeviceError as e:
                log.warning("bridge=%s: cannot set its address: %s", self.name, e.message)
        if renamed:
            self.listener.datapath_id_changed()

    # -- what others ask of it ----------------------------------------------------------------

    def modify_port(self, port: Port, config: int, mask: int) -> None:
        """Do a port-mod: set the bits of ofp_port_config that are in `mask`.

        Raises DeviceError where the device cannot be set up or down.
        """
        mask &= SETTABLE
        if mask & PORT_DOWN and port.link is not None:
            up = not config & PORT_DOWN
            if up != port.admin_up:
                self.devices.set_up(port.device, up)
                port.link = self.devices.link(port.device)
        port.of_config = (port.of_config & ~mask) | (config & mask)
        self._update(port)

    def set_patch_peer(self, port: Port, peer: Port | None) -> None:
        """Join a patch port to its peer, or leave it alone."""
        port.patch_peer = peer.port_id if peer else None
        port.patch_error = (
            ""
            if peer
            else f"No usable peer '{port.interface.options['peer']}' exists in "
            f"'{self.config.datapath_type or 'system'}' datapath."
        )
        self._update(port)

    def in_order(self) -> list[Port]:
        """All ports by number, the bridge's own first."""
        return sorted(self.ports.values(), key=lambda p: (not p.is_local, p.ofport))

    def patch_ports(self) -> Iterator[Port]:
        """The patch ports there are."""
        return (p for p in self.ports.values() if p.kind is PortKind.PATCH)

    def remove(self) -> None:
        """Take everything down: ports, internal devices, flows."""
        for port in sorted(self.ports.values(), key=lambda p: p.is_local):
            self._remove(port, delete_device=True, remember=False)
        for name in self._wanted.interfaces:
            self.tunnels.release(name)
        self.datapath.remove_bridge(self.bridge_id)

    def status(self) -> BridgeStatus:
        """The columns of Bridge, Port and Interface, without statistics."""
        rows = [self._wanted.interfaces[n][0] for n in self._untold if n in self._wanted.interfaces]
        for row in {row.name: row for row in rows}.values():
            self._told[row.name] = self._port_status(row)
        self._untold.clear()
        return BridgeStatus(
            name=self.name,
            datapath_id=self.identity.datapath_id,
            datapath_version=VERSION,
            ports=dict(self._told),
        )

    def _port_status(self, row: PortConfig) -> PortStatus:
        interfaces: dict[str, InterfaceStatus] = {}
        status: dict[str, str] = {}
        for interface in row.interfaces:
            name = interface.name
            port = self.ports.get(name)
            if port is None:
                error = self.errors.get(name, "")
                interfaces[name] = InterfaceStatus(name, ofport=NO_OFPORT, error=error)
                continue
            interfaces[name] = port.status()
            if port.qos_error:
                status["qos_error"] = port.qos_error
        return PortStatus(row.name, interfaces, status)


def _shown(port: Port) -> tuple[object, ...]:
    return (port.mac, port.config_bits, port.state_bits, port.features, port.speed_mbps)
