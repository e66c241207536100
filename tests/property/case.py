"""A case: a small world and packets that enter it; and its form in JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from gossamer.pipeline import action as act
from gossamer.pipeline import action_choice, action_ct, action_encap, action_learn
from gossamer.pipeline.action_choice import BundleAlgorithm, HashFields, MultipathAlgorithm
from gossamer.pipeline.action_ct import Ct
from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.conntrack.tracker import Tracker, Zone
from gossamer.pipeline.fields import BY_NAME, Field
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.format import format_action
from gossamer.pipeline.group import GROUP_ANY, Bucket, Group, GroupType
from gossamer.pipeline.match import Match
from gossamer.pipeline.meter import Band, BandType, Meter, MeterFlag
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.world import Bridge, Fragments, Port, TableMiss, VlanMode, World

CLOCK_S = 1000.0


@dataclass(frozen=True)
class BridgeCase:
    """A bridge of a case."""

    name: str
    ports: tuple[Port, ...]
    flows: tuple[Flow, ...]
    miss: dict[int, TableMiss] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()
    meters: tuple[Meter, ...] = ()
    fragments: Fragments = Fragments.NX_MATCH

    def world(self) -> Bridge:
        """A fresh bridge, as the reference pipeline wants it."""
        return Bridge(
            self.name,
            self.ports,
            self.flows,
            miss=dict(self.miss),
            groups={group.group_id: group for group in self.groups},
            meters={meter.meter_id: meter for meter in self.meters},
            fragments=self.fragments,
            sampling=True,
        )


@dataclass(frozen=True)
class PacketCase:
    """A packet that enters a bridge by a port, `after_s` seconds after the one before."""

    bridge: str
    in_port: int
    data: bytes
    after_s: int = 0


@dataclass(frozen=True)
class Case:
    """Bridges, and packets that enter them one after the other.

    Before packet `changes_at`, every third flow of each bridge is removed.
    """

    bridges: tuple[BridgeCase, ...]
    packets: tuple[PacketCase, ...]
    changes_at: int | None = None
    zone_limits: dict[int, int] = field(default_factory=dict)
    """Connections that zones may have; 0: any number."""
    default_limit: int = 0
    maximum: int = 0
    """Connections there may be at all; 0: as many as ever."""

    def world(self) -> World:
        """Fresh bridges, as the reference pipeline wants them."""
        tracker = Tracker()
        tracker.zones = {zone: Zone(limit) for zone, limit in self.zone_limits.items()}
        tracker.default_limit = self.default_limit
        tracker.maximum = self.maximum or tracker.maximum
        return World((b.world() for b in self.bridges), CLOCK_S, tracker)


def to_json(case: Case) -> dict[str, Any]:
    """A case as JSON values."""
    return {
        "bridges": [
            {
                "name": b.name,
                "ports": [_port_to_json(p) for p in b.ports],
                "flows": [_flow_to_json(f) for f in b.flows],
                "miss": {str(t): m.name for t, m in b.miss.items()},
                "groups": [_group_to_json(g) for g in b.groups],
                "meters": [_meter_to_json(m) for m in b.meters],
                "fragments": b.fragments.name,
            }
            for b in case.bridges
        ],
        "packets": [
            {"bridge": p.bridge, "in_port": p.in_port, "data": p.data.hex()}
            | ({"after_s": p.after_s} if p.after_s else {})
            for p in case.packets
        ],
        "changes_at": case.changes_at,
        "zone_limits": {str(zone): limit for zone, limit in case.zone_limits.items()},
        "default_limit": case.default_limit,
        "maximum": case.maximum,
    }


def from_json(data: dict[str, Any]) -> Case:
    """The case that to_json() wrote."""
    return Case(
        tuple(
            BridgeCase(
                b["name"],
                tuple(_port_from_json(p) for p in b["ports"]),
                tuple(_flow_from_json(f) for f in b["flows"]),
                {int(t): TableMiss[m] for t, m in b["miss"].items()},
                tuple(_group_from_json(g) for g in b.get("groups", ())),
                tuple(_meter_from_json(m) for m in b.get("meters", ())),
                Fragments[b.get("fragments", "NX_MATCH")],
            )
            for b in data["bridges"]
        ),
        tuple(
            PacketCase(p["bridge"], p["in_port"], bytes.fromhex(p["data"]), p.get("after_s", 0))
            for p in data["packets"]
        ),
        data.get("changes_at"),
        {int(zone): limit for zone, limit in data.get("zone_limits", {}).items()},
        data.get("default_limit", 0),
        data.get("maximum", 0),
    )


def _port_to_json(port: Port) -> dict[str, Any]:
    default = Port(port.ofport)
    out: dict[str, Any] = {"ofport": port.ofport}
    for f in dataclasses.fields(Port):
        value = getattr(port, f.name)
        if value == getattr(default, f.name):
            continue
        if isinstance(value, VlanMode):
            value = value.name
        elif isinstance(value, frozenset):
            value = sorted(value)
        out[f.name] = value
    return out


def _port_from_json(data: dict[str, Any]) -> Port:
    data = dict(data)
    if "vlan_mode" in data:
        data["vlan_mode"] = VlanMode[data["vlan_mode"]]
    if "trunks" in data:
        data["trunks"] = frozenset(data["trunks"])
    if "peer" in data:
        data["peer"] = (data["peer"][0], data["peer"][1])
    return Port(**data)


def _flow_to_json(flow: Flow) -> dict[str, Any]:
    return {
        "table_id": flow.table_id,
        "priority": flow.priority,
        "cookie": flow.cookie,
        "match": [[m.field.name, hex(m.value), hex(m.mask)] for m in flow.match.fields()],
        "actions": [_action_to_json(a) for a in flow.actions],
    }


def _flow_from_json(data: dict[str, Any]) -> Flow:
    match = Match()
    for name, value, mask in data["match"]:
        match = match.with_field(BY_NAME[name], int(value, 16), int(mask, 16))
    return Flow(
        data["table_id"],
        data["priority"],
        match,
        tuple(_action_from_json(a) for a in data["actions"]),
        cookie=data.get("cookie", 0),
    )


def _group_to_json(group: Group) -> dict[str, Any]:
    return {
        "group_id": group.group_id,
        "type": group.type.name,
        "selection_method": group.selection_method,
        "selection_param": group.selection_param,
        "fields": hex(group.fields),
        "buckets": [
            {
                "bucket_id": b.bucket_id,
                "weight": b.weight,
                "watch_port": b.watch_port,
                "watch_group": b.watch_group,
                "actions": [_action_to_json(a) for a in b.actions],
            }
            for b in group.buckets
        ],
    }


def _group_from_json(data: dict[str, Any]) -> Group:
    buckets = tuple(
        Bucket(
            tuple(_action_from_json(a) for a in b["actions"]),
            b["bucket_id"],
            b["weight"],
            b.get("watch_port", OfPort.ANY),
            b.get("watch_group", GROUP_ANY),
        )
        for b in data["buckets"]
    )
    return Group(
        data["group_id"],
        GroupType[data["type"]],
        buckets,
        data["selection_method"],
        data["selection_param"],
        int(data["fields"], 16),
    )


def _meter_to_json(meter: Meter) -> dict[str, Any]:
    bands = [[b.type.name, b.rate, b.burst, b.precedence] for b in meter.bands]
    return {"meter_id": meter.meter_id, "flags": int(meter.flags), "bands": bands}


def _meter_from_json(data: dict[str, Any]) -> Meter:
    bands = tuple(Band(BandType[kind], *numbers) for kind, *numbers in data["bands"])
    return Meter(data["meter_id"], MeterFlag(data["flags"]), bands)


def _action_to_json(action: act.Action) -> list[Any]:
    if isinstance(action, Ct):
        return ["Ct", {"text": format_action(action)}]
    values: dict[str, Any] = {}
    for f in dataclasses.fields(action):  # type: ignore[arg-type]
        value = getattr(action, f.name)
        if isinstance(value, Field):
            value = value.name
        elif isinstance(value, act.SubField):
            value = [value.field.name, value.low, value.n_bits]
        elif isinstance(value, bytes):
            value = value.hex()
        elif f.name == "actions":
            value = [_action_to_json(a) for a in value]
        elif isinstance(value, tuple):
            value = list(value)
        values[f.name] = value
    return [type(action).__name__, values]


_ACTIONS: dict[str, Any] = {
    name: kind
    for module in (act, action_choice, action_ct, action_encap, action_learn)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, act.Action)
}

_ENUMS: dict[str, dict[str, Any]] = {
    "fields": {"Multipath": HashFields, "Bundle": HashFields},
    "algorithm": {"Multipath": MultipathAlgorithm, "Bundle": BundleAlgorithm},
}


def _action_from_json(data: list[Any]) -> act.Action:
    kind, values = data
    if kind == "Ct":
        (ct,) = parse_actions(values["text"])
        return ct
    cls = _ACTIONS[kind]
    converted: dict[str, Any] = {}
    for f in dataclasses.fields(cls):
        if f.name not in values:  # newer than the case: its default
            continue
        value = values[f.name]
        if f.name == "field":
            value = BY_NAME[value]
        elif f.name in ("src", "dst", "source") and value is not None:
            value = act.SubField(BY_NAME[value[0]], value[1], value[2])
        elif f.name in ("userdata", "data"):
            value = bytes.fromhex(value)
        elif f.name == "actions":
            value = tuple(_action_from_json(a) for a in value)
        elif f.name in _ENUMS:
            value = _ENUMS[f.name][kind](value)
        elif isinstance(value, list):
            value = tuple(value)
        converted[f.name] = value
    action: act.Action = cls(**converted)
    return action
