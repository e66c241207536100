"""The `expect` lines: ``vm1 -> vm2: reachable``, ``vm1 -> vm2 tcp/80: blocked``, ``vm1 -> vm2: udp 1 Mbit/s``."""

from __future__ import annotations

import re
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from typing import Literal

import msgspec

from gossamer.errors import TopologyError
from gossamer.topology.model import Topology, parse_rate_bps

_ARROW = re.compile(r"^\s*(\S+)\s*->\s*(\S+)(?:\s+(\S+))?\s*$")
_SERVICE = re.compile(r"^(tcp|udp)/(\d{1,5})$")


class Expectation(msgspec.Struct, frozen=True):
    """``vm1 -> vm2: ...``; `kind` is reachable, blocked or rate.

    `service` is "tcp/PORT", "udp/PORT", "icmp", or "" where nothing is said.
    """

    source: str
    target: str
    kind: Literal["reachable", "blocked", "rate"]
    text: str
    service: str = ""
    rate_bps: float = 0.0
    udp: bool = False
    tolerance: float = 0.10

    @property
    def to(self) -> str:
        """The target with the service, for people."""
        return f"{self.target} {self.service}".rstrip()


def expectations(topology: Topology) -> list[Expectation]:
    """The `expect` lines, understood.  Raises TopologyError with the index in `place`."""
    return [_one(topology, line, f"expect[{i}]") for i, line in enumerate(topology.expect)]


def _one(topology: Topology, line: str | dict[str, str], place: str) -> Expectation:
    if isinstance(line, str):
        left, _, right = line.partition(":")
    elif len(line) == 1:
        left, right = next(iter(line.items()))
    else:
        raise TopologyError(
            "one expectation a line", place=place, remedy="begin each with a dash of its own"
        )
    arrow = _ARROW.match(left)
    if not arrow:
        raise TopologyError(
            f"{left!r} is no pair of instances", place=place, remedy="write: vm1 -> vm2: reachable"
        )
    for name in arrow.group(1, 2):
        if name not in topology.machines:
            raise TopologyError(
                f"there is no instance {name!r}",
                place=place,
                remedy=f"instances are {', '.join(topology.machines) or 'none'}",
            )
    source, target = arrow[1], arrow[2]
    if source == target:
        raise TopologyError(
            f"{source} always reaches itself", place=place, remedy="name two different instances"
        )
    try:
        address_between(topology, source, target)
    except TopologyError as e:
        raise TopologyError(e.message, place=place, remedy=e.remedy) from None
    return _measure(source, target, _service(arrow[3] or "", place), right.strip(), place)


def _service(text: str, place: str) -> str:
    found = _SERVICE.match(text)
    if text in ("", "icmp") or (found and 1 <= int(found[2]) <= 65535):
        return text
    raise TopologyError(
        f"{text!r} cannot be tried", place=place, remedy="write tcp/80, udp/53 or icmp: vm1 -> vm2 tcp/80: blocked"
    )


def _measure(source: str, target: str, service: str, text: str, place: str) -> Expectation:
    if text == "reachable":
        return Expectation(source, target, "reachable", text, service)
    if text == "blocked":
        return Expectation(source, target, "blocked", text, service)
    if service:
        raise TopologyError(
            f"{text!r} cannot be expected of {service}",
            place=place,
            remedy="expect reachable or blocked; a rate is of TCP, or of UDP: udp 1 Mbit/s",
        )
    try:
        rate = parse_rate_bps(text.removeprefix("udp ").removeprefix("tcp "))
    except TopologyError:
        rate = 0.0
    if not rate:
        raise TopologyError(
            f"{text!r} cannot be expected",
            place=place,
            remedy="expect reachable, blocked, 1 Mbit/s or udp 1 Mbit/s",
        )
    return Expectation(
        source, target, "rate", text, rate_bps=rate, udp=text.startswith("udp ")
    )


def address_between(topology: Topology, source: str, target: str) -> str:
    """The address by which `source` speaks to `target`.

    One in a common subnet, be it a floating one, else the first that may do.

    Raises TopologyError where they have no kind of address in common.
    """
    ours, theirs = _addresses(topology, source), _addresses(topology, target)
    for name, addresses in ((source, ours), (target, theirs)):
        if not addresses:
            raise TopologyError(
                f"{name} has no address, so there is nothing to try",
                place=f"{source} -> {target}",
                remedy="give one of its ports an address",
            )
    for address in theirs:
        if any(address.version == mine.version and address.ip in mine.network for mine in ours):
            return str(address.ip)
    for port in topology.instances[target].ports:
        for outside in map(ip_address, port.all_floating()):
            if any(outside.version == mine.version and outside in mine.network for mine in ours):
                return str(outside)
    for address in theirs:
        if any(address.version == mine.version for mine in ours):
            return str(address.ip)
    raise TopologyError(
        f"of {source} and {target} one has IPv4 and the other IPv6",
        place=f"{source} -> {target}",
        remedy="give both an address of one kind",
    )


def _addresses(topology: Topology, name: str) -> list[IPv4Interface | IPv6Interface]:
    return [ip_interface(a) for port in topology.machines[name].ports for a in port.all_addresses()]
