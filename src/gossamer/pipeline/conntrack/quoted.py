"""The packet that an ICMP error quotes: whose it is, and its translation (RFC 792, RFC 4443)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gossamer.pipeline.commit import Frame
from gossamer.pipeline.conntrack.tuple import ANSWERS, Tuple
from gossamer.pipeline.fields import ETH_IPV4, IP_ICMP, IP_ICMPV6, IP_TCP, IP_UDP, get_slot
from gossamer.pipeline.packet import MAX_L4_OFFSET

_ICMP_HEADER: Final = 8
_PORT_BYTES: Final = 8
_IPV6_TCP: Final = 20
"""An IPv6 error quotes as much as fits, so that less of TCP's header is no quotation."""
_EXTENSIONS: Final = (0, 43, 51, 60)
_FRAGMENT: Final = 44
_MAX_EXTENSIONS: Final = 8
_CHECKSUM_AT: Final = {IP_TCP: 16, IP_UDP: 6, IP_ICMP: 2, IP_ICMPV6: 2}


@dataclass(frozen=True, slots=True)
class Quoted:
    """What an error tells of: its tuple, and where in the frame its headers are.

    `check` is the place of its transport checksum, 0 where that is not quoted.
    """

    tuple: Tuple
    l3: int
    l4: int
    check: int


def quoted(frame: Frame) -> Quoted | None:
    """What the ICMP error in a frame quotes; None where that is no packet to be tracked."""
    at, packet = frame.headers, frame.packet
    l3, end = at.l4 + _ICMP_HEADER, at.l4_end
    network = _ipv4 if get_slot(frame.key, "eth_type") == ETH_IPV4 else _ipv6
    found = network(packet, l3, end)
    if found is None:
        return None
    src, dst, proto, l4 = found
    is_ipv4, left = len(src) == 4, end - l4
    if proto in (IP_TCP, IP_UDP):
        if left < (_IPV6_TCP if proto == IP_TCP and not is_ipv4 else _PORT_BYTES):
            return None
        sport, dport = (int.from_bytes(packet[l4 + i : l4 + i + 2], "big") for i in (0, 2))
        if not sport or not dport:
            return None
    elif proto == (IP_ICMP if is_ipv4 else IP_ICMPV6):
        if left < _PORT_BYTES or packet[l4] not in ANSWERS[proto] or packet[l4 + 1]:
            return None
        sport, dport = int.from_bytes(packet[l4 + 4 : l4 + 6], "big"), packet[l4] << 8
    else:
        return Quoted(Tuple(src, dst, proto), l3, l4, 0)
    check = l4 + _CHECKSUM_AT[proto]
    return Quoted(Tuple(src, dst, proto, sport, dport), l3, l4, check if check + 2 <= end else 0)


_Network = tuple[bytes, bytes, int, int]
"""Source, destination, protocol, and where its header is."""


def _ipv4(packet: bytes, l3: int, end: int) -> _Network | None:
    h = packet[l3 : min(l3 + 20, end)]
    if len(h) < 20 or h[0] >> 4 != 4:
        return None
    length = (h[0] & 15) * 4
    if length < 20 or l3 + length > end or (h[6] << 8 | h[7]) & 0x3FFF:
        return None
    return h[12:16], h[16:20], h[9], l3 + length


def _ipv6(packet: bytes, l3: int, end: int) -> _Network | None:
    h = packet[l3 : min(l3 + 40, end)]
    if len(h) < 40 or h[0] >> 4 != 6:
        return None
    proto, at = h[6], l3 + 40
    for _ in range(_MAX_EXTENSIONS):
        if proto not in (*_EXTENSIONS, _FRAGMENT):
            break
        if end - at < 8 or at > MAX_L4_OFFSET:
            return None
        if proto == _FRAGMENT:
            if int.from_bytes(packet[at + 2 : at + 4], "big") & 0xFFF9:
                return None
            length = 8
        else:
            length = (packet[at + 1] + 2) * 4 if proto == 51 else (packet[at + 1] + 1) * 8
        if at + length > end:
            return None
        proto = packet[at]
        at += length
    return h[8:24], h[24:40], proto, at


