"""Hostile tunnel packets: mutated outer headers through BPF test-run.

``python -m tests.fuzz.tunnels 1000000``, in the sandbox.  A packet goes on to the host, is dropped
under a tunnel's name, or comes out exactly as the specifications say (tests/property/outer.py);
and what is right must come out.
"""

from __future__ import annotations

import os
import random
import struct
import sys
from dataclasses import replace
from pathlib import Path

from gossamer.datapath.datapath import Datapath
from gossamer.datapath.settings import PortKind, PortSettings
from gossamer.datapath.testrun import TestRun
from gossamer.datapath.tunnel_settings import (
    FLOW,
    LocalAddress,
    PacketMode,
    TunnelKind,
    TunnelOption,
    TunnelSettings,
)
from gossamer.pipeline import action as act
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import Match
from tests.property import outer as wire
from tests.property.inner import frames
from tests.property.outer import Malformed, Option, Outer, address

LOCAL = {4: address("192.0.2.1"), 6: address("2001:db8::1")}
REMOTE = {4: address("192.0.2.2"), 6: address("2001:db8::2")}
TUNNELS = (
    TunnelSettings(TunnelKind.VXLAN, REMOTE[4], in_key=77, dst_port=4789, gbp=True),
    TunnelSettings(TunnelKind.VXLAN, REMOTE[6], in_key=FLOW, dst_port=4789),
    TunnelSettings(TunnelKind.GENEVE, FLOW, in_key=77, dst_port=6081),
    TunnelSettings(TunnelKind.GRE, REMOTE[4], in_key=77, packet_mode=PacketMode.PTAP),
    TunnelSettings(TunnelKind.GRE, REMOTE[6], in_key=FLOW),
    TunnelSettings(TunnelKind.ERSPAN, REMOTE[4], in_key=FLOW),
)


def seeds(rng: random.Random) -> list[Outer]:
    """Packets of every tunnel, right in all."""
    out: list[Outer] = []
    for frame in frames(rng, 40):
        for family in (4, 6):
            base = Outer(wire.GRE, REMOTE[family], LOCAL[family], frame, key=77)
            out.append(base)
            out.append(replace(base, sequence=7, csum=True))
            out.append(replace(base, kind=wire.VXLAN, destination_port=4789))
            out.append(replace(base, kind=wire.GENEVE, destination_port=6081,
                               options=(Option(0x102, 3, b"four"), Option(9, 9, bytes(8)))))  # fmt: skip
        base = replace(base, source=REMOTE[4], destination=LOCAL[4])
        out.append(replace(base, kind=wire.VXLAN, destination_port=4789, gbp=(8, 99)))
        out.append(replace(base, kind=wire.ERSPAN, version=1, index=5))
        out.append(replace(base, kind=wire.ERSPAN, version=2, hwid=5))
        nested = replace(base, kind=wire.VXLAN, destination_port=4789)
        for _ in range(3):
            nested = replace(nested, inner=wire.build(nested))
            out.append(nested)
    return out


def mutate(rng: random.Random, data: bytes) -> bytes:
    """A few bytes other than they were, too few, too many; often with the checksum put right."""
    raw = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        what = rng.randrange(6)
        if what == 0:
            raw = raw[: rng.randrange(34, len(raw) + 1)]
        elif what == 1:
            raw += rng.randbytes(rng.randrange(1, 20))
        else:
            at = rng.randrange(12, min(len(raw), 110 if what < 5 else 1500))
            raw[at] = rng.choice((0, 0xFF, raw[at] ^ 1 << rng.randrange(8), rng.randrange(256)))
    if raw[12:14] == b"\x08\x00" and len(raw) >= 34 and rng.random() < 0.8:
        if rng.random() < 0.5:
            raw[16:18] = (len(raw) - 14).to_bytes(2, "big")
            if raw[23] == 17 and len(raw) >= 42:
                raw[38:40] = (len(raw) - 34).to_bytes(2, "big")
        raw[24:26] = bytes(2)
        raw[24:26] = wire.checksum(bytes(raw[14:34])).to_bytes(2, "big")
    # A test run takes no packet without a whole IP header, nor does the kernel bring us one.
    least = 54 if raw[12:14] == b"\x86\xdd" else 34
    return bytes(raw) if len(raw) >= least else data


