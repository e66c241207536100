"""What connection tracking costs: new connections, and packets of established ones.

Writes docs/connections.json, .md and .svg.  Run it by `make bench-conntrack`.

New connections: SYNs, each of another five-tuple, through `ct(commit)`.  Only one of which the
connection was made is forwarded, and how many there are is asked afterwards.

Our datapath works in the sender's own time, on its core; Open vSwitch's has the other core for itself.
So the same is asked in five ways.  A switch is measured where more is offered than it can take (RFC 2544, 26.1
and 26.2: the rate is raised until frames are lost); so the last two are the measure, and the exit status is theirs:

- one sender, as it is: ours with the sender on one core, Open vSwitch on two; it cannot show more than the
  sender makes alone;
- what the sender takes alone (the same SYNs into a device that drops them) taken off ours: what the
  datapath makes on one core;
- connections by the time that all CPUs were busy meanwhile, whoever it was;
- a sender on each core: what a whole host makes;
- frames that the kernel itself makes where they come in, as many as it can: hardly any sender, and
  Open vSwitch under overload.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench import peers
from bench.peers import Peer, sh

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
STATEFUL: Final = (
    "table=0,priority=1,actions=NORMAL",
    "table=0,priority=10,ip,actions=ct(table=1,zone=1)",
    "table=1,priority=10,ip,ct_state=+trk+new,in_port=1,actions=ct(commit,zone=1),output:2",
    "table=1,priority=10,ip,ct_state=+trk+est,in_port=1,actions=output:2",
    "table=1,priority=10,ip,ct_state=+trk+est,in_port=2,actions=output:1",
)
TRANSLATED: Final = (
    "table=0,priority=1,actions=NORMAL",
    "table=0,priority=10,ip,actions=ct(table=1,zone=2,nat)",
    "table=1,priority=10,ip,ct_state=+trk+new,in_port=1,"
    "actions=ct(commit,zone=2,nat(src=10.0.1.0-10.0.255.255)),output:2",
    "table=1,priority=10,ip,ct_state=+trk+est,in_port=1,actions=output:2",
    "table=1,priority=10,ip,ct_state=+trk+est,in_port=2,actions=output:1",
)
STATELESS: Final = (
    "table=0,priority=1,actions=NORMAL",
    "table=0,priority=10,ip,in_port=1,actions=output:2",
    "table=0,priority=10,ip,in_port=2,actions=output:1",
)
WITH_SENDER: Final = "one sender, included"
ON_ONE_CORE: Final = "of the datapath on one core (ours: without the sender's part)"
BY_CPU: Final = "a second of busy CPUs, of the whole machine"
EVERY_CORE: Final = "a sender on each core, included"
OVERLOAD: Final = "overload: frames made in the kernel"
JUDGED: Final = (EVERY_CORE, OVERLOAD)
"""In which more is offered than either switch can take."""
AIM_NEW: Final = 100_000
AIM_TIMES: Final = 5
AIM_ESTABLISHED: Final = 0.8
_ANSWER: Final = """
import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
s.bind(("eth0", 0))
s.settimeout(5)
print("ready", flush=True)
while True:
    f = s.recv(2000)
    if f[23] == 17 and f[36:38] == b"\\x00\\x09":
        break
s.send(f[6:12] + f[:6] + f[12:26] + f[30:34] + f[26:30] + f[36:38] + f[34:36] + f[38:40] + b"\\0\\0" + f[42:])
"""


def connections(peer: Peer) -> int:
    """How many the peer has."""
    return int(sh("ovs-appctl", "dpctl/ct-get-nconns", env=peer.env).split()[-1])


def flush(peer: Peer) -> None:
    """Forget all connections."""
    sh("ovs-appctl", "dpctl/flush-conntrack", env=peer.env)


def busy_seconds() -> float:
    """That all CPUs together have spent on anything."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq = (int(f) for f in fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def made(peer: Peer, send: Callable[[], float], seconds: float) -> float:
    """Connections made a second, as many as packets that arrive."""
    flush(peer)
    arrived = send()
    n = connections(peer)
    assert n >= 0.9 * arrived * seconds, (peer.label, n, arrived)
    flush(peer)
    return arrived


