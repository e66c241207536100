"""What the programs cost a packet, by BPF_PROG_TEST_RUN: no device, no sender, one CPU.

usage: python -m bench.cost [--json FILE]      inside tests/sandbox.sh

The smallest of many runs counts: whatever else goes on can only add to it.  Twice: as fast as it can be
repeated, where code and data are in the nearest caches; and behind 40 KiB of other code with
32 KiB of other data, as the kernel has between packets.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from bench.varied import Varied
from gossamer.datapath.datapath import Datapath
from gossamer.datapath.injection import run_once
from gossamer.datapath.settings import PortKind, PortSettings
from gossamer.pipeline import action as act
from gossamer.pipeline.action_ct import Ct
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.group import Bucket, Group, GroupType
from gossamer.pipeline.match import ANY, Match, match
from gossamer.pipeline.meter import Band, BandType, Meter, MeterFlag
from gossamer.pipeline.of_port import OfPort

_RUNS: Final = 25
_REPEAT: Final = 4000
PACKET: Final = bytes.fromhex(
    "020000000002020000000001080045000028000100004006667b0a0000010a000002"
    "00010050000000000000000050002000000000000000000000000000"
)
REPLY: Final = PACKET[6:12] + PACKET[:6] + PACKET[12:]
FIVE_TUPLE: Final = match(
    eth_type=0x0800, nw_proto=6, ip_src=0x0A000001, ip_dst=0x0A000002, tcp_src=1, tcp_dst=80
)
IP: Final = match(eth_type=0x0800)
REPEATED: Final = "repeated"
AFTER_OTHERS: Final = "after other code"
NEW: Final = 0x01
ESTABLISHED: Final = 0x02
TRACKED: Final = 0x20


def _segment(flags: int, seq: int, ack: int, *, back: bool = False) -> bytes:
    """A segment of the packet's connection."""
    frame = bytearray(PACKET)
    if back:
        frame[:12] = frame[6:12] + frame[:6]
        frame[26:34] = frame[30:34] + frame[26:30]
        frame[34:38] = frame[36:38] + frame[34:36]
    frame[38:48] = seq.to_bytes(4, "big") + ack.to_bytes(4, "big") + bytes((0x50, flags))
    return bytes(frame)


SYN: Final = _segment(0x02, 100, 0)
SYN_ACK: Final = _segment(0x12, 500, 101, back=True)
ACK: Final = _segment(0x10, 101, 501)
OUT: Final = act.Output(2)
_field: Final = BY_NAME.__getitem__


class Rig:
    """A bridge of two veth ports, and packets run from the first."""

    def __init__(self) -> None:
        self.ifindexes: list[int] = []
        for number in (1, 2):
            name = f"cost{number}"
            subprocess.run(
                ["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"], check=True
            )
            self.ifindexes.append(int(Path(f"/sys/class/net/{name}/ifindex").read_text()))
        self.pins = Path(tempfile.mkdtemp(prefix="cost", dir="/sys/fs/bpf"))
        self.datapath = Datapath.open(self.pins)
        self.bridge = self.datapath.add_bridge("br0")
        for number, ifindex in enumerate(self.ifindexes, 1):
            self.datapath.add_port(
                self.bridge,
                PortSettings(
                    name=f"cost{number}", kind=PortKind.DEVICE, ofport=number, ifindex=ifindex
                ),
            )

        self.varied = Varied(self.datapath.program_fd, self.ifindexes[0], PACKET)

    def once(self, packet: bytes, repeat: int, port: int = 1) -> int:
        """Nanoseconds a packet."""
        ifindex = self.ifindexes[port - 1]
        return run_once(self.datapath.program_fd, packet, mark=0, ifindex=ifindex, repeat=repeat)

    def cost(
        self,
        flows: list[Flow],
        prepare: Callable[[], object] = lambda: None,
        groups: Iterable[Group] = (),
        packet: bytes = PACKET,
    ) -> dict[str, int]:
        """The least a packet costs on the cached path: repeated, and after other code."""
        with self.datapath.transaction():
            for group in groups:
                self.datapath.set_group(self.bridge, group)
            self.datapath.insert_flows(self.bridge, flows)
        prepare()
        self.once(packet, 10)
        best = {
            REPEATED: min(self.once(packet, _REPEAT) for _ in range(_RUNS)),
            AFTER_OTHERS: self.varied.cost_after_others(packet),
        }
        self.datapath.remove_flows(self.bridge, flows)
        for group in groups:
            self.datapath.delete_group(self.bridge, group.group_id)
        return best

    def close(self) -> None:
        """Remove what was made."""
        self.datapath.destroy()
        for number in (1, 2):
            subprocess.run(["ip", "link", "delete", f"cost{number}"], check=True)


