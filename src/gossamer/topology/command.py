"""Running the tools a topology is made with: ip(8), ovs-vsctl(8), ovs-ofctl(8), nft(8)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from gossamer.errors import TopologyError


class Tools:
    """Commands against the daemon of one run directory."""

    def __init__(self, rundir: Path) -> None:
        self.rundir = rundir
        self.environment = os.environ | {
            "OVS_RUNDIR": str(rundir),
            "OVS_DBDIR": os.environ.get("OVS_DBDIR", str(rundir)),
            "OVS_LOGDIR": os.environ.get("OVS_LOGDIR", str(rundir)),
        }

    def run(self, *command: str, stdin: str | None = None, timeout_s: float = 30) -> str:
        """Output of a command.  Raises TopologyError with what it complained of."""
        done = self.attempt(*command, stdin=stdin, timeout_s=timeout_s)
        if done.returncode:
            complaint = (done.stderr or done.stdout).strip().splitlines()
            raise TopologyError(
                complaint[-1] if complaint else f"exit status {done.returncode}",
                place=" ".join(command),
            )
        return done.stdout

    def attempt(
        self, *command: str, stdin: str | None = None, timeout_s: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """The finished command, however it went.  Raises TopologyError where it cannot be run."""
        try:
            return subprocess.run(
                command,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                env=self.environment,
                check=False,
            )
        except FileNotFoundError:
            raise TopologyError(
                f"{command[0]} is not installed", remedy="run make build, or install it"
            ) from None
        except subprocess.TimeoutExpired:
            raise TopologyError(
                f"no answer in {timeout_s:.0f} s", place=" ".join(command), remedy="is gossamerd running?"
            ) from None

    def ip(self, lines: Sequence[str], netns: str | None = None) -> None:
        """Commands of ip(8), all or, at the first mistake, none of the rest."""
        where = ("-n", netns) if netns else ()
        if lines:
            self.run("ip", *where, "-batch", "-", stdin="\n".join(lines) + "\n")

    def vsctl(self, *arguments: str) -> str:
        """ovs-vsctl, waiting for the daemon to have done it."""
        return self.run("ovs-vsctl", "--timeout=15", *arguments)

    def ofctl(self, *arguments: str, stdin: str | None = None) -> str:
        """ovs-ofctl."""
        return self.run("ovs-ofctl", *arguments, stdin=stdin)

    def appctl(self, *arguments: str) -> str:
        """ovs-appctl."""
        return self.run("ovs-appctl", "--timeout=15", *arguments)

    def in_netns(
        self, netns: str, *command: str, timeout_s: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """A command inside an instance."""
        return self.attempt("ip", "netns", "exec", netns, *command, timeout_s=timeout_s)
