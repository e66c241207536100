"""Processes of daemons: found by their pid files, and the network namespaces they are in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

NETNS: Final = Path("/run/netns")
"""Where ip-netns(8) keeps namespaces by name."""


def pid_of(pidfile: Path) -> int | None:
    """The process of a pid file, None where it is gone."""
    try:
        pid = int(pidfile.read_text())
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        command = Path(f"/proc/{pid}/cmdline").read_text()
    except (OSError, ValueError):
        return None
    # A number may have become another process's meanwhile.
    return pid if state != "Z" and ("gossamer" in command or "ovs" in command) else None


def is_in(pid: int, netns: str) -> bool:
    """True where a process is in the network namespace of that name."""
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/ns/net"), os.stat(NETNS / netns))
    except OSError:
        return False
