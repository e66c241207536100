"""What the first packet of a connection costs, by BPF_PROG_TEST_RUN: each run a SYN of another five-tuple.

usage: python -m bench.begin [--json FILE]      inside tests/sandbox.sh

Twice: with few connections, which lie close together so that the CPU's cache holds them, and with a
million there already, where each new one is a line or two from memory.  The cases without a
commit say what the packet pays before: its passes, and a look that finds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bench.cost import IP, NEW, OUT, SYN, TRACKED, Rig, flow, run
from bench.varied import Varied
from gossamer.pipeline.action_ct import Ct, Nat
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import match

_RUNS: Final = 12
_REPEAT: Final = 4000
MANY: Final = 1_000_000
_IS_NEW: Final = match(ct_state=(TRACKED | NEW, TRACKED | NEW))
_POOL: Final = Nat(src=True, addresses=(bytes((10, 0, 1, 0)), bytes((10, 0, 255, 255))))
_FRAME: Final = SYN[:34] + (40_000).to_bytes(2, "big") + SYN[36:]


def _firewall(first: Ct, *commit: Ct) -> list[Flow]:
    """Track, and forward what is new, with `commit` before that."""
    return [flow(IP, first), flow(_IS_NEW, *commit, OUT, table=1)]


CASES: Final = {
    "no tracking": [flow(IP, OUT)],
    "tracked, not committed": _firewall(Ct(table=1)),
    "committed": _firewall(Ct(table=1), Ct(commit=True)),
    "committed, translated": _firewall(
        Ct(table=1, nat=Nat()), Ct(commit=True, nat=_POOL)
    ),
}


def measure(rig: Rig) -> dict[str, dict[str, int]]:
    """The least nanoseconds a packet by case, with few connections and with a million."""
    conntrack = rig.datapath.conntrack
    conntrack.room.make_for(2 * MANY)
    conntrack.zones.set_timeouts(0, {"tcp_syn_sent": 3600})
    varied = Varied(rig.datapath.program_fd, rig.ifindexes[0], _FRAME)
    out = {}
    for name, flows in CASES.items():
        with rig.datapath.transaction():
            rig.datapath.insert_flows(rig.bridge, flows)
        few = []
        for _ in range(_RUNS):
            few.append(varied.once(_REPEAT))
            made = conntrack.flush()
        while made and conntrack.count < MANY:
            varied.once(100_000)
        out[name] = {"few": min(few), "a million": min(varied.once(_REPEAT) for _ in range(_RUNS))}
        rig.datapath.remove_flows(rig.bridge, flows)
        conntrack.flush()
        for _ in range(32):
            conntrack.room.draw_together()
    return out


def show(costs: Mapping[str, Mapping[str, int]]) -> None:
    """Print a line a case."""
    for name, of in costs.items():
        print(f"{name:24}" + "".join(f"  {kind}: {ns:5} ns" for kind, ns in of.items()))


if __name__ == "__main__":
    run("bench.begin", measure, show)
