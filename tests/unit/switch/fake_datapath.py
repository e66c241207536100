"""A datapath and devices that live in memory, for tests of the switch.

The datapath keeps what it is told and counts nothing by itself; tests set
counters with `count()`.  It refuses like the real one: a flow more than
`max_flows` is a DatapathError, and the flows before it are in.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface
from types import SimpleNamespace

from gossamer.datapath.settings import (
    BridgeSettings,
    FdbEntry,
    FdbTotals,
    MissAction,
    PortSettings,
    PortStatistics,
    Punt,
    TableStatistics,
)
from gossamer.datapath.tunnel_settings import Cuts, LocalAddress, TunnelOption, TunnelSettings
from gossamer.devices.counters import DeviceErrors
from gossamer.devices.joining import Wanted
from gossamer.devices.qos import QueueCounters, QueueTree
from gossamer.devices.routes import Route
from gossamer.devices.underlay import Address, Neighbour
from gossamer.errors import DatapathError, DeviceError
from gossamer.pipeline.conntrack.timeouts import DEFAULTS
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
    fdb: list[FdbEntry] = field(default_factory=list)
    forgotten: int = 0
    groups: dict[int, Group] = field(default_factory=dict)
    meters: dict[int, Meter] = field(default_factory=dict)
    fragments: Fragments = Fragments.NX_MATCH
    sampling: bool = False


def flow_key(flow: Flow) -> tuple[int, int, int, int]:
    return (flow.table_id, flow.priority, flow.match.value, flow.match.mask)


class FakeZones:
    """Policies by number, zones with their policy and limit."""

    def __init__(self) -> None:
        self.written: dict[int, dict[str, int]] = {}
        self.of: dict[int, int] = {}
        """Zone -> number of its policy."""
        self.limits: dict[int, int] = {}

    def timeouts(self, policy: int) -> dict[str, int]:
        return {**DEFAULTS, **self.written.get(policy, {})}

    def set_timeouts(self, policy: int, timeouts_s: dict[str, int]) -> None:
        self.written[policy] = timeouts_s

    def policies(self) -> dict[int, int]:
        return {zone: policy for zone, policy in self.of.items() if policy}

    def set_policy(self, zone: int, policy: int) -> None:
        self.of[zone] = policy

    def set_limit(self, zone: int, limit: int | None) -> None:
        if limit is None:
            self.limits.pop(zone, None)
        else:
            self.limits[zone] = limit


class FakeConntrack:
    """Settings of connection tracking, and which zones were flushed."""

    def __init__(self) -> None:
        self.zones = FakeZones()
        self.config = SimpleNamespace(default_limit=0)
        self.count = 0
        self.flushed: list[int | None] = []

    def flushing(self, zone: int | None = None, fits: object = None) -> Iterator[int]:
        self.flushed.append(zone)
        yield 0


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
        self.sent: list[tuple[int, bytes]] = []
        self.misses: Counter[tuple[int, int]] = Counter()
        self.group_uses: list[tuple[int, int, tuple[int, ...], int]] = []
        self.taught: list[tuple[int, int, int, bytes]] = []
        self.punts: list[Punt] = []
        self.injected: list[tuple[int, bytes]] = []
        self.conntrack = FakeConntrack()
        self.flushed: list[tuple[int, int | None]] = []
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
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)

    @property
    def punt_fd(self) -> int:
        return self._read_fd

    def converge(self) -> None:
        self.converged += 1
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

    def learn_fdb(self, bridge_id: int, port_id: int, vlan: int, mac: bytes) -> None:
        self.taught.append((bridge_id, port_id, vlan, mac))

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

    def fdb(self, bridge_id: int) -> list[FdbEntry]:
        return self.bridges[bridge_id].fdb

    def put_fdb(self, bridge_id: int, port_id: int, vlan: int, mac: bytes) -> None:
        self.delete_fdb(bridge_id, vlan, mac)
        self.bridges[bridge_id].fdb.append(FdbEntry(vlan, mac, port_id, 0.0, fixed=True))

    def delete_fdb(self, bridge_id: int, vlan: int, mac: bytes) -> bool:
        bridge = self.bridges[bridge_id]
        before = len(bridge.fdb)
        bridge.fdb = [e for e in bridge.fdb if (e.vlan, e.mac, e.fixed) != (vlan, mac, True)]
        return len(bridge.fdb) < before

    def fdb_totals(self, bridge_id: int) -> FdbTotals:
        bridge = self.bridges[bridge_id]
        return FdbTotals(sum(1 for e in bridge.fdb if not e.fixed) - bridge.forgotten)

    def clear_fdb_totals(self, bridge_id: int) -> None:
        bridge = self.bridges[bridge_id]
        bridge.forgotten = sum(1 for e in bridge.fdb if not e.fixed)

    def flush_fdb(self, bridge_id: int, port_id: int | None = None) -> None:
        self.flushed.append((bridge_id, port_id))
        self.bridges[bridge_id].fdb = [e for e in self.bridges[bridge_id].fdb if e.fixed]

    def read_punts(self) -> list[Punt]:
        punts, self.punts = self.punts, []
        return punts

    def drops(self) -> dict[str, int]:
        return {}

    def run_at(self, port_id: int, packet: bytes) -> list[Punt]:
        self.injected.append((port_id, packet))
        return []

    @property
    def has_punts(self) -> bool:
        return bool(self.punts)

    def let_go_on(self, punt: Punt, packet: bytes) -> None:
        self.injected.append((punt.in_port_id, packet))

    def transmit(self, port_id: int, packet: bytes) -> None:
        self.sent.append((port_id, packet))

    def close(self) -> None:
        os.close(self._read_fd)
        os.close(self._write_fd)

    def destroy(self) -> None:
        self.bridges.clear()
        self.ports.clear()

    def port_named(self, name: str) -> PortSettings:
        return next(s for _, s in self.ports.values() if s.name == name)


@dataclass(frozen=True)
class FakeLink:
    ifindex: int
    name: str
    mac: bytes
    mtu: int = 1500
    admin_up: bool = True
    carrier: bool = True
    kind: str = "veth"
    peer_mac: bytes | None = None
    speed: int | None = 10_000_000_000
    duplex: str | None = "full"
    driver: str = "veth"


class FakeUnderlay:
    """Addresses and routes that a test lays out, routes by the first bytes of the destination."""

    def __init__(self) -> None:
        self.own: list[Address] = []
        self.ways: dict[bytes, Route] = {}
        self.known: list[Neighbour] = []
        self.joined: set[tuple[bytes, int]] = set()
        self.heard_of: set[int] = set()
        self.sent: list[tuple[bytes, bytes]] = []
        self.joining: set[Wanted] = set()
        self.came: list[tuple[int, bytes]] = []
        self.changed = False

    def addresses(self) -> list[Address]:
        return self.own

    def route(
        self, destination: bytes, source: bytes | None = None, mark: int = 0
    ) -> Route | None:
        fitting = [prefix for prefix in self.ways if destination.startswith(prefix)]
        return self.ways[max(fitting, key=len)] if fitting else None

    def routes(self) -> list[Route]:
        return list(self.ways.values())

    def neighbours(self) -> list[Neighbour]:
        return self.known

    def join(self, wanted: Iterable[tuple[bytes, int]]) -> list[DeviceError]:
        self.joined = set(wanted)
        return []

    def follow_path_mtu(self, protocols: Iterable[int]) -> list[DeviceError]:
        self.heard_of = set(protocols)
        return []

    def send(self, packet: bytes, destination: bytes, mark: int = 0) -> None:
        self.sent.append((packet, destination))

    def join_fragments(self, wanted: Iterable[Wanted]) -> list[DeviceError]:
        self.joining = set(wanted)
        return []

    def take_joined(self) -> list[tuple[int, bytes]]:
        came, self.came = self.came, []
        return came

    def run(self) -> bool:
        changed, self.changed = self.changed, False
        return changed

    def wait(self, poller: object) -> None:
        """Nothing wakes it."""


class FakeDevices:
    """Devices of a host that has none at first."""

    def __init__(self) -> None:
        self.links: dict[str, FakeLink] = {}
        self.changed: set[str] = set()
        self.underlay = FakeUnderlay()
        self.shapes: dict[str, QueueTree] = {}
        self.queued: dict[str, dict[int, QueueCounters]] = {}
        self.cutter = (0, 0)
        self.cutting: set[int] = set()
        self.internal: set[int] = set()
        self.promiscuous: set[str] = set()
        self.addresses: dict[str, set[IPv4Interface | None]] = {}
        self.gateways: dict[str, IPv4Address] = {}
        self.wire_errors: dict[int, DeviceErrors] = {}
        self._next_ifindex = 10

    def shape(self, name: str, shape: QueueTree | None) -> None:
        if shape is None:
            self.shapes.pop(name, None)
        else:
            self.shapes[name] = shape

    def queue_counters(self, name: str) -> dict[int, QueueCounters]:
        return self.queued.get(name, {})

    def passes_whole(self, ifindex: int) -> bool:
        return ifindex not in self.cutting

    def is_internal(self, ifindex: int) -> bool:
        return ifindex in self.internal

    def open_cutter(self) -> tuple[int, int]:
        self.cutter = (1001, 1002)
        return self.cutter

    def remove_cutter(self) -> None:
        self.cutter = (0, 0)

    def appear(self, name: str, mac: str = "", mtu: int = 1500) -> FakeLink:
        """A device comes into being."""
        ifindex, self._next_ifindex = self._next_ifindex, self._next_ifindex + 1
        address = (
            bytes.fromhex(mac.replace(":", "")) if mac else b"\x02\0\0" + ifindex.to_bytes(3, "big")
        )
        self.links[name] = FakeLink(ifindex, name, address, mtu)
        self.changed.add(name)
        return self.links[name]

    def vanish(self, name: str) -> None:
        """A device goes."""
        del self.links[name]
        self.changed.add(name)

    def change(self, name: str, **attributes: object) -> None:
        """A device changes."""
        self.links[name] = replace(self.links[name], **attributes)  # type: ignore[arg-type]
        self.changed.add(name)

    def link(self, name: str) -> FakeLink | None:
        return self.links.get(name)

    def link_of(self, ifindex: int) -> FakeLink | None:
        return next((link for link in self.links.values() if link.ifindex == ifindex), None)

    def create_internal(self, name: str, mac: bytes | None) -> FakeLink:
        if name not in self.links:
            self.appear(name)
            self.links[name] = replace(self.links[name], admin_up=False)
        if mac:
            self.links[name] = replace(self.links[name], mac=mac)
        return self.links[name]

    def delete_internal(self, name: str) -> None:
        self.links.pop(name, None)

    def delete_other_internal(self, names: Collection[str]) -> None:
        for name in [n for n, made in self.links.items() if made.ifindex in self.internal]:
            if name not in names:
                del self.links[name]

    def _existing(self, name: str) -> FakeLink:
        if name not in self.links:
            raise DeviceError(f"no device {name}")
        return self.links[name]

    def set_mac(self, name: str, mac: bytes) -> None:
        self.links[name] = replace(self._existing(name), mac=mac)

    def set_mtu(self, name: str, mtu: int) -> None:
        self.links[name] = replace(self._existing(name), mtu=mtu)

    def set_address(
        self, name: str, address: IPv4Interface, before: IPv4Interface | None
    ) -> None:
        self._existing(name)
        self.addresses.setdefault(name, set()).discard(before)
        self.addresses[name].add(address)

    def set_gateway(self, name: str, gateway: IPv4Address, before: IPv4Address | None) -> None:
        self._existing(name)
        if self.gateways.get(name, before) not in (before, gateway):
            raise DeviceError("the host has another default route")
        self.gateways[name] = gateway

    def set_up(self, name: str, up: bool) -> None:
        self.links[name] = replace(self._existing(name), admin_up=up)

    def set_promiscuous(self, name: str, promiscuous: bool) -> bool:
        self._existing(name)
        before = name in self.promiscuous
        (self.promiscuous.add if promiscuous else self.promiscuous.discard)(name)
        return before != promiscuous

    def errors(self, ifindex: int) -> DeviceErrors:
        return self.wire_errors.get(ifindex, DeviceErrors())

    def run(self) -> frozenset[str]:
        changed, self.changed = frozenset(self.changed), set()
        return changed

    def wait(self, poller: object) -> None:
        """Nothing happens by itself."""
