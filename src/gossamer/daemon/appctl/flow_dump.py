"""Cached paths as lines: ``dpctl/dump-flows`` and ``dpif/dump-flows`` (ovs-dpctl(8))."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.daemon.appctl.datapaths import PortNames, kind_of
from gossamer.daemon.appctl.odp_match import format_odp_match
from gossamer.daemon.appctl.path_actions import NatOf, path_actions

if TYPE_CHECKING:
    from gossamer.daemon.appctl.paths import CachedPath
    from gossamer.switch.bridge import Bridge
    from gossamer.switch.switch import Switch


@dataclass(frozen=True, slots=True)
class Shape:
    """How lines are written.

    `full` shows what a path does not look at too, `names` ports by name;
    `ufid` names a path by a number of its own, with `dp` saying who keeps it,
    as dpctl does and dpif does not.
    """

    full: bool
    names: bool
    dp: bool


def flow_lines(switch: Switch, paths: Iterable[CachedPath], shape: Shape) -> Iterator[str]:
    """One line for each path of a bridge that is still there."""
    bridges = {b.ports.bridge_id: b for b in switch.bridges.values()}
    ports = PortNames(switch, names=shape.names)
    now_ns = time.monotonic_ns()
    nat_of = switch.datapath.conntrack.nat_rules.text
    for path in paths:
        bridge = bridges.get(path.bridge_id)
        if bridge is not None:
            yield _line(path, bridge, ports, shape, now_ns, nat_of)


def _line(
    path: CachedPath, bridge: Bridge, ports: PortNames, shape: Shape, now_ns: int, nat_of: NatOf
) -> str:
    out = ""
    if shape.full:
        out += f"ufid:{path.ufid}{',' if shape.dp else ''} "
    out += format_odp_match(
        path.match,
        ports.in_bridge(bridge),
        full=shape.full,
        userspace=kind_of(bridge) == "netdev",
    )
    age_s = max(0, now_ns - path.used_ns) / 1e9
    used = f"{age_s:.3f}s" if path.used_ns else "never"
    out += f", packets:{path.packets}, bytes:{path.n_bytes}, used:{used}"
    if shape.full and shape.dp:
        out += ", dp:ovs"
    return f"{out}, actions:{path_actions(path, ports.by_id, lambda f: _cookie(bridge, f), nat_of)}"


def _cookie(bridge: Bridge, flow_id: int) -> int:
    flow = bridge.tables.by_id.get(flow_id)
    return flow.cookie if flow is not None else 0
