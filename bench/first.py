"""What the first packet of a flow costs beside the next ones, by BPF_PROG_TEST_RUN.

usage: python -m bench.first [--json FILE]      inside tests/sandbox.sh

A small program in front of the datapath gives each run a five-tuple of its own (`vary.bpf.c`).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from typing import Final

from bench.cost import ANY, OUT, PACKET, Rig, flow, run
from bench.peers import BUILD, HERE, sh
from gossamer.datapath import libbpf
from gossamer.datapath.injection import run_once
from gossamer.datapath.libbpf import check, lib
from gossamer.pipeline import action as act
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import match

_RUNS: Final = 25
_REPEAT: Final = 4000
_MANY: Final = 1000


class Varied:
    """The datapath of a rig behind the program that varies the packet."""

    def __init__(self, rig: Rig, packet: bytes = PACKET) -> None:
        self._rig = rig
        self._packet = packet
        BUILD.mkdir(parents=True, exist_ok=True)
        path = BUILD / "vary.bpf.o"
        sh("clang", "-O2", "-g", "-target", "bpf", f"-I/usr/include/{os.uname().machine}-linux-gnu",
           "-c", str(HERE / "vary.bpf.c"), "-o", str(path))  # fmt: skip
        handle = lib.bpf_object__open_file(str(path).encode(), None)
        check(lib.bpf_object__load(handle), "loading the program that varies packets")
        self._fd = lib.bpf_program__fd(lib.bpf_object__find_program_by_name(handle, b"vary"))
        self._turns = self._map(handle, b"turns")
        self._put(self._map(handle, b"datapath"), rig.datapath.program_fd.to_bytes(4, "little"))

    def cost(self, n_flows: int) -> int:
        """The least a packet costs, in ns, where `n_flows` five-tuples come in turn; 0: each new."""
        self.turn(n_flows)
        if n_flows:
            self.once(4 * n_flows)
        return min(self.once(_REPEAT) for _ in range(_RUNS))

    def turn(self, n_flows: int) -> None:
        """Begin again with the first of so many five-tuples; 0: each is new."""
        self._put(self._turns, n_flows.to_bytes(4, "little") + bytes(4))

    def once(self, repeat: int) -> int:
        """Nanoseconds a packet, of so many that come next."""
        ifindex = self._rig.ifindexes[0]
        return run_once(self._fd, self._packet, mark=0, ifindex=ifindex, repeat=repeat)

    @staticmethod
    def _map(handle: int, name: bytes) -> int:
        return int(lib.bpf_map__fd(lib.bpf_object__find_map_by_name(handle, name)))

    @staticmethod
    def _put(fd: int, value: bytes) -> None:
        key, image = ctypes.c_uint32(0), ctypes.create_string_buffer(value, len(value))
        check(
            lib.bpf_map_update_elem(fd, ctypes.byref(key), image, libbpf.BPF_ANY),
            "setting up the program that varies packets",
        )


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
    varied = Varied(rig)
    normal = act.Output(act.OfPort.NORMAL)
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
