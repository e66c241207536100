"""Cases that measure a throughput, in seconds where the suite takes thirty.

A meter's bucket is full at first.  Over thirty seconds that vanishes in the
tenth that the suite allows; over two it does not, so the first part of a short
run is not counted.  Packets of random headers are shared out by chance: fewer
of them scatter more, so they are all sent, only faster, and what counts of them
is how many come by which port, however long a busy machine takes.
"""

from __future__ import annotations

import time
from collections import Counter

from tests.conformance.cases import RECEIVE_PORT, Flood, Rate
from tests.conformance.wires import Wire

TOLERANCE = 0.10
_BUCKET_S = 1.25
"""How long a flood of twice a meter's rate takes to empty its bucket, and some more."""
_BYTES_PER_KILOBIT = 1024 / 8
_TICK_S = 0.001
_QUIET_S = 0.3
"""Nothing more comes."""

Counts = Counter[tuple[int, int, str]]
"""By port, DSCP (-1 where there is none) and 'packets' or 'bytes'."""


def flood(wires: dict[int, Wire], step: Flood, limit_s: float) -> list[str]:
    """Send, and return the rates that are off by more than a tenth, in words."""
    duration_s = min(step.duration_s, limit_s)
    speed = step.duration_s / duration_s if step.template.is_random else 1.0
    # A batch of random frames costs more to make than to send: make them before.
    count = int(step.pktps * step.duration_s) if step.template.is_random else 1
    frames = [step.template.frame() for _ in range(count)]
    pktps = step.pktps * speed
    if step.template.is_random:
        elapsed_s, counts = duration_s, _send_all(wires, frames, pktps)
    else:
        if duration_s < step.duration_s:
            _send(wires, frames, pktps, _BUCKET_S)
        elapsed_s, counts = _send(wires, frames, pktps, duration_s)
    return [
        f"port {rate.port}{'' if rate.dscp is None else f' dscp {rate.dscp}'}: "
        f"{measured / speed:.0f} instead of {_wanted(rate)}"
        for rate in step.expected
        if abs((measured := _measured(rate, counts, elapsed_s)) - _wanted(rate) * speed)
        > _wanted(rate) * speed * TOLERANCE
    ]


def _send(
    wires: dict[int, Wire], frames: list[bytes], pktps: float, duration_s: float
) -> tuple[float, Counts]:
    """Send evenly, the frames in turn, while counting what arrives; how long it was in truth."""
    counts: Counts = Counter()
    _count(wires, Counter())
    began = time.monotonic()
    sent = 0
    while (elapsed_s := time.monotonic() - began) < duration_s:
        due = int(elapsed_s * pktps) + 1
        while sent < due:
            wires[RECEIVE_PORT].send(frames[sent % len(frames)])
            sent += 1
        _count(wires, counts)
        time.sleep(_TICK_S)
    _count(wires, counts)
    return time.monotonic() - began, counts


def _send_all(wires: dict[int, Wire], frames: list[bytes], pktps: float) -> Counts:
    """Send each frame once, and count what arrives until nothing more does."""
    counts: Counts = Counter()
    _count(wires, Counter())
    began = time.monotonic()
    sent = 0
    while sent < len(frames):
        due = min(int((time.monotonic() - began) * pktps) + 1, len(frames))
        while sent < due:
            wires[RECEIVE_PORT].send(frames[sent])
            sent += 1
        _count(wires, counts)
        time.sleep(_TICK_S)
    last_s = time.monotonic()
    while time.monotonic() - last_s < _QUIET_S:
        before = counts.total()
        _count(wires, counts)
        if counts.total() > before:
            last_s = time.monotonic()
        time.sleep(_TICK_S)
    return counts


def _count(wires: dict[int, Wire], counts: Counts) -> None:
    for port, wire in wires.items():
        while (got := wire.receive_head()) is not None:
            length, head = got
            dscp = _dscp(head)
            counts[port, dscp, "packets"] += 1
            counts[port, dscp, "bytes"] += length


def _dscp(head: memoryview) -> int:
    match head[12:14].tobytes():
        case b"\x08\x00":
            return head[15] >> 2
        case b"\x86\xdd":
            return (head[14] & 0xF) << 2 | head[15] >> 6
        case _:
            return -1


def _measured(rate: Rate, counts: Counts, elapsed_s: float) -> float:
    unit = "packets" if rate.pktps else "bytes"
    total = sum(
        n
        for (port, dscp, what), n in counts.items()
        if port == rate.port and what == unit and rate.dscp in (None, dscp)
    )
    return total / elapsed_s / (1 if rate.pktps else _BYTES_PER_KILOBIT)


def _wanted(rate: Rate) -> int:
    """In the unit that the case names."""
    return rate.pktps or rate.kbps or 0
