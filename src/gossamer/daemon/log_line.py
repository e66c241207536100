"""A line of the log as its pattern says (ovs-vswitchd(8), "vlog/set pattern:destination:pattern").

`ovs.vlog` pads what patterns ask to be filled with zeros, and every field with
spaces: scripts that look for ``|WARN|`` in a log would find nothing.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import ovs.util
import ovs.vlog

from gossamer.daemon.syslog import FACILITIES, Facility

_FIELD: Final = re.compile(r"%(-?)(0?)(\d*)([A-Za-z%])(?:\{([^}]*)\})?")
_TIME: Final = "%Y-%m-%d %H:%M:%S.###"
_HASHES: Final = re.compile("#+")
_SYSLOG_SEVERITY: Final = {"EMER": 1, "ERR": 3, "WARN": 4, "INFO": 6, "DBG": 7}
_STARTED_S: Final = time.monotonic()


class _Serial:
    """Numbers the messages that are written: the first one has 1."""

    last_event: int = -1
    number: int = 0

    @classmethod
    def of(cls, event: int) -> int:
        """The number of an event, which may be written to several destinations."""
        if event != cls.last_event:
            cls.last_event, cls.number = event, cls.number + 1
        return cls.number


def install() -> None:
    """Let every line that `ovs.vlog` writes be made here."""

    def build(self: ovs.vlog.Vlog, message: str, destination: str, level: str, event: int) -> str:
        pattern = ovs.vlog.PATTERNS[destination]
        return line(pattern, self.name, level, message, _Serial.of(event), datetime.now(UTC))

    ovs.vlog.Vlog._build_message = build


def line(pattern: str, module: str, level: str, message: str, number: int, now: datetime) -> str:
    """The text of one message; what is no field of a pattern stands for itself."""
    thread = threading.current_thread()
    is_main = thread is threading.main_thread()
    fields: dict[str, Callable[[str | None], str]] = {
        "A": lambda _: str(ovs.util.PROGRAM_NAME),
        "B": lambda _: str(_facility() << 3 | _SYSLOG_SEVERITY[level.upper()]),
        "c": lambda _: module,
        "d": lambda form: _time(now.astimezone(), form),
        "D": lambda form: _time(now, form),
        "E": lambda _: socket.gethostname(),
        "m": lambda _: message,
        "N": lambda _: str(number),
        "n": lambda _: "\n",
        "p": lambda _: level.upper(),
        "P": lambda _: str(os.getpid()),
        "r": lambda _: str(int((time.monotonic() - _STARTED_S) * 1000)),
        "t": lambda _: "main" if is_main else thread.name,
        "T": lambda _: "" if is_main else f"({thread.name})",
        "%": lambda _: "%",
    }

    def put(found: re.Match[str]) -> str:
        left, zero, width, name, form = found.groups()
        if name not in fields:
            return found[0]
        text = fields[name](form)
        rest = "" if form is None or name in "dD" else f"{{{form}}}"
        least = int(width or 0)
        if left:
            return text.ljust(least) + rest
        return text.rjust(least, "0" if zero else " ") + rest

    return _FIELD.sub(put, pattern)


def _facility() -> int:
    """As messages are sent to a server (RFC 5424): local0 unless another was chosen."""
    return Facility.chosen or FACILITIES["local0"]


def _time(moment: datetime, form: str | None) -> str:
    """A time by strftime(3), in which ``#`` are digits of a fraction of a second."""
    text = moment.strftime(form or _TIME)
    fraction = f"{moment.microsecond:06d}"
    return _HASHES.sub(lambda m: fraction[: len(m[0])].ljust(len(m[0]), "0"), text)
