"""First packets of many connections, in frames of our own making.

usage: python -m tests.system.connection_flood tcp|udp SOURCE TARGET SOURCE_MAC TARGET_MAC NUMBER
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address

_SYN = 0x02


def frames(
    protocol: str, source: str, target: str, source_mac: str, target_mac: str, number: int
) -> Iterator[bytes]:
    """Frames of distinct five-tuples, checksums right."""
    ethernet = bytes.fromhex((target_mac + source_mac).replace(":", "")) + b"\x08\x00"
    addresses = IPv4Address(source).packed + IPv4Address(target).packed
    kind = socket.IPPROTO_TCP if protocol == "tcp" else socket.IPPROTO_UDP
    length = 20 if protocol == "tcp" else 8
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, kind, 0) + addresses
    ip = ip[:10] + struct.pack("!H", _sum(ip)) + ip[12:]
    pseudo = addresses + struct.pack("!HH", kind, length)
    for n in range(number):
        # From port 1024 on to a closed port of a few hundred.
        sport, dport = 1024 + n % 60_000, 20_000 + n // 60_000 + n % 7
        if protocol == "tcp":
            header = struct.pack("!HHIIBBHHH", sport, dport, n, 0, 0x50, _SYN, 65535, 0, 0)
            at = 16
        else:
            header = struct.pack("!HHHH", sport, dport, length, 0)
            at = 6
        value = struct.pack("!H", _sum(pseudo + header))
        yield ethernet + ip + header[:at] + value + header[at + 2 :]


def _sum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


if __name__ == "__main__":
    *_, count = sys.argv
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("eth0", 0))
        for frame in frames(*sys.argv[1:6], int(count)):
            wire.send(frame)
