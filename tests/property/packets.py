"""Random packets: well-formed ones of few addresses, so that they meet rules; and broken ones."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

MACS = [bytes.fromhex(h) for h in ("020000000001", "020000000002", "020000000003", "0200000000aa")]
GROUPS = [
    bytes.fromhex(h)
    for h in ("ffffffffffff", "01005e000001", "333300000001", "0180c2000000", "01000ccccccc")
]
IPV4 = [bytes((10, 0, i // 3, i)) for i in range(1, 5)] + [bytes((224, 0, 0, 1)), bytes(4)]
IPV6 = [bytes.fromhex("fd00" + "00" * 13) + bytes((i,)) for i in range(1, 5)]
L4_PORTS = [0, 53, 80, 443, 0xFFFF, 1024]
VIDS = [0, 1, 10, 20, 30, 0xFFF]

Rng = random.Random


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _with_checksum(rng: Rng, l4: bytes, at: int, pseudo: bytes, udp: bool = False) -> bytes:
    kind = rng.random()
    if kind < 0.1:
        value = rng.choice((0, 0xFFFF, rng.getrandbits(16)))
    else:
        value = checksum(pseudo + l4)
        if udp and not value:
            value = 0xFFFF
    return l4[:at] + value.to_bytes(2, "big") + l4[at + 2 :]


def tcp(rng: Rng, pseudo: Callable[[int], bytes]) -> bytes:
    options = rng.choice((b"", b"", b"\x01\x01\x01\x01"))
    words = 5 + len(options) // 4
    head = struct.pack(
        "!HHIIHHHH",
        rng.choice(L4_PORTS),
        rng.choice(L4_PORTS),
        rng.getrandbits(32),
        0,
        words << 12 | rng.choice((0x002, 0x012, 0x010, 0x018, 0xFFF)),
        512,
        0,
        0,
    )
    segment = head + options + rng.randbytes(rng.randrange(12))
    return _with_checksum(rng, segment, 16, pseudo(len(segment)))


def udp(rng: Rng, pseudo: Callable[[int], bytes]) -> bytes:
    payload = rng.randbytes(rng.randrange(12))
    head = struct.pack("!HHHH", rng.choice(L4_PORTS), rng.choice(L4_PORTS), 8 + len(payload), 0)
    datagram = head + payload
    if rng.random() < 0.2:
        return datagram
    return _with_checksum(rng, datagram, 6, pseudo(len(datagram)), udp=True)


def sctp(rng: Rng, pseudo: Callable[[int], bytes]) -> bytes:
    return struct.pack("!HHII", rng.choice(L4_PORTS), rng.choice(L4_PORTS), 1, 2) + bytes(4)


def icmp(rng: Rng, pseudo: Callable[[int], bytes]) -> bytes:
    message = bytes((rng.choice((0, 3, 8)), rng.choice((0, 1)))) + bytes(2) + rng.randbytes(6)
    return _with_checksum(rng, message, 2, b"")


def icmpv6(rng: Rng, pseudo: Callable[[int], bytes]) -> bytes:
    kind = rng.choice((1, 128, 135, 135, 136, 136))
    message = bytes((kind, 1 if rng.random() < 0.1 else 0)) + bytes(6)
    if kind in (135, 136):
        message = message[:4] + rng.choice((bytes(4), b"\x60\0\0\0", b"\0\0\0\5"))
        message += rng.choice(IPV6)
        for _ in range(rng.randrange(4)):
            option = rng.choice((1, 2, 5))
            length = rng.choice((1, 1, 1, 2, 0))
            message += bytes((option, length)) + rng.choice(MACS)
            message += bytes(max(0, length - 1) * 8)
    else:
        message += rng.randbytes(rng.randrange(8))
    return _with_checksum(rng, message, 2, pseudo(len(message)))


_L4 = {6: tcp, 17: udp, 132: sctp}


def ipv4(rng: Rng) -> bytes:
    proto = rng.choice((6, 6, 17, 17, 1, 132, 47, 2, 0))
    src, dst = rng.choice(IPV4), rng.choice(IPV4)

    def pseudo(length: int) -> bytes:
        return src + dst + struct.pack("!HH", proto, length)

    build = {**_L4, 1: icmp}.get(proto)
    payload = build(rng, pseudo) if build else rng.randbytes(rng.randrange(16))
    fragment = rng.choice((0, 0, 0, 0x4000, 0x2000, 0x2001, 0x0001, 0x8000))
    options = rng.choice((b"", b"", b"", b"\x01\x01\x01\x00"))
    head = struct.pack(
        "!BBHHHBBH",
        0x40 | (5 + len(options) // 4),
        rng.choice((0, 0, 0xB8, 0xFF)),
        20 + len(options) + len(payload),
        rng.getrandbits(16),
        fragment,
        rng.choice((64, 64, 64, 0, 1, 2, 255)),
        proto,
        0,
    )
    header = _with_checksum(rng, head + src + dst + options, 10, b"")
    return header + payload


def ipv6(rng: Rng) -> bytes:
    proto = rng.choice((6, 17, 58, 58, 132, 59, 135))
    src, dst = rng.choice(IPV6), rng.choice(IPV6)

    def pseudo(length: int) -> bytes:
        return src + dst + struct.pack("!II", length, proto)

    build = {**_L4, 58: icmpv6}.get(proto)
    payload = build(rng, pseudo) if build else rng.randbytes(rng.randrange(16))
    following = proto
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3, 9))):
        kind = rng.choice((0, 43, 60, 44, 51))
        if kind == 44:
            fragment = rng.choice((0, 0, 1, 8, 9, 6))
            ext = struct.pack("!BBHI", following, 0, fragment, 7)
        elif kind == 51:
            words = rng.choice((1, 4))
            ext = bytes((following, words)) + bytes((words + 2) * 4 - 2)
        else:
            blocks = rng.choice((0, 0, 1))
            ext = bytes((following, blocks)) + bytes(blocks * 8 + 6)
        payload = ext + payload
        following = kind
    first = 6 << 28 | rng.choice((0, 0xB8, 0xFF)) << 20 | rng.choice((0, 0xFFFFF, 0x12345))
    hops = rng.choice((64, 64, 64, 0, 1, 2, 255))
    return struct.pack("!IHBB", first, len(payload), following, hops) + src + dst + payload


def arp(rng: Rng) -> bytes:
    op = rng.choice((1, 1, 2, 3, 0x100, 0x101))
    htype = 1 if rng.random() < 0.95 else 6
    return (
        struct.pack("!HHBBH", htype, 0x0800, 6, 4, op)
        + rng.choice(MACS)
        + rng.choice(IPV4)
        + rng.choice(MACS)
        + rng.choice(IPV4)
    )


def mpls(rng: Rng) -> bytes:
    out = b""
    n = rng.randrange(1, 5)
    for i in range(n):
        bottom = i == n - 1 and rng.random() < 0.9
        out += (rng.choice((16, 100)) << 12 | bottom << 8 | 64).to_bytes(4, "big")
    return out + rng.choice((rng.randbytes(4), ipv4(rng), ipv6(rng)))


def backbone(rng: Rng) -> bytes:
    """A Provider Backbone header and the frame it carries."""
    i_tag = rng.choice((0, 1, 0x60000001, 0xFFFFFFFF)).to_bytes(4, "big")
    return i_tag + rng.choice(MACS) + rng.choice(MACS) + tags(rng) + typed_payload(rng, 0, 0)


def service(rng: Rng) -> bytes:
    """A network service header and an IPv4 packet."""
    md_type = rng.choice((1, 1, 2, 3))
    words = 6 if md_type == 1 else rng.choice((2, 3, 9))
    ttl, flags = rng.choice((0, 1, 2, 63)), rng.choice((0, 0, 1, 2, 3, 4))
    words = words if rng.random() < 0.9 else rng.randrange(64)
    head = struct.pack(
        "!HBBI", flags << 12 | ttl << 6 | words, md_type, 1, rng.choice((1, 0x1234, 0xFFFFFF)) << 8 | 255
    )
    context = b"".join(rng.choice((bytes(4), b"ctx!")) for _ in range(max(words - 2, 0)))
    return head + context + ipv4(rng)


def typed_payload(
    rng: Rng, mpls_share: float, backbone_share: float, service_share: float = 0.0
) -> bytes:
    """An ethertype and what follows it."""
    if service_share and rng.random() < service_share:
        return b"\x89\x4f" + service(rng)
    if rng.random() < mpls_share:
        return rng.choice((b"\x88\x47", b"\x88\x48")) + mpls(rng)
    if rng.random() < backbone_share:
        return b"\x88\xe7" + backbone(rng)
    kind = rng.random()
    if kind < 0.45:
        return b"\x08\x00" + ipv4(rng)
    if kind < 0.75:
        return b"\x86\xdd" + ipv6(rng)
    if kind < 0.85:
        return b"\x08\x06" + arp(rng)
    if kind < 0.87:
        return b"\x80\x35" + arp(rng)
    if kind < 0.90:
        snap = b"\xaa\xaa\x03\x00\x00\x00" + rng.choice((b"\x08\x00" + ipv4(rng), b"\x02\x00"))
        return len(snap).to_bytes(2, "big") + snap
    if kind < 0.95:
        return b"\x00\x26\x42\x42\x03" + bytes(35)
    return rng.choice((b"\x88\xcc", b"\x12\x34", b"\x81\x00", b"\x05\xff")) + rng.randbytes(
        rng.randrange(30)
    )


def tags(rng: Rng) -> bytes:
    out = b""
    for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 1, 2, 3))):
        tci = rng.choice(VIDS) | rng.choice((0, 0, 0x2000, 0xE000)) | rng.choice((0, 0, 0, 0x1000))
        out += rng.choice((b"\x81\x00", b"\x81\x00", b"\x81\x00", b"\x88\xa8"))
        out += tci.to_bytes(2, "big")
    return out


def packet(
    rng: Rng, mpls_share: float = 0.03, backbone_share: float = 0.0, service_share: float = 0.0
) -> bytes:
    """A frame of at least 14 bytes, seldom a broken one; the shares are those of frames that
    carry labels, Provider Backbone headers and network service headers."""
    dst = rng.choice(MACS) if rng.random() < 0.75 else rng.choice(GROUPS)
    src = rng.choice(MACS) if rng.random() < 0.97 else rng.choice(GROUPS)
    data = dst + src + tags(rng) + typed_payload(rng, mpls_share, backbone_share, service_share)
    kind = rng.random()
    if kind < 0.1:
        data = data[: rng.randrange(14, len(data) + 1)]
    elif kind < 0.2:
        at = rng.randrange(12, len(data))
        data = data[:at] + bytes((rng.getrandbits(8),)) + data[at + 1 :]
    elif kind < 0.3:
        data += rng.randbytes(rng.randrange(20))
    # A tag cut short: no device hands such a frame up, and the kernel cannot untag it.
    tag_at = 12
    while data[tag_at : tag_at + 2] in (b"\x81\x00", b"\x88\xa8"):
        data += bytes(max(0, tag_at + 6 - len(data)))
        tag_at += 4
    # The kernel's test-run refuses a short IP header right behind the addresses; behind a tag
    # it is welcome.
    least = {b"\x08\x00": 34, b"\x86\xdd": 54}.get(data[12:14], 14)
    return data if len(data) >= least else data[:12] + b"\x81\x00\x00\x0a" + data[12:]
