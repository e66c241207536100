"""Stateful rules of ports as flows with ct().

Each protected port has a connection tracking zone of its own: what its rules
let begin is remembered there, and everything else of the connection, in both
directions, follows from that.  `ct_mark` 1 is on connections that the rules
allowed once and do not allow any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_interface
from typing import Final

from gossamer.topology.allow import Direction, Rule, parse_rule
from gossamer.topology.matches import matches, source_field
from gossamer.topology.model import Port, Topology
from gossamer.topology.stages import (
    HELPED,
    LOAD_PORT,
    LOAD_ZONE,
    RECEIVER_PORT,
    VLAN,
    ZONE_BITS,
    FlowList,
    Stage,
    go,
)

GROUP_BIT: Final = "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00"
_MARKED: Final = f"ct(commit,zone={ZONE_BITS},exec(load:0x1->NXM_NX_CT_MARK[]))"
_UNMARKED: Final = f"ct(commit,zone={ZONE_BITS},exec(load:0x0->NXM_NX_CT_MARK[]))"
_MULTICAST_LISTENERS: Final = (130, 131, 132, 143)  # RFC 2710, RFC 3810
_ROUTER_SOLICITATION: Final = 133
_ROUTER_ADVERTISEMENT: Final = 134
_NEIGHBOUR_SOLICITATION: Final = 135
_NEIGHBOUR_ADVERTISEMENT: Final = 136
_REDIRECT: Final = 137
LINK_ICMPV6: Final = (
    *_MULTICAST_LISTENERS, _ROUTER_SOLICITATION, _ROUTER_ADVERTISEMENT, _NEIGHBOUR_SOLICITATION,
    _NEIGHBOUR_ADVERTISEMENT,
)  # fmt: skip
"""ICMPv6 without which there is no IPv6 on a link (RFC 4890, 4.4.1)."""
DHCP_ANSWER: Final = "udp,tp_src=67,tp_dst=68"
DHCPV6_ANSWER: Final = "udp6,tp_src=547,tp_dst=546"


@dataclass(frozen=True, slots=True)
class Protected:
    """A port with rules.  `name` is as flows name it; `router` forwards what others send."""

    name: str
    port: Port
    vlan: int
    mac: str
    zone: int
    router: bool
    allow: tuple[Rule, ...]
    egress: tuple[Rule, ...] | None
    """None: whatever it likes."""


def rules_of(topology: Topology, port: Port) -> tuple[tuple[Rule, ...], tuple[Rule, ...] | None]:
    """A port's own rules and its groups': (allow, egress), egress None for whatever it likes.

    Where a group or the port limits what goes out, what any of them allows may go.
    """
    groups = [topology.security_groups[name] for name in port.groups()]
    allow = [*(port.allow or ()), *(r for g in groups for r in g.allow)]
    limits = [e for e in (port.egress, *(g.egress for g in groups)) if e is not None]
    return (
        tuple(parse_rule(r, "in") for r in allow),
        tuple(parse_rule(r, "out") for e in limits for r in e) if limits else None,
    )


def add_security(flows: FlowList, topology: Topology, ports: Iterable[Protected]) -> None:
    """The flows of a bridge's protected ports."""
    ports = list(ports)
    _add_addresses(flows, ports)
    if not ports:
        return
    _add_states(flows, Stage.SENDER_RULES, Stage.SENDER_ACCEPT, Stage.SOURCE_NAT)
    _add_states(flows, Stage.RECEIVER_RULES, Stage.RECEIVER_ACCEPT, Stage.DELIVER)
    _add_basics(flows)
    for port in ports:
        sender = f"in_port={port.name}"
        if port.egress is None:
            flows.add(Stage.SENDER_RULES, 50, f"{sender},ct_state=+trk-rpl", go(Stage.SENDER_ACCEPT))
        else:
            _add_rules(flows, topology, Stage.SENDER_RULES, sender, port.egress, "out")
        receiver = f"{RECEIVER_PORT}={port.name}"
        _add_rules(flows, topology, Stage.RECEIVER_RULES, receiver, port.allow, "in")
        _add_receiver(flows, topology, port, receiver)


