"""Collectors: who is told, by UDP.  A collector that does not listen loses what is sent to it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable
from ipaddress import ip_address

from gossamer.errors import ExportError

log = logging.getLogger(__name__)


def parse_target(text: str, default_port: int) -> tuple[str, int]:
    """Address and port of ``10.0.0.1:4739``, ``[fe80::1]:4739`` or an address alone.

    Raises ExportError for anything else (ovs-vswitchd.conf.db(5), IPFIX targets).
    """
    host, port = text, str(default_port)
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or port
        host = host if closed else ""
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        ip_address(host.partition("%")[0])
        number = int(port)
    except ValueError:
        number = -1
    if not 0 < number < 1 << 16:
        raise ExportError(
            f"{text!r} is no collector", remedy="write an address and a port: 10.0.0.1:4739"
        )
    return host, number


class Collectors:
    """UDP sockets to some collectors."""

    def __init__(self, targets: Iterable[str], default_port: int) -> None:
        self._sockets: list[socket.socket] = []
        for text in sorted(targets):
            try:
                self._sockets.append(_open(*parse_target(text, default_port)))
            except (ExportError, OSError) as e:
                log.warning("target=%s: cannot export there: %s", text, e)

    def send(self, data: bytes) -> int:
        """Send a datagram to each; how many could not be sent."""
        failed = 0
        for connected in self._sockets:
            try:
                connected.send(data)
            except OSError as e:
                # Nobody listens there now, or the buffer is full: datagrams may be lost.
                log.debug("collector=%s: %s", connected.getpeername()[0], e)
                failed += 1
        return failed

    def close(self) -> None:
        """Close the sockets."""
        for connected in self._sockets:
            connected.close()
        self._sockets.clear()


def _open(host: str, port: int) -> socket.socket:
    family, kind, proto, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
    )[0]
    opened = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, proto)
    try:
        opened.connect(address)
    except OSError:
        opened.close()
        raise
    return opened
