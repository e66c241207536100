"""The daemon a command talks to: found by its run directory, started where none runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gossamer.topology.command import ANSWER, Tools
from gossamer.topology.daemons import start
from gossamer.topology.state import known

DEFAULT_RUNDIR = Path("/run/gossamer")


def tools() -> Tools:
    """Tools for the daemon that OVS_RUNDIR names, or ours."""
    return Tools(Path(os.environ.get("OVS_RUNDIR", str(DEFAULT_RUNDIR))))


def running(t: Tools) -> bool:
    """True where a daemon answers."""
    return t.answers()


def ensure(t: Tools) -> None:
    """Start gossamerd where none runs.  Raises TopologyError where it does not start."""
    if running(t):
        return
    start(t)


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
    return socket.exists() and t.attempt("ovs-vsctl", ANSWER, "--no-wait", "show").returncode == 0


def _stop(t: Tools, with_database: bool) -> None:
    """End the daemon; where it has no bridges, all that it made, and its database, too."""
    if t.attempt("ovs-vsctl", ANSWER, "list-br").stdout.split():
        t.attempt("ovs-appctl", ANSWER, "exit")
        return
    t.attempt("ovs-appctl", ANSWER, "exit", "--cleanup")
    if with_database:
        t.attempt("ovs-appctl", ANSWER, "-t", str(t.rundir / "ovsdb-server.ctl"), "exit")
