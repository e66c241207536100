"""Numbered packets, one a millisecond, and for how long none of them arrived.

usage: python -m bench.outage send        until SIGTERM: to 10.0.0.2
       python -m bench.outage receive     until SIGTERM: then the bursts that came, as JSON
"""

from __future__ import annotations

import json
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

_PORT: Final = 4500
_PACKET: Final = struct.Struct("=QQ")
"""Number, and CLOCK_MONOTONIC in ns when it was sent; one clock for all namespaces."""

Burst = tuple[int, int, int, int]
"""What came without a gap: the number of the first packet and when it was sent, and of the last."""


def _until_told() -> Callable[[], bool]:
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    return lambda: not told


def send() -> None:
    """Send to 10.0.0.2."""
    going = _until_told()
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(("10.0.0.2", _PORT))
    began_s, number = time.monotonic(), 0
    while going():
        while number < (time.monotonic() - began_s) * 1e3:
            s.send(_PACKET.pack(number, time.monotonic_ns()))
            number += 1
        time.sleep(0.001)


def receive() -> None:
    """Receive, and print the bursts."""
    going = _until_told()
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", _PORT))
    s.settimeout(0.1)
    print("ready", flush=True)
    bursts: list[list[int]] = []
    while going():
        try:
            number, sent_ns = _PACKET.unpack(s.recv(64))
        except TimeoutError:
            continue
        if bursts and number == bursts[-1][2] + 1:
            bursts[-1][2:] = number, sent_ns
        else:
            bursts.append([number, sent_ns, number, sent_ns])
    print(json.dumps(bursts))


def outages_ms(bursts: Sequence[Burst]) -> list[float]:
    """How long nothing arrived of what is sent each millisecond, once for each time, ascending.

    `bursts` are those of all receivers.  A sender that was late sends much at once, one that is late
    sends nothing: the smaller of what is missing and the time it was sent in is not its doing.
    """
    gaps = (
        (after[0] - before[2] - 1, (after[1] - before[3]) / 1e6)
        for before, after in pairwise(sorted(bursts))
    )
    return sorted(min(lost, took_ms) for lost, took_ms in gaps if lost)


if __name__ == "__main__":
    {"send": send, "receive": receive}[sys.argv[1]]()
