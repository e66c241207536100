"""The daemon a command talks to: found by its run directory, started where none runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gossamer.errors import GossamerError
from gossamer.topology.command import Tools
from gossamer.topology.state import known

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


@contextmanager
def ensured(t: Tools) -> Iterator[None]:
    """A daemon runs within this; one started for it ends again where that fails and nothing is up."""
    daemon, database = not running(t), not _database_answers(t)
    ensure(t)
    try:
        yield
    except BaseException:
        if daemon and not known(t.rundir):
            _stop(t, with_database=database)
        raise


def _database_answers(t: Tools) -> bool:
    socket = t.rundir / "db.sock"
    return socket.exists() and t.attempt("ovs-vsctl", "--timeout=5", "--no-wait", "show").returncode == 0


def _stop(t: Tools, with_database: bool) -> None:
    """End the daemon; where it has no bridges, all that it made, and its database, too."""
    if t.attempt("ovs-vsctl", "--timeout=15", "list-br").stdout.split():
        t.attempt("ovs-appctl", "--timeout=15", "exit")
        return
    t.attempt("ovs-appctl", "--timeout=15", "exit", "--cleanup")
    if with_database:
        t.attempt("ovs-appctl", "--timeout=15", "-t", str(t.rundir / "ovsdb-server.ctl"), "exit")
