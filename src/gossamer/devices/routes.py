"""Which way packets to an address leave the host: the kernel's answer (rtnetlink(7), RTM_GETROUTE).

A thousand tunnels ask a thousand times whenever routes change, so a question is one small
message, packed here.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from gossamer.errors import DeviceError
from gossamer.pipeline.tunnel import is_ipv4, of_ipv4

_HEADER: Final = Struct("=IHHII")
_ROUTE: Final = Struct("=BBBBBBBBI")
_NEXT_HOP: Final = Struct("=HBBi")
_ATTRIBUTE: Final = Struct("=HH")
_RTM_NEWROUTE: Final = 24
_RTM_GETROUTE: Final = 26
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_REQUEST: Final = 1
_DUMP: Final = 0x300
_DST, _SRC, _OIF, _GATEWAY, _PRIORITY, _PREFSRC, _METRICS, _MULTIPATH = 1, 2, 4, 5, 6, 7, 8, 9
_TABLE, _MARK, _VIA = 15, 16, 18
_METRIC_MTU: Final = 2
_MAIN, _LOCAL = 254, 255
_UNICAST, _LOCAL_TYPE = 1, 2
_PATIENCE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Route:
    """A way: the device, the router where there is one, the address that will be the source.

    Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d.  `mtu` is the route's own, 0 where it has
    none.  `prefix` and `length` (in bits, of the family) say what a dumped route is for.
    """

    ifindex: int
    gateway: bytes | None = None
    source: bytes | None = None
    mtu: int = 0
    prefix: bytes = bytes(16)
    length: int = 0
    local: bool = False
    metric: int = 0

    @property
    def ipv4(self) -> bool:
        """The family of the destination."""
        return is_ipv4(self.prefix)


def _whole(family: int, address: bytes) -> bytes:
    return of_ipv4(address) if family == socket.AF_INET else address


def _attributes(data: bytes, at: int, end: int) -> Iterator[tuple[int, bytes]]:
    while at + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += length + 3 & ~3


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(value), kind) + value


class Routes:
    """The kernel's routes, asked one at a time or all at once."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, 0))
        self._socket.settimeout(_PATIENCE_S)
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def lookup(
        self, destination: bytes, source: bytes | None = None, mark: int = 0
    ) -> Route | None:
        """The way to an address, None where there is none.

        `source` is the address packets will have, `mark` the mark they carry (ip-rule(8)).
        """
        ipv4 = is_ipv4(destination)
        family, cut = (socket.AF_INET, 12) if ipv4 else (socket.AF_INET6, 0)
        bits = (16 - cut) * 8
        body = _ROUTE.pack(family, bits, bits if source else 0, 0, 0, 0, 0, 0, 0)
        body += _attribute(_DST, destination[cut:])
        if source:
            body += _attribute(_SRC, source[cut:])
        if mark:
            body += _attribute(_MARK, mark.to_bytes(4, "little"))
        for route in self._ask(body, _REQUEST):
            return route
        return None

    def all(self) -> list[Route]:
        """The routes of the tables main and local, of both families."""
        out: list[Route] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            body = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
            out += self._ask(body, _REQUEST | _DUMP)
        return out

    def _ask(self, body: bytes, flags: int) -> Iterator[Route]:
        self._sequence += 1
        head = _HEADER.pack(_HEADER.size + len(body), _RTM_GETROUTE, flags, self._sequence, 0)
        try:
            self._socket.send(head + body)
            while True:
                data = self._socket.recv(1 << 16)
                at = 0
                while at + _HEADER.size <= len(data):
                    length, kind, _, sequence, _ = _HEADER.unpack_from(data, at)
                    ours = sequence == self._sequence
                    if ours and kind in (_NLMSG_ERROR, _NLMSG_DONE):
                        return
                    if ours and kind == _RTM_NEWROUTE:
                        yield from _parse(data, at + _HEADER.size, at + length)
                        if not flags & _DUMP:
                            return
                    at += max(length + 3 & ~3, _HEADER.size)
        except OSError as e:
            raise DeviceError(f"asking for routes: {e}", place="netlink") from None


def _parse(data: bytes, at: int, end: int) -> Iterator[Route]:
    """The ways of a route: more than one where it is a multipath route."""
    family, length, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(data, at)
    if family not in (socket.AF_INET, socket.AF_INET6) or kind not in (_UNICAST, _LOCAL_TYPE, 5):
        return
    zero = bytes(4 if family == socket.AF_INET else 16)
    ifindex, metric, mtu = 0, 0, 0
    prefix = _whole(family, zero)
    gateway = source = None
    hops: list[tuple[int, bytes | None]] = []
    for number, value in _attributes(data, at + _ROUTE.size, end):
        if number == _DST:
            prefix = _whole(family, value)
        elif number == _OIF:
            ifindex = int.from_bytes(value, "little")
        elif number in (_GATEWAY, _VIA):
            gateway = _gateway(family, number, value)
        elif number == _PREFSRC:
            source = _whole(family, value)
        elif number == _PRIORITY:
            metric = int.from_bytes(value, "little")
        elif number == _TABLE:
            table = int.from_bytes(value, "little")
        elif number == _METRICS:
            mtu = next(
                (int.from_bytes(v, "little") for k, v in _attributes(value, 0, len(value))
                 if k == _METRIC_MTU), 0
            )  # fmt: skip
        elif number == _MULTIPATH:
            hops = list(_hops(family, value))
    if table not in (_MAIN, _LOCAL, 0):
        return
    for hop_ifindex, hop_gateway in hops or [(ifindex, gateway)]:
        yield Route(
            hop_ifindex, hop_gateway, source, mtu, prefix, length, kind == _LOCAL_TYPE, metric
        )


def _gateway(family: int, number: int, value: bytes) -> bytes:
    if number == _VIA:  # a router of the other family: struct rtvia
        return _whole(int.from_bytes(value[:2], "little"), value[2:])
    return _whole(family, value)


def _hops(family: int, data: bytes) -> Iterator[tuple[int, bytes | None]]:
    at = 0
    while at + _NEXT_HOP.size <= len(data):
        length, _, _, ifindex = _NEXT_HOP.unpack_from(data, at)
        if length < _NEXT_HOP.size:
            return
        gateway = None
        for number, value in _attributes(data, at + _NEXT_HOP.size, at + length):
            if number in (_GATEWAY, _VIA):
                gateway = _gateway(family, number, value)
        yield ifindex, gateway
        at += length + 3 & ~3
