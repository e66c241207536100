"""A host for tests: a daemon in directories of its own, and namespaces plugged into its bridges."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).resolve().parents[2] / "src" / "gossamer"


_PATIENCE_S: Final = 30.0
"""For what must come true: a busy machine may need long, and where it does come true nobody waits."""

_TOOLS_S: Final = 100
"""What ovs-vsctl and ovs-appctl are given, which otherwise wait for ever."""

PATIENTLY: Final = ("-W", "30")
"""For ping(8), where each answer must come, and by the daemon, which may have to wait for a processor."""

Run = Callable[..., subprocess.CompletedProcess[str]]


def until(condition: Callable[[], object], seconds: float = _PATIENCE_S) -> bool:
    """Whether a condition comes true in time.

    For what must come true `seconds` is left alone; less is for what must not.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def datapath_runs_at(device: str) -> bool:
    """Whether a program of ours meets what arrives at a device."""
    shown = ("tc", "filter", "show", "dev", device, "ingress")
    return "gossamer" in subprocess.run(shown, check=True, capture_output=True, text=True).stdout


def pings(run: Run, address: str, count: int, *options: str) -> int:
    """How many of `count` echo requests are answered; `run` runs a command where they begin.

    After its last request ping(8) waits no longer than between two of them if others were answered: too
    short where the answer waits for a processor.  So the kernel is asked what else has come, also where
    all seemed lost after a second.
    """
    before = echo_replies(run)
    done = run("ping", "-n", "-c", str(count), "-i", "0.05", "-W", "1", *options, address)
    found = re.search(r"(\d+) received", done.stdout)
    received = int(found[1]) if found else 0
    if received < count:
        received = max(received, echo_replies(run) - before)
        if received:
            until(lambda: echo_replies(run) - before >= count, 5)
            received = max(received, min(count, echo_replies(run) - before))
    return received


def echo_replies(run: Run) -> int:
    """That a namespace has received since it was made (RFC 4293), of IPv4 and IPv6."""
    shown = run("cat", "/proc/net/snmp", "/proc/net/snmp6").stdout
    names, values = (line.split() for line in shown.splitlines() if line.startswith("Icmp: "))
    of_ipv6 = re.search(r"^Icmp6InEchoReplies\s+(\d+)", shown, re.M)
    return int(values[names.index("InEchoReps")]) + (int(of_ipv6[1]) if of_ipv6 else 0)


def datagrams(run: Run) -> int:
    """Of UDP over IPv4 that came to a socket of a namespace, or found its buffer full (RFC 4113)."""
    shown = run("cat", "/proc/net/snmp").stdout
    names, values = (line.split() for line in shown.splitlines() if line.startswith("Udp: "))
    counted = dict(zip(names, values, strict=True))
    return int(counted["InDatagrams"]) + int(counted["RcvbufErrors"])


def other_programs(folder: Path) -> str:
    """Where a copy of the package is whose BPF object is another one, as after an upgrade."""
    shutil.copytree(_PACKAGE, folder / "gossamer", ignore=shutil.ignore_patterns("__pycache__"))
    with open(folder / "gossamer" / "datapath" / "gossamer.bpf.o", "ab") as file:
        file.write(bytes(8))  # past the end of what the linker wrote: loaded anew all the same
    return str(folder)


