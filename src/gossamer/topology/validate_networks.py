"""What types alone cannot say of hosts and virtual networks."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_interface
from typing import Final

from gossamer.errors import TopologyError
from gossamer.topology.model import Bridge, Host, Instance, Network, Port, Topology
from gossamer.topology.networks import (
    INTEGRATION,
    TUNNEL,
    endpoint,
    hosts_of,
    largest_mtu,
    members,
    mtu_of,
    networks_of,
    physical_of,
    tunnels_of,
    uplinks_of,
)

_DEVICE: Final = re.compile(r"^eth([0-9]+)$")
_LARGEST_ID: Final = {"vxlan": 2**24 - 1, "geneve": 2**24 - 1, "gre": 2**32 - 1, "vlan": 4094}
_LEAST_MTU: Final = {4: 576, 6: 1280}


def check_names(topology: Topology) -> None:
    """Hosts and instances have namespaces of their names; instances are on hosts that there are."""
    for name, instance in topology.instances.items():
        if instance.route_by_flows:
            _check_router(instance, f"instances.{name}")
        if name in topology.hosts:
            raise TopologyError(
                f"{name} is a host already", place=f"instances.{name}", remedy="name one of them otherwise"
            )
        if instance.host is not None and instance.host not in topology.hosts:
            raise TopologyError(
                f"there is no host {instance.host!r}",
                place=f"instances.{name}.host",
                remedy=f"hosts are {', '.join(topology.hosts) or 'none; declare them under hosts:'}",
            )


def _check_router(instance: Instance, place: str) -> None:
    reason = None
    if instance.host is None or not all(p.network for p in instance.ports):
        reason = "flows route between networks, on a host", "say host:, and network: for its ports"
    elif not instance.forward:
        reason = "an instance that does not forward is no router", "say forward: true"
    elif instance.nat:
        reason = "flows route, they translate no addresses", "take nat out, or route_by_flows"
    if reason:
        raise TopologyError(reason[0], place=f"{place}.route_by_flows", remedy=reason[1])


def check_uplink(host: Host, device: str, place: str) -> None:
    """A device on a bridge of a host is one of its ports, and has no address of its own."""
    found = _DEVICE.match(device)
    if not found or int(found[1]) >= len(host.ports):
        raise TopologyError(
            f"the host has no device {device}",
            place=place,
            remedy=f"it has {', '.join(f'eth{i}' for i in range(len(host.ports))) or 'none: give it ports'}",
        )
    if host.ports[int(found[1])].all_addresses():
        raise TopologyError(
            f"{device} has an address, which nothing reaches once it is on a bridge",
            place=place,
            remedy="take the address away, or give the host one more port",
        )


def check_network_port(topology: Topology, port: Port, host: str | None, place: str) -> None:
    """A port in a network: its host alone decides on bridge and VLAN."""
    if port.network not in topology.networks:
        raise TopologyError(
            f"there is no network {port.network!r}",
            place=f"{place}.network",
            remedy=f"networks are {', '.join(topology.networks) or 'none; declare them under networks:'}",
        )
    if host is None:
        raise TopologyError(
            "only instances on a host can be in a network",
            place=f"{place}.network",
            remedy="say host: for the instance, or bridge: for the port",
        )
    for key in ("bridge", "vlan", "trunks", "mode"):
        if getattr(port, key):
            raise TopologyError(
                f"a port in a network has no {key} of its own",
                place=f"{place}.{key}",
                remedy="take it out: the network says it",
            )


def check_unprotected(port: Port, place: str, *, may_have_rules: bool) -> None:
    """On hosts, rules are for ports in networks, and addresses are not translated."""
    keys = ("floating", "snat") if may_have_rules else ("allow", "egress", "security_groups", "floating", "snat")
    for key in keys:
        said = getattr(port, key)
        # `allow: []` says something: that nothing may come in.
        if said or (said is not None and key in ("allow", "egress", "security_groups")):
            raise TopologyError(
                f"a port of a host, or of an instance on one, has no {key}",
                place=f"{place}.{key}",
                remedy="take it out; instances without host: may have it"
                + ("" if key in ("floating", "snat") else ", and ports in a network"),
            )


def check_networks(topology: Topology) -> None:
    """The networks, and what they ask of the hosts."""
    for name, network in topology.networks.items():
        _check_id(network, f"networks.{name}")
        _check_physical(topology, name, network)
    _check_distinct(topology)
    for host in topology.hosts:
        _check_host(topology, host)
    for name, network in topology.networks.items():
        _check_gateways(topology, name, network)
        _check_mtu(topology, name, network)


def _check_id(network: Network, place: str) -> None:
    if network.kind == "flat":
        if network.id is not None:
            raise TopologyError(
                "a flat network has no id", place=f"{place}.id", remedy="take it out, or say kind: vlan"
            )
        return
    largest = _LARGEST_ID[network.kind]
    if network.id is None:
        raise TopologyError("id is missing", place=place, remedy=f"add id: 1 to {largest}")
    if not 1 <= network.id <= largest:
        raise TopologyError(
            f"a {network.kind} network cannot have the id {network.id}",
            place=f"{place}.id",
            remedy=f"take 1 to {largest}",
        )


def _check_physical(topology: Topology, name: str, network: Network) -> None:
    place = f"networks.{name}"
    if network.tunnelled:
        if network.bridge is not None:
            raise TopologyError(
                f"a {network.kind} network crosses in tunnels, not by a bridge",
                place=f"{place}.bridge",
                remedy="take it out; gateways: joins it to a physical network",
            )
        return
    for key in ("l2_population", "gateways"):
        if getattr(network, key):
            raise TopologyError(
                f"a {network.kind} network has no {key}", place=f"{place}.{key}", remedy="take it out"
            )
    if network.bridge is None:
        raise TopologyError(
            "bridge is missing",
            place=place,
            remedy="name the hosts' bridge to the physical network: bridge: br-ex",
        )
    for host in hosts_of(topology, name):
        _check_host_bridge(topology, host, network.bridge, f"{place}.bridge")


def _check_host_bridge(topology: Topology, host: str, bridge: str, place: str) -> None:
    declared: Bridge | None = topology.hosts[host].bridges.get(bridge)
    if declared is None:
        raise TopologyError(
            f"{host} has no bridge {bridge}",
            place=place,
            remedy=f"declare it: hosts.{host}.bridges.{bridge}, with devices: [eth1]",
        )
    if declared.flows:
        raise TopologyError(
            f"the flows of {bridge} are those of its networks",
            place=f"hosts.{host}.bridges.{bridge}.flows",
            remedy="take them out, or join another bridge to it by a patch",
        )


def _check_distinct(topology: Topology) -> None:
    seen: dict[tuple[object, ...], str] = {}
    for name, network in topology.networks.items():
        same = (network.kind, network.id, network.bridge)
        other = seen.setdefault(same, name)
        if other != name:
            raise TopologyError(
                f"networks {other} and {name} would be one",
                place=f"networks.{name}",
                remedy="give each an id of its own",
            )


def _check_host(topology: Topology, name: str) -> None:
    host, place = topology.hosts[name], f"hosts.{name}"
    if networks_of(topology, name):
        for bridge in (INTEGRATION, TUNNEL):
            if bridge in host.bridges:
                raise TopologyError(
                    f"{bridge} of a host in networks is made for it",
                    place=f"{place}.bridges.{bridge}",
                    remedy="name it otherwise",
                )
    if host.tunnel_address is not None:
        own = [str(ip_interface(a).ip) for p in host.ports for a in p.all_addresses()]
        try:
            known = str(ip_address(host.tunnel_address)) in own
        except ValueError:
            known = False
        if not known:
            raise TopologyError(
                f"{host.tunnel_address} is no address of the host",
                place=f"{place}.tunnel_address",
                remedy=f"its ports have {', '.join(own) or 'none'}",
            )
    for tunnel in tunnels_of(topology, name):
        if tunnel.local.version != tunnel.remote.version:
            raise TopologyError(
                f"tunnels to {name} end at {tunnel.local} and those to {tunnel.peer} at {tunnel.remote}",
                place=place,
                remedy="say tunnel_address: for one of them, so that both are of one IP version",
            )
    used: dict[tuple[str, int | None], str] = {}
    for physical in physical_of(topology, name):
        other = used.setdefault((physical.bridge, physical.vlan), physical.network)
        if other != physical.network:
            vlan = f"VLAN {physical.vlan}" if physical.vlan else "untagged frames"
            raise TopologyError(
                f"on {name} {vlan} of {physical.bridge} would be both {other} and {physical.network}",
                place=f"networks.{physical.network}",
                remedy="give one of them another VLAN or bridge",
            )


def _check_gateways(topology: Topology, name: str, network: Network) -> None:
    segments: dict[tuple[str, int | None], str] = {}
    for i, gateway in enumerate(network.gateways):
        place = f"networks.{name}.gateways[{i}]"
        if gateway.host not in topology.hosts:
            raise TopologyError(
                f"there is no host {gateway.host!r}",
                place=f"{place}.host",
                remedy=f"hosts are {', '.join(topology.hosts) or 'none'}",
            )
        _check_host_bridge(topology, gateway.host, gateway.bridge, f"{place}.bridge")
        for port in uplinks_of(topology, gateway.host, gateway.bridge):
            segment = (_joined(topology, port.bridge or ""), gateway.vlan)
            other = segments.setdefault(segment, gateway.host)
            if other != gateway.host or [g.host for g in network.gateways].count(gateway.host) > 1:
                raise TopologyError(
                    f"{name} would meet the same physical network twice: at {other} and at {gateway.host}",
                    place=place,
                    remedy="take one of the gateways out: every broadcast would go round for ever",
                )


def _joined(topology: Topology, bridge: str) -> str:
    """One name for all bridges of this machine that patches join."""
    joined, more = {bridge}, True
    while more:
        more = False
        for patch in topology.patches:
            if len(joined & set(patch.between)) == 1:
                joined |= set(patch.between)
                more = True
    return min(joined)


def _check_mtu(topology: Topology, name: str, network: Network) -> None:
    for host in hosts_of(topology, name) if network.tunnelled else ():
        endpoint(topology, host)
    largest = largest_mtu(topology, name)
    if network.mtu is not None and network.mtu > largest:
        raise TopologyError(
            f"packets of {network.mtu} octets do not fit: the way between the hosts carries {largest}",
            place=f"networks.{name}.mtu",
            remedy=f"make it {largest} at most, leave it out, or give the hosts' ports a larger mtu",
        )
    mtu = mtu_of(topology, name)
    for member in members(topology, name):
        place = f"instances.{member.instance}.ports[{member.index}]"
        if member.port.mtu is not None and member.port.mtu > mtu:
            raise TopologyError(
                f"an mtu of {member.port.mtu} does not fit into {name}, which carries {mtu}",
                place=f"{place}.mtu",
                remedy="take it out: it is set to what fits",
            )
        versions = {4, *(ip_interface(a).version for a in member.port.all_addresses())}
        least = _LEAST_MTU[max(versions)]
        if mtu < least:
            raise TopologyError(
                f"{name} carries packets of {mtu} octets, too small for its addresses",
                place=place,
                remedy=f"give the hosts' ports an mtu that leaves {least} inside the tunnel",
            )
