"""The parts of the datapath, each over the pinned maps that it keeps."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

from gossamer.datapath import layout
from gossamer.datapath.bridges import Bridges
from gossamer.datapath.cells import Cells
from gossamer.datapath.conntrack import Conntrack
from gossamer.datapath.cutter import Cutter
from gossamer.datapath.drop_reasons import DROP_REASONS
from gossamer.datapath.fdb import Fdb
from gossamer.datapath.flows import FlowWriter
from gossamer.datapath.grace import Grace
from gossamer.datapath.groups import BUCKET_WORDS, Groups
from gossamer.datapath.index import IndexArray
from gossamer.datapath.loader import Loaded
from gossamer.datapath.maps import HashMap, MappedArray, PerCpuArray
from gossamer.datapath.meters import Meters
from gossamer.datapath.path_cache import cache_map
from gossamer.datapath.ports import Ports
from gossamer.datapath.programs import Programs
from gossamer.datapath.punts import Punts
from gossamer.datapath.rule_filters import RuleFilters
from gossamer.datapath.statistics import Statistics
from gossamer.datapath.transmit import Transmitter
from gossamer.datapath.tunnels import Tunnels
from gossamer.datapath.uplinks import Uplinks


class _Maps:
    """The maps that were loaded or taken over, opened by name."""

    def __init__(self, fds: dict[str, int]) -> None:
        self._fds = fds
        self.arrays: list[MappedArray] = []

    def array(self, name: str, size: int, entries: int) -> MappedArray:
        """An array whose memory is ours too."""
        mapped = MappedArray(name, self._fds[name], size, entries)
        self.arrays.append(mapped)
        return mapped

    def hashed(self, name: str, key: int, value: int) -> HashMap:
        """A hash map, of these sizes."""
        return HashMap(name, self._fds[name], key, value)

    def per_cpu(self, name: str, size: int, entries: int) -> PerCpuArray:
        """An array of which each CPU has its own."""
        return PerCpuArray(name, self._fds[name], size, entries)


@dataclass(slots=True)
class Parts:
    """All of them; who needs another one has it."""

    loaded: Loaded
    arrays: list[MappedArray]
    tables: MappedArray
    drops: PerCpuArray
    bridges: Bridges
    ports: Ports
    programs: Programs
    flows: FlowWriter
    groups: Groups
    meters: Meters
    conntrack: Conntrack
    statistics: Statistics
    fdb: Fdb
    tunnels: Tunnels
    uplinks: Uplinks
    cutter: Cutter
    punts: Punts
    transmitter: Transmitter
    grace: Grace

    @classmethod
    def over(cls, loaded: Loaded) -> Self:
        """The parts over what was loaded."""
        fds = loaded.map_fds
        maps = _Maps(fds)
        array, hashed, per_cpu = maps.array, maps.hashed, maps.per_cpu
        tables = array("tables", layout.TABLE.size, layout.MAX_TABLES)
        counters = array("flow_counters", layout.FLOW_COUNTERS.size, layout.MAX_FLOWS)
        bridges = Bridges(
            array("bridges", layout.BRIDGE.size, layout.MAX_BRIDGES),
            array("cache_masks", layout.CACHE_MASK_SIZE, layout.MAX_MASKS),
            IndexArray(array("members", 4, layout.MAX_MEMBERS)),
        )
        conntrack = Conntrack(fds, loaded.forget_fd, loaded.inherit_fd)
        punts = Punts(fds["punts"])
        punts.hear(fds["ct_room"], conntrack.room.is_wanted)
        head = layout.PROGRAM_HEAD.size
        programs = Programs(
            hashed("small_programs", 4, head + layout.SMALL_OPS * layout.OP.size),
            hashed("large_programs", 4, head + layout.LARGE_OPS * layout.OP.size),
            conntrack.nat_rules,
        )
        subtables = array("subtables", layout.SUBTABLE_SIZE, layout.MAX_SUBTABLES)
        flows = FlowWriter(
            tuple(
                hashed(f"rules_{words}", 4 + 4 * words, layout.RULE.size)
                for words in layout.KEY_CLASSES
            ),
            subtables,
            tables,
            IndexArray(array("table_index", 8, layout.MAX_TABLE_INDEX)),
            RuleFilters(array("rule_filters", 8, layout.FILTER_WORDS), subtables),
            counters,
            programs,
            bridges.reserve,
        )
        grace = Grace()
        flows.lists.later = grace.add_duty
        flows.lists.settle = grace.settle

        def cells(name: str, key: int, value: int) -> Cells:
            return Cells(hashed(name, key, value), bridges.reserve)

        groups = Groups(
            cells("groups", layout.GROUP_KEY.size, layout.GROUP_SIZE),
            IndexArray(array("buckets", layout.BUCKET.size, layout.MAX_BUCKETS), BUCKET_WORDS),
            programs,
            flows.flow_ids,
        )
        flows.other_lengths = lambda bridge_id: groups.footprint(bridge_id).lengths
        groups.other_lengths = lambda bridge_id: flows.bridge(bridge_id).footprint.lengths
        tunnel_config = array("tunnel_config", layout.TUNNEL_CONFIG_SIZE, 1)
        return cls(
            loaded=loaded,
            arrays=maps.arrays,
            tables=tables,
            drops=per_cpu("drops", 8, len(DROP_REASONS)),
            bridges=bridges,
            ports=Ports(
                array("ports", layout.PORT.size, layout.MAX_PORTS),
                hashed("port_by_ifindex", 4, 4),
                array("port_by_low_ifindex", 4, layout.LOW_IFINDEXES),
                hashed("port_by_ofport", layout.OFPORT_KEY.size, 4),
                hashed("trunks", 4, layout.TRUNKS.size),
                per_cpu("port_counters", layout.PORT_COUNTERS.size, layout.MAX_PORTS),
                hashed("police_buckets", 4, layout.POLICE_BUCKET_SIZE),
                loaded.program_fd,
            ),
            programs=programs,
            flows=flows,
            groups=groups,
            meters=Meters(
                cells("meters", layout.METER_KEY.size, layout.METER.size),
                array("meter_bands", layout.BANDS_SIZE, layout.MAX_METERS),
                array("meter_states", layout.METER_STATE.size, layout.MAX_METERS),
                per_cpu("meter_counts", layout.METER_COUNTS.size, layout.MAX_METERS),
            ),
            conntrack=conntrack,
            statistics=Statistics(
                counters, array("table_misses", 8, layout.MAX_TABLES), cache_map(fds["cache"])
            ),
            fdb=Fdb(
                hashed("fdb", layout.FDB_KEY.size, layout.FDB_ENTRY.size),
                bridges,
                conntrack.config.now_ns,
            ),
            tunnels=Tunnels(
                array("tunnels", layout.TUNNEL.size, layout.MAX_PORTS),
                hashed("endpoints", layout.ENDPOINT.size, 4),
                array("tunnel_udp_ports", 8, layout.UDP_PORT_WORDS),
                tunnel_config,
                array("tunnel_options", layout.TUNNEL_OPTIONS_SIZE, layout.MAX_BRIDGES),
            ),
            uplinks=Uplinks(
                hashed("uplinks", 4, 4),
                hashed("local_addresses", 16, 4),
                hashed("underlay_sources", layout.SOURCE_KEY.size, 16),
                loaded.uplink_fd,
            ),
            cutter=Cutter(tunnel_config, loaded.cutter_fd),
            punts=punts,
            transmitter=Transmitter(),
            grace=grace,
        )

    def inherit(self) -> None:
        """Learn what an earlier daemon left in the maps."""
        self.bridges.inherit()
        self.ports.inherit()
        self.flows.inherit(self.bridges.version)
        self.groups.inherit(self.bridges.version)
        self.meters.inherit(self.bridges.version)
        self.tunnels.inherit()
        self.uplinks.inherit()

    def wait(self) -> None:
        """Leave devices that are added the programs that they have, until all are there."""
        self.ports.waits = self.uplinks.waits = True

    def switch_over(self) -> None:
        """Run the programs that were loaded on all devices that are added, or that an earlier daemon
        attached to, at once; then no packet is under way through the ones before."""
        self.ports.attach_all()
        self.uplinks.attach_all()
        self.grace.wait()

    def close(self) -> None:
        """Let go of maps and programs; what is pinned stays."""
        self.transmitter.close()
        self.cutter.close()
        self.punts.close()
        self.conntrack.close()
        for array in self.arrays:
            array.close()
        loaded = self.loaded
        programs = (
            *(loaded.program_fd, loaded.uplink_fd, loaded.cutter_fd),
            *(loaded.forget_fd, loaded.inherit_fd, loaded.grow_fd),
        )
        for fd in (*programs, *loaded.map_fds.values()):
            os.close(fd)
