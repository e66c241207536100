"""What a packet led to, by the reference pipeline and by the BPF programs."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from gossamer.datapath.settings import PuntReason
from gossamer.datapath.testrun import TestRun
from gossamer.pipeline import action as act
from gossamer.pipeline.fields import ETH_IPV4, ETH_IPV6, KEY_LEN, SLOTS, get_slot
from gossamer.pipeline.result import Result
from tests.property.in_kernel import Bpf

_STATE_BITS = (KEY_LEN - SLOTS["pkt_mark"].offset - 4) * 8
"""A punt's key is compared in in_port, metadata, registers, tunnel and mark: the frame says the rest."""

_REPORTED = (
    "in_port", "eth_dst", "eth_src", "eth_type", "vlan_tci", "nw_proto", "nw_tos", "nw_ttl", "nw_src",
    "nw_dst", "ipv6_src", "ipv6_dst", "ipv6_label", "tp_src", "tp_dst", "tcp_flags",
)  # fmt: skip
"""A sample's key is compared in what is reported of it."""


@dataclass(frozen=True)
class Outcome:
    """What one packet led to, in a form that both sides can have."""

    outputs: Counter[tuple[str, int, bytes]]
    punts: Counter[tuple[str, int, int, int, int, int | None, bytes, int]]
    samples: Counter[tuple[str, act.Sample, str]]

    def without_dei(self) -> Outcome:
        """The same with all DEI bits zero: a tag that is put back has it so; the kernel sends truncated
        copies last, and what goes up to the daemon is a copy that nothing is put back in."""
        outputs: Counter[tuple[str, int, bytes]] = Counter()
        for (bridge, ofport, frame), n in self.outputs.items():
            outputs[bridge, ofport, _without_dei(frame)] += n
        punts: Counter[tuple[str, int, int, int, int, int | None, bytes, int]] = Counter()
        for (*where, frame, key), n in self.punts.items():
            bridge, in_port, reason, controller_id, table_id, cookie = where
            place = bridge, in_port, reason, controller_id, table_id, cookie
            punts[*place, _without_dei(frame), key] += n
        return Outcome(outputs, punts, self.samples)


def _after_tags(frame: bytes | bytearray) -> int:
    """Where the ethertype is that is not a tag's."""
    at = 12
    while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8") and at + 2 < len(frame):
        at += 4
    return at


def _alike(frame: bytes) -> bytes:
    """The frame without what depends on the order in which headers are changed and put back: an
    IPv4 checksum of 0xffff says what 0 says, and becomes 0 with the first change."""
    at = _after_tags(frame)
    checksum = slice(at + 12, at + 14)
    if frame[at : at + 2] == b"\x08\x00" and frame[checksum] == b"\xff\xff":
        return frame[: at + 12] + bytes(2) + frame[at + 14 :]
    return frame


_BACKBONE = b"\x88\xe7"

_BACKBONE_HEADER = 6
"""Bytes from its ethertype to the frame that it goes before (IEEE 802.1ah)."""


def _without_dei(frame: bytes) -> bytes:
    out = bytearray(frame)
    behind = _after_tags(frame)
    for at in range(12, behind, 4):
        if at + 2 < len(out):
            out[at + 2] &= 0xEF
    inner = behind + _BACKBONE_HEADER
    if frame[behind : behind + 2] == _BACKBONE and inner + 14 <= len(out):
        out[inner:] = _without_dei(frame[inner:])
    return bytes(out)


def _of_headers(key: int) -> str:
    is_ip = get_slot(key, "eth_type") in (ETH_IPV4, ETH_IPV6)
    found = {name: get_slot(key, name) for name in _REPORTED[: None if is_ip else 5]}
    return " ".join(f"{name}={value:x}" for name, value in found.items() if value)


def expected(result: Result) -> Outcome:
    """The reference's result as an outcome."""
    return Outcome(
        Counter((o.bridge, o.ofport, _alike(o.packet)) for o in result.outputs),
        Counter(
            (
                p.bridge,
                p.in_port,
                p.reason,
                p.action.controller_id,
                p.table_id,
                p.flow.cookie if p.flow is not None else None,
                _alike(p.packet),
                p.key >> _STATE_BITS,
            )
            for p in result.punts
        ),
        Counter((s.bridge, s.action, _of_headers(s.key)) for s in result.samples),
    )


def observed(bpf: Bpf, run: TestRun, bridge: str, in_port: int, data: bytes) -> Outcome:
    """What the BPF programs do with a packet, and the daemon with what they leave to it.

    What waits for a connection's helper goes on, as it does when the helper changes nothing in it.
    """
    names = bpf.names()
    bridges = {bridge_id: name for name, bridge_id in bpf.bridge_ids.items()}
    outputs: Counter[tuple[str, int, bytes]] = Counter()
    punts: Counter[tuple[str, int, int, int, int, int | None, bytes, int]] = Counter()
    samples: Counter[tuple[str, act.Sample, str]] = Counter()
    cookies = {flow.flow_id: flow.cookie for flow in bpf.flows.values()}
    waiting = deque(run.run(bpf.port_ids[bridge, in_port], data))
    while waiting:
        c = waiting.popleft()
        if c.punt is None:
            outputs[(*names[c.port_id], _alike(c.data))] += 1
            continue
        p = c.punt
        if p.reason == PuntReason.CT_ALG:
            waiting += run.go_on(p, p.data)
            continue
        if p.reason == PuntReason.SLOW:
            rest = expected(bpf.slow.take_through(p))
            outputs += rest.outputs
            punts += rest.punts
            samples += rest.samples
            continue
        if p.reason == PuntReason.SAMPLE:
            action = bpf.datapath.packets.sample_action(p.userdata_id)
            samples[bridges[p.bridge_id], action, _of_headers(p.key)] += 1
            continue
        punts[
            bridges[p.bridge_id],
            p.in_port,
            p.reason,
            p.controller_id,
            p.table_id,
            cookies.get(p.flow_id),
            _alike(p.data),
            p.key >> _STATE_BITS,
        ] += 1
    return Outcome(outputs, punts, samples)


def difference(want: Outcome, got: Outcome) -> str:
    """What only one of two outcomes has, a line each."""
    lines = []
    for what in ("outputs", "punts", "samples"):
        w, g = getattr(want, what), getattr(got, what)
        lines += [f"  reference only: {n}x {_show(k)}" for k, n in (w - g).items()]
        lines += [f"  BPF only:       {n}x {_show(k)}" for k, n in (g - w).items()]
    return "\n".join(lines)


def _show(item: tuple[object, ...]) -> str:
    return " ".join(v.hex() if isinstance(v, bytes) else str(v) for v in item)
