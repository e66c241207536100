"""Which addresses routers' ports translate, read from a topology: floating ones, and networks behind one.

Both are the business of a router's port: the switch translates what leaves the
router there and what is for it, so the router itself sees inner addresses only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
    ip_address,
    ip_interface,
)
from typing import Final

from gossamer.errors import TopologyError
from gossamer.topology.model import Instance, Port, Topology

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Where = tuple[str, int]
"""An instance and the number of one of its ports."""

_MOST_HIDING: Final = 256
"""Addresses of one range; each is answered for."""


@dataclass(frozen=True, slots=True)
class Hiding:
    """A range of addresses, `first` to `last`, for what leaves."""

    first: Address
    last: Address

    def __contains__(self, address: Address) -> bool:
        return address.version == self.first.version and int(self.first) <= int(address) <= int(self.last)

    def text(self) -> str:
        """As nat() has it."""
        if self.first == self.last:
            return str(self.first)
        return f"{self.first}-{self.last}" if self.first.version == 4 else f"[{self.first}]-[{self.last}]"


@dataclass(frozen=True, slots=True)
class Translation:
    """What a router's port translates.  `floating` has pairs of (outside, inside)."""

    router: Where
    addresses: tuple[Interface, ...]
    floating: tuple[tuple[Address, Address], ...]
    hiding: tuple[Hiding, ...]

    def extra_addresses(self) -> list[str]:
        """IPv6 addresses that the router's kernel must answer for: flows answer for IPv4 only."""
        own = {a.ip for a in self.addresses}
        outside = [f for f, _ in self.floating]
        outside += [ip_address(n) for h in self.hiding if h.first.version == 6
                    for n in range(int(h.first), int(h.last) + 1)]  # fmt: skip
        return [f"{a}/128" for a in outside if a.version == 6 and a not in own]


def parse_hiding(text: str) -> Hiding:
    """``203.0.113.1`` or ``203.0.113.20-203.0.113.29``.  Raises TopologyError without a place."""
    first, _, last = text.partition("-")
    try:
        hiding = Hiding(ip_address(first.strip()), ip_address((last or first).strip()))
    except ValueError as e:
        raise TopologyError(
            f"snat: {e}", remedy="write 203.0.113.1, or a range: 203.0.113.20-203.0.113.29"
        ) from None
    if hiding.first.version != hiding.last.version or int(hiding.last) < int(hiding.first):
        raise TopologyError(f"{text} is no range of addresses", remedy="write the smaller one first")
    if int(hiding.last) - int(hiding.first) >= _MOST_HIDING:
        raise TopologyError(
            f"{text} has more than {_MOST_HIDING} addresses",
            remedy="one address hides some 60,000 connections to each server: take fewer",
        )
    return hiding


def translations(topology: Topology) -> dict[Where, Translation]:
    """The ports of routers that translate.  Raises TopologyError with a path in `place`."""
    floating: dict[Where, list[tuple[Address, Address]]] = {}
    given: dict[Address, str] = {}
    for name, instance in topology.instances.items():
        for i, port in enumerate(instance.ports):
            for outside, text in enumerate(port.all_floating()):
                place = f"instances.{name}.ports[{i}].floating"
                place += "" if isinstance(port.floating, str) else f"[{outside}]"
                pair, router = _floating(topology, instance, port, text, place)
                owner = given.setdefault(pair[0], f"{name} eth{i}")
                if owner != f"{name} eth{i}" or (pair in floating.get(router, ())):
                    raise TopologyError(
                        f"{pair[0]} is given twice: to {owner} and to {name} eth{i}",
                        place=place,
                        remedy="give each an address of its own",
                    )
                floating.setdefault(router, []).append(pair)
    out: dict[Where, Translation] = {}
    hidden: list[tuple[Where, Hiding]] = []
    for name, instance in topology.instances.items():
        for i, port in enumerate(instance.ports):
            hiding = tuple(_hiding(instance, port, i, f"instances.{name}.ports[{i}].snat"))
            for range_ in hiding:
                _check_nobody_has(topology, (name, i), range_, hidden)
                hidden.append(((name, i), range_))
            if hiding or (name, i) in floating:
                addresses = tuple(ip_interface(a) for a in port.all_addresses())
                out[name, i] = Translation((name, i), addresses, tuple(floating.get((name, i), ())), hiding)
    return out


def _floating(
    topology: Topology, instance: Instance, port: Port, text: str, place: str
) -> tuple[tuple[Address, Address], Where]:
    try:
        outside = ip_address(text)
    except ValueError:
        raise TopologyError(
            f"{text!r} is no address", place=place, remedy="write it without a prefix: 203.0.113.10"
        ) from None
    inside = next(
        (a.ip for a in map(ip_interface, port.all_addresses()) if a.version == outside.version), None
    )
    if inside is None:
        raise TopologyError(
            f"the port has no IPv{outside.version} address that {outside} could stand for",
            place=place,
            remedy=f"give it one: address: {'10.0.0.10/24' if outside.version == 4 else 'fd00::10/64'}",
        )
    return (outside, inside), _router(topology, instance, outside, place)


