"""Translated addresses as flows with ct(nat): floating addresses, and networks behind one address.

Both are the business of a router's port: the switch translates what leaves the
router there and what is for it, so the router itself sees inner addresses only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
    ip_address,
    ip_interface,
    summarize_address_range,
)
from typing import Final

from gossamer.errors import TopologyError
from gossamer.topology.matches import source_field, target_field
from gossamer.topology.model import Instance, Port, Topology
from gossamer.topology.security import LINK_ICMPV6
from gossamer.topology.stages import HELPED, VLAN, FlowList, Stage, go

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Where = tuple[str, int]
"""An instance and the number of one of its ports."""

_MOST_HIDING: Final = 256
"""Addresses of one range; each is answered for."""
_WORD: Final = {4: "ip", 6: "ipv6"}
_KNOWN: Final = ("est", "rel", "snat", "dnat")
"""States of what the first look at the connection translated already: a repeated first packet too."""


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
    for name, instance in topology.instances.items():
        for i, port in enumerate(instance.ports):
            hiding = tuple(_hiding(instance, port, i, f"instances.{name}.ports[{i}].snat"))
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
            remedy="give it one: address: 10.0.0.10/24",
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
        networks = [ip_interface(a).network for a in port.all_addresses()]
        if not any(hiding.first in n and hiding.last in n for n in networks):
            raise TopologyError(
                f"{text} is not in a network of the port",
                place=where,
                remedy="they are " + ", ".join(map(str, networks)) if networks else "give it an address",
            )
        if hiding.first.version in versions:
            raise TopologyError(
                f"there is an IPv{hiding.first.version} address to hide behind already",
                place=where,
                remedy="make them one range",
            )
        versions.add(hiding.first.version)
        yield hiding


def add_translation(
    flows: FlowList, translation: Translation, name: str, vlan: int, mac: str, zone: int
) -> None:
    """The flows of a router's port, `name` as flows name it."""
    from_router, to_router = f"in_port={name}", f"{VLAN}={vlan},dl_dst={mac}"
    known = f"ct(table={{}},zone={zone},nat)"
    for word in _WORD.values():
        flows.add(Stage.SOURCE_NAT, 50, f"{from_router},{word}", known.format(int(Stage.SOURCE_NAT_RULES)))
        flows.add(Stage.TARGET_NAT, 50, f"{to_router},{word}", known.format(int(Stage.TARGET_NAT_RULES)))
    # What is of the link alone is of no connection.
    for match in ("ipv6_src=fe80::/10", *(f"icmp_type={kind}" for kind in LINK_ICMPV6)):
        word = "icmp6" if match.startswith("icmp") else "ipv6"
        flows.add(Stage.SOURCE_NAT, 60, f"{from_router},{word},{match}", go(Stage.TARGET_NAT))
        flows.add(Stage.TARGET_NAT, 60, f"{to_router},{word},{match}", go(Stage.RECEIVER))
    for word in _WORD.values():
        # A connection that another one announced is translated as that one's helper says.
        expected = "ct_state=+trk+new+rel"
        flows.add(
            Stage.SOURCE_NAT_RULES, 110, f"{from_router},{word},{expected}",
            f"ct(commit,zone={zone},nat,table={int(Stage.TARGET_NAT)})",
        )  # fmt: skip
        flows.add(
            Stage.TARGET_NAT_RULES, 110, f"{to_router},{word},{expected}",
            f"ct(commit,zone={zone},nat,table={int(Stage.RECEIVER)})",
        )  # fmt: skip
    for state in _KNOWN:
        flows.add(
            Stage.SOURCE_NAT_RULES, 100, f"{from_router},ct_state=+trk+{state}", go(Stage.TARGET_NAT)
        )
        flows.add(Stage.TARGET_NAT_RULES, 100, f"{to_router},ct_state=+trk+{state}", go(Stage.RECEIVER))
    for outside, inside in translation.floating:
        _add_floating(flows, from_router, to_router, zone, outside, inside)
    for hiding in translation.hiding:
        _add_hiding(flows, translation, from_router, to_router, zone, hiding)
    for interface in translation.addresses:
        version = interface.version
        flows.add(
            Stage.SOURCE_NAT_RULES, 60,
            f"{from_router},{_WORD[version]},{source_field(version)}={interface.network}",
            go(Stage.TARGET_NAT),
        )  # fmt: skip
        flows.add(
            Stage.TARGET_NAT_RULES, 60,
            f"{to_router},{_WORD[version]},{target_field(version)}={interface.network}",
            go(Stage.RECEIVER),
        )  # fmt: skip
    flows.add(Stage.SOURCE_NAT_RULES, 0, "", go(Stage.TARGET_NAT))
    flows.add(Stage.TARGET_NAT_RULES, 0, "", go(Stage.RECEIVER))
    # One host inside to the floating address of another: it leaves the router and comes back to it.
    flows.add(Stage.DELIVER, 50, f"{from_router},dl_dst={mac}", "IN_PORT")
    for addresses in _answered(translation):
        flows.add(
            Stage.TARGET_NAT, 60, f"{VLAN}={vlan},arp,arp_op=1,arp_tpa={addresses}", _answer(mac)
        )


