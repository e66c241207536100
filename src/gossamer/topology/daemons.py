"""The gossamerd of a host: compared, started and ended.

Each has a run directory, with the database in it, and runs in the network
namespace of its host; all share the file systems, so that pins and sockets are
where they are for a daemon of this machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from gossamer.errors import TopologyError
from gossamer.topology.command import ANSWER, Refused, Tools
from gossamer.topology.difference import Difference
from gossamer.topology.processes import NETNS, is_in, pid_of
from gossamer.topology.resources import Spec
from gossamer.topology.seen import Seen

_END_S: Final = 60.0
_START_S: Final = 120
"""Many that start at once on a small machine take their time: the kernel verifies the programs of each."""


def start(tools: Tools) -> None:
    """Start gossamerd, and a database where none runs.  Raises TopologyError where it does not start."""
    where = ["nsenter", f"--net={NETNS / tools.netns}"] if tools.netns else []
    command = [sys.executable, "-m", "gossamer.daemon.main", "--detach", "--no-chdir", "--log-file",
               "-vconsole:off"]  # fmt: skip
    done = subprocess.run(
        [*where, *command],
        env=tools.environment, capture_output=True, text=True, timeout=_START_S, check=False,
        start_new_session=True,
    )  # fmt: skip
    if done.returncode:
        complaint = done.stderr.strip().splitlines()
        raise TopologyError(
            f"gossamerd did not start: {complaint[-1] if complaint else done.returncode}",
            place=str(tools.rundir),
            remedy="run it by hand to see more: "
            + " ".join([f"OVS_RUNDIR={tools.rundir}", *where, "gossamerd -vconsole:info"]),
        )


def daemon_differences(tools: Tools, seen: Seen, spec: Spec) -> list[Difference]:
    """It runs, in its host's namespace, and answers."""
    pid = pid_of(tools.rundir / "ovs-vswitchd.pid")
    if pid is None:
        return [Difference("", "its gossamerd does not run")]
    if not is_in(pid, spec["netns"]):
        return [Difference("", f"its gossamerd does not run in the namespace {spec['netns']}")]
    return [] if seen.answers else [Difference("", "its gossamerd does not answer")]


def ensure_daemon(tools: Tools, seen: Seen, spec: Spec, old: Spec | None) -> None:
    """Make it so, from whatever is; what it forwards goes on being forwarded."""
    if not daemon_differences(tools, seen, spec):
        return
    if pid_of(tools.rundir / "ovs-vswitchd.pid") is not None:
        if not tools.answers() or tools.attempt("ovs-appctl", ANSWER, "exit").returncode:
            _end(tools.rundir / "ovs-vswitchd.pid", signal.SIGKILL)
        _await_end(tools.rundir / "ovs-vswitchd.pid")
    tools.rundir.mkdir(parents=True, exist_ok=True)
    start(tools)


def delete_daemon(tools: Tools, spec: Spec) -> None:
    """End it with its database, and remove all that both have made."""
    if not tools.rundir.exists():
        return
    if not tools.answers():
        # It alone knows what it has pinned and mounted.
        if spec["netns"] not in Seen(tools).namespaces:
            tools.run("ip", "netns", "add", spec["netns"])
        ensure_daemon(tools, Seen(tools), spec, None)
    tools.run("ovs-appctl", ANSWER, "exit", "--cleanup")
    _end(tools.rundir / "ovsdb-server.pid", signal.SIGTERM)
    for name in ("ovs-vswitchd.pid", "ovsdb-server.pid"):
        _await_end(tools.rundir / name)
    shutil.rmtree(tools.rundir)


def daemon_conflict(seen: Seen, spec: Spec) -> Refused | None:
    """Its run directory is named after its namespace, which is ours."""
    return None


def _end(pidfile: Path, number: signal.Signals) -> None:
    pid = pid_of(pidfile)
    if pid is not None:
        os.kill(pid, number)


def _await_end(pidfile: Path) -> None:
    deadline = time.monotonic() + _END_S
    while (pid := pid_of(pidfile)) is not None:
        if time.monotonic() > deadline:
            raise Refused(f"process {pid} does not end", remedy=f"see {pidfile.parent}")
        time.sleep(0.02)
