"""The datapath, as the switch sees it: bridges, ports and flows in; counters and punts out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from gossamer.datapath import loader
from gossamer.datapath.drop_reasons import DROP_REASONS
from gossamer.datapath.packets import Packets
from gossamer.datapath.parts import Parts
from gossamer.datapath.publish import Publisher
from gossamer.datapath.settings import (
    BridgeSettings,
    MissAction,
    PortSettings,
    PortStatistics,
    TableStatistics,
)
from gossamer.datapath.takeover import Takeover
from gossamer.datapath.tunnel_settings import Cuts, LocalAddress, TunnelOption, TunnelSettings
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.group import Group
from gossamer.pipeline.meter import Meter
from gossamer.pipeline.world import Fragments

log = logging.getLogger(__name__)

_PART: Final = 512
"""Flows between two breaths."""


class Datapath:
    """What is pinned under one directory.

    It forwards without this object; the object only changes what it does.
    After a take-over (`takeover` is True) everything wanted is added again,
    which changes nothing where it is the same, and then `converge()` removes
    the rest.
    """

    def __init__(self, loaded: loader.Loaded, pin_dir: Path) -> None:
        self._pin_dir = pin_dir
        self._loaded = loaded
        self.program_fd = loaded.program_fd
        self.uplink_fd = loaded.uplink_fd
        parts = self._parts = Parts.over(loaded)
        self.conntrack = parts.conntrack
        """Connections that ct() tracks, of all bridges."""
        self.programs = parts.programs
        self._bridges = parts.bridges
        self._ports = parts.ports
        self._flows = parts.flows
        self._groups = parts.groups
        self._meters = parts.meters
        self._statistics = parts.statistics
        self.fdb = parts.fdb
        """Addresses that bridges know."""
        self._tunnels = parts.tunnels
        self._uplinks = parts.uplinks
        self._cutter = parts.cutter
        self._publisher = Publisher(parts)
        self._touch = self.fdb.changed = self._publisher.touch
        self.breathe: Callable[[], None] = lambda: None
        """Called every few milliseconds of long work, for what cannot wait; it may change ports."""
        for works_long in (parts.flows.cells, parts.statistics, parts.grace):
            works_long.breathe = lambda: self.breathe()
        self.packets = Packets(parts, self._publisher)
        """Those that go up to the daemon, and down."""
        self._takeover = Takeover(pin_dir, parts, self._publisher)

    @classmethod
    def open(
        cls, pin_dir: Path, *, capturing: bool = False, object_file: Path = loader.OBJECT_FILE
    ) -> Datapath:
        """Load the datapath under `pin_dir`, or take over what is pinned there.

        Raises DatapathError where the kernel refuses.
        """
        loader.mount_bpffs()
        return cls(loader.load(pin_dir, object_file=object_file, capturing=capturing), pin_dir)

    @property
    def takeover(self) -> bool:
        """Whether what an earlier daemon left counts still: `converge()` has not been called."""
        return self._takeover.takes_rules

    @property
    def found_running(self) -> bool:
        """Whether devices had programs already, which go on without this object."""
        return self._takeover.found_running

    def converge(self) -> None:
        """End of a start: remove what was not added again, and what is pinned in another layout."""
        self._takeover.end()

    def close(self) -> None:
        """Let go of it; packets go on being forwarded."""
        self._parts.close()

    def destroy(self) -> None:
        """Take the program off all devices and remove everything pinned."""
        for port_id in list(self._ports.records):
            self._ports.remove(port_id)
        self._ports.disinherit()
        self._uplinks.detach_all()
        loader.unpin(self._pin_dir)
        self.close()

    def sweep(self) -> Iterator[None]:
        """Remove addresses that are too old, and what no packet looks at since a commit; about
        once a second, in steps of some milliseconds."""
        self.fdb.sweep()
        while self._parts.grace.run():
            yield

    # -- bridges -------------------------------------------------------------------

    def add_bridge(self, name: str) -> int:
        """Add a bridge; the id of the one there is, where there is one of that name."""
        bridge_id = self._bridges.add(name)
        if not self.fdb.knows(bridge_id):
            self.fdb.set_ageing(bridge_id, BridgeSettings().mac_ageing_s)
        self._flows.bridge(bridge_id)
        self._touch(bridge_id)
        return bridge_id

    def configure_bridge(self, bridge_id: int, settings: BridgeSettings) -> None:
        """Apply the settings of a bridge."""
        self.fdb.set_ageing(bridge_id, settings.mac_ageing_s)
        self._bridges.configure(bridge_id, settings)

    def set_fragments(self, bridge_id: int, fragments: Fragments) -> None:
        """What a bridge's tables see of IP fragments; all that there is, until told otherwise."""
        self._bridges.set_fragments(bridge_id, fragments)
        self._touch(bridge_id)

    def set_sampling(self, bridge_id: int, wanted: bool) -> None:
        """Whether anybody wants to hear of the packets that a bridge's rules sample."""
        self._bridges.set_sampling(bridge_id, wanted)
        self._touch(bridge_id)

    def remove_bridge(self, bridge_id: int) -> None:
        """Remove a bridge with its ports, flows and learned addresses."""
        for port_id in self._ports.of_bridge(bridge_id):
            self._tunnels.remove(port_id)
            self._ports.remove(port_id)
        self._tunnels.set_options(bridge_id, ())
        self._tunnels.set_relay(self._ports.internal_ifindex())
        self._flows.remove(bridge_id, list(self._flows.flows(bridge_id)))
        self._groups.remove_bridge(bridge_id)
        self._meters.remove_bridge(bridge_id)
        with self._publisher:
            for table_id in range(256):
                self.set_table_miss(bridge_id, table_id, MissAction.DROP)
            self._touch(bridge_id)
        self._parts.grace.settle()
        self._flows.forget_bridge(bridge_id)
        self._publisher.forget(bridge_id)
        self._bridges.remove(bridge_id)
        self.fdb.forget_bridge(bridge_id)
        self._statistics.forget_bridge(bridge_id)

    # -- ports ---------------------------------------------------------------------

    def add_port(self, bridge_id: int, settings: PortSettings) -> int:
        """Add a port, or take over the one of that name in the bridge; returns its id.

        Raises DatapathError where its device is gone; then nothing is left of it.
        """
        port_id = self._ports.add(bridge_id, settings)
        self._tunnels.set_relay(self._ports.internal_ifindex())
        self._publisher.list_members(bridge_id)
        self._publisher.follow_ports(bridge_id)
        self._touch(bridge_id)
        return port_id

    def update_port(self, port_id: int, settings: PortSettings) -> None:
        """Give a port other settings; addresses learned there in other VLANs are forgotten."""
        record = self._ports.records[port_id]
        before = record.settings
        self._ports.update(port_id, settings)
        self._tunnels.set_relay(self._ports.internal_ifindex())
        vlans = (settings.vlan_mode, settings.tag, settings.trunks)
        if vlans != (before.vlan_mode, before.tag, before.trunks):
            self.fdb.flush(record.bridge_id, port_id)
        self._publisher.follow_ports(record.bridge_id)
        self._touch(record.bridge_id)

    def remove_port(self, port_id: int) -> None:
        """Remove a port; its device stays, without our program."""
        bridge_id = self._ports.records[port_id].bridge_id
        self._tunnels.remove(port_id)
        self._ports.remove(port_id)
        self._tunnels.set_relay(self._ports.internal_ifindex())
        self._publisher.list_members(bridge_id)
        self.fdb.flush(bridge_id, port_id)
        self._publisher.follow_ports(bridge_id)
        self._touch(bridge_id)

    def port_statistics(self, port_id: int) -> PortStatistics:
        """Counters of a port."""
        return self._ports.statistics(port_id)

    # -- tunnels -------------------------------------------------------------------

    def set_tunnel(self, port_id: int, settings: TunnelSettings | None) -> None:
        """What a port of kind TUNNEL encapsulates in, and which packets are its own; None: nothing.

        Raises DatapathError where another port of the same bridge or another has exactly these
        packets (ovs-vswitchd.conf.db(5): combination of key, addresses and port).
        """
        self._tunnels.put(port_id, settings)
        self._touch(self._ports.records[port_id].bridge_id)

    def attach_uplink(self, ifindex: int, cuts: Cuts = Cuts.NONE) -> None:
        """Take tunnels' packets from what arrives at a device; all others pass untouched.  `cuts`
        are super-packets that must not leave by it; it may be said anew.

        Devices stay attached over restarts; `converge()` detaches those not attached again.
        Raises DatapathError where the device is gone.
        """
        self._uplinks.attach(ifindex, cuts)

    def set_cutter(self, near: int, far: int, *, cuts: bool, joins: bool) -> None:
        """By which pair of devices (devices/cutter.py) outer packets are cut up, where `cuts`, and
        those come that the host has put together, where `joins`; 0: none.

        Raises DatapathError where a device is gone.
        """
        self._cutter.set(near, far, cuts=cuts, joins=joins)

    def send_cut(self, packet: bytes) -> None:
        """Send an outer packet by the host's routes, in fragments where it must be.

        Raises DatapathError where nothing cuts, or the kernel refuses.
        """
        self._cutter.send(packet)

    def arrive_joined(self, packet: bytes) -> None:
        """Let an outer packet arrive that came in fragments; raises as send_cut()."""
        self._cutter.arrive(packet)

    def detach_uplink(self, ifindex: int) -> None:
        """Take no more tunnel packets from a device; nothing where it is gone."""
        self._uplinks.detach(ifindex)

    def set_local_addresses(self, addresses: Iterable[LocalAddress]) -> None:
        """The addresses of this host that tunnels may end on, all of them."""
        self._uplinks.set_local_addresses(addresses)

    def set_tlv_map(self, bridge_id: int, options: Iterable[TunnelOption]) -> None:
        """The Geneve options that a bridge's packets bring along and take with them."""
        self._tunnels.set_options(bridge_id, options)

    # -- flows ---------------------------------------------------------------------

    def transaction(self) -> AbstractContextManager[None]:
        """Changes within take effect together at the end, also where the block raises."""
        return self._publisher

    def insert_flows(self, bridge_id: int, flows: Sequence[Flow]) -> None:
        """Insert flows, or write again those that are here; sets their flow_id.

        A flow that replaces another of the same table, match and priority
        counts from zero unless it carries the other's flow_id.  Raises
        DatapathError for what the kernel cannot hold; flows before it are in.
        """
        with self._publisher:
            self._touch(bridge_id)
            for start in range(0, len(flows), _PART):
                self._flows.insert(bridge_id, flows[start : start + _PART])
                self.breathe()

    def remove_flows(self, bridge_id: int, flows: Sequence[Flow]) -> None:
        """Remove flows; their counters are read first, at most 20 ms old."""
        with self._publisher:
            self._touch(bridge_id)
            for start in range(0, len(flows), _PART):
                part = flows[start : start + _PART]
                self._statistics.refresh_lately(part, 0.02)
                self._statistics.retire(bridge_id, part)
                self._flows.remove(bridge_id, part)
                self.breathe()

    def read_flow_statistics(self, flows: Iterable[Flow]) -> None:
        """Refresh n_packets, n_bytes and used_s."""
        self._statistics.refresh(flows)

    def table_statistics(self, bridge_id: int) -> dict[int, TableStatistics]:
        """Lookups and matches of each table that was used."""
        return self._statistics.tables(bridge_id, self._flows.flows(bridge_id))

    def count_miss(self, bridge_id: int, table_id: int) -> None:
        """Count a look-up of the reference pipeline that found nothing."""
        self._statistics.count_miss(bridge_id, table_id)

    def set_table_miss(self, bridge_id: int, table_id: int, action: MissAction) -> None:
        """What a table does with packets that no flow matches."""
        words = self._parts.tables.words32
        at = (bridge_id * 256 + table_id) * 4 + 2
        if words[at] != int(action):
            words[at] = int(action)
            self._touch(bridge_id)

    # -- groups and meters ----------------------------------------------------------------------

    def set_group(self, bridge_id: int, group: Group) -> None:
        """Add a group, or replace the one of that number, whose counters begin again.

        Raises DatapathError for what the kernel cannot do; then nothing has changed.
        """
        self._groups.put(bridge_id, group)
        self._touch(bridge_id)

    def delete_group(self, bridge_id: int, group_id: int) -> None:
        """Remove a group; packets that are sent there are dropped."""
        self._groups.delete(bridge_id, group_id)
        self._touch(bridge_id)

    def group_statistics(
        self, bridge_id: int, group_id: int
    ) -> tuple[int, int, list[tuple[int, int]]]:
        """(packets, bytes) that a group has seen, and of each of its buckets."""
        record = self._groups.records[bridge_id, group_id]
        ids = [record.counter, *record.bucket_counters]
        total, *buckets = [
            (packets + own.packets, n_bytes + own.n_bytes)
            for (packets, n_bytes), own in zip(self._statistics.read(ids), record.own, strict=True)
        ]
        return (*total, buckets)

    def count_group(
        self, bridge_id: int, group_id: int, buckets: Sequence[int], n_bytes: int
    ) -> None:
        """Count a packet that the reference pipeline took through a group and those of its buckets
        (their indexes)."""
        self._groups.records[bridge_id, group_id].count(buckets, n_bytes)

    def set_meter(self, bridge_id: int, meter: Meter) -> None:
        """Add a meter, or replace the one of that number, which begins again.

        Raises DatapathError for more than the kernel can hold; then nothing has changed.
        """
        self._meters.put(bridge_id, meter)
        self._touch(bridge_id)

    def delete_meter(self, bridge_id: int, meter_id: int) -> None:
        """Remove a meter; packets that are sent there pass."""
        self._meters.delete(bridge_id, meter_id)
        self._touch(bridge_id)

    def meter_statistics(
        self, bridge_id: int, meter_id: int
    ) -> tuple[int, int, list[tuple[int, int]]]:
        """(packets, bytes) that came to a meter, and of each band that applied to them."""
        return self._meters.statistics(bridge_id, meter_id)

    def drops(self) -> dict[str, int]:
        """Packets dropped, by reason."""
        counts = {
            reason: self._parts.drops.sums(i)[0] for i, reason in enumerate(DROP_REASONS)
        }
        return {reason: n for reason, n in counts.items() if n}
