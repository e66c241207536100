"""The same bridge twice: in Debian's Open vSwitch, and in a switch of ours."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

needs_peer: Final = pytest.mark.skipif(
    not all(map(shutil.which, ("ovs-vswitchd", "ovsdb-server", "ovs-ofctl"))),
    reason="needs Debian's Open vSwitch",
)
_CHANGES: Final = re.compile(
    r"duration=[\d.]+s, |(idle|hard)_age=\d+, |xid=0x[0-9a-f]+|^\S+Z\|\d+\|(ofp_util\|.*$)?", re.M
)


class Both:
    """The same bridge twice: Open vSwitch's and ours."""

    def __init__(self, peer: Path, ours: Path) -> None:
        self.rundirs = (peer, ours)

    def ofctl(self, version: int, *command: str) -> tuple[list[str], list[str]]:
        """What ovs-ofctl says of each, without what changes with time."""
        theirs, ours = (self._run(d, version, command) for d in self.rundirs)
        return theirs, ours

    def _run(self, rundir: Path, version: int, command: tuple[str, ...]) -> list[str]:
        done = run_in(rundir, "ovs-ofctl", "-O", f"OpenFlow1{version}", "--timeout=60", *command)
        cleaned = _CHANGES.sub("", done.stdout + done.stderr)
        return sorted(line.strip() for line in cleaned.splitlines())


def run_in(rundir: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A tool that finds the switch of a run directory."""
    environment = {**os.environ, "OVS_RUNDIR": str(rundir)}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
