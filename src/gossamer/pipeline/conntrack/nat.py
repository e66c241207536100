"""Which address and port a connection is translated to (docs/conntrack.md, NAT)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from gossamer.pipeline.action_ct import Nat
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.pipeline.group import mix

_U32: Final = 0xFFFFFFFF
ALL_TRIED: Final = 256
"""Ranges up to this many ports are tried port by port."""
ROUNDS: Final = 16
ROUND_LENGTH: Final = 16


def tuple_hash(t: Tuple) -> int:
    """H of docs/conntrack.md: 32 bits of a tuple."""
    h = _mix_address(_mix_address(0, t.src), t.dst)
    dport = t.sport if t.is_icmp else t.dport
    h = mix(h, t.sport << 16 | dport)
    return mix(h, t.proto << 16 | t.zone) & _U32


def _mix_address(h: int, address: bytes) -> int:
    padded = address.rjust(16, b"\0")
    for at in range(0, 16, 4):
        h = mix(h, int.from_bytes(padded[at : at + 4], "big"))
    return h


def _source_hash(t: Tuple) -> int:
    return mix(_mix_address(0, t.src), 0) & _U32


def translated_reply(original: Tuple, nat: Nat, is_free: Callable[[Tuple], bool]) -> Tuple | None:
    """The tuple of answers to a new connection that `nat` translates; None where none is free.

    `is_free` tells whether no connection has a tuple.
    """
    reply = original.reversed()
    if nat.addresses is not None and len(nat.addresses[0]) != len(original.src):
        return reply
    h = random.getrandbits(32) if nat.random else tuple_hash(original)
    if nat.addresses is not None:
        first, last = (int.from_bytes(a, "big") for a in nat.addresses)
        at = _source_hash(original) if nat.persistent else h
        address = first + at % min(last - first + 1, _U32)
        packed = address.to_bytes(len(original.src), "big")
        reply = replace(reply, dst=packed) if nat.src else replace(reply, src=packed)
    if not original.has_ports and not original.is_icmp:
        return reply if is_free(reply) else None
    for candidate in _candidates(reply, original, nat, h):
        if is_free(candidate):
            return candidate
    return None


def _candidates(reply: Tuple, original: Tuple, nat: Nat, h: int) -> Iterator[Tuple]:
    if original.is_icmp:
        for identifier in ports(original.sport, 0, 0xFFFF, h):
            yield replace(reply, sport=identifier)
        return
    if nat.ports is not None:
        low, high = nat.ports
        first = low + h % (high - low + 1)
        if nat.src:
            for port in ports(first, low, high, h):
                yield replace(reply, dport=port)
            return
        for port in ports(first, low, high, h):
            yield replace(reply, sport=port)
        reply = replace(reply, sport=first)
    low, high = _class_of(original.sport)
    for port in ports(original.sport, low, high, h):
        yield replace(reply, dport=port)


def _class_of(port: int) -> tuple[int, int]:
    """The ports a source port may become."""
    if port < 512:
        return 1, 511
    return (600, 1023) if port < 1024 else (1024, 65535)


def ports(first: int, low: int, high: int, h: int) -> Iterator[int]:
    """The ports of a range in the order in which they are tried."""

    def run(port: int, length: int) -> Iterator[int]:
        for _ in range(length):
            yield port
            port = low if not low <= port < high else port + 1

    n = high - low + 1
    if n <= ALL_TRIED:
        yield from run(first, n + (not low <= first <= high))
        return
    yield from run(first, ROUND_LENGTH)
    for number in range(1, ROUNDS):
        yield from run(low + (mix(h, number) & _U32) % n, ROUND_LENGTH)
