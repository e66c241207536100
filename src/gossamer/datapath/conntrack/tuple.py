"""A connection's tuples as the kernel keeps them (bpf/conntrack.h)."""

from __future__ import annotations

from gossamer.datapath import layout
from gossamer.pipeline.conntrack.tuple import ANSWERS, IPV4, NO_ANSWER, Tuple


def pack(t: Tuple, mark: int = 0) -> bytes:
    """`struct ct_tuple`; `mark` is what stands beside the family."""
    return layout.CT_TUPLE.pack(
        t.src.ljust(16, b"\0"),
        t.dst.ljust(16, b"\0"),
        t.sport.to_bytes(2, "big"),
        t.dport.to_bytes(2, "big"),
        t.proto,
        t.family | mark,
        t.zone,
    )


def unpack(raw: bytes) -> Tuple:
    """From `struct ct_tuple`."""
    src, dst, sport, dport, proto, family, zone = layout.CT_TUPLE.unpack(raw)
    length = 4 if family & 0xF == IPV4 else 16
    return Tuple(
        src[:length],
        dst[:length],
        proto,
        int.from_bytes(sport, "big"),
        int.from_bytes(dport, "big"),
        zone,
    )


def canonical(t: Tuple) -> tuple[Tuple, bool]:
    """The smaller one of a tuple and the answer's, and whether that is the answer's.

    Both directions are found by it.
    """
    back = t.reversed()
    return (back, True) if _order(t) > _order(back) else (t, False)


def icmp_answer(type_and_code: bytes, proto: int) -> bytes:
    """Type and code of what answers a query of ICMP or ICMPv6."""
    return bytes((ANSWERS[proto].get(type_and_code[0], NO_ANSWER), 0))


def _order(t: Tuple) -> tuple[int, int, int]:
    """As ct_is_swapped() compares: by 64-bit words as they lie in memory."""
    raw = t.src.ljust(16, b"\0")
    port = t.dport >> 8 if t.is_icmp else t.sport
    return int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little"), port
