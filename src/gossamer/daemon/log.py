"""Logging: Python's loggers into the peer's log format and its vlog/* commands (ovs-appctl(8))."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

import ovs.dirs
import ovs.reconnect
import ovs.util
import ovs.vlog

from gossamer.daemon import log_file, log_levels, log_line, syslog
from gossamer.daemon.getopt import UsageError

if TYPE_CHECKING:
    from gossamer.daemon.options import Options

log = logging.getLogger(__name__)

_LEVELS: Final = (
    (logging.CRITICAL, "emer"),
    (logging.ERROR, "err"),
    (logging.WARNING, "warn"),
    (logging.INFO, "info"),
    (logging.NOTSET, "dbg"),
)


_PARTS: Final = ("daemon", "datapath", "devices", "export", "openflow", "ovsdb", "pipeline", "switch", "lib")


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


def start(options: Options) -> None:
    """Begin to log as the command line says.  Raises UsageError for what it cannot say."""
    method = syslog.method(options.syslog_method)
    for specification in options.verbose:
        try:
            log_levels.apply(specification)
        except log_levels.SpecificationError as e:
            raise UsageError(f'processing "{specification}": {e}') from None
    path = options.log_file
    if path == "":
        path = os.path.join(ovs.dirs.LOGDIR, f"{ovs.util.PROGRAM_NAME}.log")
    why = None
    if path is not None:
        try:
            log_file.make(path)
        except OSError as e:
            why = e.strerror
    # Where no file is written, Python would write to the console in its place.
    logging.getLogger("file").addHandler(logging.NullHandler())
    ovs.vlog.Vlog.init(path)
    syslog.use(method)
    if options.syslog_target:
        logging.getLogger("syslog").addHandler(syslog.target(options.syslog_target))
        log.warning("--syslog-target flag is deprecated, use --syslog-method instead")
    if why is not None:
        log.warning("failed to open %s for logging: %s", path, why)
    elif path is not None:
        log.info("opened log file %s", path)
