"""The things compared, each between two namespaces of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "bench"


def sh(*command: str, env: dict[str, str] | None = None, stdin: str | None = None) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(
        command, capture_output=True, text=True, env=env, input=stdin, timeout=180, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


@dataclass
class Peer:
    """A way from namespace NAME-a to NAME-b, from host device NAMEa to NAMEb.

    These have the numbers `indexes`, where they must be known before.
    """

    name: str
    label: str
    env: dict[str, str] = field(default_factory=dict)
    pids: list[int] = field(default_factory=list)
    indexes: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for side, number in (("a", 1), ("b", 2)):
            netns, device = f"{self.name}-{side}", f"{self.name}{side}"
            index = ("index", str(self.indexes[number - 1])) if self.indexes else ()
            sh("ip", "netns", "add", netns)
            sh("ip", "link", "add", device, *index, "type", "veth", "peer", "name", "eth0", "netns", netns)
            sh("ip", "link", "set", device, "up")
            sh("ip", "-n", netns, "link", "set", "eth0", "up")
            sh("ip", "-n", netns, "link", "set", "lo", "up")
            sh("ip", "-n", netns, "addr", "add", f"10.0.0.{number}/24", "dev", "eth0")
        build("drop", 1)
        sh("ip", "netns", "exec", f"{self.name}-b", "tc", "qdisc", "add", "dev", "eth0", "clsact")

    def mac(self, side: str) -> str:
        """Of eth0 on one side."""
        return sh(
            "ip", "netns", "exec", f"{self.name}-{side}", "cat", "/sys/class/net/eth0/address"
        ).strip()

    def ifindex(self, side: str) -> int:
        """Of the host's end."""
        return int(Path(f"/sys/class/net/{self.name}{side}/ifindex").read_text())

    def exec(self, side: str, *command: str) -> str:
        """A command in one of the namespaces."""
        return sh("ip", "netns", "exec", f"{self.name}-{side}", *command)

    def packets_per_second(self, seconds: float, flows: int, *options: str) -> float:
        """60-byte frames that arrive, sender included in the cost; `options` are the sender's."""
        with self._dropping():
            before = self._received()
            said = self.exec(
                "a", str(BUILD / "sender"), "eth0", self.mac("b"), self.mac("a"), str(seconds), str(flows),
                *options,
            )  # fmt: skip
            time.sleep(0.1)
            return (self._received() - before) / float(said.split()[1])

    def packets_of_every_core(self, seconds: float, flows: int, *options: str) -> float:
        """60-byte frames that arrive while each core has a sender of its own; `options` are theirs.

        A switch that works on a core beside the sender's has none of its own left here: what a
        whole host can do.
        """
        cores = sorted(os.sched_getaffinity(0))
        with self._dropping():
            before = self._received()
            began = time.monotonic()
            senders = [
                subprocess.Popen(
                    ["ip", "netns", "exec", f"{self.name}-a", "taskset", "-c", str(core),
                     str(BUILD / "sender"), "eth0", self.mac("b"), self.mac("a"), str(seconds), str(flows),
                     "from", str(n * 0x1000000 // len(cores)), *options],
                    stdout=subprocess.DEVNULL,
                )
                for n, core in enumerate(cores)
            ]  # fmt: skip
            failed = [s.returncode for s in senders if s.wait(timeout=seconds + 60)]
            took = time.monotonic() - began
            time.sleep(0.1)
            if failed:
                raise RuntimeError(f"a sender ended with {failed[0]}")
            return (self._received() - before) / took

    def packets_forwarded(self, seconds: float, flows: int, *options: str) -> float:
        """60-byte frames a second that arrive when the kernel makes them where they come in; `options`
        are the generator's."""
        with self._dropping():
            before = self._received()
            said = sh(str(BUILD / "generator"), str(BUILD / "generator.bpf.o"), f"{self.name}a",
                      self.mac("b"), self.mac("a"), str(seconds), str(flows), *options)  # fmt: skip
            time.sleep(0.1)
            return (self._received() - before) / float(said.split()[1])

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        """What arrives at the far end is counted and dropped."""
        tc = ["ip", "netns", "exec", f"{self.name}-b", "tc"]
        drop = str(build("drop", 1))
        # `ip netns exec` mounts a /sys of its own, without the BPF file system that tc asks for.
        self.exec("b", "sh", "-c", "mount -t bpf bpf /sys/fs/bpf && exec tc filter add dev eth0"
                  f" ingress bpf da obj {drop} sec tc/drop")  # fmt: skip
        try:
            yield
        finally:
            sh(*tc, "filter", "del", "dev", "eth0", "ingress")

    def _received(self) -> int:
        return int(self.exec("b", "cat", "/sys/class/net/eth0/statistics/rx_packets"))

    def tcp_gbps(self, seconds: int) -> float:
        """One TCP stream."""
        server = subprocess.Popen(
            ["ip", "netns", "exec", f"{self.name}-b", "iperf3", "-s", "-1"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(0.3)
        try:
            out = self.exec(
                "a", "iperf3", "-c", "10.0.0.2", "-t", str(seconds), "-f", "m",
                "--connect-timeout", "3000",
            )  # fmt: skip
        finally:
            time.sleep(0.2)
            server.kill()
            server.wait()
        line = next(x for x in out.splitlines() if "receiver" in x)
        return float(line.split()[6]) / 1000

    def ping_us(self, count: int = 1000) -> float:
        """Mean round trip."""
        out = self.exec("a", "ping", "-n", "-q", "-i", "0.001", "-c", str(count), "10.0.0.2")
        found = re.search(r"= [\d.]+/([\d.]+)/", out)
        if not found:
            raise RuntimeError(out)
        return float(found[1]) * 1000

    def rss_mb(self) -> float:
        """Resident memory of the peer's daemon."""
        total = 0
        for pid in self.pids:
            text = Path(f"/proc/{pid}/status").read_text()
            total += int(re.search(r"VmRSS:\s+(\d+)", text)[1])  # type: ignore[index]
        return total / 1024


def build(section: str, target: int) -> Path:
    """The TC programs, compiled for a target device."""
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / f"redirect-{target}.o"
    if not path.exists():
        sh("clang", "-O2", "-target", "bpf", f"-DTARGET={target}",
           f"-I/usr/include/{os.uname().machine}-linux-gnu", "-c", str(HERE / "redirect.c"), "-o", str(path))  # fmt: skip
    return path


def build_senders() -> None:
    """The packet sender, and the generator inside the kernel."""
    BUILD.mkdir(parents=True, exist_ok=True)
    sh("gcc", "-O2", "-o", str(BUILD / "sender"), str(HERE / "sender.c"))
    sh("gcc", "-O2", "-o", str(BUILD / "generator"), str(HERE / "generator.c"), "-lbpf")
    sh("clang", "-O2", "-g", "-target", "bpf", f"-I/usr/include/{os.uname().machine}-linux-gnu",
       "-c", str(HERE / "generator.bpf.c"), "-o", str(BUILD / "generator.bpf.o"))  # fmt: skip


def linux_bridge() -> Peer:
    """The kernel's own bridge."""
    peer = Peer("br", "Linux bridge")
    sh("ip", "link", "add", "brbridge", "type", "bridge")
    sh("ip", "link", "set", "brbridge", "up")
    for side in "ab":
        sh("ip", "link", "set", f"br{side}", "master", "brbridge")
    return peer


def redirect(kind: str, indexes: tuple[int, int] | None = None) -> Peer:
    """A bare TC program: `redirect` or `redirect_peer`."""
    name = "rd" if kind == "redirect" else "rp"
    peer = Peer(name, f"bare TC {kind}", indexes=indexes)
    for side, other in (("a", "b"), ("b", "a")):
        device = f"{peer.name}{side}"
        sh("tc", "qdisc", "add", "dev", device, "clsact")
        obj = str(build(kind, peer.ifindex(other)))
        sh("tc", "filter", "add", "dev", device, "ingress", "bpf", "da", "obj", obj, "sec", f"tc/{kind}")
    return peer


def _ports(bridge: str, name: str) -> list[str]:
    """Arguments that add a peer's two ports, as ports 1 and 2."""
    out: list[str] = []
    for side, number in (("a", 1), ("b", 2)):
        out += ["--", "add-port", bridge, f"{name}{side}", "--", "set", "interface",
                f"{name}{side}", f"ofport_request={number}"]  # fmt: skip
    return out


def _environment(rundir: Path) -> dict[str, str]:
    rundir.mkdir(parents=True)
    names = ("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR")
    return dict(os.environ) | {name: str(rundir) for name in names}


def ovs_userspace() -> Peer:
    """Debian's ovs-vswitchd with its userspace datapath."""
    peer = _ovs("ov", "OVS userspace", "netdev")
    for side in "ab":
        # It reads packets from sockets and cannot finish checksums that were left to a device.
        peer.exec(side, "ethtool", "-K", "eth0", "tx", "off")
    return peer


def ovs_kernel_module() -> Peer:
    """Debian's ovs-vswitchd with the kernel's openvswitch module; where that module is."""
    # Open vSwitch 3.1 believes in a machine without processors for its first ten seconds, starts no
    # thread for what its module does not know, and lets no packet pass (count_cpu_cores()).
    time.sleep(max(0.0, 10.5 - time.monotonic()))
    return _ovs("ok", "OVS kernel module", "system")


def _ovs(name: str, label: str, datapath_type: str) -> Peer:
    rundir = Path(f"/run/bench-{name}")
    env = _environment(rundir)
    sh("ovsdb-tool", "create", str(rundir / "conf.db"), "/usr/share/openvswitch/vswitch.ovsschema", env=env)
    sh("ovsdb-server", str(rundir / "conf.db"), f"--remote=punix:{rundir}/db.sock", "--pidfile",
       "--detach", "--no-chdir", "-vconsole:off", "--log-file", env=env)  # fmt: skip
    sh("ovs-vsctl", "--no-wait", "init", env=env)
    sh("/usr/sbin/ovs-vswitchd", f"unix:{rundir}/db.sock", "--pidfile", "--detach", "--no-chdir",
       "-vconsole:off", "--log-file", env=env)  # fmt: skip
    peer = Peer(name, label, env)
    sh("ovs-vsctl", "--timeout=10", "add-br", "br0", "--", "set", "bridge", "br0",
       f"datapath_type={datapath_type}", *_ports("br0", name), env=env)  # fmt: skip
    peer.pids.append(int((rundir / "ovs-vswitchd.pid").read_text()))
    return peer


def gossamer(name: str, label: str, flows: Sequence[str] | None) -> Peer:
    """A bridge of ours; `flows` replace the default one."""
    rundir = Path("/run/bench-gossamer")
    fresh = not rundir.exists()
    env = _environment(rundir) if fresh else dict(os.environ) | {
        n: str(rundir) for n in ("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR")
    }  # fmt: skip
    if fresh:
        sh(sys.executable, "-m", "gossamer.daemon.main", "--detach", "--no-chdir", "-vconsole:off",
           "--log-file", env=env)  # fmt: skip
    peer = Peer(name, label, env)
    bridge = f"br-{name}"
    sh("ovs-vsctl", "--timeout=10", "add-br", bridge, *_ports(bridge, name), env=env)
    if flows is not None:
        sh("ovs-ofctl", "del-flows", bridge, env=env)
        sh("ovs-ofctl", "add-flows", bridge, "-", env=env, stdin="\n".join(flows) + "\n")
    peer.pids.append(int((rundir / "ovs-vswitchd.pid").read_text()))
    return peer


def stop(peer: Peer) -> None:
    """End a peer's daemon, by its process id."""
    for pid in peer.pids:
        os.kill(pid, 15)