class Target:
    """The tunnels, and what becomes of packets."""

    def __init__(self) -> None:
        self.datapath = Datapath.open(Path(f"/sys/fs/bpf/fuzz-{os.getpid()}"), capturing=True)
        bridge = self.datapath.add_bridge("br0")
        for n, settings in enumerate(TUNNELS, 1):
            port = self.datapath.add_port(bridge, PortSettings(f"t{n}", n, PortKind.TUNNEL))
            self.datapath.set_tunnel(port, settings)
        self.datapath.set_tlv_map(bridge, [TunnelOption(0x102, 3, 4, 0)])
        self.datapath.set_local_addresses([LocalAddress(a, 1) for a in LOCAL.values()])
        # Everything comes out where it is captured; a punt would be limited in number.
        sink = self.datapath.add_port(bridge, PortSettings("sink", 100))
        flow = Flow(0, 0, Match(0, 0), (act.Output(100),))
        self.datapath.insert_flows(bridge, [flow])
        self.sink = sink
        self.run = TestRun(self.datapath)

    def packet(self, packet: bytes) -> bytes | str:
        """What came out, or "host" or "dropped"."""
        captured = self.run.uplink(packet)
        if captured is None:
            return "host"
        if not captured:
            return "dropped"
        assert [c.port_id for c in captured] == [self.sink]
        return captured[0].data


def inside(packet: bytes) -> bytes | None:
    """What is inside, as the specifications have it; None where the packet is wrong."""
    try:
        read = wire.read(trimmed(packet), strict=False)
    except (Malformed, struct.error):  # the latter: cut short
        return None
    if read.protocol != wire.TEB:
        return bytes(12) + read.protocol.to_bytes(2, "big") + read.inner
    return read.inner


def trimmed(packet: bytes) -> bytes:
    """Without what pads it."""
    if packet[12:14] == b"\x08\x00":
        return packet[: 14 + int.from_bytes(packet[16:18], "big")]
    if packet[12:14] == b"\x86\xdd":
        return packet[: 54 + int.from_bytes(packet[18:20], "big")]
    return packet


def same(got: bytes, want: bytes) -> bool:
    """But for the congestion bits of the outer header, and zeros that pad what is very short."""
    if got == want:
        return True
    at = 12
    while want[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    tos, check = at + 3, at + 12
    if want[at : at + 2] == b"\x08\x00" and len(got) == len(want):
        return got[:tos] == want[:tos] and got[tos + 1 : check] == want[tos + 1 : check] and (
            got[check + 2 :] == want[check + 2 :]
        )
    if want[at : at + 2] == b"\x86\xdd":
        return got[:tos] == want[:tos] and got[tos + 1 :] == want[tos + 1 :]
    return len(want) < 54 and got.startswith(want) and not any(got[len(want):])


def run(count: int, seed: int) -> dict[str, int]:
    """`count` packets; how many ended how.  Raises AssertionError with the packet that went wrong."""
    rng = random.Random(seed)
    target = Target()
    try:
        right = seeds(rng)
        raw = [wire.build(outer) for outer in right]
        ended = {"host": 0, "dropped": 0, "out": 0}
        for outer, packet in zip(right, raw, strict=True):
            got = target.packet(packet)
            if isinstance(got, bytes):
                assert same(got, inside(packet) or b""), packet.hex()
            elif (outer.kind, len(outer.source)) != (wire.ERSPAN, 16):
                ecn = target.datapath.drops().keys() <= {"tunnel_ecn", "tunnel_loop", "tunnel_key"}
                assert ecn, (packet.hex(), target.datapath.drops())
        before = sum(target.datapath.drops().values())
        for _ in range(count):
            packet = mutate(rng, rng.choice(raw))
            got = target.packet(packet)
            if isinstance(got, str):
                ended[got] += 1
                continue
            ended["out"] += 1
            want = inside(packet)
            assert want is not None, f"came out, but is wrong: {packet.hex()}"
            assert same(got, want), f"{packet.hex()}\n{got.hex()}\n{want.hex()}"
        drops = target.datapath.drops()
        assert sum(drops.values()) - before == ended["dropped"], (drops, ended)
        assert all(name.startswith("tunnel_") for name in drops), drops
        return ended | drops
    finally:
        target.datapath.destroy()


if __name__ == "__main__":
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    print(run(n, int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)))
