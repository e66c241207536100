"""Ethernet frames for tests: IPv4 and IPv6 with TCP, UDP, ICMP, sums done."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from gossamer.pipeline.checksum import internet_sum

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
_A, _B = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")


def ip(src: str, dst: str, proto: int, l4: bytes, check_at: int | None = None) -> bytes:
    """A frame; the checksum of layer 4, which covers a pseudo header, goes to `check_at`."""
    a, b = ip_address(src).packed, ip_address(dst).packed
    if check_at is not None:
        pseudo = a + b + struct.pack("!HH", proto, len(l4)) if proto != 1 else b""
        total = ~internet_sum(pseudo + l4) & 0xFFFF
        l4 = l4[:check_at] + total.to_bytes(2, "big") + l4[check_at + 2 :]
    if len(a) == 16:
        head = struct.pack("!IHBB16s16s", 6 << 28, len(l4), proto, 64, a, b)
        return _B + _A + b"\x86\xdd" + head + l4
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(l4), 1, 0, 64, proto, 0, a, b)
    total = ~internet_sum(head) & 0xFFFF
    return _B + _A + b"\x08\x00" + head[:10] + total.to_bytes(2, "big") + head[12:] + l4


def tcp(
    src: str, sport: int, dst: str, dport: int, flags: int, seq: int, ack: int,
    payload: bytes = b"", options: bytes = b"",
) -> bytes:
    """A segment; options in multiples of four bytes."""
    words = 5 + len(options) // 4
    l4 = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, words << 4, flags, 5000, 0, 0)
    return ip(src, dst, 6, l4 + options + payload, 16)


def udp(src: str, sport: int, dst: str, dport: int, payload: bytes = b"x") -> bytes:
    """A datagram."""
    return ip(src, dst, 17, struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload, 6)


def echo(src: str, dst: str, identifier: int, *, reply: bool = False) -> bytes:
    """An echo request or reply of ICMP or ICMPv6."""
    six = ip_address(src).version == 6
    kind = (129 if reply else 128) if six else (0 if reply else 8)
    l4 = struct.pack("!BBHHH", kind, 0, 0, identifier, 1) + b"payload."
    return ip(src, dst, 58 if six else 1, l4, 2)
