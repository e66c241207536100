"""Rules as matches in the syntax of ovs-fields(7)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface, ip_network
from typing import Final

from gossamer.topology.allow import Direction, Network, Rule, port_masks
from gossamer.topology.model import Port, Topology

_WORDS: Final = {
    4: {"tcp": "tcp", "udp": "udp", "sctp": "sctp", "icmp": "icmp", "any": "ip"},
    6: {"tcp": "tcp6", "udp": "udp6", "sctp": "sctp6", "icmp": "icmp6", "any": "ipv6"},
}
_ADDRESS: Final = {
    ("in", 4): "nw_src", ("out", 4): "nw_dst", ("in", 6): "ipv6_src", ("out", 6): "ipv6_dst",
}  # fmt: skip
_EVERY_PORT_BIT: Final = 0xFFFF


def source_field(version: int) -> str:
    """The field of a packet's source address."""
    return _ADDRESS["in", version]


def target_field(version: int) -> str:
    """The field of a packet's destination address."""
    return _ADDRESS["out", version]


def ports_of_group(topology: Topology, group: str) -> Iterator[Port]:
    """The ports that a security group's rules hold for."""
    for instance in topology.instances.values():
        for port in instance.ports:
            if group in port.groups():
                yield port


def matches(topology: Topology, rule: Rule, direction: Direction) -> Iterator[str]:
    """Matches of the packets of a rule's connections that go the way of the first."""
    for version, network in _peers(topology, rule):
        match = _WORDS[version][rule.protocol]
        if network is not None and network.prefixlen:
            address = network.network_address if network.prefixlen == network.max_prefixlen else network
            match += f",{_ADDRESS[direction, version]}={address}"
        if rule.ports is None:
            yield match
            continue
        for value, mask in port_masks(*rule.ports):
            port = f"{value}" if mask == _EVERY_PORT_BIT else f"0x{value:x}/0x{mask:x}"
            yield f"{match},tp_dst={port}"


def _peers(topology: Topology, rule: Rule) -> Iterator[tuple[int, Network | None]]:
    """(IP version, network) of whom a rule is about; None for all of that version."""
    if rule.network is not None:
        yield rule.network.version, rule.network
    elif rule.group is not None:
        for port in ports_of_group(topology, rule.group):
            for address in port.all_addresses():
                ip = ip_interface(address).ip
                yield ip.version, ip_network(ip)
    else:
        yield 4, None
        yield 6, None
