"""'Where did my packet go': the flow between two instances, for the daemon's ofproto/trace."""

from __future__ import annotations

from gossamer.errors import TopologyError
from gossamer.topology.command import Tools
from gossamer.topology.expectation import address_between
from gossamer.topology.headers import Headers
from gossamer.topology.journey import Stage, stage_from
from gossamer.topology.model import Topology
from gossamer.topology.next_hop import next_hop

_ANY_PORT = 40000
_TTL = 64


def flow_between(
    topology: Topology, source: str, target: str, protocol: str, tools: Tools
) -> Stage:
    """Where a packet from one instance to another enters a bridge.

    `protocol` is "icmp", "tcp/PORT" or "udp/PORT".  Raises TopologyError for unknown instances,
    and where the source has no way to the target.
    """
    for name in (source, target):
        if name not in topology.instances:
            raise TopologyError(
                f"there is no instance {name!r}",
                remedy=f"instances are {', '.join(topology.instances)}; or name a bridge and a flow",
            )
    if source == target:
        raise TopologyError(
            f"a packet from {source} to itself passes no bridge",
            remedy="name two different instances",
        )
    address = address_between(topology, source, target)
    hop = next_hop(topology, source, address, tools)
    kind, _, number = protocol.partition("/")
    if kind == "icmp" and ":" in address:
        kind = "icmp6"
    ports = (_ANY_PORT, int(number)) if number else None
    packet = Headers(hop.mac, hop.next_mac, hop.source, address, kind, _TTL, ports)
    return stage_from(topology, source, hop, packet, tools)


def apart(topology: Topology, source: str, target: str) -> str:
    """What keeps two instances apart that are plugged in side by side; "" where nothing does."""
    for mine in topology.instances[source].ports:
        for other in topology.instances[target].ports:
            if mine.network != other.network:
                return f"{source} is in network {mine.network}, {target} in {other.network}"
            if mine.bridge == other.bridge and mine.vlan and other.vlan and mine.vlan != other.vlan:
                return f"{source} is in VLAN {mine.vlan} of {mine.bridge}, {target} in {other.vlan}"
    return ""
