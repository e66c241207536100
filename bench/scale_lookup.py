"""What a lookup costs, by BPF test-run: against the number of flows, and against that of masks.

Three figures each, all of a bridge whose other rules look at source ports, so that packets of one
flow with different source ports are different to the flow cache:

- cached: the same packet again and again;
- uncached, memory warm: a lookup of the table alone.  A packet is resubmitted to it 48 times, with
  another key each time, and one more that passes 16 times; no such path fits in the cache.  The
  difference, divided by 32, is what one lookup costs, resubmit included.
- uncached, memory cold: a whole packet to a random flow, each packet new to the cache; the median of
  single runs.  The processor's caches hold a thousand flows, and not a million: what grows here is the
  waiting for memory, and it ends where no line is in the cache any more.
"""

from __future__ import annotations

import ctypes
import random
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from struct import Struct
from tempfile import TemporaryDirectory
from typing import Final

from gossamer.datapath import libbpf
from gossamer.datapath.datapath import Datapath
from gossamer.datapath.libbpf import check, lib
from gossamer.datapath.loader import unpin
from gossamer.datapath.settings import BridgeSettings, PortSettings
from gossamer.datapath.testrun import TestRun
from gossamer.pipeline.action import Action, Actions, RegLoad, Resubmit, SubField
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import Match
from gossamer.pipeline.of_port import OfPort

ROUNDS: Final = 7
ROUND_NS: Final = 200_000_000
COLD_PACKETS: Final = 20_000
MANY: Final = 48
FEW: Final = 16
"""Rules that a path may pass and still be cached: with table 0 both have more."""
MASKED_FLOWS: Final = 10_000
SEARCHED: Final = 100
"""The table that is measured."""
DROP: Final[Actions] = ()


@dataclass(frozen=True)
class Cost:
    """Nanoseconds."""

    flows: int
    masks: int
    cached_ns: float
    lookup_ns: float
    cold_packet_ns: float


def field_match(base: Match = Match(), **fields: int | tuple[int, int]) -> Match:  # noqa: B008
    """A match from names of fields and values, or (value, mask)."""
    for name, value in fields.items():
        v, mask = value if isinstance(value, tuple) else (value, None)
        base = base.with_field(BY_NAME[name], v, mask)
    return base


UDP: Final = field_match(eth_type=0x0800, nw_proto=17)
_IP: Final = Struct("!BBHHHBBHII")
_UDP: Final = Struct("!HHHH")


