"""A bridge with a tunnel, and what its packets should look like."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gossamer.datapath.datapath import Datapath
from gossamer.datapath.settings import PortKind, PortSettings
from gossamer.datapath.testrun import TestRun
from gossamer.datapath.tunnel_settings import (
    LocalAddress,
    TunnelKind,
    TunnelSettings,
)
from gossamer.pipeline import action as act
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import Match
from tests.property import outer as wire
from tests.property.outer import Outer, address

LOCAL = {4: address("192.0.2.1"), 6: address("2001:db8::1")}
REMOTE = {4: address("192.0.2.2"), 6: address("2001:db8::2")}
KINDS = {
    wire.VXLAN: (TunnelKind.VXLAN, 4789),
    wire.GENEVE: (TunnelKind.GENEVE, 6081),
    wire.GRE: (TunnelKind.GRE, 0),
    wire.ERSPAN: (TunnelKind.ERSPAN, 0),
}
TUNNEL, OTHER = 1, 2
"""OpenFlow numbers of the ports."""


class World:
    """A bridge with a tunnel port, and another port where all goes in or comes out."""

    def __init__(self, pin_dir: Path) -> None:
        self.datapath = Datapath.open(pin_dir, capturing=True)
        self.bridge = self.datapath.add_bridge("br0")
        self.tunnel = self.add(TUNNEL, PortKind.TUNNEL)
        self.other = self.add(OTHER, PortKind.DEVICE)
        self.run = TestRun(self.datapath)
        self.flows: list[Flow] = []
        self.datapath.set_local_addresses([LocalAddress(a, 1) for a in LOCAL.values()])

    def add(self, ofport: int, kind: PortKind) -> int:
        """A port."""
        return self.datapath.add_port(self.bridge, PortSettings(f"p{ofport}", ofport, kind))

    def tell(self, *actions: act.Action) -> None:
        """What becomes of every packet."""
        flow = Flow(0, 0, Match(0, 0), actions)
        with self.datapath.transaction():
            self.datapath.remove_flows(self.bridge, self.flows)
            self.datapath.insert_flows(self.bridge, [flow])
        self.flows = [flow]

    def send(self, frame: bytes) -> Outer:
        """What leaves by the tunnel, read from its bytes."""
        captured = self.run.run(self.other, frame)
        assert [c.port_id for c in captured] == [self.tunnel], self.datapath.drops()
        return wire.read(captured[0].data)

    def receive(self, frame: bytes) -> tuple[bytes, int] | None:
        """What comes out of the tunnel, with its key; None where it is dropped."""
        self.tell(act.Controller(max_len=0xFFFF))
        captured = self.run.uplink(frame)
        assert captured is not None, "went on to the host"
        if not captured:
            return None
        (one,) = captured
        assert one.punt is not None
        assert one.punt.in_port_id == self.tunnel
        return one.punt.data, one.punt.key

    def new_drops(self, before: dict[str, int]) -> dict[str, int]:
        """What was dropped since."""
        now = self.datapath.drops()
        return {k: n - before.get(k, 0) for k, n in now.items() if n != before.get(k, 0)}


def settings(kind: str, family: int = 4, **more: object) -> TunnelSettings:
    """Of a tunnel from LOCAL to REMOTE with the key 77, but for what is said."""
    number, port = KINDS[kind]
    values: dict[str, object] = {
        "remote": REMOTE[family], "local": LOCAL[family], "in_key": 77, "out_key": 77,
        "dst_port": port, "erspan_index": 5 if kind == wire.ERSPAN else 0,
    } | more  # fmt: skip
    return TunnelSettings(number, **values)  # type: ignore[arg-type]


def expected(kind: str, inner: bytes, family: int = 4, **more: object) -> Outer:
    """What such a tunnel makes of a frame."""
    values: dict[str, object] = {"key": 77, "destination_port": KINDS[kind][1]}
    if kind in wire.UDP_KINDS:
        values["csum"] = family == 6
    if kind == wire.ERSPAN:
        values |= {"version": 1, "index": 5}
    values |= more
    return Outer(kind, LOCAL[family], REMOTE[family], inner, **values)  # type: ignore[arg-type]


def alike(got: Outer, want: Outer) -> None:
    """The same, but for what nobody can know beforehand."""
    if got.kind in wire.UDP_KINDS:
        assert 32768 <= got.source_port < 61000
    inner_ecn = ecn_of(want.inner)
    if inner_ecn is not None:
        want = replace(want, tos=want.tos & 0xFC | inner_ecn)
    got = replace(got, source_port=0, sequence=None)
    assert got == replace(want, source_port=0, sequence=None)


def ecn_of(frame: bytes) -> int | None:
    """The congestion bits of an IP packet in a frame."""
    at = 12
    while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    if frame[at : at + 2] == b"\x08\x00" and len(frame) > at + 11 and frame[at + 2] >> 4 == 4:
        return frame[at + 3] & 3
    if frame[at : at + 2] == b"\x86\xdd" and len(frame) > at + 11 and frame[at + 2] >> 4 == 6:
        return frame[at + 3] >> 4 & 3
    return None


def incoming(kind: str, frame: bytes, **more: object) -> Outer:
    """As the remote sends it."""
    values = {"source": REMOTE[4], "destination": LOCAL[4], "tos": ecn_of(frame) or 0} | more
    return replace(expected(kind, frame), **values)  # type: ignore[arg-type]


def set_field(name: str, value: int) -> act.SetField:
    """Whole."""
    f = BY_NAME[name]
    return act.SetField(f, value, (1 << f.n_bits) - 1)