def new_per_second(peer: Peer, seconds: float) -> dict[str, float]:
    """Connections made a second, in each way."""
    busy = 0.0

    def one_sender() -> float:
        nonlocal busy
        before = busy_seconds()
        arrived = peer.packets_per_second(seconds, 0, "syn")
        busy = (busy_seconds() - before) / seconds
        return arrived

    with_sender = made(peer, one_sender, seconds)
    return {
        WITH_SENDER: with_sender,
        BY_CPU: with_sender / busy,
        EVERY_CORE: made(peer, lambda: peer.packets_of_every_core(seconds, 0, "syn"), seconds),
        OVERLOAD: made(peer, lambda: peer.packets_forwarded(seconds, 0, "syn"), seconds),
    }


def sender_alone(peer: Peer, seconds: float) -> float:
    """SYNs a second into a device that drops what arrives there."""
    arguments = ("eth0", peer.mac("b"), peer.mac("a"), str(seconds), "0", "syn")
    began = time.monotonic()
    sent = int(peer.exec("a", str(peers.BUILD / "sender"), *arguments).split()[0])
    return sent / (time.monotonic() - began)


def dropping() -> Peer:
    """A pair whose host's end drops all."""
    peer = Peer("sa", "the sender alone")
    sh("tc", "qdisc", "add", "dev", "saa", "clsact")
    program = str(peers.build("drop", 1))
    sh("tc", "filter", "add", "dev", "saa", "ingress", "bpf", "da", "obj", program, "sec", "tc/drop")
    return peer


def establish(peer: Peer) -> None:
    """One UDP connection, the sender's first five-tuple, with an answer from the other side."""
    with subprocess.Popen(
        ["ip", "netns", "exec", f"{peer.name}-b", sys.executable, "-c", _ANSWER],
        stdout=subprocess.PIPE,
    ) as answerer:
        assert answerer.stdout is not None
        answerer.stdout.readline()
        peer.exec("a", str(peers.BUILD / "sender"), "eth0", peer.mac("b"), peer.mac("a"), "0.01", "1")
        if answerer.wait(timeout=10):
            raise RuntimeError("no packet came through to be answered")
    time.sleep(0.05)


def established_per_second(peer: Peer, seconds: float) -> float:
    """Packets of one connection, sender included in the cost."""
    establish(peer)
    return peer.packets_per_second(seconds, 1)


def tcp_stream(peer: Peer) -> tuple[float, float]:
    """Gbit/s of one stream, and bytes of a packet that arrives: of a super-packet, where those stay whole."""

    def received(what: str) -> int:
        return int(peer.exec("b", "cat", f"/sys/class/net/eth0/statistics/rx_{what}"))

    n, n_bytes = received("packets"), received("bytes")
    rate = peer.tcp_gbps(2)
    return rate, (received("bytes") - n_bytes) / (received("packets") - n)


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """All figures, medians of interleaved rounds."""
    peers.build_senders()
    ovs = peers.ovs_userspace()
    sh("ovs-ofctl", "del-flows", "br0", env=ovs.env)
    sh("ovs-ofctl", "add-flows", "br0", "-", env=ovs.env, stdin="\n".join(STATEFUL) + "\n")
    plain = peers.gossamer("cp", "without tracking", STATELESS)
    tracked = peers.gossamer("cc", "tracked", STATEFUL)
    natted = peers.gossamer("cn", "tracked and translated", TRANSLATED)
    # answers to all that its source may become
    natted.exec("b", "ip", "route", "add", "10.0.0.0/16", "via", "10.0.0.1")
    alone = dropping()
    sender: list[float] = []
    asked = {"Gossamer": tracked, "Gossamer, with NAT": natted, "OVS userspace": ovs}
    new: dict[str, list[dict[str, float]]] = {label: [] for label in asked}
    old: dict[str, list[float]] = {p.label: [] for p in (plain, tracked, natted)}
    tcp: dict[str, list[tuple[float, float]]] = {label: [] for label in old}
    try:
        for n in range(rounds):
            print(f"round {n + 1} of {rounds}", flush=True)
            for label, peer in asked.items():
                new[label].append(new_per_second(peer, seconds))
            sender.append(sender_alone(alone, seconds))
            for peer in (plain, tracked, natted):
                old[peer.label].append(established_per_second(peer, seconds))
                tcp[peer.label].append(tcp_stream(peer))
    finally:
        peers.stop(ovs)
        peers.stop(plain)
    alone_per_second = statistics.median(sender)
    return {
        "kernel": os.uname().release,
        "cpus": os.cpu_count(),
        "rounds": rounds,
        "new_per_second": {
            label: of_the_datapath(
                {way: statistics.median(r[way] for r in rounds_) for way in rounds_[0]},
                label,
                alone_per_second,
            )
            for label, rounds_ in new.items()
        },
        "sender_alone_per_second": alone_per_second,
        "established_per_second": {k: statistics.median(v) for k, v in old.items()},
        "tcp_gbps": {k: statistics.median(rate for rate, _ in v) for k, v in tcp.items()},
        "tcp_bytes_a_packet": {k: statistics.median(size for _, size in v) for k, v in tcp.items()},
    }


