"""Frames to put into tunnels: every kind that a tunnel treats differently."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

from tests.property.outer import checksum


def frames(rng: random.Random, count: int) -> Iterator[bytes]:
    """`count` of them."""
    makers = (_arp, _tcp4, _udp4, _tcp6, _other, _llc, _short)
    for _ in range(count):
        body = rng.choice(makers)(rng)
        tags = b"".join(
            struct.pack("!HH", rng.choice((0x8100, 0x88A8)), rng.randrange(1 << 16) & 0xEFFF)
            for _ in range(rng.choice((0, 0, 0, 1, 2)))
        )
        macs = bytes((2, *rng.randbytes(5), 2, *rng.randbytes(5)))
        yield macs + tags + body


def _arp(rng: random.Random) -> bytes:
    return b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + rng.randbytes(20)


def _ip4(rng: random.Random, protocol: int, payload: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, rng.randrange(256), 20 + len(payload), rng.randrange(65536),
                       rng.choice((0, 0x4000)), rng.randrange(1, 256), protocol, 0)  # fmt: skip
    head += bytes((10, 0, *rng.randbytes(2), 10, 0, *rng.randbytes(2)))
    return b"\x08\x00" + head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def _tcp(rng: random.Random) -> bytes:
    return rng.randbytes(12) + b"\x50\x10" + rng.randbytes(6) + rng.randbytes(rng.choice((0, 7, 1400)))


def _tcp4(rng: random.Random) -> bytes:
    return _ip4(rng, 6, _tcp(rng))


def _udp4(rng: random.Random) -> bytes:
    data = rng.randbytes(rng.choice((1, 18, 513, 1000)))
    return _ip4(rng, 17, rng.randbytes(2) + b"\x00\x35" + struct.pack("!HH", 8 + len(data), 0) + data)


def _tcp6(rng: random.Random) -> bytes:
    payload = _tcp(rng)
    first = 6 << 28 | rng.randrange(256) << 20 | rng.randrange(1 << 20)
    head = struct.pack("!IHBB", first, len(payload), 6, rng.randrange(1, 256))
    return b"\x86\xdd" + head + rng.randbytes(32) + payload


def _other(rng: random.Random) -> bytes:
    return rng.choice((b"\x88\xcc", b"\x88\x47", b"\x90\x00")) + rng.randbytes(rng.randrange(1, 90))


def _llc(rng: random.Random) -> bytes:
    return struct.pack("!H", 40) + rng.randbytes(40)


def _short(rng: random.Random) -> bytes:
    """Nothing but a header, and hardly more."""
    return rng.choice((b"\x88\xcc", b"\x08\x06")) + rng.randbytes(rng.randrange(0, 5))
