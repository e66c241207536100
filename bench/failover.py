"""How long packets are lost when the link they leave by is: in quiet, and while a huge bundle is committed.

Two take part, each with an ovsdb-server and a network namespace of its own: Gossamer, and Debian's ovs-vswitchd with its
userspace datapath.  A fast failover group prefers one of two hosts, which lets go of its link and takes it again
while numbered packets are sent to both each millisecond.  Writes docs/failover.md.  Run it by `make bench-failover`.

usage: python -m bench.failover [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.outage import Burst, outages_ms
from bench.peers import sh
from bench.ports import DOCS, Peer, gossamer, ovs_vswitchd

HUGE: Final = 100_000
_LINK_S: Final = 0.3
"""For so long a link is down, and up."""
_OF: Final = ("-O", "OpenFlow14")


class Hosts:
    """Three hosts of a peer: what `a` sends to 10.0.0.2 goes to `b`, or to `c` where b's link is lost."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        ports = [self._connect(name) for name in "abc"]
        mac = self.run("b", "cat", "/sys/class/net/eth0/address").strip()
        self.run("c", "ip", "link", "set", "eth0", "address", mac)
        for name, address in (("a", "10.0.0.1/24"), ("b", "10.0.0.2/24"), ("c", "10.0.0.2/24")):
            self.run(name, "ip", "addr", "add", address, "dev", "eth0")
        self.run("a", "ip", "neigh", "replace", "10.0.0.2", "lladdr", mac, "dev", "eth0")
        # Open vSwitch's userspace datapath hands checksums on as unfinished as they came.
        self.run("a", "ethtool", "-K", "eth0", "tx", "off")
        buckets = ",".join(f"bucket=watch_port:{p},output:{p}" for p in ports[1:])
        self.ofctl("del-flows", "b")
        self.ofctl("add-group", "b", f"group_id=1,type=ff,{buckets}")
        self.ofctl("add-flow", "b", f"priority=9,in_port={ports[0]},actions=group:1")

    def _connect(self, name: str) -> str:
        netns, device = f"{self.peer.name}-{name}", f"to-{name}"
        sh("ip", "netns", "add", netns)
        sh("ip", "-n", self.peer.netns, "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", netns)
        sh("ip", "-n", self.peer.netns, "link", "set", device, "up")
        sh("ip", "-n", netns, "link", "set", "eth0", "up")
        self.peer.vsctl("add-port", "b", device)
        return sh("ovs-vsctl", "get", "interface", device, "ofport", env=self.peer.env).strip()

    def ofctl(self, *words: str) -> None:
        """ovs-ofctl that must succeed."""
        sh("ovs-ofctl", *_OF, *words, env=self.peer.env)

    def run(self, name: str, *command: str) -> str:
        """A command on a host."""
        return sh("ip", "netns", "exec", f"{self.peer.name}-{name}", *command)

    def _start(self, name: str, what: str) -> subprocess.Popen[str]:
        command = ["ip", "netns", "exec", f"{self.peer.name}-{name}", sys.executable, "-m", "bench.outage", what]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    @contextmanager
    def traffic(self) -> Iterator[list[Burst]]:
        """Packets meanwhile; what came of them stands in the list at the end."""
        bursts: list[Burst] = []
        receivers = [self._start(name, "receive") for name in "bc"]
        for each in receivers:
            assert each.stdout is not None
            each.stdout.readline()
        sender = self._start("a", "send")
        try:
            time.sleep(0.5)
            yield bursts
            time.sleep(0.5)
        finally:
            for each in (sender, *receivers):
                each.terminate()
            sender.communicate()
            for each in receivers:
                bursts += map(tuple, json.loads(each.communicate()[0]))

    def flap(self) -> None:
        """The first of the two loses its link, and has it again."""
        for state in ("down", "up"):
            self.run("b", "ip", "link", "set", "eth0", state)
            time.sleep(_LINK_S)

    def in_quiet(self) -> list[float]:
        """Ten times."""
        with self.traffic() as bursts:
            for _ in range(10):
                self.flap()
        return outages_ms(bursts)

    def while_committing(self, huge: Path) -> list[float]:
        """For as long as it takes to add the flows of a file as one bundle."""
        with self.traffic() as bursts:
            load = subprocess.Popen(["ovs-ofctl", *_OF, "--bundle", "add-flows", "b", str(huge)], env=self.peer.env)
            while load.poll() is None:
                self.flap()
        if load.returncode:
            raise RuntimeError(f"ovs-ofctl ended with {load.returncode}")
        self.ofctl("del-flows", "b", "table=7")
        return outages_ms(bursts)


def _row(label: str, when: str, outages: list[float]) -> str:
    figures = (statistics.median(outages), outages[int(len(outages) * 0.9)], outages[-1])
    return f"| {label} | {when} | {len(outages)} | " + " | ".join(f"{ms:.0f}" for ms in figures) + " |"


def main() -> None:
    """Measure and write down."""
    parser = argparse.ArgumentParser(prog="bench.failover")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    peers = [Peer("gossamer", "Gossamer", gossamer), Peer("ovs", "ovs-vswitchd, netdev", ovs_vswitchd)]
    hosts = [Hosts(peer) for peer in peers]
    huge = peers[0].rundir / "huge"
    huge.write_text("".join(
        f"table=7,ip,nw_dst=10.{n >> 16}.{n >> 8 & 255}.{n & 255},actions=output:{n % 50}\n" for n in range(HUGE)
    ))  # fmt: skip
    quiet: list[list[float]] = [[] for _ in hosts]
    busy: list[list[float]] = [[] for _ in hosts]
    for _ in range(options.rounds):
        for each, in_quiet, committing in zip(hosts, quiet, busy, strict=True):
            in_quiet += each.in_quiet()
            committing += each.while_committing(huge)
    for peer in peers:
        peer.stop()
    lines = [
        "# How long packets are lost with a link",
        "",
        f"Kernel {os.uname().release}, {os.cpu_count()} CPUs, {options.rounds} interleaved rounds; made by `make"
        " bench-failover`. A fast failover group prefers one of two hosts, which takes its link down and up again;"
        " packets are numbered and sent each millisecond, and what is counted is what neither host got, in ms, for each"
        " time that anything was lost. `committing` is for as long as a bundle of"
        f" {HUGE:,} flows takes to add. What else ran on the machine kept {os.getloadavg()[0]:.0f} processes busy (the"
        " load average).",
        "",
        "| | while | losses | middle, ms | 9 of 10, ms | worst, ms |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for when, of_peers in (("quiet", quiet), ("committing", busy)):
        for peer, outages in zip(peers, of_peers, strict=True):
            lines.append(_row(peer.label, when, sorted(outages)))
    text = "\n".join(lines) + "\n"
    (DOCS / "failover.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
