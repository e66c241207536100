"""vlog/*: what is logged where, and the log file (ovs-appctl(8), "LOGGING COMMANDS").

Levels and patterns are those of `ovs.vlog`, through which everything we log
goes (daemon/log.py), so that a change acts on the next line.  Our modules are
the parts of the daemon; names of the peer's modules are taken for the part
that does their work here.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from typing import Final

import ovs.vlog

from gossamer.switch.show import Command, CommandError

LEVELS: Final = ("off", "emer", "err", "warn", "info", "dbg")
DESTINATIONS: Final = ("syslog", "console", "file")
DEFAULT_LEVEL: Final = "dbg"
_ROW: Final = re.compile(r"^(\S+)\s+(\w+)\s+(\w+)\s+(\w+)$", re.MULTILINE)
_SEPARATORS: Final = re.compile(r"[ ,:\t\r\n]+")

_PEERS: Final[Mapping[str, str]] = {
    name: part
    for part, names in {
        "switch": "bridge connmgr fail_open ofproto ofproto_dpif ofproto_dpif_upcall "
        "ofproto_dpif_monitor in_band",
        "pipeline": "flow odp_execute ofproto_dpif_xlate",
        "openflow": "ofp_actions ofp_errors ofp_flow ofp_group ofp_match ofp_meter ofp_msgs "
        "ofp_packet ofp_port ofp_util nx_match meta_flow rconn vconn stream stream_ssl",
        "datapath": "dpif dpif_netdev dpif_netlink netlink netlink_socket odp_util",
        "devices": "netdev netdev_linux netdev_dummy netdev_vport netlink_notifier route_table",
        "ovsdb": "jsonrpc ovsdb_cs ovsdb_idl reconnect",
        "daemon": "coverage daemon_unix memory poll_loop timeval unixctl vlog",
    }.items()
    for name in names.split()
}  # fmt: skip


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
        _set(specification)
    return ""


def _set(specification: str) -> None:
    words = [w for w in _SEPARATORS.split(specification) if w]
    if words and words[0].lower() == "pattern":
        _set_pattern(specification, words[1:])
    elif words and words[0].lower() == "facility":
        facility = words[1] if len(words) > 1 else ""
        if facility not in ovs.vlog.FACILITIES:
            raise CommandError("invalid facility")
        error = ovs.vlog.Vlog.set_levels_from_string(f"FACILITY:{facility}")
        if error:
            raise CommandError(error)
    else:
        _set_level(words)


def _set_pattern(specification: str, words: Sequence[str]) -> None:
    if not words:
        raise CommandError("missing destination")
    name = words[0].lower()
    if name != "any" and name not in DESTINATIONS:
        raise CommandError(f'unknown destination "{words[0]}"')
    # The pattern itself may have any of the separators in it.
    pattern = re.split(r"[ ,:\t\r\n]+", specification.lstrip(" ,:\t\r\n"), maxsplit=2)[2:]
    for destination in DESTINATIONS if name == "any" else (name,):
        ovs.vlog.Vlog.set_pattern(destination, pattern[0] if pattern else "")


def _levels() -> dict[str, tuple[str, str, str]]:
    """Module -> levels at console, syslog and file; the library's own modules are among them."""
    rows = _ROW.finditer(ovs.vlog.Vlog.get_levels())
    return {m[1]: (m[2], m[3], m[4]) for m in rows if m[2] in LEVELS}


def _module(word: str) -> str | None:
    """The module a word names, None where it names none."""
    name = word.lower().replace("-", "_")
    return name if name in _levels() else _PEERS.get(name)


def _set_level(words: Sequence[str]) -> None:
    chosen: dict[str, str] = {}
    for word in words:
        lower = word.lower()
        module = _module(word)
        if lower == "any":
            continue
        if lower in DESTINATIONS:
            kind = "destination"
        elif lower in LEVELS:
            kind = "level"
        elif module is not None:
            kind, lower = "module", module
        else:
            raise CommandError(f'no destination, level, or module "{word}"')
        if kind in chosen:
            raise CommandError(f"cannot specify multiple {kind}s")
        chosen[kind] = lower
    ovs.vlog.Vlog.set_level(
        chosen.get("module", "any"),
        chosen.get("destination", "any"),
        chosen.get("level", DEFAULT_LEVEL),
    )


def list_levels() -> str:
    """Each part with its level at each destination."""
    lines = [
        "                 console    syslog    file",
        "                 -------    ------    ------",
    ]
    for module, levels in sorted(_levels().items()):
        console, syslog, file = (level.upper() for level in levels)
        lines.append(f"{module:<16}  {console:>4}       {syslog:>4}       {file:>4}")
    return "\n".join(lines) + "\n"


def list_patterns() -> str:
    """The pattern of each destination."""
    lines = [
        "         prefix                            format",
        "         ------                            ------",
    ]
    for destination in DESTINATIONS:
        pattern = ovs.vlog.PATTERNS[destination]
        lines.append(f"{destination.upper():<7}  {'none':<32}  {pattern}")
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
        if module.lower() != "any" and _module(module) is None:
            raise CommandError("unknown module")
    return ""