def _add_addresses(flows: FlowList, ports: list[Protected]) -> None:
    """What a protected port sends comes from its own addresses; nobody else sends from its MAC."""
    table = Stage.SENDER
    known = f"ct(table={int(Stage.SENDER_RULES)},zone={ZONE_BITS})"
    passes = go(Stage.SOURCE_NAT)
    flows.add(table, 0, "", passes)
    for port in ports:
        own = f"in_port={port.name}"
        sender = f"{own},dl_src={port.mac}"
        flows.add(table, 10, own, "drop")
        flows.add(table, 5, f"{VLAN}={port.vlan},dl_src={port.mac}", "drop")
        addresses = [ip_interface(a).ip for a in port.port.all_addresses()]
        if port.router or not addresses:
            # Whose packets a router forwards is not known, nor what an instance without a declared address has.
            flows.add(table, 50, f"{sender},arp,arp_sha={port.mac}", passes)
            for kind in (*LINK_ICMPV6, _REDIRECT) if port.router else _SPOKEN:
                flows.add(table, 50, f"{sender},icmp6,icmp_type={kind}", passes)
            flows.add(table, 30, f"{sender},ip", known)
            flows.add(table, 30, f"{sender},ipv6", known)
            if not port.router:
                _add_client(flows, port, sender)
            continue
        _add_client(flows, port, sender)
        for spa in ("0.0.0.0", *(a for a in addresses if a.version == 4)):
            flows.add(table, 50, f"{sender},arp,arp_sha={port.mac},arp_spa={spa}", passes)
        ipv6 = [link_local(port.mac), *(a for a in addresses if a.version == 6)]
        for address in (*(a for a in addresses if a.version == 4), *ipv6):
            word = "ip" if address.version == 4 else "ipv6"
            flows.add(table, 30, f"{sender},{word},{source_field(address.version)}={address}", known)
        for address in ipv6:
            flows.add(
                table, 50,
                f"{sender},icmp6,icmp_type={_NEIGHBOUR_ADVERTISEMENT},icmp_code=0,nd_target={address}",
                passes,
            )  # fmt: skip
            for kind in _SPOKEN[:-1]:
                flows.add(table, 50, f"{sender},icmp6,icmp_type={kind},ipv6_src={address}", passes)
        for kind in _SPOKEN[:-1]:
            flows.add(table, 50, f"{sender},icmp6,icmp_type={kind},ipv6_src=::", passes)


_SPOKEN: Final = (
    *_MULTICAST_LISTENERS[1:], _ROUTER_SOLICITATION, _NEIGHBOUR_SOLICITATION, _NEIGHBOUR_ADVERTISEMENT,
)  # fmt: skip
"""What hosts, which are no routers, say of it.  The last one is judged by its target."""


def _add_client(flows: FlowList, port: Protected, sender: str) -> None:
    """A host: it asks for addresses, and neither gives any out nor says that it is a router."""
    table, passes = Stage.SENDER, go(Stage.SOURCE_NAT)
    flows.add(table, 45, f"{sender},udp,nw_src=0.0.0.0,tp_src=68,tp_dst=67", passes)
    flows.add(table, 45, f"{sender},udp6,ipv6_src={link_local(port.mac)},tp_src=546,tp_dst=547", passes)
    for kind in (*LINK_ICMPV6, _REDIRECT):
        flows.add(table, 40, f"{sender},icmp6,icmp_type={kind}", "drop")
    serves = {r.ports for r in port.allow if r.protocol in ("udp", "any")}
    if (67, 67) not in serves:
        flows.add(table, 40, f"{sender},{DHCP_ANSWER}", "drop")
    if (547, 547) not in serves:
        flows.add(table, 40, f"{sender},{DHCPV6_ANSWER}", "drop")


