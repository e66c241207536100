"""A connection as the kernel keeps it (`struct ct_connection`), read."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.datapath import layout
from gossamer.datapath.conntrack.tuple import unpack
from gossamer.datapath.layout import CtFlag
from gossamer.pipeline.conntrack.tuple import Tuple

TRANSLATED = CtFlag.SRC_NAT | CtFlag.DST_NAT


@dataclass(frozen=True, slots=True)
class Peer:
    """A side of a TCP connection; `state` is a name of layout.CT_TCP_STATES."""

    state: str
    wscale: int
    """0 to 14."""
    wscale_known: bool
    """Its SYN had a window scale."""
    liberal: bool
    """Its SYN was not seen, so windows are taken for the widest there are."""


@dataclass(frozen=True, slots=True)
class Connection:
    """What the kernel keeps of a connection, at the time it was read."""

    orig: Tuple
    """Of the packet that made it."""
    reply: Tuple
    """Of answers; the reverse of `orig` unless addresses are translated."""
    flags: CtFlag
    mark: int
    label: int
    """128 bits."""
    timeout_s: float
    """Seconds that it lives if no packet comes; 0 where its time is up."""
    age_s: float
    n_packets: tuple[int, int]
    """Of the originator, of answers."""
    n_bytes: tuple[int, int]
    peers: tuple[Peer, Peer] | None
    """The originator's and the other; TCP only."""
    policy: int
    alg: int
    """0, 21 (FTP) or 69 (TFTP)."""
    parent: Tuple | None
    """The connection whose helper expected it."""
    key: bytes
    """Where the kernel finds it."""

    @property
    def zone(self) -> int:
        """Its zone."""
        return self.orig.zone


def decode(key: bytes, value: bytes, now_ns: int, parent: bytes | None) -> Connection:
    """From a key and value of `ct_connections`; `parent` is the key of the connection whose helper
    expected it."""
    (
        _, _, expires, packets0, packets1, bytes0, bytes1, created_s, mark, label,
        _, _, _, wscale0, state0, _, _, _, wscale1, state1,
        src, dst, sport, dport, policy, flag_bits, alg,
    ) = layout.CT_CONNECTION.unpack(value)  # fmt: skip
    flags = CtFlag(flag_bits)
    orig = unpack(key)
    if flags & CtFlag.SWAPPED:
        orig = orig.reversed()
    reply = orig.reversed()
    if flags & TRANSLATED:
        length = len(orig.src)
        reply = Tuple(
            src[:length],
            dst[:length],
            orig.proto,
            int.from_bytes(sport, "big"),
            int.from_bytes(dport, "big"),
            orig.zone,
        )
    peers = None
    if orig.proto == 6:
        peers = (_peer(wscale0, state0), _peer(wscale1, state1))
    return Connection(
        orig,
        reply,
        flags,
        int.from_bytes(mark, "big"),
        int.from_bytes(label, "big"),
        max(0.0, (expires - now_ns) / 1e9),
        max(0.0, now_ns / 1e9 - created_s),
        (packets0, packets1),
        (bytes0, bytes1),
        peers,
        policy,
        alg,
        unpack(parent) if parent is not None else None,
        key,
    )


def _peer(wscale: int, state: int) -> Peer:
    return Peer(
        layout.CT_TCP_STATES[state], wscale & 0x0F, bool(wscale & 0x80), bool(wscale & 0x40)
    )
