"""One direction of a connection: who sends to whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gossamer.pipeline.fields import IP_ICMP, IP_ICMPV6, IP_TCP, IP_UDP

IPV4: Final = 4
IPV6: Final = 6
NO_ANSWER: Final = 0xFF
"""The type of answers to what is no ICMP query."""
ANSWERS: Final = {
    IP_ICMP: {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15},
    IP_ICMPV6: {128: 129, 129: 128},
}
"""Types of ICMP queries and their answers (RFC 792, RFC 4443)."""
REQUESTS: Final = {IP_ICMP: frozenset((8, 13, 15)), IP_ICMPV6: frozenset((128,))}
"""Those that begin a connection."""


@dataclass(frozen=True, slots=True)
class Tuple:
    """What a packet is known by (docs/conntrack.md, A packet's connection).

    Addresses are 4 or 16 bytes in network order.  Of ICMP queries `sport` is the identifier and
    `dport` type << 8 | code of what `src` sends; protocols without ports have 0 there.
    """

    src: bytes
    dst: bytes
    proto: int
    sport: int = 0
    dport: int = 0
    zone: int = 0

    @property
    def family(self) -> int:
        """IPV4 or IPV6."""
        return IPV4 if len(self.src) == 4 else IPV6

    @property
    def is_ipv4(self) -> bool:
        """Whether addresses are of IPv4."""
        return self.family == IPV4

    @property
    def is_icmp(self) -> bool:
        """Whether ports are identifier, type and code."""
        return self.proto == (IP_ICMP if self.is_ipv4 else IP_ICMPV6)

    @property
    def has_ports(self) -> bool:
        """Whether NAT may change ports."""
        return self.proto in (IP_TCP, IP_UDP)

    def reversed(self) -> Tuple:
        """The tuple of answers."""
        if self.is_icmp:
            answer = ANSWERS[self.proto].get(self.dport >> 8, NO_ANSWER) << 8
            return Tuple(self.dst, self.src, self.proto, self.sport, answer, self.zone)
        return Tuple(self.dst, self.src, self.proto, self.dport, self.sport, self.zone)