def link_local(mac: str) -> IPv6Address:
    """The link-local address that a device of that MAC gives itself (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes((octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]))
    return IPv6Address(b"\xfe\x80" + bytes(6) + identifier)


def _add_states(flows: FlowList, rules: Stage, accept: Stage, then: Stage) -> None:
    """What a connection's state decides by itself, for whoever it is."""
    flows.add(rules, 100, "ct_state=+trk+inv", "drop")
    # A connection that an allowed one announced, such as FTP's for data, is one to remember.
    flows.add(rules, 95, "ct_state=+trk+new+rel", go(accept))
    flows.add(rules, 90, "ct_state=+trk-new+rel", go(then))
    flows.add(rules, 80, "ct_state=+trk+est+rpl,ct_mark=0", go(then))
    for word in ("ip", "ipv6"):
        # It has no ports to compare.  The first fragment is judged by them; without it the rest is nothing.
        flows.add(rules, 45, f"ct_state=+trk-rpl,ct_mark=0,{word},ip_frag=later", go(then))
        flows.add(rules, 10, f"ct_state=+trk+est-rpl,{word}", _MARKED)
        flows.add(accept, 20, f"ct_state=+trk+new,{word}", f"ct(commit,zone={ZONE_BITS}),{go(then)}")
        flows.add(accept, 10, f"ct_mark=0x1,{word}", f"{_UNMARKED},{go(then)}")
    for match, helper in HELPED.items():
        commit = f"ct(commit,zone={ZONE_BITS},alg={helper})"
        flows.add(accept, 25, f"ct_state=+trk+new,{match}", f"{commit},{go(then)}")
    flows.add(rules, 0, "", "drop")
    flows.add(accept, 0, "", go(then))


def _add_rules(
    flows: FlowList,
    topology: Topology,
    stage: Stage,
    who: str,
    rules: tuple[Rule, ...],
    direction: Direction,
) -> None:
    accept = Stage.SENDER_ACCEPT if direction == "out" else Stage.RECEIVER_ACCEPT
    for rule in rules:
        for match in matches(topology, rule, direction):
            flows.add(stage, 50, f"{who},ct_state=+trk-rpl,{match}", go(accept))


def _add_basics(flows: FlowList) -> None:
    """What every receiver needs, whatever its rules."""
    table, known = Stage.RECEIVER_BASICS, f"ct(table={int(Stage.RECEIVER_RULES)},zone={ZONE_BITS})"
    for match in _basics():
        flows.add(table, 50, match, go(Stage.DELIVER))
    flows.add(table, 30, "ip", known)
    flows.add(table, 30, "ipv6", known)
    flows.add(table, 0, "", "drop")


def _basics() -> list[str]:
    return ["arp", *(f"icmp6,icmp_type={k}" for k in LINK_ICMPV6), DHCP_ANSWER, DHCPV6_ANSWER]


def _add_receiver(flows: FlowList, topology: Topology, port: Protected, receiver: str) -> None:
    """Frames for the port go to its rules."""
    flows.add(
        Stage.RECEIVER, 80, f"{VLAN}={port.vlan},dl_dst={port.mac}",
        f"load:{port.name}->{LOAD_PORT},load:{port.zone}->{LOAD_ZONE},{go(Stage.RECEIVER_BASICS)}",
    )  # fmt: skip
    for rule in port.allow:
        for match in matches(topology, rule, "in") if heard(rule) else ():
            flows.add(Stage.GROUPCAST, 50, f"{receiver},{match}", f"output:{port.name}")
    flows.add(Stage.GROUPCAST, 0, "", "drop")


def heard(rule: Rule) -> bool:
    """Whether a rule may let broadcasts and multicasts in: no connection of TCP or SCTP begins with one."""
    return rule.protocol in ("udp", "icmp", "any")


def flooded(vlan: int) -> list[str]:
    """Matches of broadcasts and multicasts that every port of a VLAN needs."""
    return [f"{VLAN}={vlan},{GROUP_BIT},{match}" for match in _basics()]
