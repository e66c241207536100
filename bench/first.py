"""What the first packet of a flow costs beside the next ones, by BPF_PROG_TEST_RUN.

usage: python -m bench.first [--json FILE]      inside tests/sandbox.sh

A small program in front of the datapath gives each run a five-tuple of its own (`vary.bpf.c`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bench.cost import OUT, PACKET, Rig, flow, run
from bench.varied import Varied
from gossamer.pipeline import action as act
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import ANY, match
from gossamer.pipeline.of_port import OfPort

_MANY: Final = 1000


def exact(n: int, table: int = 0) -> list[Flow]:
    """A rule for each of the first `n` five-tuples."""
    return [
        flow(
            match(eth_type=0x0800, nw_proto=6, ip_src=0x0A010000 + i, ip_dst=0x0A000002, tcp_src=1,
                  tcp_dst=80),
            OUT, table=table,
        )
        for i in range(n)
    ]  # fmt: skip


def pipeline(depth: int, last: act.Action) -> list[Flow]:
    """Tables of two masks each, of which the first holds rules that few packets match."""
    out = []
    for table in range(depth):
        out += exact(_MANY, table)
        then = last if table == depth - 1 else act.GotoTable(table + 1)
        out.append(flow(ANY, then, table=table, priority=0))
    return out


def measure(rig: Rig) -> dict[str, dict[str, int]]:
    """Nanoseconds a packet by rules: of one flow, of 1,000 in turn, and of new ones."""
    varied = Varied(rig.datapath.program_fd, rig.ifindexes[0], PACKET)
    normal = act.Output(OfPort.NORMAL)
    out = {}
    for name, flows in {
        "1,000 exact rules, else output": pipeline(1, OUT),
        "1,000 exact rules, else NORMAL": pipeline(1, normal),
        "3 such tables": pipeline(3, OUT),
        "10 such tables": pipeline(10, OUT),
    }.items():
        with rig.datapath.transaction():
            rig.datapath.insert_flows(rig.bridge, flows)
        for _ in range(2):
            rig.once(PACKET[6:12] + PACKET[:6] + PACKET[12:], 1, port=2)
        out[name] = {
            "one flow": varied.cost(1),
            "1,000 flows": varied.cost(_MANY),
            "new flows": varied.cost(0),
        }
        rig.datapath.remove_flows(rig.bridge, flows)
    return out


def show(costs: Mapping[str, Mapping[str, int]]) -> None:
    """Print a line for each set of rules."""
    for name, of in costs.items():
        print(f"{name:32}" + "".join(f"  {kind} {ns:5} ns" for kind, ns in of.items()))


if __name__ == "__main__":
    run("bench.first", measure, show)
