"""A host's bridges and the patches between them: those the file gives it, and those its networks need."""

from __future__ import annotations

import msgspec

from gossamer.topology.host_policy import host_policy_flows
from gossamer.topology.model import Bridge, Patch, Topology
from gossamer.topology.networks import INTEGRATION, TUNNEL, networks_of
from gossamer.topology.node_flows import (
    integration_flows,
    physical_bridges,
    physical_flows,
    tunnel_flows,
)


def host_bridges(topology: Topology, host: str) -> dict[str, Bridge]:
    """The bridges of a host, by name, with the flows that its networks need."""
    out = dict(topology.hosts[host].bridges)
    networks = networks_of(topology, host)
    if not networks:
        return out
    flows = host_policy_flows(topology, host) or integration_flows(topology, host)
    out[INTEGRATION] = Bridge(tuple(flows), "secure")
    for name in physical_bridges(topology, host):
        translated = tuple(physical_flows(topology, host, name))
        out[name] = msgspec.structs.replace(out.get(name, Bridge()), flows=translated)
    if any(network.tunnelled for network in networks.values()):
        out[TUNNEL] = Bridge(tuple(tunnel_flows(topology, host)), "secure")
    return out


def host_patches(topology: Topology, host: str) -> list[Patch]:
    """The patches of a host."""
    out = list(topology.hosts[host].patches)
    networks = networks_of(topology, host)
    out += [Patch((INTEGRATION, name)) for name in physical_bridges(topology, host)]
    if any(network.tunnelled for network in networks.values()):
        out.append(Patch((INTEGRATION, TUNNEL)))
    return out
