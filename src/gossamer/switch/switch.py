"""The switch: all bridges of one host, brought to what the configuration says.

`apply()` is convergent: it may be called with anything at any time, changes
only what differs, and never fails as a whole; what could not be done is told in
the status of the interface or bridge it concerns.  `run()` and `wait()` are
called around each turn of the event loop.
"""

from __future__ import annotations

import gc
import logging
import select
import time
from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gossamer.datapath.settings import PuntReason
from gossamer.errors import DatapathError, DeviceError, GossamerError
from gossamer.pipeline.world import World
from gossamer.switch.alg.helpers import Helpers
from gossamer.switch.bridge import Bridge
from gossamer.switch.capabilities import CAPABILITIES, datapath_type
from gossamer.switch.complaints import Complaints
from gossamer.switch.config import BridgeConfig, SwitchConfig
from gossamer.switch.conntrack_log import ConntrackLog
from gossamer.switch.conntrack_zones import ConntrackZones
from gossamer.switch.contract import Datapath, Devices, Poller
from gossamer.switch.kernel_tracking import KernelTracking
from gossamer.switch.port import Port
from gossamer.switch.sampling import Sampling
from gossamer.switch.show import Command, commands
from gossamer.switch.status import (
    NO_OFPORT,
    BridgeStatus,
    InterfaceStatus,
    PortStatus,
    SwitchStatus,
)
from gossamer.switch.tunnels import Tunnels
from gossamer.switch.world import world_of

if TYPE_CHECKING:
    from gossamer.datapath.settings import Punt

log = logging.getLogger(__name__)

_BREATH_S: Final = 0.005
_YOUNG: Final = 100
"""Looks for cycles among new objects until those that they left are no longer looked at: so many do not
come together that a look at all of them takes long (600 ms in a bundle of 400,000 flows)."""
DATAPATH_TYPES: Final = frozenset(("", *SwitchStatus().datapath_types))
_PORTS_A_PART: Final = 32
"""Whose statistics are read and written at once: some 10 ms, in which nothing else is done."""
_COUNTED_ALWAYS: Final = ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")
"""Keys of Interface.statistics, and what counts them; these also of ports without a device."""
_counted_always: Final = attrgetter(*_COUNTED_ALWAYS)
_OF_PORT: Final = (*_COUNTED_ALWAYS, "rx_dropped", "tx_dropped")
_counted: Final = attrgetter(*_OF_PORT)
_ERRORS: Final = {
    "rx_errors": "rx_errors",
    "tx_errors": "tx_errors",
    "rx_frame_err": "rx_frame_errors",
    "rx_over_err": "rx_over_errors",
    "rx_crc_err": "rx_crc_errors",
    "rx_missed_errors": "rx_missed_errors",
    "collisions": "collisions",
}
_errors: Final = attrgetter(*_ERRORS.values())
_COUNTED: Final = (*_OF_PORT, *_ERRORS)


def tune_garbage_collector() -> None:
    """Look for cycles seldom, and among few objects at a time.

    A bridge holds some ten objects a flow, and none of them is in a cycle.
    With the thresholds Python begins with, going over them again and again
    took a third of the time to load 100,000 flows.  Going over 50,000 that are
    new takes up to 30 ms, in which no link is followed; over 10,000, 3 to 15, as
    they are taken to pieces that are garbage; over 2,500, 0.5 to 3.
    """
    gc.set_threshold(2_500, 1000, 100)