def packet(source: int, target: int, tp_src: int, tp_dst: int) -> bytes:
    """A UDP frame of 60 bytes."""
    head = bytearray(_IP.pack(0x45, 0, 46, 0, 0, 64, 17, 0, source, target))
    total = sum(int.from_bytes(head[i : i + 2], "big") for i in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    head[10:12] = (~(total + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
    ethernet = bytes.fromhex("020000000002 020000000001 0800")
    return ethernet + bytes(head) + _UDP.pack(tp_src, tp_dst, 26, 0) + bytes(18)


class Bench:
    """A bridge with one port in a datapath of its own."""

    def __init__(self, datapath: Datapath) -> None:
        self.datapath = datapath
        self.run = TestRun(datapath)
        self.bridge_id = datapath.add_bridge("scale")
        datapath.configure_bridge(self.bridge_id, BridgeSettings())
        self.port_id = datapath.add_port(self.bridge_id, PortSettings("p1", 1))

    def insert(self, flows: list[Flow]) -> None:
        """Flows, made known together."""
        with self.datapath.transaction():
            self.datapath.insert_flows(self.bridge_id, flows)

    def warm_ns(self, data: bytes) -> float:
        """A packet, many times over: the least of several rounds, others disturb but never help."""
        self.run.run(self.port_id, data, 100)
        repeat = max(100, ROUND_NS // max(1, self.run.duration_ns))
        took = []
        for _ in range(ROUNDS):
            self.run.run(self.port_id, data, repeat)
            took.append(self.run.duration_ns)
        return float(min(took))

    def cold_ns(self, packets: list[bytes]) -> float:
        """Packets, each once: the least median of several rounds, the measuring included."""
        context = ctypes.create_string_buffer(bytes(8) + self.port_id.to_bytes(4, "little"), 192)
        options = []
        for data in packets:
            held = ctypes.create_string_buffer(data, len(data))
            options.append(
                libbpf.TestRunOptions(
                    sz=ctypes.sizeof(libbpf.TestRunOptions),
                    data_in=ctypes.cast(held, ctypes.c_void_p), data_size_in=len(data),
                    ctx_in=ctypes.cast(context, ctypes.c_void_p), ctx_size_in=192, repeat=1,
                )
            )  # fmt: skip
        run, fd = lib.bpf_prog_test_run_opts, self.datapath.program_fd
        medians = []
        for _ in range(ROUNDS):  # each packet was evicted from the cache by those after it
            for each in options:
                check(run(fd, ctypes.byref(each)), "test-running a packet")
            medians.append(statistics.median(each.duration for each in options))
        return float(min(medians))


@contextmanager
def bench() -> Iterator[Bench]:
    """A datapath that is gone afterwards."""
    with TemporaryDirectory(prefix="scale", dir="/sys/fs/bpf") as directory:
        datapath = Datapath.open(Path(directory) / "pins", capturing=True)
        try:
            yield Bench(datapath)
        finally:
            datapath.close()
            unpin(Path(directory) / "pins")


def _entry_flows(keys: list[int]) -> list[Flow]:
    """Table 0: by destination port, once or many times into the table that is searched.

    `keys` go to register 0 before each time, for flows that look at it.
    """
    reg0 = SubField(BY_NAME["reg0"], 0, 32)
    out = [
        # Elsewhere in the bridge source ports matter, so the cache must tell them apart.
        Flow(200, 1, field_match(UDP, nw_src=1, udp_src=1), DROP),
        Flow(0, 1, field_match(UDP, udp_dst=9), (Resubmit(OfPort.IN_PORT, SEARCHED),)),
    ]
    for tp_dst, times in ((FEW, FEW), (MANY, MANY)):
        actions: list[Action] = []
        for n in range(times):
            actions.append(RegLoad(reg0, keys[n % len(keys)]))
            actions.append(Resubmit(OfPort.IN_PORT, SEARCHED))
        out.append(Flow(0, 1, field_match(UDP, udp_dst=tp_dst), tuple(actions)))
    return out


def by_flows(count: int) -> Cost:
    """A table of `count` flows of one mask; register 0 and the destination are what they match."""
    random.seed(count)
    target = int(IPv4Address("10.0.0.0"))
    with bench() as b:
        # A packet enters with register 0 at zero: half of the flows are for such, half for others.
        plain = max(1, count // 2)
        flows = []
        for n in range(count):
            reg0, address = (0, target + n) if n < plain else (n, target)
            flows.append(
                Flow(SEARCHED, 10, field_match(UDP, reg0=reg0, nw_dst=address), DROP)
            )
        keys = random.sample(range(plain, count), min(MANY, count - plain)) or [0]
        b.insert(_entry_flows(keys) + flows)
        cold = [
            packet(random.getrandbits(32), target + random.randrange(plain), 1024 + n, 9)
            for n in range(COLD_PACKETS)
        ]
        return _cost(b, count, 1, target, cold)


def by_masks(masks: int) -> Cost:
    """A table of MASKED_FLOWS flows of so many masks, where the last mask that is searched matches.

    Each mask has a priority of its own and is searched in turn: the worst case, since a search ends
    where no later mask can have a higher priority.
    """
    random.seed(masks)
    target = int(IPv4Address("10.0.0.0"))
    with bench() as b:
        flows: list[Flow] = []
        lengths = [(s, d) for s in range(20, 32) for d in range(9, 31)][: masks - 1]
        each = MASKED_FLOWS // masks
        for rank, (s, d) in enumerate(lengths):
            for n in range(each):
                # 172.16.0.0 and up: no packet has such addresses, so all these masks fail.
                mask_s, mask_d = (0xFFFFFFFF << (32 - bits) & 0xFFFFFFFF for bits in (s, d))
                match = field_match(
                    UDP, nw_src=(0xAC100000 + (n << (32 - s)), mask_s), nw_dst=(0xAC100000 & mask_d, mask_d)
                )
                flows.append(Flow(SEARCHED, 1000 - rank, match, DROP))
        last = MASKED_FLOWS - len(flows)
        flows += [
            Flow(SEARCHED, 1, field_match(UDP, nw_dst=target + n), DROP) for n in range(last)
        ]
        b.insert(_entry_flows([0]) + flows)
        cold = [
            packet(random.getrandbits(24) + (20 << 24), target + random.randrange(last), 1024 + n, 9)
            for n in range(COLD_PACKETS)
        ]
        return _cost(b, len(flows), masks, target, cold)


def _cost(b: Bench, flows: int, masks: int, target: int, cold: list[bytes]) -> Cost:
    source = int(IPv4Address("20.0.0.1"))
    missed = sum(t.lookups - t.matched for t in b.datapath.table_statistics(b.bridge_id).values())
    cached = b.warm_ns(packet(source, target, 1024, 9))
    lookup = (
        b.warm_ns(packet(source, target, 1024, MANY)) - b.warm_ns(packet(source, target, 1024, FEW))
    ) / (MANY - FEW)
    cold_ns = b.cold_ns(cold)
    after = sum(t.lookups - t.matched for t in b.datapath.table_statistics(b.bridge_id).values())
    if after != missed:
        raise RuntimeError(f"{after - missed} lookups found no flow")
    return Cost(flows, masks, cached, lookup, cold_ns)
