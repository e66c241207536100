"""vlog/*: what is logged where, and the log file (ovs-appctl(8), "LOGGING COMMANDS").

Levels and patterns are those of `ovs.vlog`, through which everything we log
goes (daemon/log.py), so that a change acts on the next line.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import ovs.vlog

from gossamer.daemon import log_file, log_levels, syslog
from gossamer.switch.show import Command, CommandError


def commands() -> dict[str, Command]:
    """The commands, by name."""
    return {
        "vlog/set": Command("{spec | PATTERN:destination:pattern}", 0, 1 << 30, set_levels),
        "vlog/list": Command("", 0, 0, lambda argv: list_levels()),
        "vlog/list-pattern": Command("", 0, 0, lambda argv: list_patterns()),
        "vlog/reopen": Command("", 0, 0, lambda argv: reopen()),
        "vlog/close": Command("", 0, 0, lambda argv: close()),
        "vlog/enable-rate-limit": Command("[module]...", 0, 1 << 30, rate_limit),
        "vlog/disable-rate-limit": Command("[module]...", 0, 1 << 30, rate_limit),
    }


def set_levels(argv: Sequence[str]) -> str:
    """Set levels, patterns or the facility as each argument says, up to the first mistake."""
    for specification in argv:
        try:
            log_levels.apply(specification)
        except log_levels.SpecificationError as e:
            raise CommandError(str(e)) from None
    return ""


def list_levels() -> str:
    """Each part with its level at each destination."""
    lines = [
        "                 console    syslog    file",
        "                 -------    ------    ------",
    ]
    for module, levels in sorted(log_levels.levels().items()):
        console, system, file = (level.upper() for level in levels)
        lines.append(f"{module:<16}  {console:>4}       {system:>4}       {file:>4}")
    return "\n".join(lines) + "\n"


def list_patterns() -> str:
    """The pattern of each destination."""
    lines = [
        "         prefix                            format",
        "         ------                            ------",
    ]
    for destination in log_levels.DESTINATIONS:
        pattern = ovs.vlog.PATTERNS[destination]
        prefix = syslog.prefix() if destination == "syslog" else "none"
        lines.append(f"{destination.upper():<7}  {prefix:<32}  {pattern}")
    return "\n".join(lines) + "\n"


def _file_handler() -> logging.FileHandler | None:
    for handler in logging.getLogger("file").handlers:
        if isinstance(handler, logging.FileHandler):
            return handler
    return None


class _ClosedLog:
    """Which file was closed, for vlog/reopen."""

    handler: logging.FileHandler | None = None


def reopen() -> str:
    """Open the log file anew, after it was rotated or closed."""
    logger = logging.getLogger("file")
    handler = _file_handler() or _ClosedLog.handler
    if handler is None:
        return "Logging to file not configured"
    handler.close()
    logger.removeHandler(handler)
    _ClosedLog.handler = None
    try:
        log_file.make(handler.baseFilename)
        logger.addHandler(logging.FileHandler(handler.baseFilename))
    except OSError as e:
        _ClosedLog.handler = handler
        raise CommandError(os.strerror(e.errno or 0)) from None
    logger.disabled = False
    return ""


def close() -> str:
    """Close the log file: nothing is written to it until vlog/reopen."""
    logger = logging.getLogger("file")
    handler = _file_handler()
    if handler is not None:
        logger.removeHandler(handler)
        handler.close()
        _ClosedLog.handler = handler
        # Without a handler of its own, what it logs would come out at standard error.
        logger.disabled = True
    return ""


def rate_limit(argv: Sequence[str]) -> str:
    """vlog/enable-rate-limit and vlog/disable-rate-limit: nothing is limited here.

    Each part logs an event once, so there is no limit to lift; the names are
    checked as the peer checks them.
    """
    for module in argv:
        if module.lower() != "any" and log_levels.module_of(module) is None:
            raise CommandError("unknown module")
    return ""
