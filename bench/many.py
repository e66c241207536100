"""Very many connections: the memory they take, what commands over them take, and their end.

usage: python -m bench.many [--connections N] [--json FILE]      inside tests/sandbox.sh

They are SYNs that the kernel itself makes where they come in (generator.c), so that the program makes the
connections as it always does.  Memory is what the kernel accounts their maps (memlock) and the daemon's own (RSS);
what the machine has less available since before the daemon was started is printed too, but counts
whatever else runs there.  At the end all of
them time out within some seconds, while a ping runs each millisecond through tracking and flows
are added.  What the same ping and the same commands take before, for as long, when nothing ends, is printed beside;
and how late a process that sleeps for a millisecond is woken, which is the machine's share.
Exit status 1 where a million take more than 600 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

from bench import peers
from bench.conntrack import STATEFUL, connections
from bench.peers import Peer, sh
from gossamer.daemon.main import pin_directory
from gossamer.datapath import libbpf
from gossamer.datapath.conntrack.store import Chunks
from gossamer.datapath.loader import CT_MAP_NAMES, map_path

TAKEN: Final = "maps of connections and the daemon, MB"
RUNDIR: Final = Path("/run/bench-gossamer")
"""Of the daemon (peers.py)."""
AIM_MB_A_MILLION: Final = 600
_A_SECOND: Final = 60_000
"""Connections that can be made even on a machine that others use, and four times as many on a quiet one."""
_NEARLY: Final = 0.999
"""Of those wanted: the last of the maximum push out each other more often than they find a slot."""
_ENDS_AFTER_S: Final = 8
_LASTING_S: Final = 1 / 50_000
"""For each connection: the first must still be there when the last is made."""
_SWEPT_AFTER_S: Final = 65
"""The daemon has looked at all slots by then."""
_COMMANDS: Final = {
    "ct-get-nconns": ("dpctl/ct-get-nconns",),
    "ct-bkts": ("dpctl/ct-bkts",),
    "ct-stats-show": ("dpctl/ct-stats-show", "-m"),
    "dump-conntrack": ("dpctl/dump-conntrack",),
    "dump-conntrack -s": ("dpctl/dump-conntrack", "-s"),
    "flush-conntrack": ("dpctl/flush-conntrack",),
}


def available_mb() -> float:
    """Memory that programs could have."""
    found = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())
    assert found is not None
    return int(found[1]) / 1024


def maps_mb(rundir: Path) -> float:
    """Of the maps of connections, as the kernel accounts them."""
    total = 0
    fds = [libbpf.object_get(map_path(pin_directory(rundir), name)) for name in CT_MAP_NAMES]
    chunks = Chunks(next(fd for name, fd in zip(CT_MAP_NAMES, fds, strict=True) if fd and name == "ct_chunks"))
    for fd in (*fds, *chunks.fds()):
        found = re.search(r"memlock:\s+(\d+)", Path(f"/proc/self/fdinfo/{fd}").read_text())
        assert found is not None
        total += int(found[1])
    chunks.close()
    for fd in fds:
        if fd is not None:
            os.close(fd)
    return total / 1024**2


def make(peer: Peer, n: int) -> None:
    """Have `n` connections, each of which a packet has reached in the last moments."""
    seconds = n / _A_SECOND / 4
    for _ in range(6):
        peer.packets_forwarded(seconds, n, "syn")
        if connections(peer) >= n * _NEARLY:
            return
        seconds *= 2
    raise RuntimeError(f"{connections(peer)} connections of {n}")


def commands(peer: Peer) -> dict[str, float]:
    """Seconds that each takes, by its name; what they print is read and thrown away."""
    out = {}
    for name, arguments in _COMMANDS.items():
        began = time.monotonic()
        subprocess.run(
            ["ovs-appctl", "--timeout=600", *arguments],
            env=peer.env, stdout=subprocess.DEVNULL, check=True, timeout=610,
        )  # fmt: skip
        out[name] = time.monotonic() - began
    return out


class Naps:
    """Sleeps for a millisecond, again and again, until it is left: how late it was at most, in milliseconds."""

    def __init__(self) -> None:
        self.worst_ms = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            time.sleep(0.001)
            self.worst_ms = max(self.worst_ms, (time.monotonic() - began) * 1000 - 1)

    def __enter__(self) -> Naps:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def disturbed(peer: Peer, seconds: float) -> dict[str, float]:
    """How long pings and additions of flows take at most, and usually, in milliseconds."""
    count = str(int(seconds * 1000))
    adding = []
    with Naps() as naps, tempfile.TemporaryFile("w+") as told:  # a pipe that is read afterwards would stop it
        ping = subprocess.Popen(
            ["ip", "netns", "exec", f"{peer.name}-a", "ping", "-n", "-i", "0.001", "-c", count,
             "-w", str(int(seconds) + 1), "10.0.0.2"],
            stdout=told,
        )  # fmt: skip
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.monotonic()
            sh("ovs-ofctl", "add-flow", f"br-{peer.name}", "priority=3,udp,tp_dst=9,actions=drop",
               env=peer.env)  # fmt: skip
            adding.append((time.monotonic() - began) * 1000)
            time.sleep(0.02)
        ping.wait(timeout=seconds + 60)
        told.seek(0)
        rtt = sorted(float(x) for x in re.findall(r"time=([\d.]+)", told.read()))
    adding.sort()
    return {
        "pings answered": len(rtt),
        "ping, median": rtt[len(rtt) // 2],
        "ping, 99.9 of 100": rtt[len(rtt) * 999 // 1000],
        "ping, worst": rtt[-1],
        "add-flow, median": adding[len(adding) // 2],
        "add-flow, 99 of 100": adding[len(adding) * 99 // 100],
        "add-flow, worst": adding[-1],
        "a nap of a millisecond, later by at most": naps.worst_ms,
    }


def measure(n: int) -> dict[str, dict[str, float]]:
    """All of it, for `n` connections."""
    peers.build_senders()
    before = available_mb()
    many = peers.gossamer("mm", "many", STATEFUL)
    few = peers.gossamer("pp", "pinging", STATEFUL)
    try:
        sh("ovs-vsctl", "--timeout=10", "--id=@m", "create", "Datapath", "datapath_version=0",
           "--", "set", "Open_vSwitch", ".", "datapaths:system=@m", env=many.env)  # fmt: skip
        started = available_mb()
        maps_at_first = maps_mb(RUNDIR)
        timeouts(many, 3600)
        began = time.monotonic()
        make(many, n)
        made_s = time.monotonic() - began
        time.sleep(2)
        memory = {
            "maps of connections, started, MB": maps_at_first,
            f"maps of connections, with {n:,}, MB": maps_mb(RUNDIR),
            "less available, daemon started, MB": before - started,
            f"less available, with {n:,}, MB": before - available_mb(),
            "the daemon, MB": many.rss_mb(),
        }
        memory[TAKEN] = maps_mb(RUNDIR) + many.rss_mb()
        took = {f"making them ({n:,})": made_s} | commands(many)
        ends_after_s = max(_ENDS_AFTER_S, round(n * _LASTING_S))
        quiet = disturbed(few, ends_after_s + _SWEPT_AFTER_S)
        timeouts(many, ends_after_s)
        make(many, n)
        ending = disturbed(few, ends_after_s + _SWEPT_AFTER_S)
        left = connections(many)
    finally:
        peers.stop(many)
    memory["load of the machine, in the last five minutes"] = os.getloadavg()[1]
    return {
        "memory": memory,
        "seconds": took,
        "nothing ends, ms": quiet,
        f"{n - left:,} end, ms": ending,
    }


def timeouts(peer: Peer, seconds: int) -> None:
    """How long a connection that is not answered lives."""
    sh("ovs-vsctl", "--timeout=10", "--if-exists", "del-zone-tp", "system", "zone=1", env=peer.env)
    sh("ovs-vsctl", "--timeout=10", "add-zone-tp", "system", "zone=1", f"tcp_syn_sent={seconds}",
       env=peer.env)  # fmt: skip
    time.sleep(0.5)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.many")
    parser.add_argument("--connections", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if os.environ.get("GOSSAMER_SANDBOX") != "inside":
        raise SystemExit("run it inside tests/sandbox.sh: it makes devices")
    result = measure(options.connections)
    for title, figures in result.items():
        print(f"{title}:")
        for name, value in figures.items():
            print(f"  {name:46} {value:10,.2f}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    most = AIM_MB_A_MILLION * max(1.0, options.connections / 1_000_000)
    return int(result["memory"][TAKEN] > most)


if __name__ == "__main__":
    sys.exit(main())
