"""Measure Gossamer against its peers, in one run, interleaved; medians of several rounds.

Writes docs/bench.json, docs/bench.md and docs/bench.svg.  Run it by `make bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from bench import peers
from bench.peers import Peer, sh

DOCS = Path(__file__).resolve().parent.parent / "docs"


def exact_flows(count: int) -> list[str]:
    """Flows that match whole five-tuples, the ones the sender sends, and a NORMAL for the rest."""
    flows = ["priority=0,actions=NORMAL"]
    for n in range(count):
        source = f"10.{1 + (n >> 16)}.{(n >> 8) & 255}.{n & 255}"
        flows.append(
            f"priority=10,udp,nw_src={source},nw_dst=10.0.0.2,tp_src={1024 + n % 60000},tp_dst=9,"
            "actions=output:2"
        )
    return flows


def pipeline(depth: int) -> list[str]:
    """A pipeline of `depth` tables, each with a match of its own."""
    matches = ("in_port=1", "ip", "ip,nw_proto=17", "udp,tp_dst=9", "ip,nw_dst=10.0.0.2",
               "dl_type=0x0800", "ip,nw_src=10.0.0.0/8", "ip,nw_tos=0", "udp")  # fmt: skip
    flows = [f"table={t},actions=NORMAL" for t in range(depth)]
    for table in range(depth - 1):
        flows.append(
            f"table={table},priority=10,{matches[table % len(matches)]},actions=resubmit(,{table + 1})"
        )
    return flows


def median_of(rounds: list[dict[str, float]], name: str) -> float:
    """Median of a peer over the rounds."""
    return statistics.median(r[name] for r in rounds)


def load_time(peer: Peer, bridge: str, count: int) -> float:
    """Seconds for ovs-ofctl add-flows of `count` flows."""
    with tempfile.NamedTemporaryFile("w", suffix=".flows") as f:
        for n in range(count):
            f.write(
                f"priority=5,tcp,nw_src=10.{n >> 16}.{(n >> 8) & 255}.{n & 255},tp_dst={n % 60000},"
                f"actions=output:{1 + n % 2}\n"
            )
        f.flush()
        began = time.monotonic()
        sh("ovs-ofctl", "add-flows", bridge, f.name, env=peer.env)
        took = time.monotonic() - began
    return took


def port_times(peer: Peer) -> tuple[float, float]:
    """Seconds to add the first and the 500th port of a bridge (medians of the first and last 20)."""
    sh("ovs-vsctl", "--timeout=20", "add-br", "br-many", env=peer.env)
    took: list[float] = []
    for n in range(500):
        sh("ip", "link", "add", f"m{n}", "type", "veth", "peer", "name", f"n{n}")
        began = time.monotonic()
        sh("ovs-vsctl", "--timeout=20", "add-port", "br-many", f"m{n}", env=peer.env)
        took.append(time.monotonic() - began)
    sh("ovs-vsctl", "--timeout=60", "del-br", "br-many", env=peer.env)
    return statistics.median(took[:20]), statistics.median(took[-20:])


def main() -> None:
    """Measure and write down."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--quick", action="store_true", help="packets only")
    options = parser.parse_args()
    peers.build_senders()
    bridge = peers.linux_bridge()
    bare, bare_peer = peers.redirect("redirect"), peers.redirect("redirect_peer")
    ovs = peers.ovs_userspace()
    normal = peers.gossamer("gn", "Gossamer, NORMAL", None)
    one = peers.gossamer("g1", "Gossamer, 1 flow",
                         ["in_port=1,actions=output:2", "in_port=2,actions=output:1"])  # fmt: skip
    thousand = peers.gossamer("gk", "Gossamer, 1,000 exact flows", exact_flows(1000))
    ten = peers.gossamer("gt", "Gossamer, 10 tables", pipeline(10))
    everyone = [bridge, bare, bare_peer, ovs, normal, one, thousand, ten]
    for peer in everyone:
        peer.exec("a", "ping", "-n", "-q", "-c", "3", "-i", "0.05", "10.0.0.2")
    packets: list[dict[str, float]] = []
    tcp: list[dict[str, float]] = []
    rtt: list[dict[str, float]] = []
    new: list[dict[str, float]] = []
    forwarded: list[dict[str, float]] = []
    classified: list[dict[str, float]] = []
    every_core: list[dict[str, float]] = []
    new_every_core: list[dict[str, float]] = []
    sh("ovs-ofctl", "add-flows", "br0", "-", env=ovs.env, stdin="\n".join(exact_flows(1000)) + "\n")
    for n in range(options.rounds):
        print(f"round {n + 1} of {options.rounds}", flush=True)
        packets.append({})
        for peer in everyone:
            flows = 1000 if peer is thousand else 1
            packets[-1][peer.label] = peer.packets_per_second(options.seconds, flows)
        forwarded.append({})
        for peer in everyone:
            flows = 1000 if peer is thousand else 1
            forwarded[-1][peer.label] = peer.packets_forwarded(options.seconds, flows)
        every_core.append({})
        for peer in everyone:
            flows = 1000 if peer is thousand else 1
            every_core[-1][peer.label] = peer.packets_of_every_core(options.seconds, flows)
        new_every_core.append(
            {p.label: p.packets_of_every_core(options.seconds, 0) for p in (ovs, thousand)}
        )
        classified.append(
            {p.label: p.packets_forwarded(options.seconds, 0) for p in (ovs, thousand)}
        )
        new.append({p.label: p.packets_per_second(options.seconds, 0) for p in (ovs, thousand)})
        if not options.quick:
            subset = (bridge, bare, ovs, normal)
            tcp.append({p.label: p.tcp_gbps(2) for p in subset})
            rtt.append({p.label: p.ping_us() for p in subset})
    result: dict[str, object] = {
        "kernel": os.uname().release,
        "cpus": os.cpu_count(),
        "rounds": options.rounds,
        "packets_per_second": {p.label: median_of(packets, p.label) for p in everyone},
        "forwarded_per_second": {p.label: median_of(forwarded, p.label) for p in everyone},
        "packets_of_every_core": {p.label: median_of(every_core, p.label) for p in everyone},
        "new_flows_of_every_core": {
            p.label: median_of(new_every_core, p.label) for p in (ovs, thousand)
        },
        "new_flows_forwarded_per_second": {
            p.label: median_of(classified, p.label) for p in (ovs, thousand)
        },
        "new_flows_per_second": {p.label: median_of(new, p.label) for p in (ovs, thousand)},
    }
    if not options.quick:
        result["tcp_gbps"] = {k: median_of(tcp, k) for k in tcp[0]}
        result["ping_us"] = {k: median_of(rtt, k) for k in rtt[0]}
        result["load_100k_s"] = {
            "OVS userspace": load_time(ovs, "br0", 100_000),
            "Gossamer": load_time(normal, "br-gn", 100_000),
        }
        result["rss_mb"] = {"OVS userspace": ovs.rss_mb(), "Gossamer": normal.rss_mb()}
        first, last = port_times(normal)
        result["add_port_ms"] = {"first": first * 1000, "500th": last * 1000}
    peers.stop(ovs)
    peers.stop(normal)
    DOCS.mkdir(exist_ok=True)
    if not options.quick:
        from bench.report import write

        (DOCS / "bench.json").write_text(json.dumps(result, indent=2) + "\n")
        write(result, DOCS)
        print((DOCS / "bench.md").read_text())
    else:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
