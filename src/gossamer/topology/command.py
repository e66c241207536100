"""Running the tools a topology is made with: ip(8), ovs-vsctl(8), ovs-ofctl(8), nft(8)."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gossamer.errors import TopologyError
from gossamer.topology.processes import is_in, pid_of

PATIENCE_S: Final = 40
"""For the daemon and the database: on a busy host they may take seconds, and who is not there refuses
at once.  Who is taken for dead is ended and started anew."""
ANSWER: Final = f"--timeout={PATIENCE_S}"
"""The same, to ovs-vsctl and ovs-appctl."""

_FAILED_LINE: Final = re.compile(r"^Command failed -:(\d+)$", re.MULTILINE)
_NO_DAEMON: Final = re.compile(
    r"database connection failed|is not a bridge or a socket|cannot read pidfile|cannot connect to"
)
_REMEDIES: Final = {
    "address": "is it the address of one host, with the length of its subnet's prefix?",
    "mac": "write it as 02:00:00:00:00:01, its first byte even",
    "mtu": "576 to 65535; 1500 where nothing is said",
    "gateway": "name an address in a subnet of the instance, on a port that is up",
    "routes": "write it as 10.1.0.0/16 via 10.0.0.254, an address in a subnet of the instance",
}


class Refused(TopologyError):
    """Something below refused what a part of the topology asks for.

    `attribute` says which part of the resource it was, as a path below the
    resource's own place in the file: "mac", "addresses[1]", "" for the whole.
    """

    def __init__(self, message: str, *, attribute: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.attribute = attribute


class Tools:
    """Commands against the daemon of one run directory, and the network namespace it runs in.

    `netns` is the name of that namespace; without it, it is ours.
    """

    def __init__(self, rundir: Path, netns: str | None = None) -> None:
        self.rundir = rundir
        self.netns = netns
        own = {} if netns else os.environ
        self.environment = os.environ | {
            "OVS_RUNDIR": str(rundir),
            "OVS_DBDIR": own.get("OVS_DBDIR", str(rundir)),
            "OVS_LOGDIR": own.get("OVS_LOGDIR", str(rundir)),
        }
        self._hosts: dict[str, Tools] = {}

    def at(self, host: str | None) -> Tools:
        """The tools for a host, by the name of its namespace; these for None."""
        if host is None:
            return self
        if host not in self._hosts:
            self._hosts[host] = Tools(self.rundir / "hosts" / host, host)
        return self._hosts[host]

    def run(self, *command: str, stdin: str | None = None, timeout_s: float = PATIENCE_S + 10) -> str:
        """Output of a command.  Raises TopologyError with what it complained of."""
        done = self.attempt(*command, stdin=stdin, timeout_s=timeout_s)
        if done.returncode:
            raise TopologyError(
                complaint_of(done),
                place=" ".join(command),
                remedy="is gossamerd running?  see gossamer status" if _NO_DAEMON.search(done.stderr) else "",
            )
        return done.stdout

    def attempt(
        self, *command: str, stdin: str | None = None, timeout_s: float = PATIENCE_S + 10
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
                # Ctrl-C is for us: a tool that it ended in the middle would leave half a change.
                start_new_session=True,
            )
        except FileNotFoundError:
            raise TopologyError(
                f"{command[0]} is not installed", remedy="run make build, or install it"
            ) from None
        except subprocess.TimeoutExpired:
            raise TopologyError(
                f"no answer in {timeout_s:.0f} s", place=" ".join(command), remedy="is gossamerd running?"
            ) from None

    def ip(self, commands: Sequence[tuple[str, str]], netns: str | None = None) -> None:
        """Commands of ip(8), each with the attribute it is for, up to the first that fails.

        Raises Refused with that attribute.
        """
        if not commands:
            return
        done = self.attempt(
            *self.ip_command(netns), "-batch", "-", stdin="\n".join(line for line, _ in commands) + "\n"
        )
        if done.returncode:
            number = _FAILED_LINE.search(done.stderr)
            line, attribute = commands[int(number[1]) - 1] if number else commands[0]
            remedies = (r for part, r in _REMEDIES.items() if attribute.startswith(part))
            raise Refused(
                f"{complaint_of(done)} (ip {line})", attribute=attribute, remedy=next(remedies, "")
            )

    def ip_command(self, netns: str | None = None) -> tuple[str, ...]:
        """ip(8) with the namespace it is to work in: that one, or the daemon's."""
        where = netns or self.netns
        return ("ip", "-n", where) if where else ("ip",)

    def answers(self) -> bool:
        """True where the daemon answers, in its namespace."""
        pid = pid_of(self.rundir / "ovs-vswitchd.pid")
        if pid is None or (self.netns and not is_in(pid, self.netns)):
            return False
        return self.attempt("ovs-appctl", ANSWER, "version").returncode == 0

    def require_daemon(self) -> None:
        """Raises TopologyError where no daemon answers: the database alone would let us wait."""
        if not self.answers():
            raise TopologyError(
                "gossamerd does not answer",
                place=str(self.rundir),
                remedy="start it: gossamerd --detach; its log is ovs-vswitchd.log there",
            )

    def vsctl(self, *arguments: str) -> str:
        """ovs-vsctl, waiting for the daemon to have done it."""
        return self.run("ovs-vsctl", ANSWER, *arguments)

    def ofctl(self, *arguments: str, stdin: str | None = None) -> str:
        """ovs-ofctl."""
        return self.run("ovs-ofctl", *arguments, stdin=stdin)

    def appctl(self, *arguments: str) -> str:
        """ovs-appctl.  Raises TopologyError with what the daemon answers, its second line as remedy."""
        done = self.attempt("ovs-appctl", ANSWER, *arguments)
        if done.returncode == 0:
            return done.stdout
        answer, refused, _ = done.stderr.rpartition("ovs-appctl: ")
        if "server returned an error" in done.stderr and refused:
            message, _, remedy = answer.strip().partition("\n")
            raise TopologyError(message, remedy=remedy)
        self.require_daemon()
        raise TopologyError(complaint_of(done), place=" ".join(done.args))

    def in_netns(
        self, netns: str, *command: str, timeout_s: float = PATIENCE_S + 10
    ) -> subprocess.CompletedProcess[str]:
        """A command inside an instance."""
        return self.attempt("ip", "netns", "exec", netns, *command, timeout_s=timeout_s)


def complaint_of(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed command said was wrong, in one line."""
    said = _FAILED_LINE.sub("", done.stderr or done.stdout).strip().splitlines()
    if not said:
        return f"{done.args[0]} ended with status {done.returncode}"
    last = said[-1].strip()
    if "(Alarm clock)" in last:
        return f"no answer to {done.args[0]} in time"
    last = re.sub(r"^(Error: |RTNETLINK answers: |ovs-[a-z]+: )", "", last)
    return last