def of_the_datapath(ways: dict[str, float], label: str, alone: float) -> dict[str, float]:
    """The figures, with that of the datapath without what the sender takes; Open vSwitch's sender
    has a core of its own."""
    made = ways[WITH_SENDER]
    on_one = made if label.startswith("OVS") else 1 / (1 / made - 1 / alone)
    return {WITH_SENDER: made, ON_ONE_CORE: on_one, **ways}


def write(result: dict[str, Any], docs: Path) -> None:
    """Table and plot."""
    new, old = result["new_per_second"], result["established_per_second"]
    ovs, plain, tcp = new["OVS userspace"], old["without tracking"], result["tcp_gbps"]
    bound = result["sender_alone_per_second"] / ovs[WITH_SENDER]
    lines = [
        "# Connections, measured",
        "",
        f"Kernel {result['kernel']}, {result['cpus']} CPUs, medians of {result['rounds']} interleaved"
        " rounds; made by `make bench-conntrack`. Our datapath works on the sender's core, and shares it;"
        " Open vSwitch's has the other one. The sender alone makes"
        f" {result['sender_alone_per_second']:,.0f} packets a second, so that with one sender no switch could"
        f" show more than {bound:.1f} times Open vSwitch's. Judged are the rows in bold, in which more is"
        " offered than either takes (RFC 2544).",
        "",
        "| new connections a second (SYNs through `ct(commit)`) | "
        + " | ".join(f"{label} | of OVS" if label != "OVS userspace" else label for label in new)
        + " |",
        "| --- |" + " ---: |" * (2 * len(new) - 1),
        *(
            f"| {f'**{way}**' if way in JUDGED else way} | "
            + " | ".join(
                f"{ways[way]:,.0f} | {ways[way] / ovs[way]:.1f}" if ways is not ovs else f"{ways[way]:,.0f}"
                for ways in new.values()
            )
            + " |"
            for way in ovs
        ),
        "",
        "| of an established connection | packets a second | of that without tracking"
        " | one TCP stream, Gbit/s | of that without tracking | bytes a packet |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {label} | {value:,.0f} | {value / plain:.2f} | {tcp[label]:.1f} |"
            f" {tcp[label] / tcp['without tracking']:.2f} | {result['tcp_bytes_a_packet'][label]:,.0f} |"
            for label, value in old.items()
        ),
        "",
    ]
    (docs / "connections.md").write_text("\n".join(lines))
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.6))
    one_sender = {label: ways[WITH_SENDER] for label, ways in new.items()}
    for axes, title, values in (
        (left, "new connections", one_sender),
        (right, "established packets", old),
    ):
        labels = list(values)[::-1]
        colours = ["#9aa5b1" if label.startswith("OVS") else "#2a7f62" for label in labels]
        axes.barh(labels, [values[label] / 1000 for label in labels], color=colours)
        axes.set_xlabel(f"{title}, thousands a second")
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(docs / "connections.svg")


def main() -> int:
    """Measure and write down; 1 where an aim is missed."""
    parser = argparse.ArgumentParser(prog="bench.conntrack")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    if os.environ.get("GOSSAMER_SANDBOX") != "inside":
        raise SystemExit("run it inside tests/sandbox.sh: it makes devices")
    result = measure(options.rounds, options.seconds)
    (DOCS / "connections.json").write_text(json.dumps(result, indent=2) + "\n")
    write(result, DOCS)
    print((DOCS / "connections.md").read_text())
    new, old = result["new_per_second"], result["established_per_second"]
    ours = new["Gossamer"]
    met = (
        ours[WITH_SENDER] >= AIM_NEW
        and all(ours[way] >= AIM_TIMES * new["OVS userspace"][way] for way in JUDGED)
        and old["tracked"] >= AIM_ESTABLISHED * old["without tracking"]
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
