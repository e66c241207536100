"""The suite's cases, read from the os-ken package that is installed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import truediv
from pathlib import Path
from random import randint
from typing import Any

import netaddr
import os_ken
from os_ken.lib.packet import (
    arp,
    ethernet,
    icmp,
    icmpv6,
    ipv4,
    ipv6,
    mpls,
    pbb,
    sctp,
    tcp,
    udp,
    vlan,
)

SUITE = Path(os_ken.__file__).parent / "tests" / "switch" / "of13"

Message = dict[str, Any]
"""A message as JSON: its class, and its fields by name."""

RECEIVE_PORT, SEND_PORT_1, SEND_PORT_2 = 1, 2, 3
"""The switch's ports as the cases number them: the first takes packets in."""

_PORT_NAMES = {
    "target_recv_port": RECEIVE_PORT,
    "target_send_port_1": SEND_PORT_1,
    "target_send_port_2": SEND_PORT_2,
    "tester_send_port": RECEIVE_PORT,
    "tester_recv_port_1": SEND_PORT_1,
    "tester_recv_port_2": SEND_PORT_2,
}

# Modules define classes of the same name: the suite's names for the second ones.
_RENAMED = {(ipv6, "option"): "ipv6option", (icmpv6, "echo"): "icmpv6echo"}
_WORDS: dict[str, Any] = {"bytes": bytes, "randint": randint, "netaddr": netaddr} | {
    _RENAMED.get((module, name), name): value
    for module in (ethernet, vlan, mpls, pbb, arp, ipv4, ipv6, icmp, icmpv6, tcp, udp, sctp)
    for name, value in vars(module).items()
    if isinstance(value, type) and value.__module__ == module.__name__
}


class _Sctp(sctp.sctp):  # type: ignore[misc]
    """SCTP with its checksum: os-ken 3 and 4 compute it over the bytes' text form.

    No switch that renews checksums by their difference could come out at what
    the suite would expect.
    """

    def _checksum(self, data: bytes) -> int:
        crc = 0xFFFFFFFF
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        # RFC 9260, appendix A: it goes out with its low byte first.
        return int.from_bytes((crc ^ 0xFFFFFFFF).to_bytes(4, "little"), "big")


_WORDS["sctp"] = _Sctp


@dataclass(frozen=True)
class Template:
    """A packet as the suite writes it: one expression a header."""

    headers: tuple[str, ...]

    @property
    def is_random(self) -> bool:
        """Whether each packet made of it is another."""
        return any("randint" in header for header in self.headers)

    def frame(self) -> bytes:
        """A packet of it, checksums filled in.

        The expressions are code of the package that is imported anyway; they
        see the classes of headers, and nothing else.
        """
        words = {"__builtins__": {}} | _WORDS
        packet = reduce(truediv, (eval(header, words) for header in self.headers))
        packet.serialize()
        return bytes(packet.data)


@dataclass(frozen=True)
class Rate:
    """A throughput expected on a port, of the packets with a DSCP or of all."""

    port: int
    dscp: int | None
    kbps: int | None
    """In the suite a kilobit has 1,024 bits."""
    pktps: int | None


@dataclass(frozen=True)
class Flood:
    """Packets sent evenly, and the rates they are to arrive at."""

    template: Template
    pktps: int
    duration_s: int
    expected: tuple[Rate, ...]


@dataclass(frozen=True)
class Single:
    """A packet sent once, and what is to come of it: exactly one of the three."""

    ingress: bytes
    egress: bytes | None
    packet_in: bytes | None
    missed_tables: tuple[int, ...]
    """Of these the packet is looked up in one at least, and matches in none."""


@dataclass(frozen=True, eq=False)
class Case:
    """One test of the suite."""

    category: str
    file: str
    number: int
    description: str
    setup: tuple[Message, ...]
    steps: tuple[Single | Flood, ...]

    @property
    def name(self) -> str:
        """As the reports and the command line have it."""
        return f"{self.file}#{self.number}"

    @property
    def measures_rates(self) -> bool:
        """Whether it takes seconds."""
        return any(isinstance(step, Flood) for step in self.steps)


def read_cases(suite: Path = SUITE) -> Iterator[Case]:
    """All cases, in the order of their files.

    Raises FileNotFoundError where the package carries none.
    """
    paths = sorted(suite.rglob("*.json"))
    if not paths:
        raise FileNotFoundError(f"no cases in {suite}: os-ken without its switch tests?")
    for path in paths:
        place = path.relative_to(suite)
        tests = [test for test in json.loads(path.read_text()) if isinstance(test, dict)]
        for number, test in enumerate(tests):
            yield Case(
                category=place.parts[0],
                file=str(place.with_suffix("")),
                number=number,
                description=test["description"],
                setup=tuple(_with_ports(message) for message in test["prerequisite"]),
                steps=tuple(_step(step) for step in test["tests"]),
            )


def _step(step: dict[str, Any]) -> Single | Flood:
    ingress = step["ingress"]
    if isinstance(ingress, dict):
        packets = ingress["packets"]
        return Flood(
            Template(tuple(packets["data"])),
            pktps=packets["pktps"],
            duration_s=packets["duration_time"],
            expected=tuple(_rate(rate) for rate in step["egress"]["throughput"]),
        )
    return Single(
        ingress=Template(tuple(ingress)).frame(),
        egress=Template(tuple(step["egress"])).frame() if "egress" in step else None,
        packet_in=Template(tuple(step["PACKET_IN"])).frame() if "PACKET_IN" in step else None,
        missed_tables=tuple(step.get("table-miss", ())),
    )


def _rate(rate: dict[str, Any]) -> Rate:
    fields = {
        tlv["OXMTlv"]["field"]: tlv["OXMTlv"]["value"] for tlv in rate["OFPMatch"]["oxm_fields"]
    }
    port = fields.pop("in_port")
    dscp = fields.pop("ip_dscp", None)
    # The type only makes the DSCP allowed: a rate counts what one case sends.
    fields.pop("eth_type", None)
    if fields:
        raise ValueError(f"a rate of packets with {', '.join(fields)} is not counted here")
    return Rate(_PORT_NAMES.get(port, port), dscp, rate.get("kbps"), rate.get("pktps"))


def _with_ports(value: Any) -> Any:
    """A message with the numbers of the ports that it names."""
    if isinstance(value, dict):
        return {name: _with_ports(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_ports(inner) for inner in value]
    return _PORT_NAMES.get(value, value) if isinstance(value, str) else value
