"""The datapath, as the switch sees it: bridges, ports and flows in; counters and punts out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from gossamer.datapath import layout, loader
from gossamer.datapath.bridges import Bridges
from gossamer.datapath.cache_mask import cache_bits, parse_depth
from gossamer.datapath.cells import Cells
from gossamer.datapath.conntrack import Conntrack
from gossamer.datapath.cutter import Cutter
from gossamer.datapath.fdb import Fdb, Removed
from gossamer.datapath.flows import FlowWriter
from gossamer.datapath.grace import Grace, Key
from gossamer.datapath.groups import BUCKET_WORDS, Groups
from gossamer.datapath.index import IndexArray
from gossamer.datapath.injection import arrive, run_once
from gossamer.datapath.layout import INJECT_ARRIVED, ParseDepth
from gossamer.datapath.maps import HashMap, MappedArray, PerCpuArray, Ring
from gossamer.datapath.meters import Meters
from gossamer.datapath.path_cache import cache_map
from gossamer.datapath.ports import Ports
from gossamer.datapath.programs import Programs
from gossamer.datapath.punts import decode_punt
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
from gossamer.datapath.statistics import Statistics
from gossamer.datapath.transmit import Transmitter
from gossamer.datapath.tunnel_settings import Cuts, LocalAddress, TunnelOption, TunnelSettings
from gossamer.datapath.tunnels import Tunnels
from gossamer.datapath.uplinks import Uplinks
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
        self.takeover = loaded.taken_over
        fds = loaded.map_fds
        self._arrays: list[MappedArray] = []

        def array(name: str, size: int, entries: int) -> MappedArray:
            mapped = MappedArray(name, fds[name], size, entries)
            self._arrays.append(mapped)
            return mapped

        def hashed(name: str, key: int, value: int) -> HashMap:
            return HashMap(name, fds[name], key, value)

        self._tables = array("tables", layout.TABLE.size, layout.MAX_TABLES)
        counters = array("flow_counters", layout.FLOW_COUNTERS.size, layout.MAX_FLOWS)
        misses = array("table_misses", 8, layout.MAX_TABLES)
        self._bridges = Bridges(
            array("bridges", layout.BRIDGE.size, layout.MAX_BRIDGES),
            array("cache_masks", layout.CACHE_MASK_SIZE, layout.MAX_MASKS),
            IndexArray(array("members", 4, layout.MAX_MEMBERS)),
        )
        self._ports = Ports(
            array("ports", layout.PORT.size, layout.MAX_PORTS),
            hashed("port_by_ifindex", 4, 4),
            array("port_by_low_ifindex", 4, layout.LOW_IFINDEXES),
            hashed("port_by_ofport", layout.OFPORT_KEY.size, 4),
            hashed("trunks", 4, layout.TRUNKS.size),
            PerCpuArray(
                "port_counters", fds["port_counters"], layout.PORT_COUNTERS.size, layout.MAX_PORTS
            ),
            hashed("police_buckets", 4, layout.POLICE_BUCKET_SIZE),
            loaded.program_fd,
        )
        head = layout.PROGRAM_HEAD.size
        self.conntrack = Conntrack(fds)
        """Connections that ct() tracks, of all bridges."""
        self.programs = Programs(
            hashed("small_programs", 4, head + layout.SMALL_OPS * layout.OP.size),
            hashed("large_programs", 4, head + layout.LARGE_OPS * layout.OP.size),
            self.conntrack.nat_rules,
        )
        self._flows = FlowWriter(
            tuple(
                hashed(f"rules_{words}", 4 + 4 * words, layout.RULE.size)
                for words in layout.KEY_CLASSES
            ),
            array("subtables", layout.SUBTABLE_SIZE, layout.MAX_SUBTABLES),
            self._tables,
            IndexArray(array("table_index", 8, layout.MAX_TABLE_INDEX)),
            counters,
            self.programs,
            self._bridges.reserve,
        )
        self._grace = Grace()
        self._flows.later = self._grace.add_duty
        self._flows.settle = self._grace.settle

        def cells(name: str, key: int, value: int) -> Cells:
            return Cells(hashed(name, key, value), self._bridges.reserve)

        self._groups = Groups(
            cells("groups", layout.GROUP_KEY.size, layout.GROUP_SIZE),
            IndexArray(array("buckets", layout.BUCKET.size, layout.MAX_BUCKETS), BUCKET_WORDS),
            self.programs,
            self._flows.flow_ids,
        )
        self._flows.other_lengths = self._groups.lengths
        self._groups.other_lengths = lambda bridge_id: self._flows.bridge(bridge_id).lengths()
        self._meters = Meters(
            cells("meters", layout.METER_KEY.size, layout.METER.size),
            array("meter_bands", layout.BANDS_SIZE, layout.MAX_METERS),
            array("meter_states", layout.METER_STATE.size, layout.MAX_METERS),
            PerCpuArray(
                "meter_counts", fds["meter_counts"], layout.METER_COUNTS.size, layout.MAX_METERS
            ),
        )
        cache = cache_map(fds["cache"])
        self._statistics = Statistics(counters, misses, cache)
        self._fdb = Fdb(hashed("fdb", layout.FDB_KEY.size, layout.FDB_ENTRY.size))
        self._learned_before: dict[int, FdbTotals] = {}
        """What `clear_fdb_totals()` found."""
        tunnel_config = array("tunnel_config", layout.TUNNEL_CONFIG_SIZE, 1)
        self._cutter = Cutter(tunnel_config, loaded.cutter_fd)
        self._tunnels = Tunnels(
            array("tunnels", layout.TUNNEL.size, layout.MAX_PORTS),
            hashed("endpoints", layout.ENDPOINT.size, 4),
            array("tunnel_udp_ports", 8, layout.UDP_PORT_WORDS),
            tunnel_config,
            array("tunnel_options", layout.TUNNEL_OPTIONS_SIZE, layout.MAX_BRIDGES),
        )
        self._uplinks = Uplinks(
            hashed("uplinks", 4, 4),
            hashed("local_addresses", 16, 4),
            hashed("underlay_sources", layout.SOURCE_KEY.size, 16),
            loaded.uplink_fd,
        )
        self._settings: dict[int, BridgeSettings] = {}
        self._drops = PerCpuArray("drops", fds["drops"], 8, len(layout.DROP_REASONS))
        self._punts: list[tuple[Punt, int]] = []
        self._ring = Ring(fds["punts"], lambda record: self._punts.append(decode_punt(record)))
        self._transmitter = Transmitter()
        self._changed: set[int] = set()
        self._in_transaction = 0
        self.breathe: Callable[[], None] = lambda: None
        """Called every few milliseconds of long work, for what cannot wait; it may change ports."""
        self._flows.breathe = lambda: self.breathe()
        self._unlisted: set[int] = set()
        """Bridges whose members changed in the transaction."""
        if self.takeover:
            self._bridges.inherit()
            self._ports.inherit()
            self._flows.inherit(self._bridges.version)
            self._groups.inherit(self._bridges.version)
            self._meters.inherit(self._bridges.version)
            self._tunnels.inherit()
            self._uplinks.inherit()

    @classmethod
    def open(
        cls, pin_dir: Path, *, capturing: bool = False, object_file: Path = loader.OBJECT_FILE
    ) -> Datapath:
        """Load the datapath under `pin_dir`, or take over what is pinned there.

        Raises DatapathError where the kernel refuses.
        """
        loader.mount_bpffs()
        return cls(loader.load(pin_dir, object_file=object_file, capturing=capturing), pin_dir)

    def converge(self) -> None:
        """End of a take-over: remove what was not added again."""
        if not self.takeover:
            return
        self.takeover = False
        # What is new, and what is gone, of each bridge at once; then what no rule refers to.
        self._flows.disinherit()
        self._groups.disinherit()
        self._meters.disinherit()
        self._changed.update(self._bridges.ids())
        self._publish()
        self._grace.settle()
        self.programs.disinherit()
        self.conntrack.nat_rules.disinherit()
        self._ports.disinherit()
        for bridge_id in self._bridges.unclaimed():
            self._bridges.remove(bridge_id)
        for bridge_id in self._bridges.ids():
            self._list_members(bridge_id)
        self._tunnels.disinherit()
        self._tunnels.set_relay(self._ports.internal_ifindex())
        self._uplinks.disinherit()
        self._changed.update(self._bridges.ids())
        self._publish()

    def close(self) -> None:
        """Let go of it; packets go on being forwarded."""
        self._transmitter.close()
        self._cutter.close()
        self._ring.close()
        self.conntrack.close()
        for array in self._arrays:
            array.close()
        os.close(self._loaded.program_fd)
        os.close(self._loaded.uplink_fd)
        os.close(self._loaded.cutter_fd)
        for fd in self._loaded.map_fds.values():
            os.close(fd)

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
        self._settings.setdefault(bridge_id, BridgeSettings())
        self._flows.bridge(bridge_id)
        self._touch(bridge_id)
        return bridge_id

    def configure_bridge(self, bridge_id: int, settings: BridgeSettings) -> None:
        """Apply the settings of a bridge."""
        self._settings[bridge_id] = settings
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
        self._changed.add(bridge_id)
        self._publish()
        self._grace.settle()
        self._flows.forget_bridge(bridge_id)
        self._changed.discard(bridge_id)
        self._bridges.remove(bridge_id)
        self._fdb.flush(bridge_id, whole=True)
        self._learned_before.pop(bridge_id, None)
        self._statistics.forget_bridge(bridge_id)
        for table_id in range(256):
            self.set_table_miss(bridge_id, table_id, MissAction.DROP)
        self._settings.pop(bridge_id, None)

    # -- ports ---------------------------------------------------------------------

    def add_port(self, bridge_id: int, settings: PortSettings) -> int:
        """Add a port, or take over the one of that name in the bridge; returns its id.

        Raises DatapathError where its device is gone; then nothing is left of it.
        """
        port_id = self._ports.add(bridge_id, settings)
        self._tunnels.set_relay(self._ports.internal_ifindex())
        self._list_members(bridge_id)
        self._follow(bridge_id)
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
        self._follow(record.bridge_id)
        self._touch(record.bridge_id)

    def remove_port(self, port_id: int) -> None:
        """Remove a port; its device stays, without our program."""
        bridge_id = self._ports.records[port_id].bridge_id
        self._tunnels.remove(port_id)
        self._ports.remove(port_id)
        self._tunnels.set_relay(self._ports.internal_ifindex())
        self._list_members(bridge_id)
        self.flush_fdb(bridge_id, port_id)
        self._follow(bridge_id)
        self._touch(bridge_id)

    def _follow(self, bridge_id: int) -> None:
        """Groups follow the ports they watch at once, also while a commit is being prepared."""
        if self._groups.follow(bridge_id, self._ports.is_live):
            self._bridges.outdate_paths(bridge_id)

    def port_statistics(self, port_id: int) -> PortStatistics:
        """Counters of a port."""
        return self._ports.statistics(port_id)

    def _list_members(self, bridge_id: int) -> None:
        if self._in_transaction:
            self._unlisted.add(bridge_id)
            return
        if self.takeover:
            return  # not all are added again yet: the list as it was is the better one
        self._bridges.set_members(bridge_id, self._ports.of_bridge(bridge_id))

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

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Changes within take effect together at the end, also where the block raises."""
        self._in_transaction += 1
        try:
            yield
        finally:
            self._in_transaction -= 1
            if not self._in_transaction:
                unlisted, self._unlisted = self._unlisted, set()
                for bridge_id in unlisted & set(self._bridges.ids()):
                    self._list_members(bridge_id)
                self._publish()

    def insert_flows(self, bridge_id: int, flows: Sequence[Flow]) -> None:
        """Insert flows, or write again those that are here; sets their flow_id.

        A flow that replaces another of the same table, match and priority
        counts from zero unless it carries the other's flow_id.  Raises
        DatapathError for what the kernel cannot hold; flows before it are in.
        """
        with self.transaction():
            self._changed.add(bridge_id)
            for start in range(0, len(flows), _PART):
                self._flows.insert(bridge_id, flows[start : start + _PART])
                self.breathe()

    def remove_flows(self, bridge_id: int, flows: Sequence[Flow]) -> None:
        """Remove flows; their counters are read first, at most 20 ms old."""
        with self.transaction():
            self._changed.add(bridge_id)
            for start in range(0, len(flows), _PART):
                part = flows[start : start + _PART]
                self._statistics.refresh(part, max_age_s=0.02)
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
        words = self._tables.words32
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
        total, *buckets = self._statistics.read([record.counter, *record.bucket_counters])
        return (*total, buckets)

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

    # -- learned addresses, drops, punts ---------------------------------------------

    def fdb(self, bridge_id: int) -> list[FdbEntry]:
        """The addresses a bridge knows."""
        return self._fdb.entries(bridge_id, self._settings[bridge_id].mac_ageing_s)

    def put_fdb(self, bridge_id: int, port_id: int, vlan: int, mac: bytes) -> None:
        """Put an address behind a port: it neither moves nor ages, and a flush leaves it.

        Raises DatapathError where there is no room for it.
        """
        if self._fdb.put(bridge_id, port_id, vlan, mac):
            self._bridges.set_learned(bridge_id, self._bridges.learned(bridge_id) + 1)
        self._touch(bridge_id)

    def delete_fdb(self, bridge_id: int, vlan: int, mac: bytes) -> bool:
        """Take out what `put_fdb()` put there; False where there is no such address."""
        if not self._fdb.delete(bridge_id, vlan, mac):
            return False
        self._bridges.set_learned(bridge_id, max(0, self._bridges.learned(bridge_id) - 1))
        self._touch(bridge_id)
        return True

    def fdb_totals(self, bridge_id: int) -> FdbTotals:
        """What happened to a bridge's addresses since `clear_fdb_totals()`, or the daemon's start."""
        now = self._fdb_totals(bridge_id)
        before = self._learned_before.get(bridge_id, FdbTotals())
        return FdbTotals(
            learned=now.learned - before.learned,
            expired=now.expired - before.expired,
            evicted=now.evicted - before.evicted,
            moved=(now.moved - before.moved) % (1 << 32),
        )

    def _fdb_totals(self, bridge_id: int) -> FdbTotals:
        removed = self._fdb.removed.get(bridge_id, Removed())
        # Only the daemon takes addresses out, so those that went and those there are, are all.
        there = sum(1 for e in self.fdb(bridge_id) if not e.fixed)
        return FdbTotals(
            learned=removed.expired + removed.evicted + removed.flushed + there,
            expired=removed.expired,
            evicted=removed.evicted,
            moved=self._bridges.moves(bridge_id),
        )

    def clear_fdb_totals(self, bridge_id: int) -> None:
        """Begin counting at zero again."""
        self._learned_before[bridge_id] = self._fdb_totals(bridge_id)

    def flush_fdb(self, bridge_id: int, port_id: int | None = None) -> None:
        """Forget what a bridge has learned, or all that is behind one of its ports."""
        self._bridges.set_learned(bridge_id, self._fdb.flush(bridge_id, port_id))
        self._touch(bridge_id)

    def sweep_fdb(self) -> None:
        """Remove what is too old and make room in full tables; call about once a second."""
        self._grace.run()
        ages = {b: float(s.mac_ageing_s) for b, s in self._settings.items()}
        limits = {b: self._bridges.limit(b) for b in ages}
        for bridge_id, count in self._fdb.sweep(ages, limits).items():
            self._bridges.set_learned(bridge_id, count)

    def drops(self) -> dict[str, int]:
        """Packets dropped, by reason."""
        out: dict[str, int] = {}
        for i, reason in enumerate(layout.DROP_REASONS):
            (n,) = self._drops.sums(i)
            if n:
                out[reason] = n
        return out

    @property
    def punt_fd(self) -> int:
        """Readable when there are punts."""
        return self._ring.fd

    def read_punts(self) -> list[Punt]:
        """The punts that came since the last call."""
        punts = [punt for punt, _ in self.read_records()]
        if self.takeover:
            # Learn actions are numbered anew: what programs of before name is not known yet.
            return [punt for punt in punts if punt.reason < PuntReason.LEARN]
        return punts

    def read_records(self) -> list[tuple[Punt, int]]:
        """Punts, and captured outputs with the port they went to."""
        self._ring.consume()
        out, self._punts = self._punts, []
        return out

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
        self._transmitter.send(self._ports.records[port_id].settings, packet)

    def inject(self, port_id: int, packet: bytes) -> None:
        """Let a packet that was held for a connection's helper (PuntReason.CT_ALG) arrive again.

        At least 14, at most about 3,500 bytes.  Raises DatapathError where the kernel refuses it:
        the device is gone, or the packet too long.
        """
        record = self._ports.records.get(port_id)
        if record is None:
            raise DatapathError("the port is gone", place=f"port={port_id}")
        arrive(self.program_fd, port_id, record.attached, packet, capturing=self._loaded.capturing)

    def run_at(self, port_id: int, packet: bytes) -> list[Punt]:
        """Let a packet enter by a port without device (PortKind.PATCH); what came up of it.

        Raises DatapathError where the kernel refuses it: shorter than 14
        bytes, or longer than about 3,500.
        """
        self._ports.enter_by(_ANY_DEVICE, port_id)
        self._ring.consume()
        n_before = len(self._punts)
        arrive(
            self.program_fd, port_id, _ANY_DEVICE, packet, capturing=self._loaded.capturing
        )
        self._ring.consume()
        came = self._punts[n_before:]
        # What the network sends up meanwhile is for the switch still.
        self._punts[n_before:] = [(p, to) for p, to in came if to or p.in_port_id != port_id]
        return [punt for punt, to in came if not to and punt.in_port_id == port_id]

    @property
    def has_punts(self) -> bool:
        """Whether `read_punts()` has some that came already."""
        return bool(self._punts)

    def inject_outer(self, packet: bytes) -> None:
        """The same for one that came out of a tunnel: with its outer headers, as on the wire.

        It leaves the tunnel once more, and is for whichever port that leads to.
        """
        run_once(self._loaded.uplink_fd, packet, mark=INJECT_ARRIVED, ifindex=_ANY_DEVICE)

    # -- publishing ------------------------------------------------------------------

    def _touch(self, bridge_id: int) -> None:
        self._changed.add(bridge_id)
        if not self._in_transaction:
            self._publish()

    def _lengths(self, bridge_id: int) -> set[int]:
        """Lengths of packets that flows or groups ask about."""
        return self._flows.bridge(bridge_id).lengths() | self._groups.lengths(bridge_id)

    def _write(self) -> set[int]:
        """Write what the next versions of bridges bring; returns those whose groups or meters are
        others then."""
        self.programs.flush()
        bridges = self._groups.write(self._ports.is_live) | self._meters.write()
        self._flows.write()
        return bridges

    def _publish(self) -> None:
        """Make all changes count, those of each bridge with one store of its version; cached
        paths of it are stale then.

        During a take-over everything waits for `converge()`: until then the
        kernel goes on with what it has, which is whole.
        """
        if self.takeover:
            return
        # What changes while this breathes comes next.
        self._in_transaction += 1
        try:
            self._commit()
        finally:
            self._in_transaction -= 1
        if self._changed and not self._in_transaction:
            self._publish()

    def _commit(self) -> None:
        keys: list[Key] = [*self._flows.keys(), *self._groups.keys(), *self._meters.keys()]
        if self._grace.covers(keys):
            self._grace.settle()
        try:
            regrouped = self._write()
        except DatapathError:
            if not self._grace.settle():
                raise
            # What was gone took the room.
            regrouped = self._write()
        due, self._changed = self._changed | regrouped, set()
        reach = self._meters.writes()
        for bridge_id, flows in self._flows.bridges.items():
            reads = flows.reach() | self._groups.reads(bridge_id)
            reach |= reads | self._groups.writes(bridge_id)
            reach |= self._bridges.tells_fragments(bridge_id, reads)
        depth = parse_depth(reach)
        for bridge_id in self._bridges.ids():
            if depth > self._bridges.depth(bridge_id):
                self._bridges.set_depth(bridge_id, depth)
        for bridge_id in due:
            flows = self._flows.bridge(bridge_id)
            reads = flows.look() | self._groups.reads(bridge_id)
            reads |= self._bridges.tells_fragments(bridge_id, reads)
            look = cache_bits(reads, flows.footprint.writes | self._groups.writes(bridge_id))
            self._bridges.set_lengths(bridge_id, self._lengths(bridge_id))
            self._bridges.set_look(bridge_id, look)
            self._bridges.bump(bridge_id)
        delete, *duties = self._flows.published()
        duties += self._groups.published() + self._meters.published()
        if len(keys) <= 1:
            # No packet can see a half of one change: no need to keep what was before.
            delete()
            keys = []
        else:
            duties.insert(0, delete)
        if keys or duties:
            self._grace.keep(keys, duties)
        for bridge_id in regrouped:
            self._follow(bridge_id)
        if depth is ParseDepth.L2:
            for bridge_id in self._bridges.ids():
                self._bridges.set_depth(bridge_id, depth)