def flow(m: Match, *actions: act.Action, table: int = 0, priority: int = 100) -> Flow:
    """A flow, in a line."""
    return Flow(table_id=table, priority=priority, match=m, actions=actions)


def chain(n: int) -> list[Flow]:
    """Tables that each match the five-tuple and go on to the next."""
    last = n - 1
    return [flow(FIVE_TUPLE, act.GotoTable(t + 1), table=t) for t in range(last)] + [
        flow(FIVE_TUPLE, OUT, table=last)
    ]


def thousand(rig: Rig) -> dict[str, int]:
    """Packets of 1,000 flows in turn, each of which has a rule of its own."""
    flows = [
        flow(
            match(eth_type=0x0800, nw_proto=6, ip_src=0x0A010000 + i, ip_dst=0x0A000002, tcp_src=1,
                  tcp_dst=80),
            OUT,
        )
        for i in range(1000)
    ]  # fmt: skip
    with rig.datapath.transaction():
        rig.datapath.insert_flows(rig.bridge, flows)
    best = {
        REPEATED: rig.varied.cost(len(flows)),
        AFTER_OTHERS: rig.varied.cost_after_others(PACKET, len(flows)),
    }
    rig.datapath.remove_flows(rig.bridge, flows)
    return best


def measure(rig: Rig) -> dict[str, dict[str, int]]:
    """Nanoseconds by case."""

    def group(kind: GroupType, n: int) -> Group:
        return Group(1, kind, tuple(Bucket((OUT,), i, 1, watch_port=2) for i in range(n)))

    def connect() -> None:
        for packet, port in ((SYN, 1), (SYN_ACK, 2), (ACK, 1)):
            rig.once(packet, 1, port)

    tracked = match(ct_state=(TRACKED | ESTABLISHED, TRACKED | ESTABLISHED))
    new = match(ct_state=(TRACKED | NEW, TRACKED | NEW))
    firewall = [
        flow(IP, Ct(table=1)),
        flow(tracked, act.Output(2), table=1),
        flow(new, Ct(commit=True), act.Output(2), table=1),
    ]

    def expire_at_once() -> None:
        rig.datapath.conntrack.zones.set_timeouts(0, {"tcp_syn_sent": 0})

    via_group = [flow(FIVE_TUPLE, act.Group(1))]
    metered = [flow(FIVE_TUPLE, act.Meter(1), OUT)]
    rig.datapath.set_meter(
        rig.bridge, Meter(1, MeterFlag.KBPS, (Band(BandType.DROP, 10_000_000),))
    )
    return {
        "one flow": rig.cost([flow(ANY, OUT)]),
        "five-tuple": rig.cost([flow(FIVE_TUPLE, OUT)]),
        "1,000 five-tuples in turn": thousand(rig),
        "NORMAL, address known": rig.cost(
            [flow(ANY, act.Output(OfPort.NORMAL))], lambda: rig.once(REPLY, 2, port=2)
        ),
        "10 tables": rig.cost(chain(10)),
        "set_field, 3 fields": rig.cost(
            [
                flow(
                    FIVE_TUPLE,
                    act.SetField(_field("eth_dst"), 0x020000000009, (1 << 48) - 1),
                    act.SetField(_field("nw_tos"), 0x10, 0xFF),
                    act.DecTtl(),
                    OUT,
                )
            ]
        ),
        "meter": rig.cost(metered),
        "ct(table=1), established": rig.cost(firewall, connect, packet=ACK),
        "ct(commit), new each time": rig.cost(
            [flow(IP, Ct(commit=True), OUT)], expire_at_once, packet=SYN
        ),
        "group, indirect": rig.cost(via_group, groups=[group(GroupType.INDIRECT, 1)]),
        "group, select of 8": rig.cost(via_group, groups=[group(GroupType.SELECT, 8)]),
        "group, fast failover": rig.cost(via_group, groups=[group(GroupType.FAST_FAILOVER, 2)]),
    }


Costs = TypeVar("Costs", bound=Mapping[str, object])


def run(prog: str, measure: Callable[[Rig], Costs], show: Callable[[Costs], None]) -> None:
    """Measure on a rig, print by `show`, and write --json: what the programs of test runs do."""
    parser = argparse.ArgumentParser(prog=prog)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if os.environ.get("GOSSAMER_SANDBOX") != "inside":
        raise SystemExit("run it inside tests/sandbox.sh: it makes devices")
    rig = Rig()
    try:
        costs = measure(rig)
    finally:
        rig.close()
    show(costs)
    if options.json:
        options.json.write_text(json.dumps(costs, indent=2) + "\n")


def show(costs: Mapping[str, Mapping[str, int]]) -> None:
    """Print a line a case."""
    for name, of in costs.items():
        print(f"{name:26}" + "".join(f"  {kind} {ns:5} ns" for kind, ns in of.items()))


if __name__ == "__main__":
    run("bench.cost", measure, show)