def _add_floating(
    flows: FlowList, from_router: str, to_router: str, zone: int, outside: Address, inside: Address
) -> None:
    word, version = _WORD[inside.version], inside.version
    leaving = f"{from_router},{word},{source_field(version)}={inside}"
    arriving = f"{to_router},{word},{target_field(version)}={outside}"
    outwards = f"zone={zone},nat(src={outside}),table={int(Stage.TARGET_NAT)}"
    inwards = f"zone={zone},nat(dst={inside}),table={int(Stage.RECEIVER)}"
    _add_commit(flows, Stage.SOURCE_NAT_RULES, 90, leaving, outwards)
    _add_commit(flows, Stage.TARGET_NAT_RULES, 90, arriving, inwards)
    # Neither new nor known: the inner address must not leave, and nobody has the outer one.
    flows.add(Stage.SOURCE_NAT_RULES, 80, leaving, "drop")
    flows.add(Stage.TARGET_NAT_RULES, 80, arriving, "drop")


def _add_hiding(
    flows: FlowList,
    translation: Translation,
    from_router: str,
    to_router: str,
    zone: int,
    hiding: Hiding,
) -> None:
    version = hiding.first.version
    word = _WORD[version]
    hide = f"zone={zone},nat(src={hiding.text()}),table={int(Stage.TARGET_NAT)}"
    _add_commit(flows, Stage.SOURCE_NAT_RULES, 20, f"{from_router},{word}", hide)
    flows.add(Stage.SOURCE_NAT_RULES, 10, f"{from_router},{word}", "drop")
    own = {a.ip for a in translation.addresses}
    for address in own:
        if address in hiding:
            # The router's own connections share the address: they must be known, to collide with none.
            own_match = f"{from_router},{word},{source_field(version)}={address}"
            itself = f"zone={zone},nat(src={address}),table={int(Stage.TARGET_NAT)}"
            _add_commit(flows, Stage.SOURCE_NAT_RULES, 70, own_match, itself)
            flows.add(
                Stage.TARGET_NAT_RULES, 75, f"{to_router},{word},{target_field(version)}={address}",
                go(Stage.RECEIVER),
            )  # fmt: skip
    for block in summarize_address_range(hiding.first, hiding.last):
        # No connection of that address began inside; the router would send it back.
        flows.add(
            Stage.TARGET_NAT_RULES, 70, f"{to_router},{word},{target_field(version)}={block}", "drop"
        )
    # What is hidden is not reached by its inner address either.
    flows.add(Stage.TARGET_NAT_RULES, 10, f"{to_router},{word}", "drop")


def _add_commit(flows: FlowList, stage: Stage, priority: int, match: str, how: str) -> None:
    """Commit new connections of a match; those that announce others get a helper."""
    flows.add(stage, priority, f"{match},ct_state=+trk+new", f"ct(commit,{how})")
    parts = match.split(",")
    version = "6" if "ipv6" in parts else ""
    for helped, helper in HELPED.items():
        protocol, port = helped.split(",")
        if protocol.endswith("6") == bool(version):
            special = ",".join(protocol if p in _WORD.values() else p for p in parts)
            flows.add(
                stage, priority + 1, f"{special},{port},ct_state=+trk+new", f"ct(commit,{how},alg={helper})"
            )


def _answered(translation: Translation) -> Iterable[str]:
    """IPv4 addresses, in blocks, that are nobody's own."""
    own = {a.ip for a in translation.addresses}
    for outside, _ in translation.floating:
        if outside.version == 4:
            yield str(outside)
    for hiding in translation.hiding:
        if hiding.first.version == 4:
            mine = [a for a in own if a in hiding]
            for address in range(int(hiding.first), int(hiding.last) + 1) if mine else ():
                if IPv4Address(address) not in own:
                    yield str(IPv4Address(address))
            for block in () if mine else summarize_address_range(hiding.first, hiding.last):
                yield str(block.network_address if block.prefixlen == 32 else block)


def _answer(mac: str) -> str:
    """Answer an ARP request for whichever address it asks for (RFC 826), in the asker's own frame."""
    return ",".join(
        (
            "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]",
            f"mod_dl_src:{mac}",
            "load:2->NXM_OF_ARP_OP[]",
            "move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[]",
            f"load:0x{mac.replace(':', '')}->NXM_NX_ARP_SHA[]",
            "move:NXM_OF_ARP_TPA[]->NXM_NX_REG0[]",
            "move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[]",
            "move:NXM_NX_REG0[]->NXM_OF_ARP_SPA[]",
            "IN_PORT",
        )
    )
