"""The datapath, as the switch sees it: bridges, ports and flows in; counters and punts out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final

from gossamer.datapath import layout, loader
from gossamer.datapath.injection import arrive_by_headers, go_on
from gossamer.datapath.parts import Parts
from gossamer.datapath.publish import Publisher
from gossamer.datapath.settings import (
    BridgeSettings,
    FdbEntry,
    FdbTotals,
    MissAction,
    PortSettings,
    PortStatistics,
    Punt,
    PuntReason,
    TableStatistics,
)
from gossamer.datapath.tunnel_settings import Cuts, LocalAddress, TunnelOption, TunnelSettings
from gossamer.errors import DatapathError
from gossamer.pipeline.action import Learn, Sample
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.group import Group
from gossamer.pipeline.meter import Meter
from gossamer.pipeline.world import Fragments

_ANY_DEVICE: Final = 1
"""The loopback device's index: where tunnels' packets arrive does not matter."""


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
        self._fdb = parts.fdb
        self._tunnels = parts.tunnels
        self._uplinks = parts.uplinks
        self._cutter = parts.cutter
        self._publisher = Publisher(parts)
        self._touch = self._publisher.touch
        self.breathe: Callable[[], None] = lambda: None
        """Called every few milliseconds of long work, for what cannot wait; it may change ports."""
        self._flows.cells.breathe = lambda: self.breathe()
        if self.takeover:
            parts.inherit()

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
        return self._publisher.takeover

    def converge(self) -> None:
        """End of a take-over: remove what was not added again."""
        if not self.takeover:
            return
        self._publisher.takeover = False
        # What is new, and what is gone, of each bridge at once; then what no rule refers to.
        self._flows.disinherit()
        self._groups.disinherit()
        self._meters.disinherit()
        self._publisher.touch_all()
        self._parts.grace.settle()
        self.programs.disinherit()
        self.conntrack.nat_rules.disinherit()
        self._ports.disinherit()
        for bridge_id in self._bridges.unclaimed():
            self._bridges.remove(bridge_id)
        for bridge_id in self._bridges.ids():
            self._publisher.list_members(bridge_id)
        self._tunnels.disinherit()
        self._tunnels.set_relay(self._ports.internal_ifindex())
        self._uplinks.disinherit()
        self._publisher.touch_all()

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

    # -- bridges -------------------------------------------------------------------

    def add_bridge(self, name: str) -> int:
        """Add a bridge; the id of the one there is, where there is one of that name."""
        bridge_id = self._bridges.add(name)
        if not self._fdb.knows(bridge_id):
            self._fdb.set_ageing(bridge_id, BridgeSettings().mac_ageing_s)
        self._flows.bridge(bridge_id)
        self._touch(bridge_id)
        return bridge_id

    def configure_bridge(self, bridge_id: int, settings: BridgeSettings) -> None:
        """Apply the settings of a bridge."""
        self._fdb.set_ageing(bridge_id, settings.mac_ageing_s)
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
        self._fdb.forget_bridge(bridge_id)
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
            self.flush_fdb(record.bridge_id, port_id)
        self._publisher.follow_ports(record.bridge_id)
        self._touch(record.bridge_id)

    def remove_port(self, port_id: int) -> None:
        """Remove a port; its device stays, without our program."""
        bridge_id = self._ports.records[port_id].bridge_id
        self._tunnels.remove(port_id)
        self._ports.remove(port_id)
        self._tunnels.set_relay(self._ports.internal_ifindex())
        self._publisher.list_members(bridge_id)
        self.flush_fdb(bridge_id, port_id)
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

    # -- learned addresses -----------------------------------------------------------

    def fdb(self, bridge_id: int) -> list[FdbEntry]:
        """The addresses a bridge knows."""
        return self._fdb.entries(bridge_id)

    def learn_fdb(self, bridge_id: int, port_id: int, vlan: int, mac: bytes) -> None:
        """Learn that an address is behind a port, as the kernel does from packets.

        Raises DatapathError where there is no room for it.
        """
        self._fdb.learn(bridge_id, port_id, vlan, mac)

    def put_fdb(self, bridge_id: int, port_id: int, vlan: int, mac: bytes) -> None:
        """Put an address behind a port: it neither moves nor ages, and a flush leaves it.

        Raises DatapathError where there is no room for it.
        """
        self._fdb.put(bridge_id, port_id, vlan, mac)
        self._touch(bridge_id)

    def delete_fdb(self, bridge_id: int, vlan: int, mac: bytes) -> bool:
        """Take out what `put_fdb()` put there; False where there is no such address."""
        if not self._fdb.delete(bridge_id, vlan, mac):
            return False
        self._touch(bridge_id)
        return True

    def fdb_totals(self, bridge_id: int) -> FdbTotals:
        """What happened to a bridge's addresses since `clear_fdb_totals()`, or the daemon's start."""
        return self._fdb.totals(bridge_id)

    def clear_fdb_totals(self, bridge_id: int) -> None:
        """Begin counting at zero again."""
        self._fdb.clear_totals(bridge_id)

    def flush_fdb(self, bridge_id: int, port_id: int | None = None) -> None:
        """Forget what a bridge has learned, or all that is behind one of its ports."""
        self._fdb.flush(bridge_id, port_id)
        self._touch(bridge_id)

    def sweep_fdb(self) -> None:
        """Remove what is too old and make room in full tables; call about once a second."""
        self._parts.grace.run()
        self._fdb.sweep()

    # -- packets that go up, and down ------------------------------------------------

    def drops(self) -> dict[str, int]:
        """Packets dropped, by reason."""
        counts = {
            reason: self._parts.drops.sums(i)[0] for i, reason in enumerate(layout.DROP_REASONS)
        }
        return {reason: n for reason, n in counts.items() if n}

    @property
    def punt_fd(self) -> int:
        """Readable when there are punts."""
        return self._parts.punts.fd

    @property
    def has_punts(self) -> bool:
        """Whether `read_punts()` has some that came already."""
        return bool(self._parts.punts)

    def read_punts(self) -> list[Punt]:
        """The punts that came since the last call."""
        punts = [punt for punt, _ in self.read_records()]
        if self.takeover:
            # Learn actions are numbered anew: what programs of before name is not known yet.
            return [punt for punt in punts if punt.reason < PuntReason.LEARN]
        return punts

    def read_records(self) -> list[tuple[Punt, int]]:
        """Punts, and captured outputs with the port they went to."""
        records = self._parts.punts.take()
        self.conntrack.room.make()
        return records

    def userdata(self, userdata_id: int) -> bytes:
        """The controller(userdata=) bytes that a punt names."""
        return self.programs.userdata[userdata_id]

    def learn_action(self, learn_id: int) -> Learn:
        """The learn action that a punt of reason LEARN names by its userdata_id."""
        return self.programs.learns[learn_id]

    def sample_action(self, sample_id: int) -> Sample:
        """The sample action that a punt of reason SAMPLE names by its userdata_id."""
        return self.programs.samples[sample_id]

    def transmit(self, port_id: int, packet: bytes) -> None:
        """Send a frame out of a port.  Raises DatapathError where its device refuses."""
        self._parts.transmitter.send(self._ports.records[port_id].settings, packet)

    def let_go_on(self, punt: Punt, packet: bytes) -> None:
        """Let a packet go on that was held for a connection's helper (PuntReason.CT_ALG), as `packet`.

        At least 14, at most about 3,500 bytes.  One that was long may go on as several, one after
        the other.  Raises DatapathError where the kernel refuses it: the device is gone, or the
        packet too long.
        """
        record = self._ports.records.get(punt.in_port_id)
        if record is None:
            raise DatapathError("the port is gone", place=f"port={punt.in_port_id}")
        ifindex = record.attached or _ANY_DEVICE
        capturing = self._loaded.capturing
        go_on(self.program_fd, punt.userdata_id, ifindex, packet, capturing=capturing)

    def run_at(self, port_id: int, packet: bytes) -> list[Punt]:
        """Let a packet enter by a port without device (PortKind.PATCH); what came up of it.

        Of one longer than about 3,000 bytes only the headers are sure to be
        its own.  Raises DatapathError where the kernel refuses it: shorter
        than 14 bytes, or longer than about 16,000 (16 KiB with what it keeps itself).
        """
        self._ports.enter_by(_ANY_DEVICE, port_id)
        run = partial(
            arrive_by_headers,
            self.program_fd,
            self._loaded.grow_fd,
            port_id,
            _ANY_DEVICE,
            packet,
            capturing=self._loaded.capturing,
        )
        return self._parts.punts.take_of(port_id, run)