class Netns:
    """A network namespace with one port, eth0."""

    def __init__(self, name: str, device: str) -> None:
        self.name = name
        self.device = device

    def run(self, *command: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """A command inside."""
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *command],
            capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip

    def start(self, *command: str) -> subprocess.Popen[str]:
        """A command inside, in the background."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def iperf3_server(self, port: int = 5201, *options: str) -> subprocess.Popen[str]:
        """iperf3 for one session, once it listens."""
        server = self.start("iperf3", "-s", "-1", "-p", str(port), *options)
        if not until(lambda: self.listens(port)):
            server.kill()
            raise AssertionError(f"iperf3 does not listen: {server.communicate()[0]}")
        return server

    def listens(self, port: int, protocol: str = "tcp") -> bool:
        """Whether somebody listens on a port of `tcp` or `udp`."""
        return bool(self.run("ss", "-Hln", f"--{protocol}", f"sport = :{port}").stdout)

    def ping(self, address: str, count: int = 3, *options: str) -> int:
        """Answers received."""
        return pings(self.run, address, count, *options)

    @property
    def mac(self) -> str:
        """Of eth0."""
        return self.run("cat", "/sys/class/net/eth0/address").stdout.strip()


class Host:
    """A daemon and what is around it."""

    def __init__(self, rundir: Path) -> None:
        self.rundir = rundir
        rundir.mkdir(parents=True, exist_ok=True)
        self.environment = os.environ | {
            "OVS_RUNDIR": str(rundir),
            "OVS_DBDIR": str(rundir),
            "OVS_LOGDIR": str(rundir),
        }
        self._names: list[str] = []

    def start(self, *program: str) -> None:
        """Start gossamerd, or what runs it, and wait until it is ready."""
        self.check(sys.executable, "-m", *(program or ("gossamer.daemon.main",)), "--detach",
                   "--no-chdir", "--log-file", "-vconsole:off")  # fmt: skip

    @property
    def pid(self) -> int:
        """Of the daemon."""
        return int((self.rundir / "ovs-vswitchd.pid").read_text())

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists() and _state(pid) != "Z":
            time.sleep(0.005)

    def check(self, *command: str, stdin: str | None = None) -> str:
        """Output of a command that must succeed."""
        done = self.attempt(*command, stdin=stdin)
        assert done.returncode == 0, f"{command}: {done.stderr or done.stdout}"
        return done.stdout

    def attempt(self, *command: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command with the environment that leads to this daemon."""
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=120, env=self.environment,
            check=False,
        )  # fmt: skip

    def vsctl(self, *arguments: str) -> str:
        """ovs-vsctl that must succeed."""
        return self.check("ovs-vsctl", f"--timeout={_TOOLS_S}", *arguments).strip()

    def ofctl(self, *arguments: str, stdin: str | None = None) -> str:
        """ovs-ofctl that must succeed."""
        return self.check("ovs-ofctl", *arguments, stdin=stdin)

    def appctl(self, *arguments: str) -> str:
        """ovs-appctl that must succeed."""
        return self.check("ovs-appctl", f"--timeout={_TOOLS_S}", *arguments)

    def netns(self, name: str, address: str, bridge: str | None = None, **columns: str) -> Netns:
        """A namespace with an address, its port on a bridge with columns such as ``tag="10"``."""
        device = f"v{name}"
        self.check("ip", "netns", "add", name)
        self._names.append(name)
        self.check(
            "ip", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", name
        )
        # The host's end speaks for nobody: what arrives at the other end came through the switch.
        self.check("sysctl", "-q", "-w", f"net.ipv6.conf.{device}.disable_ipv6=1")
        self.check("ip", "link", "set", device, "up")
        # And the other end says only what it is told to: without an address that it made up itself it
        # asks for no routers and joins no groups.
        lines = ("link set eth0 addrgenmode none", f"addr add {address} dev eth0",
                 "link set eth0 up", "link set lo up")  # fmt: skip
        self.check("ip", "-n", name, "-batch", "-", stdin="\n".join(lines) + "\n")
        if bridge:
            pairs = [f"{k}={v}" for k, v in columns.items()]
            self.vsctl("add-port", bridge, device, *pairs)
        return Netns(name, device)

    def forget(self, name: str) -> None:
        """Take a namespace away, with its port."""
        self._names.remove(name)
        # The device first: a namespace takes its devices along only some time later.
        self.attempt("ip", "link", "del", f"v{name}")
        self.check("ip", "netns", "del", name)

    def clear(self) -> None:
        """Take all bridges and namespaces away, and forget connections: the next test begins anew."""
        if bridges := self.vsctl("list-br").split():
            self.appctl("dpctl/flush-conntrack")
            self.vsctl(*(word for name in bridges for word in ("--", "del-br", name)))
        for name in list(self._names):
            self.forget(name)

    def log(self) -> str:
        """What the daemon logged."""
        path = self.rundir / "ovs-vswitchd.log"
        return path.read_text() if path.exists() else ""

    def end(self) -> None:
        """Stop everything; the sandbox takes care of what is left."""
        if (self.rundir / "ovs-vswitchd.pid").exists():
            self.attempt("ovs-appctl", f"--timeout={_TOOLS_S}", "exit", "--cleanup")
        for name in self._names:
            # The device first: a namespace takes its devices along only some time later.
            self.attempt("ip", "link", "del", f"v{name}")
            self.attempt("ip", "netns", "del", name)
        pidfile = self.rundir / "ovsdb-server.pid"
        if pidfile.exists():
            os.kill(int(pidfile.read_text()), signal.SIGTERM)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"