def _router(topology: Topology, instance: Instance, outside: Address, place: str) -> Where:
    """The router's port in whose subnet a floating address is; the instance's gateway where several are."""
    found: list[Where] = []
    for name, other in topology.instances.items():
        for i, port in enumerate(other.ports):
            for address in map(ip_interface, port.all_addresses()):
                if address.ip == outside:
                    raise TopologyError(
                        f"{outside} is the address of {name} eth{i}",
                        place=place,
                        remedy="take one that nobody has",
                    )
                if other.forward and other is not instance and outside in address.network:
                    if _is_of_no_host(outside, address):
                        raise _of_no_host(outside, address, place)
                    found.append((name, i))
    gateways = [w for w in found if _owns(topology.instances[w[0]], instance.gateway)]
    candidates = gateways or found
    if not candidates:
        raise TopologyError(
            f"no router has a port in the network of {outside}",
            place=place,
            remedy="an instance with forward: true and an address in that network translates it",
        )
    if len(candidates) > 1:
        raise TopologyError(
            f"{outside} could be translated by " + " or ".join(f"{n} eth{i}" for n, i in candidates),
            place=place,
            remedy="make one of them the instance's gateway",
        )
    return candidates[0]


def _is_of_no_host(address: Address, of: Interface) -> bool:
    """Whether it means the network of an interface, or all its hosts."""
    network = of.network
    small = network.max_prefixlen - network.prefixlen < 2  # RFC 3021
    return address.version == 4 and not small and address in (network[0], network[-1])


def _of_no_host(address: Address, of: Interface, place: str) -> TopologyError:
    remedy = "take another one of that network"
    return TopologyError(f"{address} is no host's in {of.network}", place=place, remedy=remedy)


def _meet(one: Hiding, other: Hiding) -> bool:
    same = one.first.version == other.first.version
    return same and int(one.first) <= int(other.last) and int(other.first) <= int(one.last)


def _check_nobody_has(
    topology: Topology, where: Where, hiding: Hiding, hidden: list[tuple[Where, Hiding]]
) -> None:
    """Refuse to hide others behind what belongs to somebody else: both would answer for it."""
    place = f"instances.{where[0]}.ports[{where[1]}].snat"
    remedy = "take addresses that nobody has, or the port's own"
    mine = topology.instances[where[0]].ports[where[1]]

    def near(port: Port) -> bool:
        return (port.bridge, port.vlan) == (mine.bridge, mine.vlan)

    for name, instance in topology.instances.items():
        for i, port in enumerate(instance.ports):
            for address in map(ip_interface, port.all_addresses()):
                if port is not mine and near(port) and _meet(hiding, Hiding(address.ip, address.ip)):
                    raise TopologyError(
                        f"{address.ip} is the address of {name} eth{i}", place=place, remedy=remedy
                    )
    for (name, i), other in hidden:
        port = topology.instances[name].ports[i]
        if port is not mine and near(port) and _meet(hiding, other):
            raise TopologyError(
                f"{name} eth{i} hides others behind some of them", place=place, remedy=remedy
            )


def _owns(router: Instance, gateway: str | None) -> bool:
    return gateway is not None and any(
        ip_interface(a).ip == ip_address(gateway) for p in router.ports for a in p.all_addresses()
    )


def _hiding(instance: Instance, port: Port, index: int, place: str) -> Iterator[Hiding]:
    versions: set[int] = set()
    for i, text in enumerate(port.all_snat()):
        where = place if isinstance(port.snat, str) else f"{place}[{i}]"
        if not instance.forward:
            raise TopologyError(
                "only a router hides the addresses of others", place=where, remedy="say forward: true"
            )
        if instance.nat == f"eth{index}":
            raise TopologyError(
                "nat and snat both translate what leaves here", place=where, remedy="take one of them out"
            )
        try:
            hiding = parse_hiding(text)
        except TopologyError as e:
            raise TopologyError(e.message, place=where, remedy=e.remedy) from None
        interfaces = [ip_interface(a) for a in port.all_addresses()]
        networks = [i.network for i in interfaces]
        if not any(hiding.first in n and hiding.last in n for n in networks):
            raise TopologyError(
                f"{text} is not in a network of the port",
                place=where,
                remedy="they are " + ", ".join(map(str, networks)) if networks else "give it an address",
            )
        for of in interfaces:
            for end in (hiding.first, hiding.last):
                if end in of.network and _is_of_no_host(end, of):
                    raise _of_no_host(end, of, where)
        if hiding.first.version in versions:
            raise TopologyError(
                f"there is an IPv{hiding.first.version} address to hide behind already",
                place=where,
                remedy="make them one range",
            )
        versions.add(hiding.first.version)
        yield hiding
