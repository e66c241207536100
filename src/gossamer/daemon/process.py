"""The process itself: whose it is, and whether its memory stays (ovs-vswitchd(8))."""

from __future__ import annotations

import ctypes
import grp
import logging
import os
import pwd
import sys
from typing import Final, NoReturn

import ovs.daemon

from gossamer.daemon.getopt import UsageError

log = logging.getLogger(__name__)

_CURRENT, _FUTURE, _ON_FAULT = 1, 2, 4
"""Flags of mlockall(2)."""
_ROOT: Final = 0


def become(user: str) -> None:
    """What --user asks for: ``USER``, ``USER:GROUP`` or ``:GROUP``; empty changes nothing.

    Raises UsageError for unknown ones, and for any user but root: BPF programs, their pinned maps
    and network namespaces would be out of reach.
    """
    if not user:
        return
    name, colon, group = user.partition(":")
    try:
        entry = pwd.getpwnam(name) if name else pwd.getpwuid(os.getuid())
    except KeyError:
        raise UsageError(f"user {name} not found, aborting.") from None
    gid = entry.pw_gid
    if colon and group:
        try:
            gid = grp.getgrnam(group).gr_gid
        except KeyError:
            raise UsageError(f"group {group} not found, aborting.") from None
    if entry.pw_uid != _ROOT:
        raise UsageError(
            f"--user={user}: only root may load the datapath's BPF programs",
            remedy="leave out --user, or OVS_USER_ID where ovs-ctl is told of it",
        )
    os.setgid(gid)


def lock_memory() -> None:
    """Keep in memory what comes there, as --mlockall asks; a kernel that refuses is told of.

    Pages that nobody has touched yet are left alone: stacks of threads are mostly such.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if library.mlockall(_CURRENT | _FUTURE | _ON_FAULT):
        log.error("mlockall failed: %s", os.strerror(ctypes.get_errno()))


def tell_failures_as(program: str) -> None:
    """Let what keeps the daemon from starting be told in one line, as the peer tells it."""

    def fail(message: str) -> NoReturn:
        print(f"{program}: {message}", file=sys.stderr)
        raise SystemExit(1)

    ovs.daemon._fatal = fail
