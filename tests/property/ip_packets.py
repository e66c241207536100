"""IP packets with right lengths and checksums, and what is read back of them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Final

from tests.property.packets import checksum

ICMP, TCP, UDP, GRE, ICMPV6 = 1, 6, 17, 47, 58
_ETHERNET: Final = bytes.fromhex("02000000000202000000000a")


@dataclass(frozen=True)
class Flow:
    """Who sends to whom; of ICMP `sport` is the identifier, `dport` nothing."""

    src: bytes
    dst: bytes
    proto: int
    sport: int = 0
    dport: int = 0

    def reversed(self) -> Flow:
        """Who answers whom."""
        if self.proto in (ICMP, ICMPV6):
            return replace(self, src=self.dst, dst=self.src)
        return Flow(self.dst, self.src, self.proto, self.dport, self.sport)


def ethernet(network: bytes) -> bytes:
    """A frame around an IP packet."""
    kind = b"\x08\x00" if network[0] >> 4 == 4 else b"\x86\xdd"
    return _ETHERNET + kind + network


def ip(src: bytes, dst: bytes, proto: int, payload: bytes) -> bytes:
    """An IP packet around a payload."""
    if len(src) == 16:
        return struct.pack("!IHBB", 6 << 28, len(payload), proto, 64) + src + dst + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, 0, 64, proto, 0) + src + dst
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + payload


def _summed(flow: Flow, data: bytes, at: int) -> bytes:
    pseudo = flow.src + flow.dst + struct.pack("!IHBB", len(data), 0, 0, flow.proto)
    if flow.proto == ICMP:
        pseudo = b""
    value = checksum(pseudo + data)
    if flow.proto == UDP and not value:
        value = 0xFFFF
    return data[:at] + value.to_bytes(2, "big") + data[at + 2 :]


def tcp(flow: Flow, flags: int, seq: int, ack: int, win: int, options: bytes, n: int) -> bytes:
    """A segment with `n` bytes of payload, in a frame."""
    words = 5 + len(options) // 4
    head = struct.pack(
        "!HHIIBBHHH", flow.sport, flow.dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, words << 4, flags,
        win, 0, 0,
    )  # fmt: skip
    segment = _summed(flow, head + options + bytes(n), 16)
    return ethernet(ip(flow.src, flow.dst, TCP, segment))


def udp_datagram(flow: Flow, payload: bytes, *, summed: bool = True) -> bytes:
    """A datagram alone."""
    data = struct.pack("!HHHH", flow.sport, flow.dport, 8 + len(payload), 0) + payload
    return _summed(flow, data, 6) if summed else data


def udp(flow: Flow, payload: bytes, *, summed: bool = True) -> bytes:
    """A datagram in a frame."""
    return ethernet(ip(flow.src, flow.dst, UDP, udp_datagram(flow, payload, summed=summed)))


def icmp(flow: Flow, kind: int, code: int, rest: bytes) -> bytes:
    """An ICMP or ICMPv6 message (`rest` is what follows its checksum), in a frame."""
    message = _summed(flow, bytes((kind, code, 0, 0)) + rest, 2)
    return ethernet(ip(flow.src, flow.dst, flow.proto, message))


def with_options(frame: bytes, length: int) -> bytes:
    """The frame's packet with options of no meaning: behind IPv4's header, or in a header of IPv6's own
    (RFC 8200, 4.6), of `length` bytes, a multiple of eight."""
    network = frame[14:]
    if network[0] >> 4 == 6:
        extension = bytes((network[6], length // 8 - 1, 1, length - 4)) + bytes(length - 4)
        head = bytearray(network[:40])
        head[6] = 60
        head[4:6] = (len(network) - 40 + length).to_bytes(2, "big")
        return ethernet(bytes(head) + extension + network[40:])
    if network[0] != 0x45:
        return frame
    head = bytearray(network[:20]) + b"\1" * length
    head[0] += length // 4
    head[2:4] = (len(network) + length).to_bytes(2, "big")
    head[10:12] = b"\0\0"
    head[10:12] = checksum(bytes(head)).to_bytes(2, "big")
    return ethernet(bytes(head) + network[20:])


def fragments(frame: bytes, size: int, identifier: int) -> list[bytes]:
    """The frame's packet in fragments of `size` bytes, a multiple of eight."""
    network = frame[14:]
    head = (network[0] & 15) * 4 if network[0] >> 4 == 4 else 40
    src, dst = (network[12:16], network[16:20]) if head < 40 else (network[8:24], network[24:40])
    payload = network[head:]
    out = []
    for at in range(0, len(payload), size):
        part, more = payload[at : at + size], at + size < len(payload)
        if head == 40:
            extension = struct.pack("!BBHI", network[6], 0, at | more, identifier)
            out.append(ethernet(ip(src, dst, 44, extension + part)))
            continue
        packet = bytearray(ip(src, dst, network[9], part))
        packet[4:8] = struct.pack("!HH", identifier, at >> 3 | more << 13)
        packet[10:12] = b"\0\0"
        packet[10:12] = checksum(bytes(packet[:20])).to_bytes(2, "big")
        out.append(ethernet(bytes(packet)))
    return out


def read(frame: bytes) -> Flow | None:
    """Who sends a frame to whom; None for what is no IP packet with a whole header."""
    network = frame[14:]
    if frame[12:14] == b"\x08\x00":
        src, dst, proto, at = network[12:16], network[16:20], network[9], 20
        if int.from_bytes(network[6:8], "big") & 0x1FFF:
            return None
    elif frame[12:14] == b"\x86\xdd":
        src, dst, proto, at = network[8:24], network[24:40], network[6], 40
    else:
        return None
    if proto in (TCP, UDP):
        sport, dport = struct.unpack_from("!HH", network, at)
        return Flow(src, dst, proto, sport, dport)
    if proto in (ICMP, ICMPV6):
        return Flow(src, dst, proto, int.from_bytes(network[at + 4 : at + 6], "big"))
    return Flow(src, dst, proto)
