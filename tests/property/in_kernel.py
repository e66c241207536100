"""A case's bridges in a capturing datapath, and the time and the limits that it lives by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from gossamer.datapath.datapath import Datapath
from gossamer.datapath.settings import (
    BridgeSettings,
    MissAction,
    PortKind,
    PortSettings,
)
from gossamer.datapath.settings import VlanMode as PortVlanMode
from gossamer.errors import DatapathError
from gossamer.pipeline.conntrack.timeouts import NS_PER_S
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.world import Port
from tests.property.case import Case
from tests.property.slow import SlowPath


@dataclass
class Bpf:
    """A case's bridges, as the datapath knows them."""

    datapath: Datapath
    bridge_ids: dict[str, int]
    port_ids: dict[tuple[str, int], int]
    flows: dict[tuple[str, int], Flow]
    """By bridge and place in the case; copies, since both sides count on their own."""
    slow: SlowPath
    """What the kernel leaves to the daemon."""

    def names(self) -> dict[int, tuple[str, int]]:
        """Port id -> (bridge, ofport)."""
        return {port_id: port for port, port_id in self.port_ids.items()}


def settings(port: Port) -> PortSettings:
    """What the datapath is told of a port, peers left out."""
    return PortSettings(
        name=f"p{port.ofport & 0xFFFF}",
        ofport=port.ofport,
        kind=PortKind.DEVICE if port.peer is None else PortKind.PATCH,
        vlan_mode=PortVlanMode(int(port.vlan_mode)),
        tag=port.tag,
        trunks=port.trunks,
        flood=port.flood,
        forward=port.forward,
        receive=port.receive,
        up=port.up,
        packet_in=port.packet_in,
    )


@contextmanager
def in_kernel(datapath: Datapath, case: Case) -> Iterator[Bpf]:
    """The case's bridges in a capturing datapath, removed at the end."""
    bridge_ids: dict[str, int] = {}
    port_ids: dict[tuple[str, int], int] = {}
    copies = {(b.name, i): replace(flow) for b in case.bridges for i, flow in enumerate(b.flows)}
    slow = SlowPath.of(datapath, case, bridge_ids, port_ids, copies)
    bpf = Bpf(datapath, bridge_ids, port_ids, copies, slow)
    try:
        try:
            with datapath.transaction():
                for b in case.bridges:
                    bridge_id = bpf.bridge_ids[b.name] = datapath.add_bridge(b.name)
                    datapath.configure_bridge(bridge_id, BridgeSettings())
                    datapath.set_fragments(bridge_id, b.fragments)
                    datapath.set_sampling(bridge_id, True)
                    for port in b.ports:
                        port_id = datapath.add_port(bridge_id, settings(port))
                        bpf.port_ids[b.name, port.ofport] = port_id
                    for table_id, miss in b.miss.items():
                        datapath.set_table_miss(bridge_id, table_id, MissAction(int(miss)))
                    for group in b.groups:
                        datapath.set_group(bridge_id, group)
                    for meter in b.meters:
                        datapath.set_meter(bridge_id, meter)
                    flows = [copies[b.name, i] for i in range(len(b.flows))]
                    datapath.insert_flows(bridge_id, flows)
                for b in case.bridges:
                    for port in b.ports:
                        if port.peer in bpf.port_ids:
                            datapath.update_port(
                                bpf.port_ids[b.name, port.ofport],
                                replace(settings(port), patch_peer=bpf.port_ids[port.peer]),
                            )
        except DatapathError:
            _take_back(bpf, case)
            raise
        yield bpf
    finally:
        for bridge_id in bpf.bridge_ids.values():
            datapath.remove_bridge(bridge_id)


def _take_back(bpf: Bpf, case: Case) -> None:
    """Empty bridges that were refused: none can be removed while another one is too much."""
    with bpf.datapath.transaction():
        for b in case.bridges:
            if b.name in bpf.bridge_ids:
                bridge_id = bpf.bridge_ids[b.name]
                mine = [bpf.flows[b.name, i] for i in range(len(b.flows))]
                bpf.datapath.remove_flows(bridge_id, mine)
                for group in b.groups:
                    bpf.datapath.delete_group(bridge_id, group.group_id)


_ALL_LOOKED_AT = 64
"""Slots that a new connection's search goes over whole (CT_TRIES, bpf/conntrack_slots.h)."""


@contextmanager
def limits(datapath: Datapath, case: Case) -> Iterator[None]:
    """What zones of the case may have; with few slots, so that those whose time is up are seen.

    At the end the kernel has the time again: what the next case learns has its age by that.
    """
    conntrack = datapath.conntrack
    if not case.zone_limits and not case.default_limit and not case.maximum:
        try:
            yield
        finally:
            conntrack.config.set_now_ns(0)
        return
    most, conntrack.config.maximum = conntrack.config.maximum, case.maximum or _ALL_LOOKED_AT
    conntrack.config.default_limit = case.default_limit
    for zone, limit in case.zone_limits.items():
        conntrack.zones.set_limit(zone, limit)
    try:
        yield
    finally:
        conntrack.config.set_now_ns(0)
        conntrack.config.maximum, conntrack.config.default_limit = most, 0
        for zone in case.zone_limits:
            conntrack.zones.set_limit(zone, None)


class Clock:
    """The time that connections of a case live by: its own, and far from any case before it."""

    _next_s = 10_000

    def __init__(self, datapath: Datapath) -> None:
        self._conntrack = datapath.conntrack
        self._conntrack.flush()
        self._now_s = Clock._next_s
        self.advance(0)

    def advance(self, seconds: int) -> None:
        """Let time pass."""
        self._now_s += seconds
        self._conntrack.config.set_now_ns(self._now_s * NS_PER_S)
        Clock._next_s = self._now_s + 1000


def open_datapath(pin_dir: Path, object_file: Path | None = None) -> Datapath:
    """A capturing datapath of our own."""
    if object_file is None:
        return Datapath.open(pin_dir, capturing=True)
    return Datapath.open(pin_dir, capturing=True, object_file=object_file)
