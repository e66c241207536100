"""Where a packet goes from bridge to bridge and host to host: by cables, in tunnels, and through
instances that route."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface
from typing import Any, Final

from gossamer.errors import TopologyError
from gossamer.topology.command import Tools
from gossamer.topology.ending import Ending, drops, outputs
from gossamer.topology.headers import Headers, read_headers
from gossamer.topology.model import Topology
from gossamer.topology.names import netns_name, veth_name
from gossamer.topology.networks import INTEGRATION, TUNNEL, tunnels_of
from gossamer.topology.next_hop import NextHop, device_mac, next_hop

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


@dataclass(frozen=True, slots=True)
class Leg:
    """What became of a packet at one stage."""

    stage: Stage
    trace: Any
    """As gossamer/trace gives it."""
    endings: tuple[Ending, ...]
    """Of copies for which this was the last stage."""


def journey(topology: Topology, first: Stage, tools: Tools) -> Iterator[Leg]:
    """The stages of a packet from the first on; copies one after the other."""
    waiting, seen = [first], {first}
    while waiting and len(seen) <= _MOST_STAGES:
        stage = waiting.pop(0)
        here = at(topology, stage.host, tools)
        trace = json.loads(here.appctl("gossamer/trace", *stage.question))
        endings: list[Ending] = []
        names = {(o["bridge"], o["ofport"]): o["port"] for o in trace["outputs"]}
        for output in outputs(trace["steps"]):
            name = names.get((output["bridge"], output["ofport"]), str(output["ofport"]))
            follows = _behind(topology, stage.host, name, output, tools) or _arrived(
                topology, stage.host, name, output, tools
            )
            if isinstance(follows, Ending):
                endings.append(follows)
            elif follows not in seen:
                seen.add(follows)
                waiting.append(follows)
        yield Leg(stage, trace, (*endings, *drops(trace)))


def stage_from(
    topology: Topology, instance: str, hop: NextHop, packet: Headers, tools: Tools
) -> Stage:
    """Where a packet that an instance sends enters a bridge."""
    host = topology.instances[instance].host
    device = veth_name(topology.name, instance, hop.index)
    ofport = at(topology, host, tools).vsctl("get", "interface", device, "ofport").strip()
    bridge = INTEGRATION if hop.port.network else hop.port.bridge or ""
    return Stage(host, bridge, packet.flow(ofport))


def at(topology: Topology, host: str | None, tools: Tools) -> Tools:
    """The tools for a host of a topology; those of this machine for None."""
    return tools.at(netns_name(topology.name, host) if host else None)


def _behind(
    topology: Topology, host: str | None, name: str, output: Any, tools: Tools
) -> Stage | None:
    """Where a copy enters that leaves by a port; None where an instance has it, or nobody."""
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


def _arrived(
    topology: Topology, host: str | None, name: str, output: Any, tools: Tools
) -> Stage | Ending:
    """What becomes of a copy that leaves by a port with an instance behind it, or a device."""
    packet = read_headers(output["packet"])
    for instance, declared in topology.instances.items():
        for i in range(len(declared.ports) if declared.host == host else 0):
            if veth_name(topology.name, instance, i) != name:
                continue
            netns = netns_name(topology.name, instance)
            reaches = f"reaches {instance} by eth{i}"
            if packet is None:
                return Ending(reaches, instance)
            if packet.dl_dst != device_mac(tools, netns, f"eth{i}"):
                return Ending(f"{reaches}, addressed to {packet.dl_dst}: not for it")
            mine = {ip_interface(a).ip for p in declared.ports for a in p.all_addresses()}
            if declared.forward and ip_address(packet.target) not in mine:
                return _through(topology, instance, i, packet, tools)
            return Ending(f"{reaches}, as {packet.conversation}", instance)
    return Ending(f"{host}: " * bool(host) + f"{output['bridge']}: leaves by {name}")


def _through(
    topology: Topology, router: str, index: int, packet: Headers, tools: Tools
) -> Stage | Ending:
    """Where an instance that routes sends a packet that came in by its eth`index`."""
    if packet.ttl <= 1:
        return Ending(f"{router}: drops it, since its TTL has run out")
    behalf = ("from", packet.source, "iif", f"eth{index}")
    try:
        hop = next_hop(topology, router, packet.target, tools, *behalf)
    except TopologyError as e:
        return Ending(f"{router}: {e.message}")
    source = packet.source
    if topology.instances[router].nat == f"eth{hop.index}":
        addresses = [ip_interface(a).ip for a in hop.port.all_addresses()]
        version = ip_address(source).version
        source = next((str(a) for a in addresses if a.version == version), source)
    sent = replace(packet, dl_src=hop.mac, dl_dst=hop.next_mac, ttl=packet.ttl - 1, source=source)
    return stage_from(topology, router, hop, sent, tools)
