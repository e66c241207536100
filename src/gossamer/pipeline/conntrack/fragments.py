"""Fragments of IP: what the first one says of the others (docs/conntrack.md, Fragments)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from gossamer.pipeline.commit import Frame
from gossamer.pipeline.conntrack.reading import Reading, addresses
from gossamer.pipeline.conntrack.timeouts import NS_PER_S
from gossamer.pipeline.fields import ETH_IPV4, get_slot
from gossamer.pipeline.ipv6_extensions import IP6_FRAGMENT

_TIMEOUT_NS: Final = 15 * NS_PER_S
_MAX_BYTES: Final = 65535
_UNIT: Final = 8


class Refused(Enum):
    """Why nothing is known of a fragment."""

    INVALID = 1
    """It is no fragment that could be, or its first one is not known."""
    OVERLAP = 2
    """Its bytes, or those of others of its datagram, came before: it is dropped."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Which part of a datagram a fragment is, in units of eight bytes."""

    identity: tuple[bytes, bytes, int, int, int]
    first: int
    end: int
    more: bool


@dataclass(slots=True)
class _Datagram:
    """One of which fragments came, the first by `port`; `seen` has a bit for each unit."""

    reading: Reading
    begun_ns: int
    port: tuple[str, int]
    seen: int = 0
    end: int | None = None
    broken: bool = False

    @property
    def whole(self) -> bool:
        return self.end is not None and self.seen == (1 << self.end) - 1

    def add(self, part: _Part) -> bool:
        """Note a part; False where it overlaps, or contradicts, what came before."""
        if self.broken:
            return False
        bits = (1 << part.end) - (1 << part.first)
        if self.seen & bits:
            # The very same again is only left out.
            self.broken = self.seen & bits != bits
            return False
        # What is seen stays seen, whatever comes of it.
        self.seen |= bits
        if not part.more and self.end is None:
            self.end = part.end
        if self.end is not None and (
            part.end > self.end or (not part.more and part.end != self.end)
        ):
            self.broken = True
            return False
        return True


_Identity = tuple[bytes, bytes, int, int, int]
_Place = tuple[_Identity, tuple[str, int] | None]
"""None: of several of the same identity the one that began first."""


class Fragments:
    """Datagrams whose fragments are under way.

    One may come again by another port, from who took it out of the switch and sends it on, while its
    later fragments come for the first time: then it is one of that port.
    """

    def __init__(self) -> None:
        self._datagrams: dict[_Place, _Datagram] = {}

    def enter(
        self, frame: Frame, reading: Reading, zone: int, now_ns: int, port: tuple[str, int]
    ) -> Reading | Refused:
        """What a fragment is that entered the switch by `port`: of a later one, what the first one was."""
        part = _part(frame, zone)
        if part is None:
            return Refused.INVALID
        place, known = self._find(part, now_ns, port)
        if known is None:
            if part.first:
                return Refused.INVALID
            known = self._datagrams[place] = _Datagram(reading, now_ns, port)
        if not known.add(part):
            return Refused.OVERLAP
        if not part.first:
            return reading
        return Reading(known.reading.tuple, later=True)

    def _find(
        self, part: _Part, now_ns: int, port: tuple[str, int]
    ) -> tuple[_Place, _Datagram | None]:
        any_port, own_port = (part.identity, None), (part.identity, port)
        known = self._living(any_port, part, now_ns)
        if known.port == port if known is not None else not part.first:
            return any_port, known
        own = self._living(own_port, part, now_ns)
        return (any_port, known) if own is None and part.first else (own_port, own)

    def _living(self, place: _Place, part: _Part, now_ns: int) -> _Datagram | None:
        known = self._datagrams.get(place)
        if known is not None and (
            now_ns - known.begun_ns > _TIMEOUT_NS
            or (not part.first and not known.broken and known.whole)
        ):
            del self._datagrams[place]
            return None
        return known


def _part(frame: Frame, zone: int) -> _Part | None:
    packet, at = frame.packet, frame.headers
    if get_slot(frame.key, "eth_type") == ETH_IPV4:
        h = packet[at.l3 : at.l3 + 20]
        where = h[6] << 8 | h[7]
        offset, more = (where & 0x1FFF) * _UNIT, bool(where & 0x2000)
        length = (h[2] << 8 | h[3]) - (h[0] & 15) * 4
        identifier, proto = h[4] << 8 | h[5], h[9]
    else:
        found = _fragment_header(packet, at.l3)
        if found is None:
            return None
        header, end = found
        where = int.from_bytes(packet[header + 2 : header + 4], "big")
        offset, more = where & 0xFFF8, bool(where & 1)
        length = end - header - 8
        identifier, proto = int.from_bytes(packet[header + 4 : header + 8], "big"), 0
    if length <= 0 or (more and length % _UNIT) or offset + length > _MAX_BYTES:
        return None
    src, dst = addresses(frame.key)
    first = offset // _UNIT
    return _Part((src, dst, identifier, proto, zone), first, -(-(offset + length) // _UNIT), more)


def _fragment_header(packet: bytes, l3: int) -> tuple[int, int] | None:
    """Where IPv6's fragment header is, and where the packet ends."""
    end = l3 + 40 + int.from_bytes(packet[l3 + 4 : l3 + 6], "big")
    proto, at = packet[l3 + 6], l3 + 40
    while proto != IP6_FRAGMENT:
        if proto not in (0, 43, 51, 60) or end - at < 8:
            return None
        length = (packet[at + 1] + 2) * 4 if proto == 51 else (packet[at + 1] + 1) * 8
        proto, at = packet[at], at + length
    return (at, end) if end - at >= 8 else None
