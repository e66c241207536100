"""Outer packets that come in fragments: the host's stack puts them together, for these sockets.

The datapath lets fragments pass (bpf/decap.h).  Of UDP a bound socket gets the whole packets, so
that the host answers none with 'port unreachable'; of GRE a raw one.  Whole packets that came whole
never get here: the datapath takes them before.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gossamer.errors import DeviceError
from gossamer.pipeline.checksum import checksum

if TYPE_CHECKING:
    from ovs.poller import Poller

_GRE: Final = 47
_UDP: Final = 17
_AT_ONCE: Final = 256
"""Packets read at a time, so that others get their turn."""
_ROOM: Final = 4 << 20
_LONGEST: Final = 65535
_ANCILLARY: Final = 256

# linux/in.h, linux/in6.h, linux/udp.h: what Python's socket module has no names for.
_IP_PKTINFO, _IP_RECVTTL, _IP_RECVTOS = 8, 12, 13
_IP_TTL, _IP_TOS = 2, 1
_IPV6_RECVPKTINFO, _IPV6_PKTINFO = 49, 50
_IPV6_RECVHOPLIMIT, _IPV6_HOPLIMIT = 51, 52
_IPV6_RECVTCLASS, _IPV6_TCLASS = 66, 67
_UDP_NO_CHECK6_RX: Final = 102
_SO_RCVBUFFORCE: Final = 33


@dataclass(frozen=True, slots=True)
class Wanted:
    """Packets to receive: of a UDP port, or of GRE where `udp_port` is 0."""

    ipv6: bool
    udp_port: int


class Joining:
    """Sockets for whole packets, by what they receive."""

    def __init__(self) -> None:
        self._sockets: dict[Wanted, socket.socket] = {}

    def want(self, wanted: Iterable[Wanted]) -> list[DeviceError]:
        """Receive these packets and no others.  Returns what could not be had."""
        all_wanted = frozenset(wanted)
        errors = []
        for gone in self._sockets.keys() - all_wanted:
            self._sockets.pop(gone).close()
        for new in all_wanted - self._sockets.keys():
            try:
                self._sockets[new] = _socket(new)
            except OSError as e:
                errors.append(
                    DeviceError(
                        f"receiving packets that come in fragments: {e.strerror}",
                        place=f"UDP port {new.udp_port}" if new.udp_port else "GRE",
                        remedy="is a tunnel device of the kernel's on that port?",
                    )
                )
        return errors

    def read(self) -> Iterator[tuple[int, bytes]]:
        """The packets that came: ifindex of the device they came by, and the IP packet."""
        for wanted, s in list(self._sockets.items()):
            for _ in range(_AT_ONCE):
                try:
                    data, ancillary, _, (host, port, *_) = s.recvmsg(_LONGEST, _ANCILLARY)
                except BlockingIOError:
                    break
                yield _packet(wanted, data, ancillary, host, port)

    def wait(self, poller: Poller) -> None:
        """Wake for the next packet."""
        for s in self._sockets.values():
            poller.fd_wait(s.fileno(), select.POLLIN)

    def close(self) -> None:
        """Receive nothing more."""
        self.want(())


def _socket(wanted: Wanted) -> socket.socket:
    family = socket.AF_INET6 if wanted.ipv6 else socket.AF_INET
    kind, protocol = (socket.SOCK_DGRAM, _UDP) if wanted.udp_port else (socket.SOCK_RAW, _GRE)
    s = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
    try:
        if wanted.ipv6:
            for option in (_IPV6_RECVPKTINFO, _IPV6_RECVHOPLIMIT, _IPV6_RECVTCLASS):
                s.setsockopt(socket.IPPROTO_IPV6, option, 1)
            if wanted.udp_port:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                # tunnels may send without a checksum (RFC 6935)
                s.setsockopt(_UDP, _UDP_NO_CHECK6_RX, 1)
        else:
            for option in (_IP_PKTINFO, _IP_RECVTTL, _IP_RECVTOS):
                s.setsockopt(socket.IPPROTO_IP, option, 1)
        s.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        if wanted.udp_port:
            s.bind(("::" if wanted.ipv6 else "0.0.0.0", wanted.udp_port))
    except OSError:
        s.close()
        raise
    return s


def _packet(
    wanted: Wanted, data: bytes, ancillary: list[tuple[int, int, bytes]], host: str, port: int
) -> tuple[int, bytes]:
    """Device and packet, with the headers that the host has taken off put on again."""
    said = {(level, kind): value for level, kind, value in ancillary}
    if not wanted.ipv6:
        ifindex, _, local = struct.unpack("=i4s4s", said[socket.IPPROTO_IP, _IP_PKTINFO])
        if not wanted.udp_port:
            return ifindex, data
        tos = said[socket.IPPROTO_IP, _IP_TOS][0]
        (ttl,) = struct.unpack("=i", said[socket.IPPROTO_IP, _IP_TTL])
        payload = struct.pack(">HHHH", port, wanted.udp_port, 8 + len(data), 0) + data
        head = struct.pack(">BBHHHBB", 0x45, tos, 20 + len(payload), 0, 0, ttl, _UDP)
        ends = socket.inet_aton(host) + local
        total = checksum(head + b"\0\0" + ends).to_bytes(2, "big")
        return ifindex, head + total + ends + payload
    local, ifindex = struct.unpack("=16si", said[socket.IPPROTO_IPV6, _IPV6_PKTINFO])
    (tos,) = struct.unpack("=i", said[socket.IPPROTO_IPV6, _IPV6_TCLASS])
    (ttl,) = struct.unpack("=i", said[socket.IPPROTO_IPV6, _IPV6_HOPLIMIT])
    if wanted.udp_port:
        data = struct.pack(">HHHH", port, wanted.udp_port, 8 + len(data), 0) + data
    protocol = _UDP if wanted.udp_port else _GRE
    head = struct.pack(">IHBB", 6 << 28 | tos << 20, len(data), protocol, ttl)
    source = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return ifindex, head + source + local + data
