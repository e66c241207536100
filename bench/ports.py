"""Measure what one more port costs, in a bridge of few and of many, and who takes that time.

Three take part, interleaved, each with an ovsdb-server and a network namespace of its own: Gossamer,
Debian's ovs-vswitchd with its userspace datapath, and a client that does nothing but write cur_cfg:
what ovs-vsctl and ovsdb-server take for themselves.  Writes docs/ports.md.  Run it by
`make bench-ports`.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.peers import sh

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
MANY: Final = 500
_BATCH: Final = 50
_SETTLE_S: Final = 0.04
"""After a change: what the daemon does behind its answer is counted too, and not in the next one's way."""


@dataclass(frozen=True)
class Change:
    """A port came or went: milliseconds by the clock, and on a processor of each who took part."""

    took: float
    daemon: float
    server: float
    vsctl: float


class Peer:
    """A daemon with a database and a bridge `b`."""

    def __init__(self, name: str, label: str, start: Callable[[Peer], int]) -> None:
        self.name, self.label = name, label
        self.rundir = Path(f"/run/ports-{name}")
        self.rundir.mkdir()
        names = ("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR")
        self.env = dict(os.environ) | dict.fromkeys(names, str(self.rundir))
        sh("ip", "netns", "add", self.netns)
        sh("ip", "-n", self.netns, "link", "set", "lo", "up")
        self._devices = self._ports = 0
        self.daemon = start(self)
        self.server = int((self.rundir / "ovsdb-server.pid").read_text())
        self.vsctl("add-br", "b", "--", "set", "bridge", "b", "datapath_type=netdev")

    @property
    def netns(self) -> str:
        """Where its devices are."""
        return f"ports-{self.name}"

    def inside(self, *command: str) -> list[str]:
        """A command in its network namespace; `ip netns exec` would hide the BPF file system."""
        return ["nsenter", f"--net=/run/netns/{self.netns}", *command]

    def vsctl(self, *words: str) -> None:
        """ovs-vsctl that must succeed."""
        sh("ovs-vsctl", "--timeout=60", *words, env=self.env)

    def _device(self) -> str:
        self._devices += 1
        name = f"m{self._devices}"
        sh("ip", "-n", self.netns, "link", "add", name, "type", "veth", "peer", "name", f"n{name}")
        return name

    def grow(self, ports: int) -> None:
        """Have this many."""
        while self._ports < ports:
            batch = [self._device() for _ in range(min(_BATCH, ports - self._ports))]
            self.vsctl(*(word for name in batch for word in ("--", "add-port", "b", name)))
            self._ports += len(batch)

    def come_and_go(self) -> tuple[Change, Change]:
        """One more port, and it goes again."""
        name = self._device()
        time.sleep(_SETTLE_S)
        came = self._change("add-port", name)
        went = self._change("del-port", name)
        sh("ip", "-n", self.netns, "link", "del", name)
        return came, went

    def _change(self, command: str, name: str) -> Change:
        before, began = self._cpu_ms(), time.monotonic()
        self.vsctl(command, "b", name)
        took = time.monotonic() - began
        time.sleep(_SETTLE_S)
        return Change(took * 1e3, *(b - a for a, b in zip(before, self._cpu_ms(), strict=True)))

    def _cpu_ms(self) -> tuple[float, float, float]:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (
            _ran_ms(self.daemon), _ran_ms(self.server), (children.ru_utime + children.ru_stime) * 1e3
        )  # fmt: skip

    def stop(self) -> None:
        """End both, by their process ids."""
        for pid in (self.daemon, self.server):
            os.kill(pid, 15)


