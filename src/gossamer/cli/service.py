"""The daemon a command talks to: found by its run directory, started where none runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gossamer.errors import GossamerError
from gossamer.topology.command import Tools

DEFAULT_RUNDIR = Path("/run/gossamer")


def tools() -> Tools:
    """Tools for the daemon that OVS_RUNDIR names, or ours."""
    return Tools(Path(os.environ.get("OVS_RUNDIR", str(DEFAULT_RUNDIR))))


def running(t: Tools) -> bool:
    """True where a daemon answers."""
    pidfile = t.rundir / "ovs-vswitchd.pid"
    if not pidfile.exists():
        return False
    return t.attempt("ovs-appctl", "--timeout=5", "version").returncode == 0


def ensure(t: Tools) -> None:
    """Start gossamerd where none runs.  Raises GossamerError where it does not start."""
    if running(t):
        return
    done = subprocess.run(
        [sys.executable, "-m", "gossamer.daemon.main", "--detach", "--no-chdir", "--log-file",
         "-vconsole:off"],
        env=t.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if done.returncode:
        complaint = done.stderr.strip().splitlines()
        raise GossamerError(
            f"gossamerd did not start: {complaint[-1] if complaint else done.returncode}",
            place=str(t.rundir),
            remedy="run it by hand to see more: gossamerd -vconsole:info",
        )
