"""IP packets made and read by hand, every checksum computed anew: what NAT is judged by."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from tests.property.packets import checksum

MAC_A, MAC_B = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
SYN, ACK, PSH, FIN, RST = 0x02, 0x10, 0x08, 0x01, 0x04
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58


def packed(address: str) -> bytes:
    """An address, IPv4 or IPv6, as the wire has it."""
    return ipaddress.ip_address(address).packed


def pseudo(src: bytes, dst: bytes, proto: int, length: int) -> bytes:
    """The pseudo header that transport checksums cover."""
    if len(src) == 4:
        return src + dst + struct.pack("!BBH", 0, proto, length)
    return src + dst + struct.pack("!IHBB", length, 0, 0, proto)


def with_checksum(src: str, dst: str, proto: int, segment: bytes) -> bytes:
    """A transport header and payload with its checksum right."""
    at = {TCP: 16, UDP: 6, ICMP: 2, ICMP6: 2}[proto]
    head = b"" if proto == ICMP else pseudo(packed(src), packed(dst), proto, len(segment))
    blank = segment[:at] + b"\0\0" + segment[at + 2 :]
    value = checksum(head + blank)
    if proto == UDP and not value:
        value = 0xFFFF
    return segment[:at] + value.to_bytes(2, "big") + segment[at + 2 :]


def network(
    src: str,
    dst: str,
    proto: int,
    payload: bytes,
    *,
    identifier: int = 7,
    offset: int = 0,
    more: bool = False,
    ttl: int = 64,
) -> bytes:
    """An IP packet; a fragment where `offset` (bytes) or `more` says so."""
    a, b = packed(src), packed(dst)
    if len(a) == 4:
        where = offset // 8 | (0x2000 if more else 0)
        head = struct.pack(
            "!BBHHHBBH", 0x45, 0, 20 + len(payload), identifier, where, ttl, proto, 0
        )
        head += a + b
        return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + payload
    if offset or more:
        payload = struct.pack("!BBHI", proto, 0, offset | more, identifier) + payload
        proto = 44
    return struct.pack("!IHBB", 6 << 28, len(payload), proto, ttl) + a + b + payload


def frame(packet: bytes) -> bytes:
    """In Ethernet."""
    eth_type = b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"
    return MAC_B + MAC_A + eth_type + packet


def tcp(
    src: str, sport: int, dst: str, dport: int, flags: int = SYN, seq: int = 1000, ack: int = 0,
    payload: bytes = b"", options: bytes = b"",
) -> bytes:  # fmt: skip
    """A frame with a TCP segment."""
    words = 5 + len(options) // 4
    segment = struct.pack("!HHIIHHHH", sport, dport, seq, ack, words << 12 | flags, 65535, 0, 0)
    segment += options + payload
    return frame(network(src, dst, TCP, with_checksum(src, dst, TCP, segment)))


def udp_segment(src: str, sport: int, dst: str, dport: int, payload: bytes = b"hello") -> bytes:
    """A UDP header and payload."""
    segment = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload
    return with_checksum(src, dst, UDP, segment)


def udp(src: str, sport: int, dst: str, dport: int, payload: bytes = b"hello") -> bytes:
    """A frame with a UDP datagram."""
    return frame(network(src, dst, UDP, udp_segment(src, sport, dst, dport, payload)))


def echo_segment(src: str, dst: str, identifier: int, *, reply: bool, data: bytes) -> bytes:
    """An ICMP echo message, of the family of its addresses."""
    v4 = len(packed(src)) == 4
    kind = (0 if reply else 8) if v4 else (129 if reply else 128)
    message = struct.pack("!BBHHH", kind, 0, 0, identifier, 1) + data
    return with_checksum(src, dst, ICMP if v4 else ICMP6, message)


def echo(
    src: str, dst: str, identifier: int = 77, *, reply: bool = False, data: bytes = b"x" * 16
) -> bytes:
    """A frame with a ping or its answer."""
    proto = ICMP if len(packed(src)) == 4 else ICMP6
    return frame(
        network(src, dst, proto, echo_segment(src, dst, identifier, reply=reply, data=data))
    )


def error(src: str, dst: str, quoted: bytes, limit: int = 1000) -> bytes:
    """A frame with 'time exceeded' about a frame that was sent, quoting its IP packet."""
    v4 = len(packed(src)) == 4
    proto, kind = (ICMP, 11) if v4 else (ICMP6, 3)
    message = struct.pack("!BBHI", kind, 0, 0, 0) + quoted[14 : 14 + limit]
    return frame(network(src, dst, proto, with_checksum(src, dst, proto, message)))


@dataclass(frozen=True)
class Seen:
    """A packet as read; `right` tells whether all its checksums are."""

    src: str
    dst: str
    proto: int
    sport: int
    dport: int
    segment: bytes
    right: bool
    quoted: Seen | None = None

    @property
    def way(self) -> tuple[str, int, str, int]:
        """Who speaks to whom."""
        return self.src, self.sport, self.dst, self.dport


def see(data: bytes, *, whole: bool = True) -> Seen:
    """Read a frame; not `whole`: a fragment, whose transport checksum cannot be judged."""
    return _see(data[14:], whole)


def _see(packet: bytes, whole: bool) -> Seen:
    right = True
    if packet[0] >> 4 == 4:
        length = (packet[0] & 15) * 4
        proto, a, b = packet[9], packet[12:16], packet[16:20]
        right = checksum(packet[:length]) == 0
        segment = packet[length : int.from_bytes(packet[2:4], "big")]
    else:
        proto, a, b = packet[6], packet[8:24], packet[24:40]
        segment = packet[40 : 40 + int.from_bytes(packet[4:6], "big")]
        if proto == 44:
            proto, segment = segment[0], segment[8:]
    sport = dport = 0
    inside: Seen | None = None
    if proto in (TCP, UDP):
        sport, dport = (int.from_bytes(segment[i : i + 2], "big") for i in (0, 2))
    elif proto in (ICMP, ICMP6):
        if segment[0] in (0, 8, 128, 129):
            sport = int.from_bytes(segment[4:6], "big")
        else:
            inside = _see(segment[8:], True)
    head = b"" if proto == ICMP else pseudo(a, b, proto, len(segment))
    if whole and not (proto == UDP and segment[6:8] == b"\0\0"):
        right = right and checksum(head + segment) == 0
    return Seen(
        str(ipaddress.ip_address(a)), str(ipaddress.ip_address(b)),
        proto, sport, dport, segment, right, inside,
    )  # fmt: skip
