"""Virtual networks over hosts: who takes part, under which VLAN, by which way, how large a packet may be.

As on a node of OpenStack, ports of instances are on br-int of their host, in a
VLAN that stands for their network on this host alone; br-tun translates it to
the network's VNI or key, and a bridge to a physical network to its VLAN there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from typing import Final

from gossamer.errors import TopologyError
from gossamer.topology.model import Network, Port, Topology
from gossamer.topology.names import patch_name

INTEGRATION: Final = "br-int"
TUNNEL: Final = "br-tun"
DEFAULT_MTU: Final = 1500
_UPLINK: Final = re.compile(r"^eth([0-9]+)$")
_VLANS: Final = 4094
_OVERHEAD: Final = {"vxlan": 30, "geneve": 30, "gre": 22}
"""Octets before the inner packet but for the outer IP header: the inner Ethernet header (14), and UDP
(8) with VXLAN (RFC 7348, 8) or Geneve without options (RFC 8926, 8), or GRE with a key (RFC 2890, 8)."""
_IP_HEADER: Final = {4: 20, 6: 40}
TUNNEL_KINDS: Final = tuple(_OVERHEAD)

IpAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Member:
    """A port of an instance in a network."""

    instance: str
    index: int
    host: str
    port: Port


def members(topology: Topology, network: str) -> list[Member]:
    """The ports of instances in a network."""
    return [
        Member(name, i, instance.host, port)
        for name, instance in topology.instances.items()
        if instance.host
        for i, port in enumerate(instance.ports)
        if port.network == network
    ]


def hosts_of(topology: Topology, network: str) -> list[str]:
    """The hosts that take part in a network: with instances in it, or a gateway."""
    here = {m.host for m in members(topology, network)}
    if network in topology.networks:
        here |= {g.host for g in topology.networks[network].gateways}
    return [h for h in topology.hosts if h in here]


def networks_of(topology: Topology, host: str) -> dict[str, Network]:
    """The networks that a host takes part in, in the file's order."""
    return {n: net for n, net in topology.networks.items() if host in hosts_of(topology, n)}


def local_vlans(topology: Topology, host: str) -> dict[str, int]:
    """The VLAN of each network on a host; it changes neither with other networks nor with their order.

    (But for two that fall together: then the later one takes the next.)
    """
    out: dict[str, int] = {}
    for name in networks_of(topology, host):
        digest = hashlib.sha256(f"{topology.name}/{host}/{name}".encode()).digest()
        vlan = int.from_bytes(digest[:8], "big") % _VLANS + 1
        while vlan in out.values():
            vlan = vlan % _VLANS + 1
        out[name] = vlan
    return out


@dataclass(frozen=True, slots=True)
class Physical:
    """A network's place on a bridge of a host to the outside: VLAN `vlan` there, None for untagged."""

    network: str
    bridge: str
    vlan: int | None
    is_gateway: bool

    @property
    def arrival(self) -> str:
        """What its frames match on br-int, as they come from outside."""
        tag = f"dl_vlan={self.vlan}" if self.vlan else "vlan_tci=0x0000/0x1fff"
        return f"in_port={patch_name(INTEGRATION, self.bridge)},{tag}"


def physical_of(topology: Topology, host: str) -> list[Physical]:
    """What a host's bridges to physical networks carry."""
    out: list[Physical] = []
    for name, network in networks_of(topology, host).items():
        if not network.tunnelled and network.bridge:
            out.append(Physical(name, network.bridge, network.id, False))
        out += [
            Physical(name, g.bridge, g.vlan, True) for g in network.gateways if g.host == host
        ]
    return out


def endpoint(topology: Topology, host: str) -> IpAddress:
    """Where tunnels to a host end.  Raises TopologyError where it has no address."""
    declared = topology.hosts[host]
    if declared.tunnel_address:
        return ip_address(declared.tunnel_address)
    for port in declared.ports:
        for address in port.all_addresses():
            return ip_interface(address).ip
    raise TopologyError(
        f"{host} has no address for tunnels to end at",
        place=f"hosts.{host}.ports",
        remedy="give one of its ports an address",
    )


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A tunnel port of br-tun to another host, for all networks of a kind."""

    name: str
    type: str
    """Of the interface, as the database has it."""
    kind: str
    peer: str
    local: IpAddress
    remote: IpAddress


def tunnels_of(topology: Topology, host: str) -> list[Tunnel]:
    """A tunnel of a kind goes to each host with which a host has a network of that kind in common."""
    local = None
    out: list[Tunnel] = []
    for kind in TUNNEL_KINDS:
        mine = [n for n, network in networks_of(topology, host).items() if network.kind == kind]
        for peer in topology.hosts:
            if peer == host or not any(peer in hosts_of(topology, n) for n in mine):
                continue
            local = local or endpoint(topology, host)
            remote = endpoint(topology, peer)
            wire = "ip6gre" if kind == "gre" and local.version == 6 else kind
            out.append(Tunnel(f"{kind}-{peer}", wire, kind, peer, local, remote))
    return out


def overhead(kind: str, family: int) -> int:
    """Octets that a tunnel adds to a packet of the inner network, over IPv4 or IPv6."""
    return _IP_HEADER[family] + _OVERHEAD[kind]


def mtu_of(topology: Topology, name: str) -> int:
    """The largest packet that every way within a network carries, or the smaller one it is given."""
    network = topology.networks[name]
    return network.mtu or largest_mtu(topology, name)


def largest_mtu(topology: Topology, name: str) -> int:
    """The largest packet that every way within a network carries."""
    network, hosts = topology.networks[name], hosts_of(topology, name)
    limits = [DEFAULT_MTU] if not hosts else []
    for host in hosts:
        if network.tunnelled:
            ways = [p.mtu or DEFAULT_MTU for p in topology.hosts[host].ports if p.all_addresses()]
            family = endpoint(topology, host).version
            limits.append(min(ways, default=DEFAULT_MTU) - overhead(network.kind, family))
        limits += [
            mtu
            for physical in physical_of(topology, host)
            if physical.network == name
            for mtu in _device_mtus(topology, host, physical.bridge)
        ]
    return min(limits, default=DEFAULT_MTU)


def uplinks_of(topology: Topology, host: str, bridge: str) -> Iterator[Port]:
    """The ports of a host that are plugged into one of its bridges."""
    declared = topology.hosts[host]
    if bridge not in declared.bridges:
        return
    for device in declared.bridges[bridge].devices:
        found = _UPLINK.match(device)
        if found and int(found[1]) < len(declared.ports):
            yield declared.ports[int(found[1])]


def _device_mtus(topology: Topology, host: str, bridge: str) -> Iterator[int]:
    for port in uplinks_of(topology, host, bridge):
        yield port.mtu or DEFAULT_MTU
