"""Logging: Python's loggers into the peer's log format and its vlog/* commands (ovs-appctl(8))."""

from __future__ import annotations

import logging
from typing import Final

import ovs.vlog

from gossamer.daemon import log_line

_LEVELS: Final = (
    (logging.CRITICAL, "emer"),
    (logging.ERROR, "err"),
    (logging.WARNING, "warn"),
    (logging.INFO, "info"),
    (logging.NOTSET, "dbg"),
)


_PARTS: Final = ("daemon", "datapath", "devices", "openflow", "ovsdb", "pipeline", "switch", "lib")


class VlogHandler(logging.Handler):
    """Hands each record to the `ovs.vlog` module named after the part that wrote it.

    Must exist before ovs.vlog is initialised: it takes no new modules later.
    """

    def __init__(self) -> None:
        super().__init__()
        self._modules = {part: ovs.vlog.Vlog(part) for part in _PARTS}

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        names = record.name.split(".")
        part = names[1] if names[0] == "gossamer" and len(names) > 1 else "lib"
        module = self._modules.get(part, self._modules["lib"])
        level = next(text for number, text in _LEVELS if record.levelno >= number)
        text = record.getMessage()
        if record.exc_info:
            text += " " + logging.Formatter().formatException(record.exc_info).replace("\n", " | ")
        getattr(module, level)(text)


def install() -> None:
    """Send what our parts log to vlog."""
    log_line.install()
    ours = logging.getLogger("gossamer")
    ours.setLevel(logging.DEBUG)
    ours.addHandler(VlogHandler())
    # vlog itself writes through loggers below the root: what reaches the root must end there.
    ours.propagate = False
    # Where there is no syslog its logger has no handler, and Python writes to the console instead.
    logging.getLogger("syslog").addHandler(logging.NullHandler())
