"""The flows of br-int on a host whose instances have stateful rules: node_flows.py's with those of policy.py."""

from __future__ import annotations

from collections.abc import Iterator

from gossamer.topology.membership import Member
from gossamer.topology.model import Topology
from gossamer.topology.names import patch_name
from gossamer.topology.networks import (
    INTEGRATION,
    TUNNEL,
    local_vlans,
    members,
    networks_of,
    physical_of,
)
from gossamer.topology.networks import Member as NetworkMember
from gossamer.topology.node_flows import mac_of, physical_bridges
from gossamer.topology.policy import admitted, port_name, protected_port, site_flows


def has_rules(topology: Topology, host: str) -> bool:
    """Whether a port on its br-int is protected."""
    return any(m.port.protected for m in _here(topology, host))


def _here(topology: Topology, host: str) -> list[NetworkMember]:
    return [m for network in networks_of(topology, host) for m in members(topology, network) if m.host == host]


def host_policy_flows(topology: Topology, host: str) -> list[str]:
    """The flows of br-int where a port on it has rules; none where none has."""
    here = _here(topology, host)
    vlans = local_vlans(topology, host)
    protected = [
        protected_port(topology, (m.instance, m.index), vlans[m.port.network or ""])
        for m in here
        if m.port.protected
    ]
    if not protected:
        return []
    ports = [
        Member(port_name((m.instance, m.index)), vlans[m.port.network or ""], frozenset()) for m in here
    ]
    # What leaves is tagged with the host's VLAN; the bridges beyond translate it.
    ports += [Member(f'"{patch_name(INTEGRATION, b)}"', None, None) for b in physical_bridges(topology, host)]
    if any(network.tunnelled for network in networks_of(topology, host).values()):
        ports.append(Member(f'"{patch_name(INTEGRATION, TUNNEL)}"', 0, None))
    ports.append(Member("LOCAL", 0, None))
    return site_flows(topology, ports, protected, {}, _from_physical(topology, host, vlans))


def _from_physical(
    topology: Topology, host: str, vlans: dict[str, int]
) -> Iterator[tuple[int, str, str]]:
    """What comes from a physical network gets the host's VLAN first, as node_flows.py says."""
    for bridge in physical_bridges(topology, host):
        yield 70, f'in_port="{patch_name(INTEGRATION, bridge)}"', "drop"
    for physical in physical_of(topology, host):
        vlan = vlans[physical.network]
        match = f'in_port="{patch_name(INTEGRATION, physical.bridge)}",' + (
            f"dl_vlan={physical.vlan}" if physical.vlan else "vlan_tci=0x0000/0x1fff"
        )
        yield 80, match, f"mod_vlan_vid:{vlan},{admitted(vlan)}"
        if physical.is_gateway:
            for member in members(topology, physical.network):
                yield 90, f"{match},dl_src={mac_of(topology, member)}", "drop"
