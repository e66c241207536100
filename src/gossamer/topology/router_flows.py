"""Routing by flows: an instance that forwards, and the flows of br-int that do it before the instance sees it.

What a flow can do is done there: the look-up of the receiver, the hardware
addresses, the TTL (RFC 1812, 5.2.1.2 and 5.3.1; RFC 8200, 3).  All else goes
to the instance, whose kernel answers as a router does: packets at the end of
their TTL, or to nowhere, or too large for the network behind, with ICMP errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network

from gossamer.topology.model import Instance, Port, Topology
from gossamer.topology.names import default_mac, patch_name
from gossamer.topology.networks import (
    INTEGRATION,
    TUNNEL,
    IpAddress,
    local_vlans,
    members,
    mtu_of,
    physical_of,
)

_TABLE = 60
_ROUTER = "NXM_NX_REG6[]"
_TAGGED = 0x1000
_HOST_BITS = {4: 32, 6: 128}


def router_flows(topology: Topology, host: str) -> Iterator[str]:
    """The flows of all routers on a host."""
    routers = [n for n, i in topology.instances.items() if i.host == host and i.route_by_flows]
    for number, name in enumerate(routers, 1):
        yield from _router(topology, host, name, number)
    if routers:
        yield f"table={_TABLE},priority=0,actions=NORMAL"


def _router(topology: Topology, host: str, name: str, number: int) -> Iterator[str]:
    instance = topology.instances[name]
    for i, port in enumerate(instance.ports):
        mac = _mac(topology, name, i, port)
        for protocol in sorted({_protocol(ip_interface(a).version) for a in port.all_addresses()}):
            match = f"{protocol},dl_dst={mac}"
            yield f"priority=20,{match},actions=load:{number}->{_ROUTER},resubmit(,{_TABLE})"
            for ttl in (0, 1):
                yield f"priority=21,{match},nw_ttl={ttl},actions=NORMAL"
            for physical in physical_of(topology, host):
                if physical.network != port.network:
                    continue
                # What comes from outside has the VLAN it has there.
                vlan = f"load:{_TAGGED | local_vlans(topology, host)[physical.network]:#x}->NXM_OF_VLAN_TCI[]"
                outside = f"{physical.arrival},{match}"
                yield (
                    f"priority=22,{outside},actions={vlan},load:{number}->{_ROUTER},resubmit(,{_TABLE})"
                )
                for ttl in (0, 1):
                    yield f"priority=23,{outside},nw_ttl={ttl},actions={vlan},NORMAL"
    largest = max(mtu_of(topology, p.network) for p in instance.ports if p.network)
    near: set[IPv4Network | IPv6Network] = set()
    for address in (ip_interface(a) for p in instance.ports for a in p.all_addresses()):
        # For the router itself, or for somebody near whom the file does not know.
        near |= {_alone(address.ip), address.network}
    for network in sorted(near, key=str):
        yield _flow(number, network, "NORMAL")
    for i, port in enumerate(instance.ports):
        if not port.network or mtu_of(topology, port.network) < largest:
            continue
        source = _mac(topology, name, i, port)
        for receiver, mac, output in _receivers(topology, host, port):
            if all(receiver != ip_interface(a).ip for a in port.all_addresses()):
                yield _flow(number, _alone(receiver), _actions(source, mac, output))
        for network, hop in _routes(instance):
            if network in near:
                continue
            next_hop = _mac_of(topology, port, hop)
            if next_hop is not None:
                way = _towards(topology, host, port.network)
                yield _flow(number, network, _actions(source, next_hop, way))


def _flow(number: int, receivers: IPv4Network | IPv6Network, actions: str) -> str:
    # A longer prefix goes first (RFC 1812, 5.2.4.3).
    field = "nw_dst" if receivers.version == 4 else "ipv6_dst"
    match = f",{field}={receivers}" if receivers.prefixlen else ""
    protocol = _protocol(receivers.version)
    priority = 1 + receivers.prefixlen
    return f"table={_TABLE},priority={priority},{protocol},reg6={number}{match},actions={actions}"


def _actions(source: str, target: str, output: str) -> str:
    # It may go back where it came from, under another number.
    return f"mod_dl_src:{source},mod_dl_dst:{target},dec_ttl,load:0->NXM_OF_IN_PORT[],{output}"


def _receivers(topology: Topology, host: str, port: Port) -> Iterator[tuple[IpAddress, str, str]]:
    """(address, hardware address, output) of the instances in the network of a router's port."""
    assert port.network is not None
    if not topology.networks[port.network].tunnelled:
        for outside in (i for i in topology.instances.values() if i.host is None):
            for address in (ip_interface(a).ip for p in outside.ports for a in p.all_addresses()):
                if mac := _mac_of(topology, port, address):
                    yield address, mac, _towards(topology, host, port.network)
    for member in members(topology, port.network):
        way = _towards(topology, host, port.network)
        if member.host == host:
            way = f"load:0->NXM_OF_VLAN_TCI[],output:{member.instance}.eth{member.index}"
        mac = _mac(topology, member.instance, member.index, member.port)
        for address in (ip_interface(a) for a in member.port.all_addresses()):
            if any(
                address.version == own.version and address.ip in own.network
                for own in map(ip_interface, port.all_addresses())
            ):
                yield address.ip, mac, way


def _towards(topology: Topology, host: str, network: str) -> str:
    """To the other hosts of a network, in the VLAN that it has on this one."""
    declared = topology.networks[network]
    bridge = TUNNEL if declared.tunnelled else declared.bridge or ""
    vlan = local_vlans(topology, host)[network]
    # Whether it came with a tag or without: to set a VLAN could as well add one.
    return f"load:{_TAGGED | vlan:#x}->NXM_OF_VLAN_TCI[],output:{patch_name(INTEGRATION, bridge)}"


def _routes(instance: Instance) -> Iterator[tuple[IPv4Network | IPv6Network, IpAddress]]:
    if instance.gateway:
        hop = ip_address(instance.gateway)
        yield ip_network("0.0.0.0/0" if hop.version == 4 else "::/0"), hop
    for route in instance.routes:
        destination, _, via = route.partition(" via ")
        yield ip_network(destination.strip()), ip_address(via.strip())


def _mac_of(topology: Topology, port: Port, hop: IpAddress) -> str | None:
    """The hardware address of a next hop behind a router's port, where the file says whose it is."""
    near = [ip_interface(a) for a in port.all_addresses()]
    if not any(hop.version == own.version and hop in own.network for own in near):
        return None
    found = {
        _mac(topology, name, i, other)
        for name, instance in topology.instances.items()
        for i, other in enumerate(instance.ports)
        if other.network in (None, port.network)
        and any(ip_interface(a).ip == hop for a in other.all_addresses())
    }
    return found.pop() if len(found) == 1 else None


def _mac(topology: Topology, name: str, index: int, port: Port) -> str:
    return port.mac.lower() if port.mac else default_mac(topology.name, name, index)


def _alone(address: IpAddress) -> IPv4Network | IPv6Network:
    return ip_network(f"{address}/{_HOST_BITS[address.version]}")


def _protocol(version: int) -> str:
    return "ip" if version == 4 else "ipv6"