class Switch:
    """All bridges.

    `datapath` forwards, `devices` are the host's network devices, `rundir` is
    where service sockets and journals go.  `changes` counts up whenever
    `status()` may have something new to say.  `commands` are what `ovs-appctl`
    may ask, by name.
    """

    def __init__(self, datapath: Datapath, devices: Devices, rundir: Path) -> None:
        self.datapath = datapath
        self.devices = devices
        self.rundir = rundir
        self.bridges: dict[str, Bridge] = {}
        self.tunnels = Tunnels(datapath, devices)
        self.changes = 0
        self.commands: dict[str, Command] = commands(self)
        self._failed: dict[str, str] = {}
        self._complaints = Complaints(log)
        self._zones = ConntrackZones(datapath)
        self.tracking = KernelTracking(datapath)
        self.helpers = Helpers(datapath)
        self.sampling = Sampling()
        self._connection_log = ConntrackLog(self)
        self._took_over = False
        self._may_breathe = False
        self._next_breath_s = 0.0
        datapath.breathe = self._breathe
        tune_garbage_collector()

    def apply(self, config: SwitchConfig) -> SwitchStatus:
        """Bring everything to `config` and say how that went."""
        self.converge(config)
        return self.status()

    def converge(self, config: SwitchConfig) -> None:
        """Bring everything to `config`; `status()` says how that went."""
        wanted = {b.name: b for b in config.bridges}
        for name in [n for n in self.bridges if n not in wanted]:
            self.bridges.pop(name).remove()
        self._failed.clear()
        for bridge_config in wanted.values():
            self._apply_bridge(bridge_config, config)
        self._join_patches()
        self.tunnels.configure(config.other_config)
        self.tunnels.settle()
        for bridge in self.bridges.values():
            bridge.ports.follow_egress()
        self.sampling.configure(config.collector_sets, self.bridges)
        self._zones.apply(config.ct_zones, config.ct_default_limit)
        self._connection_log.configure(config.other_config)
        if not self._took_over:
            self._took_over = True
            self.datapath.converge()
            self._remove_stale_journals()
            self.devices.delete_other_internal(_internal_names(config))
        self.changes += 1

    def _apply_bridge(self, bridge_config: BridgeConfig, config: SwitchConfig) -> None:
        name = bridge_config.name
        if bridge_config.datapath_type not in DATAPATH_TYPES and name in self.bridges:
            self.bridges.pop(name).remove()
        bridge = self.bridges.get(name)
        try:
            _check_datapath_type(bridge_config)
            if bridge is None:
                _check_bridge_name(name)
                bridge = Bridge(bridge_config, self)
                self.bridges[name] = bridge
            with self.datapath.transaction():
                bridge.configure(bridge_config, config.ssl, config.managers)
            self._complaints.settled(f"bridge={name}")
        except GossamerError as e:
            self._complaints.say(f"bridge={name}", e.message)
            self._failed[name] = e.message

    def _join_patches(self) -> None:
        """Join each patch port to the one it names, where that one names it too."""
        patches: dict[str, tuple[Bridge, Port]] = {
            port.name: (bridge, port)
            for bridge in self.bridges.values()
            for port in bridge.ports.patch_ports()
        }
        for bridge, port in patches.values():
            found = patches.get(port.interface.options["peer"])
            peer = found[1] if found else None
            if peer is not None and peer.interface.options["peer"] != port.name:
                peer = None
            bridge.ports.set_patch_peer(port, peer)

    def _remove_stale_journals(self) -> None:
        """Journals of bridges that were deleted while no daemon ran."""
        for path in self.rundir.glob("*.flows"):
            if path.stem not in self.bridges:
                path.unlink(missing_ok=True)

    def status(self) -> SwitchStatus:
        """How things are, without statistics: see `read_statistics()`."""
        bridges = {name: bridge.status() for name, bridge in self.bridges.items()}
        for name, error in self._failed.items():
            if name not in bridges:
                local = InterfaceStatus(name, ofport=NO_OFPORT, error=error)
                bridges[name] = BridgeStatus(
                    name, ports={name: PortStatus(name, {name: local})}, error=error
                )
        types = {datapath_type(b) for b in self.bridges.values()}
        return SwitchStatus(bridges=bridges, capabilities=dict.fromkeys(types, CAPABILITIES))

    def read_statistics(self) -> Iterator[dict[str, dict[str, int]]]:
        """Interface.statistics of every interface, by its name: of some ports at a time, between
        which ports may come and go."""
        part: dict[str, dict[str, int]] = {}
        for bridge in list(self.bridges.values()):
            for name in list(bridge.ports.ports):
                port = bridge.ports.ports.get(name)
                if port is not None:
                    part[name] = self._statistics(port)
                if len(part) == _PORTS_A_PART:
                    yield part
                    part = {}
        yield part

    def _statistics(self, port: Port) -> dict[str, int]:
        counters = self.datapath.port_statistics(port.port_id)
        if port.link is None:
            return dict(zip(_COUNTED_ALWAYS, _counted_always(counters), strict=True))
        errors = self.devices.errors(port.link.ifindex)
        return dict(zip(_COUNTED, (*_counted(counters), *_errors(errors)), strict=True))

    def run(self) -> None:
        """Do what is ready; never blocks."""
        changed = self.devices.run()
        if changed:
            self._devices_changed(changed)
        moved = self.tunnels.run()
        if moved:
            for bridge in self.bridges.values():
                self.changes += bridge.ports.follow_egress(moved)
        punts = self.datapath.packets.read()
        if punts:
            self._punts(punts)
        self._connection_log.run(time.monotonic())
        self.sampling.run()
        self._may_breathe = True
        for bridge in self.bridges.values():
            try:
                self.changes += bridge.run()
            except GossamerError as e:
                # The trouble of one bridge is not the others'.
                log.error("bridge=%s: %s", bridge.name, e)
        self._may_breathe = False

    def _breathe(self) -> None:
        """In the middle of long work for a controller: follow the links that groups watch."""
        now = time.monotonic()
        if not self._may_breathe or now < self._next_breath_s:
            return
        self._may_breathe = False
        changed = self.devices.run()
        if changed:
            self._devices_changed(changed)
        self._may_breathe = True
        if gc.get_count()[1] >= _YOUNG:
            # What a controller sends is in no cycle, and mostly there to stay.
            gc.freeze()
        self._next_breath_s = now + _BREATH_S

    def _devices_changed(self, names: frozenset[str]) -> None:
        for name in names:
            try:
                changed = any(b.ports.device_changed(name) for b in self.bridges.values())
            except GossamerError as e:
                # The device changed again meanwhile; that change comes up by itself.
                log.warning("device=%s: %s", name, e)
                changed = True
            self.changes += changed

    def _punts(self, punts: Sequence[Punt]) -> None:
        by_bridge: dict[int, list[Punt]] = {}
        for punt in punts:
            if punt.reason == PuntReason.CT_ALG:
                self.helpers.held(punt, time.monotonic())
                continue
            by_bridge.setdefault(punt.bridge_id, []).append(punt)
        for bridge in self.bridges.values():
            came_here = by_bridge.get(bridge.ports.bridge_id)
            if came_here:
                bridge.punts(came_here)

    def wait(self, poller: Poller) -> None:
        """Say what to wake for."""
        self.devices.wait(poller)
        self.tunnels.wait(poller)
        if self.datapath.packets.fd >= 0:
            poller.fd_wait(self.datapath.packets.fd, select.POLLIN)
        if self.datapath.packets.are_here:
            poller.immediate_wake()
        self._connection_log.wait(poller)
        self.sampling.wait(poller)
        for bridge in self.bridges.values():
            bridge.wait(poller)

    def find_port(self, name: str) -> tuple[Bridge, Port] | None:
        """The port of that name, on whatever bridge."""
        for bridge in self.bridges.values():
            port = bridge.ports.ports.get(name)
            if port is not None:
                return bridge, port
        return None

    def world(self) -> World:
        """All of it as the reference pipeline takes it; for one use, at once."""
        return world_of(self)

    def close(self) -> None:
        """The daemon ends; packets go on being forwarded, flows are in the journals."""
        self.sampling.close()
        for bridge in self.bridges.values():
            bridge.close()
        self.bridges.clear()

    def destroy(self) -> None:
        """The daemon ends and leaves nothing (``ovs-appctl exit --cleanup``)."""
        self.sampling.close()
        for bridge in list(self.bridges.values()):
            bridge.remove()
        self.bridges.clear()
        self.datapath.destroy()


def _internal_names(config: SwitchConfig) -> set[str]:
    """Of all internal interfaces, each bridge's own among them."""
    ports = {
        i.name for b in config.bridges for p in b.ports for i in p.interfaces if i.type == "internal"
    }
    return ports | {b.name for b in config.bridges}


def _check_datapath_type(config: BridgeConfig) -> None:
    """Raises DatapathError for a type that there is none of; then there is no bridge, as in
    ovs-vswitchd."""
    if config.datapath_type not in DATAPATH_TYPES:
        raise DatapathError(
            f"could not create datapath {config.name} of unknown type {config.datapath_type}",
            place=f"bridge={config.name}",
            remedy="set datapath_type to system or netdev, or leave it empty",
        )


def _check_bridge_name(name: str) -> None:
    """Raises DeviceError for a name that would lead its files out of the run directory."""
    if "/" in name:
        raise DeviceError(
            f"{name!r} cannot be the name of a bridge: its sockets have it as theirs",
            place=f"bridge={name}",
            remedy="choose a name without '/'",
        )
