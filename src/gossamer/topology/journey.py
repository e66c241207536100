"""Where a packet goes from bridge to bridge and host to host: by cables, and in tunnels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from gossamer.topology.command import Tools
from gossamer.topology.model import Topology
from gossamer.topology.names import netns_name, veth_name
from gossamer.topology.networks import TUNNEL, tunnels_of

_MOST_STAGES: Final = 64
_UPLINK: Final = re.compile(r"^eth([0-9]+)$")


@dataclass(frozen=True, slots=True)
class Stage:
    """A packet that enters the bridges of a host, or of this machine.

    `flow` is what ofproto/trace is asked for; `packet` its bytes in
    hexadecimal, where it comes from another host.
    """

    host: str | None
    bridge: str
    flow: str
    packet: str = ""

    @property
    def question(self) -> tuple[str, ...]:
        """The arguments of ofproto/trace."""
        return (self.bridge, self.flow, *([self.packet] if self.packet else []))


def journey(topology: Topology, first: Stage, tools: Tools) -> Iterator[tuple[Stage, Any]]:
    """Each stage with the trace of it as data, from the first on; copies one after the other."""
    waiting, seen = [first], {first}
    while waiting and len(seen) <= _MOST_STAGES:
        stage = waiting.pop(0)
        trace = json.loads(at(topology, stage.host, tools).appctl("gossamer/trace", *stage.question))
        yield stage, trace
        for output in _outputs(trace["steps"]):
            follows = _behind(topology, stage.host, output, tools)
            if follows is not None and follows not in seen:
                seen.add(follows)
                waiting.append(follows)


def at(topology: Topology, host: str | None, tools: Tools) -> Tools:
    """The tools for a host of a topology; those of this machine for None."""
    return tools.at(netns_name(topology.name, host) if host else None)


def _outputs(step: Any) -> Iterator[Any]:
    if step["kind"] == "output":
        yield step
    for below in step.get("steps", ()):
        yield from _outputs(below)


def _behind(topology: Topology, host: str | None, output: Any, tools: Tools) -> Stage | None:
    """Where a copy enters that leaves by a port; None where an instance has it, or nobody."""
    here = at(topology, host, tools)
    name = _port_name(here, output["bridge"], output["ofport"])
    if host is None:
        for other, declared in topology.hosts.items():
            for bridge, settings in declared.bridges.items():
                for device in settings.devices:
                    found = _UPLINK.match(device)
                    if found and veth_name(topology.name, other, int(found[1])) == name:
                        return _stage(topology, other, bridge, device, output, tools)
        return None
    if output["bridge"] == TUNNEL:
        for tunnel in tunnels_of(topology, host):
            if tunnel.name == name:
                family = "tun_" if tunnel.local.version == 4 else "tun_ipv6_"
                brought = f"tun_id={output.get('tun_id', 0)},{family}src={tunnel.local},{family}dst={tunnel.remote}"
                back = next(t.name for t in tunnels_of(topology, tunnel.peer) if
                            t.peer == host and t.kind == tunnel.kind)  # fmt: skip
                return _stage(topology, tunnel.peer, TUNNEL, back, output, tools, brought)
        return None
    uplink = _UPLINK.match(name)
    if uplink and int(uplink[1]) < len(topology.hosts[host].ports):
        port = topology.hosts[host].ports[int(uplink[1])]
        device = veth_name(topology.name, host, int(uplink[1]))
        return _stage(topology, None, port.bridge or "", device, output, tools)
    return None


def _stage(
    topology: Topology,
    host: str | None,
    bridge: str,
    port: str,
    output: Any,
    tools: Tools,
    brought: str = "",
) -> Stage:
    ofport = at(topology, host, tools).vsctl("get", "interface", port, "ofport").strip()
    flow = f"in_port={ofport}" + (f",{brought}" if brought else "")
    return Stage(host, bridge, flow, output["packet"])


def _port_name(tools: Tools, bridge: str, ofport: int) -> str:
    for port in tools.vsctl("list-ports", bridge).split():
        if tools.vsctl("get", "interface", port, "ofport").strip() == str(ofport):
            return port
    return ""
