"""Logging: Python's loggers into the peer's log format and its vlog/* commands (ovs-appctl(8))."""

from __future__ import annotations

import logging
from typing import Final

import ovs.reconnect
import ovs.vlog

from gossamer.daemon import log_line

log = logging.getLogger(__name__)

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
    # That a database is away for a while is no reason to warn, says the peer's own library.
    ovs.reconnect.vlog.warn = ovs.reconnect.vlog.info
    # Where there is no syslog its logger has no handler, and Python writes to the console instead.
    logging.getLogger("syslog").addHandler(logging.NullHandler())


def check_file() -> None:
    """Say what the log is written to; or that it cannot be, which the library is silent about."""
    path = ovs.vlog.Vlog._Vlog__log_file
    if path is None:
        return
    logger = logging.getLogger("file")
    if logger.disabled or not any(isinstance(h, logging.FileHandler) for h in logger.handlers):
        log.warning("failed to open %s for logging; is its directory there, and writable?", path)
    else:
        log.info("opened log file %s", path)
