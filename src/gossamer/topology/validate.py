"""What types alone cannot say of a topology: names that must exist, addresses that must fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import Final

from gossamer.errors import TopologyError
from gossamer.topology.expectation import expectations
from gossamer.topology.flows import match_of
from gossamer.topology.model import Bridge, Host, Instance, Port, Topology, parse_rate_bps
from gossamer.topology.port_names import instance_ports
from gossamer.topology.resources import resources
from gossamer.topology.validate_networks import (
    check_names,
    check_network_port,
    check_networks,
    check_unprotected,
    check_uplink,
)
from gossamer.topology.validate_security import check_security

Interface = IPv4Interface | IPv6Interface

_CONTROLLER: Final = re.compile(r"^((tcp|ssl|ptcp|pssl):\S+|(unix|punix):\S+|p?(tcp|ssl))$")
_DEVICE: Final = re.compile(r"^[^\s/:]{1,15}$")
_IPV6_LEAST_MTU: Final = 1280  # RFC 8200, 5
_MOST_KBPS: Final = 4294967295


def check(topology: Topology) -> None:
    """Raises TopologyError with a path such as ``instances.vm1.ports[0].mac`` in `place`."""
    check_names(topology)
    for host, above in ((None, ""), *((h, f"hosts.{h}.") for h in topology.hosts)):
        for name, bridge in topology.bridges_at(host).items():
            _check_bridge(bridge, f"{above}bridges.{name}")
            _check_flows(topology, host, name, f"{above}bridges.{name}.flows")
        _check_patches(topology, host, above)
        _check_devices(topology, host, above)
    for group, machines in (("hosts", topology.hosts), ("instances", topology.instances)):
        for name, machine in machines.items():
            for i, port in enumerate(machine.ports):
                _check_port(topology, port, _host_of(machine), f"{group}.{name}.ports[{i}]")
                if group == "hosts" or _host_of(machine):
                    in_network = group == "instances" and port.network is not None
                    place = f"{group}.{name}.ports[{i}]"
                    check_unprotected(port, place, may_have_rules=in_network)
            _check_machine(machine, f"{group}.{name}")
    check_networks(topology)
    _check_twice(topology)
    check_security(topology)
    resources(topology)
    expectations(topology)


def _host_of(machine: Instance | Host) -> str | None:
    return machine.host if isinstance(machine, Instance) else None


def _check_bridge(bridge: Bridge, place: str) -> None:
    for i, controller in enumerate(bridge.controllers):
        if not _CONTROLLER.match(controller):
            raise TopologyError(
                f"{controller!r} is no controller",
                place=f"{place}.controllers[{i}]",
                remedy="write it as tcp:127.0.0.1:6653, ssl:HOST:PORT, unix:PATH or ptcp:PORT",
            )
    for i, device in enumerate(bridge.devices):
        if not _DEVICE.match(device) or device == "lo":
            raise TopologyError(
                f"{device!r} cannot be a port",
                place=f"{place}.devices[{i}]",
                remedy="see ip link for the devices of this host",
            )


def _check_flows(topology: Topology, host: str | None, bridge: str, place: str) -> None:
    matches: set[str] = set()
    for i, flow in enumerate(topology.bridges_at(host)[bridge].flows):
        where = f"{place}[{i}]"
        text = flow.strip()
        if "\n" in text or text.startswith("#") or not re.search(r"\bactions?=", text):
            raise TopologyError(
                f"{text.partition(chr(10))[0]!r}: a flow is a match and actions",
                place=where,
                remedy='write one flow an entry: "priority=10,in_port=vm1.eth0,actions=drop"',
            )
        match = match_of(text)
        if match in matches:
            raise TopologyError(
                f"there is a flow that matches {match or 'everything'!r} already, of the same priority",
                place=where,
                remedy="take one of them out, or give them different priorities",
            )
        matches.add(match)
        for instance, number in instance_ports(text):
            here = [
                f"{n}.eth{k}" for n, k, p, at in _ports(topology) if p.bridge == bridge and at == host
            ]
            if f"{instance}.eth{number}" not in here:
                raise TopologyError(
                    f"there is no port {instance}.eth{number} on bridge {bridge}",
                    place=where,
                    remedy=f"its ports are {', '.join(here) or 'none'}",
                )


def _check_port(topology: Topology, port: Port, host: str | None, place: str) -> None:
    if port.network is not None:
        check_network_port(topology, port, host, place)
    elif port.bridge is None:
        raise TopologyError(
            "bridge is missing", place=place, remedy="add bridge:, or network: on a host; see docs/cli.md"
        )
    elif port.bridge not in topology.bridges_at(host):
        raise TopologyError(
            f"there is no bridge {port.bridge!r}" + (f" on {host}" if host else ""),
            place=f"{place}.bridge",
            remedy=f"bridges are {', '.join(topology.bridges_at(host)) or 'none'}",
        )
    if port.address is not None:
        _address(port.address, f"{place}.address")
    for i, address in enumerate(port.addresses):
        _address(address, f"{place}.addresses[{i}]")
    addresses = [ip_interface(a) for a in port.all_addresses()]
    if port.mtu and port.mtu < _IPV6_LEAST_MTU and any(a.version == 6 for a in addresses):
        raise TopologyError(
            f"an mtu of {port.mtu} is too small for IPv6",
            place=f"{place}.mtu",
            remedy=f"make it {_IPV6_LEAST_MTU} at least, or take the IPv6 address away",
        )
    if port.mac is not None:
        first = int(port.mac[:2], 16)
        if first & 1 or not int(port.mac.replace(":", ""), 16):
            raise TopologyError(
                f"{port.mac} is no address of one device",
                place=f"{place}.mac",
                remedy="make its first byte even, and not all of it zero: 02:00:00:00:00:01",
            )
    _check_rate(port, place)
    _check_vlans(port, place)


def _address(text: str, place: str) -> Interface:
    remedy = "write it with its prefix length: 10.0.0.1/24, fd00::1/64"
    try:
        address = ip_interface(text)
    except ValueError:
        raise TopologyError(
            f"{text!r} is no address with a prefix length", place=place, remedy=remedy
        ) from None
    if "/" not in text or "%" in text:
        raise TopologyError(f"{text!r} is no address with a prefix length", place=place, remedy=remedy)
    if address.ip.is_multicast or address.ip.is_unspecified:
        raise TopologyError(
            f"{text} is no address of one host", place=place, remedy="give it one that is its own"
        )
    network = address.network
    if network.version == 4 and network.prefixlen < 31:
        for edge, what in ((network.network_address, "network"), (network.broadcast_address, "broadcast")):
            if address.ip == edge:
                raise TopologyError(
                    f"{address.ip} is the {what} address of {network}, not a host's",
                    place=place,
                    remedy=f"take one between {network[1]} and {network[-2]}",
                )
    return address


def _check_rate(port: Port, place: str) -> None:
    if port.rate is None:
        if port.burst is not None:
            raise TopologyError(
                "a burst without a rate limits nothing",
                place=f"{place}.burst",
                remedy="say the rate too: rate: 1 Mbit/s",
            )
        return
    try:
        parse_rate_bps(port.rate)
    except TopologyError as e:
        raise TopologyError(e.message, place=f"{place}.rate", remedy=e.remedy) from None
    if not 1 <= port.rate_kbps <= _MOST_KBPS:
        raise TopologyError(
            f"{port.rate} cannot be held",
            place=f"{place}.rate",
            remedy="take 1 kbit/s at least; leave rate out for no limit",
        )


def _check_vlans(port: Port, place: str) -> None:
    if port.vlan is None:
        if port.mode in ("access", "native-tagged", "native-untagged"):
            raise TopologyError(
                f"mode {port.mode} needs a vlan", place=f"{place}.mode", remedy="say vlan: 10"
            )
        return
    if port.mode == "trunk":
        raise TopologyError(
            "a port in mode trunk has no vlan of its own",
            place=f"{place}.vlan",
            remedy="take it out, or make the mode native-untagged or native-tagged",
        )
    if port.trunks and port.mode in (None, "access"):
        raise TopologyError(
            "an access port carries its vlan only, so trunks would be ignored",
            place=f"{place}.trunks",
            remedy="say mode: native-untagged or native-tagged, or take trunks or vlan out",
        )


def _check_machine(instance: Instance | Host, place: str) -> None:
    if isinstance(instance, Instance) and instance.nat and int(instance.nat[3:]) >= len(instance.ports):
        raise TopologyError(
            f"there is no port {instance.nat}",
            place=f"{place}.nat",
            remedy=f"ports are {', '.join(f'eth{i}' for i in range(len(instance.ports)))}",
        )
    subnets = [ip_interface(a) for p in instance.ports for a in p.all_addresses()]
    if instance.gateway is not None:
        _check_hop(instance.gateway, subnets, f"{place}.gateway")
    seen: set[str] = set()
    for i, route in enumerate(instance.routes):
        where = f"{place}.routes[{i}]"
        destination, arrow, via = route.partition(" via ")
        try:
            network = ip_network(destination.strip())
            hop = ip_address(via.strip())
        except ValueError as e:
            raise TopologyError(
                f"{route!r} is no route" + (f": {e}" if arrow else ""),
                place=where,
                remedy="write it as 10.1.0.0/16 via 10.0.0.254",
            ) from None
        if network.version != hop.version:
            raise TopologyError(
                f"{network} cannot be reached via {hop}", place=where, remedy="take both of one IP version"
            )
        if str(network) in seen or (network.prefixlen == 0 and _is_default(instance, hop.version)):
            raise TopologyError(
                f"there is a route to {network} already", place=where, remedy="take one of them out"
            )
        seen.add(str(network))
        _check_hop(via.strip(), subnets, where)


def _is_default(instance: Instance | Host, version: int) -> bool:
    return instance.gateway is not None and ip_address(instance.gateway).version == version


def _check_hop(text: str, subnets: list[Interface], place: str) -> None:
    try:
        hop = ip_address(text)
    except ValueError:
        raise TopologyError(
            f"{text!r} is no address", place=place, remedy="write it as 10.0.0.254, without a prefix"
        ) from None
    for subnet in subnets:
        if hop.version == subnet.version and hop in subnet.network:
            if hop == subnet.ip:
                raise TopologyError(
                    f"{hop} is the instance itself", place=place, remedy="name another host's address"
                )
            return
    raise TopologyError(
        f"{hop} is in none of the instance's subnets",
        place=place,
        remedy="they are " + ", ".join(str(s.network) for s in subnets)
        if subnets
        else "give one of its ports an address",
    )


def _check_patches(topology: Topology, host: str | None, above: str) -> None:
    bridges = topology.bridges_at(host)
    joined: dict[str, str] = {}

    def root(name: str) -> str:
        while joined.get(name, name) != name:
            name = joined[name]
        return name

    pairs: set[frozenset[str]] = set()
    for i, patch in enumerate(topology.hosts[host].patches if host else topology.patches):
        place = f"{above}patches[{i}].between"
        for bridge in patch.between:
            if bridge not in bridges:
                raise TopologyError(
                    f"there is no bridge {bridge!r}",
                    place=place,
                    remedy=f"bridges are {', '.join(bridges)}",
                )
        a, b = patch.between
        if a == b:
            raise TopologyError("a patch joins two bridges", place=place, remedy="name another one")
        if frozenset(patch.between) in pairs:
            raise TopologyError(
                f"{a} and {b} are joined already", place=place, remedy="one patch carries all VLANs"
            )
        pairs.add(frozenset(patch.between))
        if any(_forwards_by_itself(bridges[x]) is False for x in patch.between):
            continue
        if root(a) == root(b):
            raise TopologyError(
                f"the patch from {a} to {b} closes a loop: every broadcast would go round for ever",
                place=place,
                remedy="take one patch of the loop out, or give its bridges flows or a controller",
            )
        joined[root(a)] = root(b)


def _forwards_by_itself(bridge: Bridge) -> bool:
    """A bridge that learns and floods; flows and controllers may know how to break a loop."""
    return not bridge.flows and not bridge.controllers and bridge.fail_mode == "standalone"


def _check_devices(topology: Topology, host: str | None, above: str) -> None:
    where: dict[str, str] = {}
    for name, bridge in topology.bridges_at(host).items():
        for i, device in enumerate(bridge.devices):
            if host:
                check_uplink(topology.hosts[host], device, f"{above}bridges.{name}.devices[{i}]")
            if device in topology.bridges_at(host):
                reason = f"{device} is a bridge"
            elif device in where:
                reason = f"{device} is on bridge {where[device]} already"
            else:
                where[device] = name
                continue
            raise TopologyError(
                reason,
                place=f"{above}bridges.{name}.devices[{i}]",
                remedy="a device is on one bridge; bridges are joined by patches",
            )


def _check_twice(topology: Topology) -> None:
    """Two cards of one network with one address would take turns."""
    _check_unique(topology, "address", "addresses", lambda p: [str(ip_interface(a).ip) for a in p.all_addresses()])
    _check_unique(topology, "mac", "mac", lambda p: [p.mac.lower()] if p.mac else [])


def _check_unique(
    topology: Topology, one: str, many: str, values: Callable[[Port], list[str]]
) -> None:
    owners: dict[tuple[str | int | None, ...], str] = {}
    for name, i, port, host in _ports(topology):
        for value in values(port):
            # A network is one wherever its ports are.
            segment = (port.network,) if port.network else (host, port.bridge, port.vlan)
            owner = owners.setdefault((*segment, value), f"{name} eth{i}")
            if owner != f"{name} eth{i}" or values(port).count(value) > 1:
                group = "hosts" if name in topology.hosts else "instances"
                raise TopologyError(
                    f"{value} is given twice: to {owner} and to {name} eth{i}",
                    place=f"{group}.{name}.ports[{i}].{one if port.address or one == 'mac' else many}",
                    remedy="give each its own, or put them in different VLANs or networks or on different bridges",
                )


def _ports(topology: Topology) -> Iterator[tuple[str, int, Port, str | None]]:
    """(instance or host, index, port, the host its bridge is on)."""
    for name, machine in topology.machines.items():
        for i, port in enumerate(machine.ports):
            yield name, i, port, _host_of(machine)
