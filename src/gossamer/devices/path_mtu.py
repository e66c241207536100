"""Path MTU discovery (RFC 1191, RFC 8201) for tunnels, which have no sockets of their own.

A router that cannot take an outer packet says so to this host.  The kernel
lowers the MTU of the route only on behalf of a socket, so there is one for each
protocol that tunnels run over: a raw one that never receives a packet, as its
filter refuses all.  The datapath's look-ups of routes then find the lower MTU
(bpf_fib_lookup(), bpf/route.h), which the kernel forgets after
net.ipv4.route.mtu_expires.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Iterable
from typing import Final

from gossamer.errors import DeviceError

_SO_ATTACH_FILTER: Final = 26
_IPV6_RECVERR: Final = 25
_NOTHING: Final = struct.pack("=HBBI", 0x06, 0, 0, 0)
"""A filter of one instruction: take no byte of any packet."""


class PathMtu:
    """Sockets on whose behalf the kernel hears of paths' MTUs."""

    def __init__(self) -> None:
        self._sockets: dict[tuple[int, int], socket.socket] = {}

    def follow(self, protocols: Iterable[int]) -> list[DeviceError]:
        """Hear of outer packets of these IP protocols, and of no others.

        Returns what could not be done.
        """
        wanted = {(f, p) for f in (socket.AF_INET, socket.AF_INET6) for p in protocols}
        for gone in self._sockets.keys() - wanted:
            self._sockets.pop(gone).close()
        errors = []
        for family, protocol in sorted(wanted - self._sockets.keys()):
            try:
                self._sockets[family, protocol] = _listener(family, protocol)
            except OSError as e:
                if e.errno == errno.EAFNOSUPPORT:  # a kernel without IPv6
                    continue
                errors.append(
                    DeviceError(
                        f"following the MTU of paths: {e.strerror}", place=f"protocol={protocol}"
                    )
                )
        return errors


def _listener(family: int, protocol: int) -> socket.socket:
    out = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        code = ctypes.create_string_buffer(_NOTHING)
        program = struct.pack("@HP", 1, ctypes.addressof(code))
        out.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        out.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        if family == socket.AF_INET6:  # else the kernel leaves the socket out
            out.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    except OSError:
        out.close()
        raise
    return out
