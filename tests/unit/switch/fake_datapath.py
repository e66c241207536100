"""A datapath that lives in memory, for tests of the switch.

It keeps what it is told and counts nothing by itself; tests set
counters with `count()`.  It refuses like the real one: a flow more than
`max_flows` is a DatapathError, and the flows before it are in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from fake_parts import FakeConntrack, FakeFdb, FakePackets

from gossamer.datapath.settings import (
    BridgeSettings,
    MissAction,
    PortSettings,
    PortStatistics,
    TableStatistics,
)
from gossamer.datapath.tunnel_settings import Cuts, LocalAddress, TunnelOption, TunnelSettings
from gossamer.errors import DatapathError
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.group import Group
from gossamer.pipeline.meter import Meter
from gossamer.pipeline.world import Fragments


@dataclass
class Counters:
    n_packets: int = 0
    n_bytes: int = 0
    used_s: float = 0.0


@dataclass
class FakeBridge:
    name: str
    settings: BridgeSettings = field(default_factory=BridgeSettings)
    flows: dict[tuple[int, int, int, int], tuple[Flow, object]] = field(default_factory=dict)
    counters: dict[tuple[int, int, int, int], Counters] = field(default_factory=dict)
    miss: dict[int, MissAction] = field(default_factory=dict)
    groups: dict[int, Group] = field(default_factory=dict)
    meters: dict[int, Meter] = field(default_factory=dict)
    fragments: Fragments = Fragments.NX_MATCH
    sampling: bool = False


def flow_key(flow: Flow) -> tuple[int, int, int, int]:
    return (flow.table_id, flow.priority, flow.match.value, flow.match.mask)


class FakeDatapath:
    """In the contract of docs/architecture.md, datapath/."""

    def __init__(self, max_flows: int = 10_000_000) -> None:
        self.max_flows = max_flows
        self.max_groups = 1000
        self.takeover = False
        self.converged = 0
        self.transactions = 0
        self._depth = 0
        self.breathe: Callable[[], None] = lambda: None
        self.bridges: dict[int, FakeBridge] = {}
        self.ports: dict[int, tuple[int, PortSettings]] = {}
        self.port_counters: dict[int, PortStatistics] = {}
        self.misses: Counter[tuple[int, int]] = Counter()
        self.group_uses: list[tuple[int, int, tuple[int, ...], int]] = []
        self.fdb = FakeFdb()
        self.packets = FakePackets()
        self.conntrack = FakeConntrack()
        self.tunnels: dict[int, TunnelSettings] = {}
        self.uplinks: set[int] = set()
        self.cutter = (0, 0, False, False)
        self.cuts: dict[int, Cuts] = {}
        self.cut: list[bytes] = []
        self.arrived: list[bytes] = []
        self.local_addresses: list[LocalAddress] = []
        self.tlv_maps: dict[int, list[TunnelOption]] = {}
        self._next_port = 1
        self._next_flow = 1

    def converge(self) -> None:
        self.converged += self.takeover
        self.takeover = False

    def add_bridge(self, name: str) -> int:
        for bridge_id, bridge in self.bridges.items():
            if bridge.name == name:
                return bridge_id
        bridge_id = max(self.bridges, default=0) + 1
        self.bridges[bridge_id] = FakeBridge(name)
        return bridge_id

    def configure_bridge(self, bridge_id: int, settings: BridgeSettings) -> None:
        self.bridges[bridge_id].settings = settings

    def set_fragments(self, bridge_id: int, fragments: Fragments) -> None:
        self.bridges[bridge_id].fragments = fragments

    def set_sampling(self, bridge_id: int, wanted: bool) -> None:
        self.bridges[bridge_id].sampling = wanted

    def remove_bridge(self, bridge_id: int) -> None:
        del self.bridges[bridge_id]

    def add_port(self, bridge_id: int, settings: PortSettings) -> int:
        for port_id, (bridge, old) in self.ports.items():
            if bridge == bridge_id and old.name == settings.name:
                self.ports[port_id] = (bridge_id, settings)
                return port_id
        port_id, self._next_port = self._next_port, self._next_port + 1
        self.ports[port_id] = (bridge_id, settings)
        return port_id

    def update_port(self, port_id: int, settings: PortSettings) -> None:
        self.ports[port_id] = (self.ports[port_id][0], settings)

    def remove_port(self, port_id: int) -> None:
        del self.ports[port_id]

    def port_statistics(self, port_id: int) -> PortStatistics:
        return self.port_counters.get(port_id, PortStatistics())

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            self.transactions += not self._depth

    def insert_flows(self, bridge_id: int, flows: Sequence[Flow]) -> None:
        bridge = self.bridges[bridge_id]
        for flow in flows:
            key = flow_key(flow)
            if key not in bridge.flows and len(bridge.flows) >= self.max_flows:
                raise DatapathError("flow table full")
            bridge.flows[key] = (flow, flow.actions)
            if not flow.flow_id:
                if not self.takeover:
                    bridge.counters.pop(key, None)
                flow.flow_id, self._next_flow = self._next_flow, self._next_flow + 1

    def remove_flows(self, bridge_id: int, flows: Sequence[Flow]) -> None:
        self.read_flow_statistics(flows)
        bridge = self.bridges[bridge_id]
        for flow in flows:
            key = flow_key(flow)
            bridge.flows.pop(key, None)
            bridge.counters.pop(key, None)

    def read_flow_statistics(self, flows: Sequence[Flow]) -> None:
        by_flow = {
            id(flow): bridge.counters.get(key)
            for bridge in self.bridges.values()
            if bridge.counters
            for key, (flow, _) in bridge.flows.items()
        }
        for flow in flows:
            counters = by_flow.get(id(flow))
            if counters is not None:
                flow.n_packets = counters.n_packets
                flow.n_bytes = counters.n_bytes
                flow.used_s = counters.used_s

    def count(self, flow: Flow, n_packets: int, n_bytes: int, used_s: float) -> None:
        """Pretend packets passed a flow."""
        for bridge in self.bridges.values():
            if flow_key(flow) in bridge.flows:
                bridge.counters[flow_key(flow)] = Counters(n_packets, n_bytes, used_s)

    def table_statistics(self, bridge_id: int) -> dict[int, TableStatistics]:
        return {0: TableStatistics(0, 0)}

    def count_miss(self, bridge_id: int, table_id: int) -> None:
        self.misses[bridge_id, table_id] += 1

    def count_group(
        self, bridge_id: int, group_id: int, buckets: Sequence[int], n_bytes: int
    ) -> None:
        self.group_uses.append((bridge_id, group_id, tuple(buckets), n_bytes))

    def set_table_miss(self, bridge_id: int, table_id: int, action: MissAction) -> None:
        self.bridges[bridge_id].miss[table_id] = action

    def set_group(self, bridge_id: int, group: Group) -> None:
        groups = self.bridges[bridge_id].groups
        if group.group_id not in groups and len(groups) >= self.max_groups:
            raise DatapathError("no room for one more group")
        groups[group.group_id] = group

    def delete_group(self, bridge_id: int, group_id: int) -> None:
        self.bridges[bridge_id].groups.pop(group_id, None)

    def group_statistics(
        self, bridge_id: int, group_id: int
    ) -> tuple[int, int, list[tuple[int, int]]]:
        n = len(self.bridges[bridge_id].groups[group_id].buckets)
        return 7 * n, 700 * n, [(7, 700)] * n

    def set_meter(self, bridge_id: int, meter: Meter) -> None:
        meters = self.bridges[bridge_id].meters
        if meter.meter_id not in meters and len(meters) >= self.max_groups:
            raise DatapathError("no room for one more meter")
        meters[meter.meter_id] = meter

    def delete_meter(self, bridge_id: int, meter_id: int) -> None:
        self.bridges[bridge_id].meters.pop(meter_id, None)

    def meter_statistics(
        self, bridge_id: int, meter_id: int
    ) -> tuple[int, int, list[tuple[int, int]]]:
        n = len(self.bridges[bridge_id].meters[meter_id].bands)
        return 9, 900, [(3, 300)] * n

    def set_tunnel(self, port_id: int, settings: TunnelSettings | None) -> None:
        self.tunnels.pop(port_id, None)
        if settings is not None:
            self.tunnels[port_id] = settings

    def attach_uplink(self, ifindex: int, cuts: Cuts = Cuts.NONE) -> None:
        self.uplinks.add(ifindex)
        self.cuts[ifindex] = cuts

    def detach_uplink(self, ifindex: int) -> None:
        self.uplinks.discard(ifindex)

    def set_cutter(self, near: int, far: int, *, cuts: bool, joins: bool) -> None:
        self.cutter = (near, far, cuts, joins)

    def send_cut(self, packet: bytes) -> None:
        self.cut.append(packet)

    def arrive_joined(self, packet: bytes) -> None:
        self.arrived.append(packet)

    def set_local_addresses(self, addresses: Iterable[LocalAddress]) -> None:
        self.local_addresses = list(addresses)

    def set_tlv_map(self, bridge_id: int, options: Iterable[TunnelOption]) -> None:
        self.tlv_maps[bridge_id] = list(options)

    def drops(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        self.packets.close()

    def destroy(self) -> None:
        self.bridges.clear()
        self.ports.clear()

    def port_named(self, name: str) -> PortSettings:
        return next(s for _, s in self.ports.values() if s.name == name)
