"""What is logged to syslog, and how it gets there (ovs-vswitchd(8), --syslog-method)."""

from __future__ import annotations

import logging
import os
import socket
import syslog
from dataclasses import dataclass
from typing import Final

from gossamer.daemon.getopt import UsageError

FACILITIES: Final = {
    "kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7,
    "uucp": 8, "clock": 9, "ftp": 11, "ntp": 12, "audit": 13, "alert": 14, "clock2": 15,
    **{f"local{n}": 16 + n for n in range(8)},
}  # fmt: skip
"""By the peer's names (RFC 5424, 6.2.1)."""
_SEVERITIES: Final = (
    (logging.CRITICAL, syslog.LOG_ALERT),
    (logging.ERROR, syslog.LOG_ERR),
    (logging.WARNING, syslog.LOG_WARNING),
    (logging.INFO, syslog.LOG_INFO),
    (logging.NOTSET, syslog.LOG_DEBUG),
)
_PORT: Final = 514
_LIBC_PREFIX: Final = "<%B> %D{%h %e %T} %E %A:"


class Facility:
    """Under which facility messages go out; 0 until one was chosen (``FACILITY:name``)."""

    chosen: int = 0


@dataclass(frozen=True, slots=True)
class Method:
    """One way to the syslog daemon; `prefix` is what stands before its lines, as a pattern."""

    prefix: str
    handler: logging.Handler


class _Method:
    """The one in force, for vlog/list-pattern."""

    prefix: str = _LIBC_PREFIX


def prefix() -> str:
    """What is put before the pattern of syslog."""
    return _Method.prefix


def method(name: str) -> Method:
    """``libc``, ``unix:FILE``, ``udp:IP:PORT`` or ``null``; empty for the environment's or libc.

    Raises UsageError for any other.
    """
    name = name or os.environ.get("OVS_SYSLOG_METHOD", "libc")
    if name == "null":
        return Method("", logging.NullHandler())
    if name == "libc":
        return Method(_LIBC_PREFIX, _Libc())
    if name.startswith("unix:"):
        return Method("<%B>", _Datagrams(socket.AF_UNIX, name.removeprefix("unix:")))
    if name.startswith("udp:"):
        return Method("<%B>", _Datagrams(*_udp(name.removeprefix("udp:"))))
    raise UsageError(f"unsupported syslog method '{name}'")


def use(chosen: Method) -> None:
    """Let what goes to syslog go this way and no other."""
    logger = logging.getLogger("syslog")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.addHandler(chosen.handler)
    logger.disabled = False
    _Method.prefix = chosen.prefix


def target(address: str) -> logging.Handler:
    """Where --syslog-target sends lines by UDP, beside the method."""
    return _Datagrams(*_udp(address))


def _udp(address: str) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """``IP[:PORT]`` or ``[IPV6][:PORT]``."""
    if address.startswith("["):
        host, _, port = address[1:].partition("]")
        return socket.AF_INET6, (host, _number(port.removeprefix(":")))
    host, _, port = address.partition(":")
    return socket.AF_INET, (host, _number(port))


def _number(port: str) -> int:
    return int(port) if port.isdigit() else _PORT


def _severity(level: int) -> int:
    return next(severity for least, severity in _SEVERITIES if level >= least)


class _Libc(logging.Handler):
    """syslog(3): the C library writes time and name before each line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Send its lines."""
        facility = Facility.chosen or FACILITIES["daemon"]
        for line in record.getMessage().splitlines():
            syslog.syslog(facility << 3 | _severity(record.levelno), line)


class _Datagrams(logging.Handler):
    """Datagrams of a line each; what nobody takes is lost, as syslog(3) has it."""

    def __init__(self, family: socket.AddressFamily, address: str | tuple[str, int]) -> None:
        super().__init__()
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._address = address

    def emit(self, record: logging.LogRecord) -> None:
        """Send its lines."""
        facility = Facility.chosen or FACILITIES["daemon"]
        for line in record.getMessage().splitlines():
            data = f"<{facility << 3 | _severity(record.levelno)}>{line}".encode()
            try:
                self._socket.sendto(data, self._address)
            except OSError:
                # There is no other place to say so: the log itself goes to this socket.
                self.handleError(record)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()
