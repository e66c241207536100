"""What `ovs-appctl` asks of the switch, and the text it gets (ovs-vswitchd(8))."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.datapath.settings import PortKind
from gossamer.errors import GossamerError
from gossamer.switch.capabilities import datapath_type, features
from gossamer.switch.flow_text import flow_line
from gossamer.switch.port import Port
from gossamer.switch.tracing import trace_json
from gossamer.switch.tunnel_options import format_tunnel

if TYPE_CHECKING:
    from gossamer.switch.bridge import Bridge
    from gossamer.switch.switch import Switch


class CommandError(GossamerError):
    """A command that names something that is not there."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command as `ovs.unixctl.command_register` wants it; `run` gets the arguments alone.

    `run` raises CommandError with what the user is to read.  Without a usage it is not listed.
    """

    usage: str | None
    min_args: int
    max_args: int
    run: Callable[[Sequence[str]], str]


def commands(switch: Switch) -> dict[str, Command]:
    """The commands of the switch, by name."""
    return {
        "ofproto/list": Command("", 0, 0, lambda argv: ofproto_list(switch)),
        "bridge/dump-flows": Command(
            "[--offload-stats] bridge", 1, 2, lambda argv: dump_flows(switch, argv)
        ),
        "gossamer/trace": Command(
            "bridge flow [packet]", 2, 4, lambda argv: trace_json(switch, argv)
        ),
        "bridge/reconnect": Command("[bridge]", 0, 1, lambda argv: reconnect(switch, argv)),
        "dpif/show": Command("", 0, 0, lambda argv: dpif_show(switch)),
        "dpif/show-dp-features": Command("bridge", 1, 1, lambda argv: show_features(switch, argv)),
        "dpif/dump-dps": Command("", 0, 0, lambda argv: dump_dps(switch)),
    }


def _bridge(switch: Switch, name: str, error: str = "no such bridge") -> Bridge:
    try:
        return switch.bridges[name]
    except KeyError:
        raise CommandError(error, remedy="ovs-vsctl list-br shows all bridges") from None


def _named_or_all(switch: Switch, argv: Sequence[str], error: str) -> list[Bridge]:
    return [_bridge(switch, argv[0], error)] if argv else list(switch.bridges.values())


def ofproto_list(switch: Switch) -> str:
    """Names of the bridges."""
    return "".join(f"{name}\n" for name in sorted(switch.bridges))


def show_features(switch: Switch, argv: Sequence[str]) -> str:
    """What the datapath of a bridge can do."""
    _bridge(switch, argv[0])
    return features()


def reconnect(switch: Switch, argv: Sequence[str]) -> str:
    """Drop the OpenFlow connections, of one bridge or of all."""
    for bridge in _named_or_all(switch, argv, "Unknown bridge"):
        bridge.controllers.reconnect()
    return ""


def dump_flows(switch: Switch, argv: Sequence[str]) -> str:
    """All flows of a bridge, hidden ones too."""
    offload = "--offload-stats" in argv[:-1]
    bridge = _bridge(switch, argv[-1], "Unknown bridge")
    hidden = (flow for table in bridge.tables.tables for flow in table.hidden)
    flows = [*hidden, *bridge.tables]
    switch.datapath.read_flow_statistics(flows)
    now = time.monotonic()
    return "".join(f"{flow_line(flow, now, offload=offload)}\n" for flow in flows)


def dpif_show(switch: Switch) -> str:
    """Bridges with their ports: OpenFlow number, number in the datapath, kind."""
    lines: list[str] = []
    for kind in ("netdev", "system"):
        bridges = [b for b in switch.bridges.values() if datapath_type(b) == kind]
        if not bridges:
            continue
        tables = [switch.datapath.table_statistics(b.ports.bridge_id).get(0) for b in bridges]
        hit = sum(t.matched for t in tables if t)
        missed = sum(t.lookups - t.matched for t in tables if t)
        lines.append(f"{kind}@ovs-{kind}: hit:{hit} missed:{missed}")
        for bridge in sorted(bridges, key=lambda b: b.name):
            lines.append(f"  {bridge.name}:")
            for port in sorted(bridge.ports.ports.values(), key=lambda p: p.name):
                number = "none" if port.kind is PortKind.PATCH else str(port.port_id)
                lines.append(
                    f"    {port.name} {port.database_ofport}/{number}: ({_port_type(kind, port)})"
                )
    return "\n".join(lines) + ("\n" if lines else "")


def _port_type(of_datapath: str, port: Port) -> str:
    if port.kind is PortKind.PATCH:
        return f"patch: peer={port.interface.options['peer']}"
    if port.tunnel is not None:
        return f"{port.tunnel.kind.value}: {format_tunnel(port.tunnel)}"
    if port.kind is PortKind.INTERNAL:
        return "tap" if of_datapath == "netdev" else "internal"
    return "system"


def dump_dps(switch: Switch) -> str:
    """The bridges, each with the type of its datapath."""
    return "".join(
        f"{datapath_type(b)}@{b.name}\n"
        for b in sorted(switch.bridges.values(), key=lambda b: b.name)
    )