def _ran_ms(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


def _detached(peer: Peer, *command: str) -> None:
    sh(*peer.inside(*command), "--detach", "--no-chdir", "-vconsole:off", "--log-file", env=peer.env)


def _database(peer: Peer) -> str:
    conf, remote = str(peer.rundir / "conf.db"), f"unix:{peer.rundir}/db.sock"
    sh("ovsdb-tool", "create", conf, "/usr/share/openvswitch/vswitch.ovsschema", env=peer.env)
    _detached(peer, "ovsdb-server", conf, f"--remote=p{remote}", "--pidfile")
    sh("ovs-vsctl", "--no-wait", "init", env=peer.env)
    return remote


def gossamer(peer: Peer) -> int:
    """Starts gossamerd, with a database server of its own."""
    _detached(peer, sys.executable, "-m", "gossamer.daemon.main")
    return int((peer.rundir / "ovs-vswitchd.pid").read_text())


def ovs_vswitchd(peer: Peer) -> int:
    """Starts Debian's."""
    _detached(peer, "/usr/sbin/ovs-vswitchd", _database(peer), "--pidfile")
    return int((peer.rundir / "ovs-vswitchd.pid").read_text())


def idle(peer: Peer) -> int:
    """Starts a client that only says that all is done."""
    remote = _database(peer)
    return subprocess.Popen([sys.executable, "-m", "bench.idle_client", remote.removeprefix("unix:")]).pid


def _row(label: str, few: list[Change], many: list[Change]) -> str:
    def middle(changes: list[Change], of: Callable[[Change], float]) -> float:
        return statistics.median(map(of, changes))

    first, last = middle(few, lambda c: c.took), middle(many, lambda c: c.took)
    figures = [f"{first:.1f}", f"{last:.1f}", f"{last / first:.1f}"]
    parts: tuple[Callable[[Change], float], ...] = (
        lambda c: c.daemon, lambda c: c.server, lambda c: c.vsctl
    )  # fmt: skip
    for of in parts:
        figures.append(f"{middle(few, of):.1f} / {middle(many, of):.1f}")
    return f"| {label} | " + " | ".join(figures) + " |"


_HEAD: Final = (
    "| {what} | 2nd, ms | 500th, ms | ratio | daemon's CPU, ms | ovsdb-server's CPU, ms |"
    " ovs-vsctl's CPU, ms |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def _text(peers: list[Peer], few: list[list[tuple[Change, Change]]],
          many: list[list[tuple[Change, Change]]], rounds: int) -> str:  # fmt: skip
    lines = [
        "# One more port",
        "",
        f"Kernel {os.uname().release}, {os.cpu_count()} CPUs, medians of {rounds} interleaved rounds of"
        " plain `ovs-vsctl add-port` and `del-port`; made by `make bench-ports`. CPU times are for the"
        " 2nd / for the 500th port. What else ran on the machine kept"
        f" {os.getloadavg()[0]:.0f} processes busy (the load average): where that is more than the CPUs,"
        " times by the clock compare with each other only, and CPU times tell more.",
        "",
        "ovs-vsctl reads all ports of the database before it adds one, and lets ovsdb-server check that"
        " none of them changed meanwhile: both work in proportion to the ports there are, whatever the"
        " switch is. The last line is a client that does nothing but say that all is done: the least"
        " that is possible with these tools, and with it the ratio, too.",
    ]
    for n, what in enumerate(("`add-port`", "`del-port`")):
        lines += ["", _HEAD.format(what=what)]
        for peer, before, after in zip(peers, few, many, strict=True):
            lines.append(_row(peer.label, [c[n] for c in before], [c[n] for c in after]))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write down."""
    parser = argparse.ArgumentParser(prog="bench.ports")
    parser.add_argument("--rounds", type=int, default=41)
    options = parser.parse_args()
    peers = [
        Peer("gossamer", "Gossamer", gossamer),
        Peer("ovs", "ovs-vswitchd, netdev", ovs_vswitchd),
        Peer("idle", "a client that only writes cur_cfg", idle),
    ]
    measured = []
    for ports in (1, MANY - 1):
        for peer in peers:
            peer.grow(ports)
        time.sleep(2)
        rounds = [[peer.come_and_go() for peer in peers] for _ in range(options.rounds)]
        measured.append([list(of_peer) for of_peer in zip(*rounds, strict=True)])
    for peer in peers:
        peer.stop()
    text = _text(peers, measured[0], measured[1], options.rounds)
    (DOCS / "ports.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
