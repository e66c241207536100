"""A million flows through ovs-ofctl and the daemon: time, memory, a restart, the limit."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from gossamer.daemon.main import pin_directory
from gossamer.datapath.layout import MAX_FLOWS

BRIDGE: Final = "br0"
LIMIT_S: Final = 1200
"""For one step; a daemon that stands still must not hold up the night."""


@dataclass(frozen=True)
class Loaded:
    """Some number of flows loaded into a daemon that had none."""

    flows: int
    bundle: bool
    load_s: float
    counted: int
    """What dump-aggregate says is there."""
    daemon_mb: float
    daemon_peak_mb: float
    kernel_mb: float
    """Of the datapath's maps, as the kernel accounts it."""
    journal_mb: float
    restart_s: float | None
    """From starting a daemon after SIGKILL until it has taken all over; None where not tried."""
    counted_after_restart: int | None
    most: int | None
    """Flows that fit; None where not tried."""
    refusal: str
    """What ovs-ofctl says to more than these."""
    delete_s: float


def five_tuples(first: int, end: int) -> Iterator[str]:
    """Flows of one mask, as ovs-ofctl reads them."""
    for n in range(first, end):
        yield (
            f"priority=10,udp,nw_src=10.{n >> 16}.{(n >> 8) & 255}.{n & 255},nw_dst=10.255.0.1,"
            f"tp_src={1024 + n % 60000},tp_dst=9,actions=output:{1 + n % 2}\n"
        )


class Daemon:
    """gossamerd in a run directory of its own, with one bridge that has no flows."""

    def __init__(self, rundir: Path) -> None:
        self.rundir = rundir
        names = ("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR")
        self.environment = dict(os.environ) | {name: str(rundir) for name in names}
        self.start()
        self.run("ovs-vsctl", "--timeout=30", "add-br", BRIDGE, "--",
                 "set-fail-mode", BRIDGE, "secure")  # fmt: skip
        self.run("ovs-ofctl", "del-flows", BRIDGE)

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.run(sys.executable, "-m", "gossamer.daemon.main", "--detach", "--no-chdir",
                 "-vconsole:off", "--log-file")  # fmt: skip

    @property
    def pid(self) -> int:
        """Of the daemon."""
        return int((self.rundir / "ovs-vswitchd.pid").read_text())

    def run(self, *command: str) -> str:
        """Output of a command that must succeed."""
        done = self.attempt(*command)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
        return done.stdout

    def attempt(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command that may fail."""
        return subprocess.run(
            command, capture_output=True, text=True, env=self.environment, timeout=LIMIT_S, check=False
        )

    def add(self, path: Path, bundle: bool = False) -> float:
        """Seconds for ovs-ofctl to add the flows in a file."""
        began = time.monotonic()
        self.run("ovs-ofctl", *(["--bundle"] if bundle else []), "add-flows", BRIDGE, str(path))
        return time.monotonic() - began

    def fill(self, path: Path) -> str:
        """Add flows until one is refused; what ovs-ofctl says to that, in one line."""
        done = self.attempt("ovs-ofctl", "add-flows", BRIDGE, str(path))
        lines = [line for line in done.stderr.splitlines() if "Error" in line or "OFP" in line]
        return lines[0] if lines else done.stderr.strip()

    def count(self) -> int:
        """Flows, as the switch counts them."""
        found = re.search(r"flow_count=(\d+)", self.run("ovs-ofctl", "dump-aggregate", BRIDGE))
        if found is None:
            raise RuntimeError("dump-aggregate tells no flow_count")
        return int(found[1])

    def memory_mb(self, what: str) -> float:
        """VmRSS or VmHWM of the daemon."""
        found = re.search(rf"{what}:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        if found is None:
            raise RuntimeError(f"no {what} in /proc/PID/status")
        return int(found[1]) / 1024

    def kernel_mb(self) -> float:
        """Memory of the pinned maps."""
        return sum(map_bytes(pin_directory(self.rundir)).values()) / (1 << 20)

    def journal_mb(self) -> float:
        """The files that flows survive in."""
        return sum(p.stat().st_size for p in self.rundir.glob("*.flows*")) / (1 << 20)

    def restart(self) -> float:
        """Kill it, start another; seconds of the start."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
            time.sleep(0.01)
        began = time.monotonic()
        self.start()
        return time.monotonic() - began

    def end(self) -> None:
        """Stop everything."""
        self.attempt("ovs-appctl", "--timeout=60", "exit", "--cleanup")
        os.kill(int((self.rundir / "ovsdb-server.pid").read_text()), signal.SIGTERM)


def map_bytes(pin_dir: Path) -> dict[str, int]:
    """Bytes of each pinned map; kernels before 6.4 count no entry of a map that grows."""
    out: dict[str, int] = {}
    for path in sorted(pin_dir.glob("maps-*/*")):
        shown = subprocess.run(
            ["bpftool", "-j", "map", "show", "pinned", str(path)],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        out[path.name] = int(json.loads(shown)["bytes_memlock"])
    return out


def load(count: int, *, bundle: bool = False, restart: bool = False, fill: bool = False) -> Loaded:
    """Load `count` flows into a fresh daemon, and remove them again.

    Between, where asked: kill the daemon and start another; add more flows than there is room for.
    """
    with TemporaryDirectory(prefix="scale", dir="/run") as directory:
        daemon = Daemon(Path(directory))
        try:
            flows = Path(directory) / "flows.txt"
            with flows.open("w") as f:
                f.writelines(five_tuples(0, count))
            took = daemon.add(flows, bundle)
            counted = daemon.count()
            memory = daemon.memory_mb("VmRSS"), daemon.memory_mb("VmHWM")
            kernel, journal = daemon.kernel_mb(), daemon.journal_mb()
            started = daemon.restart() if restart else None
            again = daemon.count() if restart else None
            most, refusal = None, ""
            if fill:
                with flows.open("w") as f:
                    f.writelines(five_tuples(count, MAX_FLOWS + 100))
                refusal = daemon.fill(flows)
                most = daemon.count()
            began = time.monotonic()
            daemon.run("ovs-ofctl", "del-flows", BRIDGE)
            if daemon.count():
                raise RuntimeError("flows are left after del-flows")
            gone = time.monotonic() - began
            return Loaded(
                count, bundle, took, counted, *memory, kernel, journal, started, again, most, refusal, gone
            )
        finally:
            daemon.end()