def translated(frame: Frame, inside: Tuple) -> Frame:
    """The frame with the quoted packet's tuple replaced by `inside`.

    Checksums are adjusted: the quoted IP header's, that of its transport as far as it is quoted,
    and the error's own, which covers all.
    """
    found = quoted(frame)
    assert found is not None, "only what was quoted is translated"
    writer = Writer(frame, frame.headers.l4 + 2)
    was = found.tuple
    place = 12 if was.is_ipv4 else 8
    size = len(was.src)
    for i, (old, new) in enumerate(((was.src, inside.src), (was.dst, inside.dst))):
        writer.address(found, found.l3 + place + size * i, old, new)
    if was.has_ports:
        for i, (a, b) in enumerate(((was.sport, inside.sport), (was.dport, inside.dport))):
            writer.port(found, found.l4 + 2 * i, a, b)
    elif was.is_icmp:
        writer.port(found, found.l4 + 4, was.sport, inside.sport)
    return Frame(bytes(writer.packet), frame.headers, frame.key)


def with_identifier(frame: Frame, identifier: int) -> Frame:
    """The frame of an ICMP query or answer with another identifier."""
    writer, at = Writer(frame, frame.headers.l4 + 2), frame.headers.l4 + 4
    new = identifier.to_bytes(2, "big")
    writer.adjust(writer.check, bytes(writer.packet[at : at + 2]), new)
    writer.packet[at : at + 2] = new
    return Frame(bytes(writer.packet), frame.headers, frame.key)


class Writer:
    """Bytes of a message being changed, and the checksum at `check` that covers them."""

    def __init__(self, frame: Frame, check: int) -> None:
        self.packet = bytearray(frame.packet)
        self.check = check

    def word(self, at: int) -> int:
        """The four bytes there."""
        return int.from_bytes(self.packet[at : at + 4], "big")

    def write_word(self, at: int, value: int) -> None:
        """Four bytes, at an even or an odd place of what is summed."""
        new = (value & 0xFFFFFFFF).to_bytes(4, "big")
        start, end = at - ((at - self.check) & 1), at + 4 + ((at - self.check) & 1)
        old = bytes(self.packet[start:end])
        self.packet[at : at + 4] = new
        self.adjust(self.check, old, bytes(self.packet[start:end]))

    def adjust(self, at: int, old: bytes, new: bytes) -> None:
        """A checksum, for bytes it covers (RFC 1624, eqn. 3)."""
        total = 0xFFFF - int.from_bytes(self.packet[at : at + 2], "big")
        for i in range(0, len(old), 2):
            total += 0xFFFF - int.from_bytes(old[i : i + 2], "big")
            total += int.from_bytes(new[i : i + 2], "big")
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        self.packet[at : at + 2] = (0xFFFF - total).to_bytes(2, "big")

    def transport(self, found: Quoted, old: bytes, new: bytes) -> None:
        """The quoted transport checksum, and with it the error's."""
        at = found.check
        was = bytes(self.packet[at : at + 2])
        if not at or (found.tuple.proto == IP_UDP and was == b"\0\0"):
            return
        self.adjust(at, old, new)
        self.adjust(self.check, was, bytes(self.packet[at : at + 2]))

    def address(self, found: Quoted, at: int, old: bytes, new: bytes) -> None:
        if old == new:
            return
        self.packet[at : at + len(new)] = new
        if found.tuple.is_ipv4:
            # The quoted header's checksum takes up the change: the error's stays.
            self.adjust(found.l3 + 10, old, new)
            if found.tuple.proto != IP_ICMP:
                self.transport(found, old, new)
            return
        self.adjust(self.check, old, new)
        self.transport(found, old, new)

    def port(self, found: Quoted, at: int, old: int, new: int) -> None:
        if old == new:
            return
        was, now = old.to_bytes(2, "big"), new.to_bytes(2, "big")
        self.packet[at : at + 2] = now
        self.adjust(self.check, was, now)
        self.transport(found, was, now)
