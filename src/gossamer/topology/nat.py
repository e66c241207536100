"""Translated addresses as flows with ct(nat)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, summarize_address_range
from typing import Final

from gossamer.topology.matches import source_field, target_field
from gossamer.topology.security import LINK_ICMPV6
from gossamer.topology.stages import HELPED, VLAN, FlowList, Stage, go
from gossamer.topology.translations import Address, Hiding, Translation

_WORD: Final = {4: "ip", 6: "ipv6"}
_KNOWN: Final = ("est", "rel", "snat", "dnat")
"""States of what the first look at the connection translated already: a repeated first packet too."""


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
