"""Where an FTP session says that a data connection will come (RFC 959, RFC 2428, RFC 2577).

A client names a place of its own with PORT or EPRT and the server connects to
it; a server names one with reply 227 or 229 and the client connects.  This
module finds such announcements in what one side sends and writes others in
their place.  It knows nothing of packets or connections: only of text, and of
the sequence numbers that tell where lines begin.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

Address = IPv4Address | IPv6Address

LOWEST_PORT: Final = 1024
"""Services live below: no announcement opens a way to one of them (RFC 2577, 3)."""
MAX_LINE: Final = 512
"""Longer lines are no announcements."""
_STARTS_KEPT: Final = 16
_SEQUENCE: Final = 1 << 32

_SIX: Final = rb"(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3})"
_PORT: Final = re.compile(rb"PORT +(?P<place>" + _SIX + rb") *\Z", re.IGNORECASE)
_PASV: Final = re.compile(rb"227 [^0-9]*(?P<place>" + _SIX + rb")(?![0-9,])")
_EPRT: Final = re.compile(
    rb"EPRT +(?P<place>(?P<bar>[!-~])(?P<family>[12])(?P=bar)(?P<address>[0-9A-Fa-f:.]{2,45})"
    rb"(?P=bar)(?P<port>\d{1,5})(?P=bar)) *\Z",
    re.IGNORECASE,
)
_EPSV: Final = re.compile(
    rb"229 [^(]*\((?P<place>(?P<bar>[!-~])(?P=bar)(?P=bar)(?P<port>\d{1,5})(?P=bar))\)"
)
_REPLY: Final = re.compile(rb"(\d{3})([ -])")


class Kind(Enum):
    """How an announcement is written."""

    PORT = "PORT"
    EPRT = "EPRT"
    PASV = "227"
    EPSV = "229"

    @property
    def by_client(self) -> bool:
        """Whether clients write it; servers write the others."""
        return self in (Kind.PORT, Kind.EPRT)


@dataclass(frozen=True, slots=True)
class Announcement:
    """A place where a data connection is expected.

    `address` is None where the text has none (229: the server's own).
    `start` and `end` are where the place stands in the payload; `bar` is the
    delimiter of EPRT and 229.
    """

    kind: Kind
    address: Address | None
    port: int
    start: int
    end: int
    bar: bytes = b"|"

    def text(self, address: Address, port: int) -> bytes:
        """The same announcement of another place, as it stands between `start` and `end`."""
        match self.kind:
            case Kind.PORT | Kind.PASV:
                return ",".join(str(b) for b in (*address.packed, *port.to_bytes(2, "big"))).encode()
            case Kind.EPRT:
                family = b"1" if address.version == 4 else b"2"
                parts = (b"", family, str(address).encode(), str(port).encode(), b"")
                return self.bar.join(parts)
            case Kind.EPSV:
                return self.bar * 3 + str(port).encode() + self.bar


def rewrite(payload: bytes, changes: Sequence[tuple[Announcement, Address, int]]) -> bytes:
    """The payload with announcements, in their order, replaced by such of other places."""
    out = bytearray()
    at = 0
    for announcement, address, port in changes:
        out += payload[at : announcement.start] + announcement.text(address, port)
        at = announcement.end
    return bytes(out + payload[at:])


def _six(found: re.Match[bytes], kind: Kind, at: int) -> Announcement | None:
    numbers = [int(found[i]) for i in range(2, 8)]
    if max(numbers) > 255:
        return None
    place = found.span("place")
    port = numbers[4] << 8 | numbers[5]
    address = IPv4Address(bytes(numbers[:4]))
    return Announcement(kind, address, port, at + place[0], at + place[1])


def _extended(found: re.Match[bytes], at: int) -> Announcement | None:
    try:
        address = ip_address(found["address"].decode())
    except ValueError:
        return None
    port = int(found["port"])
    if address.version != (4 if found["family"] == b"1" else 6) or port > 65535:
        return None
    place = found.span("place")
    return Announcement(Kind.EPRT, address, port, at + place[0], at + place[1], found["bar"])


def parse_line(line: bytes, at: int, *, from_client: bool) -> Announcement | None:
    """The announcement that a whole line, which stands at `at`, is; None where it is none."""
    if len(line) > MAX_LINE:
        return None
    if from_client:
        if found := _PORT.match(line):
            return _six(found, Kind.PORT, at)
        found = _EPRT.match(line)
        return _extended(found, at) if found else None
    if found := _PASV.match(line):
        return _six(found, Kind.PASV, at)
    found = _EPSV.match(line)
    if not found or int(found["port"]) > 65535:
        return None
    place = found.span("place")
    port = int(found["port"])
    return Announcement(Kind.EPSV, None, port, at + place[0], at + place[1], found["bar"])


class Speaker:
    """What one side of a session says, segment by segment.

    Only a whole line in one segment can be an announcement, and only where it
    is known to be a line: text that somebody else had the server repeat must
    not become one by standing at the beginning of a segment.  So the sequence
    numbers at which lines began lately are kept, with the code of the reply
    that a line is in the middle of.  Of a side not heard before (the daemon
    is new) the first segment is taken to begin a line.
    """

    def __init__(self, *, from_client: bool) -> None:
        self._from_client = from_client
        self._starts: OrderedDict[int, bytes | None] = OrderedDict()

    def hear(self, sequence: int, payload: bytes) -> list[Announcement]:
        """The announcements in a segment, those sent again as well, in their order."""
        known = not self._starts or sequence in self._starts
        reply = self._starts.get(sequence)
        self._note(sequence if known else None, reply)
        found: list[Announcement] = []
        at = 0
        while (end := payload.find(b"\n", at)) >= 0:
            line = payload[at:end].removesuffix(b"\r")
            if known:
                whole = parse_line(line, at, from_client=self._from_client) if not reply else None
                if whole is not None:
                    found.append(whole)
                reply = self._within(reply, line)
            at = end + 1
        if at == len(payload) and at:
            self._note((sequence + at) % _SEQUENCE, reply if known else None)
        return found

    def _within(self, reply: bytes | None, line: bytes) -> bytes | None:
        """The code of the reply of several lines that goes on after this line."""
        code = _REPLY.match(line)
        if self._from_client or code is None:
            return reply
        if reply is None:
            return code[1] if code[2] == b"-" else None
        return None if code[1] == reply and code[2] == b" " else reply

    def _note(self, sequence: int | None, reply: bytes | None) -> None:
        if sequence is None:
            return
        self._starts[sequence] = reply
        self._starts.move_to_end(sequence)
        while len(self._starts) > _STARTS_KEPT:
            self._starts.popitem(last=False)
