"""What a stateful rule says: ``tcp/22 from 10.0.0.0/24``, ``udp/53``, ``icmp``, ``tcp/8000-8080 from group web``.

A rule lets a connection begin; what belongs to it afterwards, in both
directions, needs none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, Literal

from gossamer.errors import TopologyError

Direction = Literal["in", "out"]
"""Of a connection's first packet, seen from the instance."""
Network = IPv4Network | IPv6Network

_RULE: Final = re.compile(r"^(?P<protocol>[a-z]+)(?:/(?P<ports>[^\s]+))?(?:\s+(?P<word>from|to)\s+(?P<peer>.+))?$")
_PORTS: Final = re.compile(r"^(\d{1,5})(?:-(\d{1,5}))?$")
_WITH_PORTS: Final = ("tcp", "udp", "sctp")
_PROTOCOLS: Final = (*_WITH_PORTS, "icmp", "any")
_WORDS: Final[dict[Direction, str]] = {"in": "from", "out": "to"}
_LAST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Rule:
    """Connections that may begin.

    `ports` are the first and the last destination port, None for all.  The
    peer is a network, a security group by name, or anybody where both are None.
    """

    protocol: str
    ports: tuple[int, int] | None = None
    network: Network | None = None
    group: str | None = None


def parse_rule(text: str, direction: Direction) -> Rule:
    """A rule of `allow` (in) or `egress` (out).  Raises TopologyError without a place."""
    words = _WORDS[direction]
    found = _RULE.match(" ".join(text.split()))
    if not found or found["protocol"] not in _PROTOCOLS:
        raise TopologyError(
            f"{text!r} is no rule",
            remedy=f"write it as tcp/22 {words} 10.0.0.0/24, udp/53, tcp/8000-8080, icmp or any",
        )
    if found["word"] not in (None, words):
        raise TopologyError(
            f"{text!r} says {found['word']!r}",
            remedy="allow is of what comes in (from), egress of what goes out (to)",
        )
    protocol, network, group = found["protocol"], None, None
    peer = (found["peer"] or "any").strip()
    if peer.startswith("group "):
        group = peer.removeprefix("group ").strip()
    elif peer != "any":
        try:
            network = ip_network(peer)
        except ValueError as e:
            raise TopologyError(
                f"{text!r}: {e}",
                remedy=f"write a network ({words} 10.0.0.0/24, {words} fd00::/64), "
                f"{words} group NAME, or {words} any",
            ) from None
    return Rule(protocol, _ports(text, protocol, found["ports"]), network, group)


def _ports(text: str, protocol: str, ports: str | None) -> tuple[int, int] | None:
    if ports is None:
        return None
    found = _PORTS.match(ports)
    if protocol not in _WITH_PORTS or not found:
        raise TopologyError(
            f"{text!r}: {ports!r} is no port"
            if protocol in _WITH_PORTS
            else f"{text!r}: {protocol} has no ports",
            remedy="write tcp/22 or tcp/8000-8080; icmp and any stand alone",
        )
    first, last = int(found[1]), int(found[2] or found[1])
    if not 1 <= first <= last <= _LAST_PORT:
        raise TopologyError(
            f"{text!r}: {ports} is no range of ports",
            remedy="ports are 1 to 65535, the smaller one first",
        )
    return first, last


def port_masks(first: int, last: int) -> Iterator[tuple[int, int]]:
    """The fewest (value, mask) pairs that match the ports from `first` to `last`."""
    while first <= last:
        # The largest block that begins here and does not reach past the end.
        size = first & -first or _LAST_PORT + 1
        while first + size - 1 > last:
            size >>= 1
        yield first, _LAST_PORT & ~(size - 1)
        first += size
