"""The ports of one bridge, brought to what the configuration says."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from gossamer.datapath.settings import BridgeSettings, PortKind
from gossamer.devices.qos import QueueTree
from gossamer.errors import DatapathError, DeviceError, GossamerError
from gossamer.pipeline.action import OfPort
from gossamer.pipeline.tunnel import Tunnel
from gossamer.switch.addresses import default_mac, own_address, patch_mac
from gossamer.switch.complaints import Complaints
from gossamer.switch.config import BridgeConfig, InterfaceConfig, PortConfig
from gossamer.switch.contract import Datapath, Devices, Link
from gossamer.switch.numbering import PortNumbers
from gossamer.switch.port import PORT_DOWN, SETTABLE, Port
from gossamer.switch.port_kind import check_name, kind_of
from gossamer.switch.qos import shape_of
from gossamer.switch.status import (
    NO_OFPORT,
    BridgeStatus,
    InterfaceStatus,
    PortStatus,
)
from gossamer.switch.tunnel_options import parse_tunnel
from gossamer.switch.tunnels import Tunnels, settings_of

log = logging.getLogger(__name__)

VERSION: Final = "gossamer"
"""Bridge.datapath_version."""
DEFAULT_MTU: Final = 1500


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
        self.mac = default_mac(config)
        self.datapath_id = 0
        self.listener = PortListener()
        self._complaints = Complaints(log)
        self._numbers = PortNumbers()
        self._settings: BridgeSettings | None = None
        local = InterfaceConfig(config.name, type="internal")
        self._own_row = PortConfig(config.name, (local,))
        """What stands for the bridge's own port where the database has none."""
        self._rows: dict[int, PortConfig] = {}
        """What the database asks for, by id()."""
        self._interfaces: dict[str, tuple[PortConfig, InterfaceConfig]] = {}
        """By name, with the row of their port."""
        self._requests: dict[str, int] = {}
        """Numbers that interfaces ask for."""
        self._told: dict[str, PortStatus] = {}
        """The last status, by port row, of which most goes into the next."""
        self._untold: set[str] = set()
        """Interfaces whose status may be another."""
        self._macs: dict[str, bytes] = {}
        """Addresses that the bridge may have as its own."""
        self._mtus: dict[str, int] = {}
        """Of devices, which the bridge's own ones follow."""
        self._given_mtu: dict[str, Port] = {}
        """Ports whose device gets an MTU from here."""
        self._tunnel_ports: dict[str, Port] = {}

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
        changed, gone = self._take_rows(config.ports)
        for name in gone:
            self.tunnels.release(name)
            self._complaints.settled(self._place(name))
            if name in self.ports:
                self._remove(self.ports[name], delete_device=True, remember=False)
        changed.update(self._interfaces.keys() - self.ports.keys())
        changed.update(self._interfaces.keys() & self.errors.keys())
        changed.update(self._numbers.wanting_others(self._requests))
        self.errors.clear()
        self._let_go_of_tunnels(changed)
        # The bridge's own device first: the others' MTU and MAC go to it.
        ordered = [name for name in self._interfaces if name in changed]
        ordered.sort(key=lambda name: name != self.name)
        with self.datapath.transaction():
            for name in ordered:
                self._converge_interface(name)
            self._settle(ordered)

    def _take_rows(self, ports: tuple[PortConfig, ...]) -> tuple[set[str], list[str]]:
        """Take what the database asks for; returns the interfaces that are new or different, and
        those that are gone.

        A row that did not change is the same object, so that one port's change costs no more
        among many.
        """
        before, self._rows = self._rows, dict(zip(map(id, ports), ports, strict=True))
        gone, come = before.keys() - self._rows.keys(), self._rows.keys() - before.keys()
        dropped = {
            i.name: port.name
            for port in ([port for row, port in before.items() if row in gone] if gone else ())
            for i in port.interfaces
        }
        for name in dropped:
            del self._interfaces[name]
            self._requests.pop(name, None)
        changed: set[str] = set()
        for port in [port for row, port in self._rows.items() if row in come] if come else ():
            for interface in port.interfaces:
                changed.add(interface.name)
                self._interfaces[interface.name] = (port, interface)
                if interface.ofport_request is not None:
                    self._requests[interface.name] = interface.ofport_request
        if self.name not in self._interfaces:
            changed.add(self.name)
            self._interfaces[self.name] = (self._own_row, self._own_row.interfaces[0])
        for row in set(dropped.values()):
            self._told.pop(row, None)
        return changed, [name for name in dropped if name not in self._interfaces]

    def device_changed(self, name: str) -> bool:
        """A device appeared, vanished or changed; True when it is one of ours."""
        if name not in self._interfaces:
            return False
        self.errors.pop(name, None)
        self._converge_interface(name)
        self._settle((name,))
        return True

    def _converge_interface(self, name: str) -> None:
        port_config, interface = self._interfaces[name]
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
            self._check_local_mac(interface)
        tunnel = self._claim_tunnel(interface) if kind is PortKind.TUNNEL else None
        link = self._device(kind, interface)
        port = self.ports.get(interface.name)
        if port is not None and (
            port.kind is not kind
            or (port.link and link and port.link.ifindex != link.ifindex)
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
            self._set_mac(port, interface.mac)

    def _check_local_mac(self, interface: InterfaceConfig) -> None:
        subject = f"{self._place(interface.name)} mac"
        if interface.mac is None:
            self._complaints.settled(subject)
        else:
            self._complaints.say(
                subject,
                "the bridge's own address is not taken from Interface "
                f"(use ovs-vsctl set bridge {self.name} other_config:hwaddr=...)",
            )

    def _device(self, kind: PortKind, interface: InterfaceConfig) -> Link | None:
        name = interface.name
        if kind in (PortKind.PATCH, PortKind.TUNNEL):
            return None
        check_name(name, self._place(name))
        link = self.devices.link(name)
        if kind is PortKind.INTERNAL:
            mac = self.mac if name == self.name else interface.mac
            return link if link and name in self.ports else self.devices.create_internal(name, mac)
        if link is None:
            raise DeviceError(
                f"could not open network device {name} (No such device)",
                place=f"bridge={self.name} port={name}",
                remedy="create the device; the port comes up when it appears",
            )
        return link

    def _let_go_of_tunnels(self, names: Iterable[str]) -> None:
        """Two tunnels that exchange their keys must not stand in each other's way."""
        for name in names:
            self.tunnels.release(name)
            port = self.ports.get(name)
            if port is None or port.tunnel is None:
                continue
            if port.interface.options != self._interfaces[name][1].options:
                self.datapath.set_tunnel(port.port_id, None)
                self.datapath.flush_fdb(self.bridge_id, port.port_id)
                port.tunnel = None

    def _claim_tunnel(self, interface: InterfaceConfig) -> Tunnel:
        tunnel, warnings = parse_tunnel(interface.name, interface.type, interface.options)
        port = self.ports.get(interface.name)
        if port is None or port.tunnel != tunnel:
            for text in warnings:
                log.warning("%s", text)
        self.tunnels.claim(interface.name, tunnel)
        return tunnel

    def _set_tunnel(self, port: Port, tunnel: Tunnel) -> None:
        if tunnel != port.tunnel:
            self.datapath.set_tunnel(port.port_id, settings_of(tunnel))
            port.tunnel = tunnel
            self.listener.settings_changed()

    def follow_egress(self, names: Iterable[str] | None = None) -> bool:
        """Note which way tunnels' packets leave; True where that is news for the database."""
        changed = False
        for name in names if names is not None else self._tunnel_ports:
            port = self._tunnel_ports.get(name)
            if port is not None and port.tunnel is not None:
                egress = self.tunnels.egress(name)
                if egress != port.egress:
                    changed = True
                    port.egress = egress
                    self._untold.add(name)
        if any(_asks_for_tunnel_mtu(port.interface) for port in self._given_mtu.values()):
            self._settle_mtu()
        return changed

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
            made = self._make_promiscuous(name, True)
            # An earlier daemon will have made it so, of which nothing is written.
            port.made_promiscuous = made or self.datapath.takeover
        if link is not None and port_config.qos is None:
            # What an earlier daemon put on, and is not asked for any more.
            self._give_shape(port, None)
        self.ports[name] = port
        self.by_ofport[ofport] = port
        self.by_port_id[port.port_id] = port
        port.shown = _shown(port)
        log.info("%s: added as port %d", self._place(name), port.database_ofport)
        self.listener.settings_changed()
        self.listener.port_added(port)

    def _remove(self, port: Port, *, delete_device: bool, remember: bool) -> None:
        del self.ports[port.name], self.by_ofport[port.ofport], self.by_port_id[port.port_id]
        self._discount(port.name)
        if port.tunnel is not None:
            self.datapath.set_tunnel(port.port_id, None)
        self.datapath.remove_port(port.port_id)
        self._numbers.release(port.name, remember=remember)
        if delete_device and port.kind is PortKind.INTERNAL:
            self.devices.delete_internal(port.name)
        if port.shape is not None:
            self._give_shape(port, None)
        if port.made_promiscuous:
            self._make_promiscuous(port.name, False)
        log.info("%s: removed", self._place(port.name))
        self.listener.settings_changed()
        self.listener.port_deleted(port)

    def _make_promiscuous(self, name: str, promiscuous: bool) -> bool:
        """Let a device take in frames to any address, or no more; True where that changed it."""
        try:
            return self.devices.set_promiscuous(name, promiscuous)
        except DeviceError as e:
            # It has vanished, which is about to be told.
            log.debug("%s: promiscuous=%s: %s", self._place(name), promiscuous, e.message)
            return False

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
            self._take_account(port)
        self._settle_mac()
        self._settle_mtu()
        for port in concerned:
            self._update(port)

    def _take_account(self, port: Port) -> None:
        """Note what of a port the others depend on; to ask them all each time would cost a bridge
        of many ports most of what a change costs."""
        name, interface = port.name, port.interface
        self._discount(name)
        address = own_address(port)
        if address is not None:
            self._macs[name] = address
        if port.kind is PortKind.DEVICE and port.link is not None:
            self._mtus[name] = port.link.mtu
        follows = _asks_for_tunnel_mtu(interface)
        if port.kind is PortKind.INTERNAL or interface.mtu_request is not None or follows:
            self._given_mtu[name] = port
        if port.kind is PortKind.TUNNEL:
            self._tunnel_ports[name] = port

    def _discount(self, name: str) -> None:
        for account in (self._macs, self._mtus, self._given_mtu, self._tunnel_ports):
            account.pop(name, None)

    def _give_shape(self, port: Port, shape: QueueTree | None) -> None:
        try:
            self.devices.shape(port.device, shape)
        except DeviceError as e:
            log.warning("bridge=%s port=%s: %s (%s)", self.name, port.name, e.message, e.remedy)
            port.shape, port.refused_shape, port.qos_error = None, shape, e.message
            return
        port.shape, port.shaped_s = shape, time.monotonic()
        port.refused_shape, port.qos_error = None, ""

    def _update(self, port: Port) -> None:
        self._untold.add(port.name)
        if port.link is not None:
            shape = shape_of(port.name, port.config.qos, port.link)
            refused = shape is not None and shape == port.refused_shape
            if not refused and (shape != port.shape or port.qos_error):
                self._give_shape(port, shape)
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

    def _set_mac(self, port: Port, mac: bytes) -> None:
        subject = f"{self._place(port.name)} mac"
        try:
            self.devices.set_mac(port.name, mac)
        except DeviceError as e:
            self._complaints.say(subject, f"cannot set its address: {e.message}")
        else:
            self._complaints.settled(subject)
            port.take_link(self.devices.link(port.device))

    def _settle_mac(self) -> None:
        lowest = min(self._macs.values(), default=None)
        mac = self.config.hwaddr or lowest or default_mac(self.config)
        self.mac = mac
        local = self.ports.get(self.name)
        if local is not None and local.mac != mac:
            try:
                self.devices.set_mac(self.name, mac)
                local.mac = mac
            except DeviceError as e:
                log.warning("bridge=%s: cannot set its address: %s", self.name, e.message)
        datapath_id = self.config.datapath_id
        if datapath_id is None:
            datapath_id = int.from_bytes(mac, "big")
        if datapath_id != self.datapath_id:
            had_one = self.datapath_id != 0
            self.datapath_id = datapath_id
            if had_one:
                self.listener.datapath_id_changed()

    def _settle_mtu(self) -> None:
        following: list[Port] = []
        for port in self._given_mtu.values():
            wanted = port.interface.mtu_request
            if wanted is None and _asks_for_tunnel_mtu(port.interface):
                wanted = self.tunnels.least_mtu()
            if wanted is None:
                following.append(port)
            else:
                self._set_mtu(port, wanted)
        lowest = min(self._mtus.values(), default=DEFAULT_MTU)
        for port in following:
            self._set_mtu(port, lowest)

    def _set_mtu(self, port: Port, wanted: int) -> None:
        if port.link is None or wanted == port.link.mtu:
            return
        subject = f"{self._place(port.name)} mtu={wanted}"
        try:
            self.devices.set_mtu(port.device, wanted)
            self._complaints.settled(subject)
        except DeviceError as e:
            # The device lives on with the MTU it has, as in ovs-vswitchd.
            self._complaints.say(subject, f"{e.message}; it stays {port.link.mtu}")
        else:
            # No event comes of what was read by ourselves.
            port.link = self.devices.link(port.device) or port.link
            self._untold.add(port.name)
            if port.name in self._mtus and port.link is not None:
                self._mtus[port.name] = port.link.mtu

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
        for name in self._interfaces:
            self.tunnels.release(name)
        self.datapath.remove_bridge(self.bridge_id)

    def status(self) -> BridgeStatus:
        """The columns of Bridge, Port and Interface, without statistics."""
        rows = [self._interfaces[n][0] for n in self._untold if n in self._interfaces]
        for row in {row.name: row for row in rows}.values():
            self._told[row.name] = self._port_status(row)
        self._untold.clear()
        return BridgeStatus(
            name=self.name,
            datapath_id=self.datapath_id,
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


def _asks_for_tunnel_mtu(interface: InterfaceConfig) -> bool:
    """Whether its device is to carry what fits into the switch's tunnels, and no more."""
    return interface.other_config.get("tunnel-mtu") == "true"


def _shown(port: Port) -> tuple[object, ...]:
    return (port.mac, port.config_bits, port.state_bits, port.features, port.speed_mbps)
