"""By which hash a bond's packets are spread (ovs-vswitchd(8), bond/hash).

The one of Debian's builds: MurmurHash3's steps (public domain, Austin Appleby) over the two halves
of a number, whose numbers scripts that move hashes between members have from there.
"""

from __future__ import annotations

from typing import Final

_ALL: Final = 0xFFFFFFFF
_BUCKETS: Final = 256
_LENGTH: Final = 8
"""Bytes that are hashed."""


def bond_hash(mac: int, vlan: int, basis: int) -> int:
    """The bucket, 0 to 255, of an Ethernet address in a VLAN; `basis` is the bond's own."""
    number = (vlan & 0xFFFF) << 48 | mac
    mixed = _add(_add(basis & _ALL, number & _ALL), number >> 32)
    return _finish(mixed ^ _LENGTH) % _BUCKETS


def _rotate(x: int, n: int) -> int:
    return (x << n | x >> (32 - n)) & _ALL


def _add(state: int, data: int) -> int:
    state ^= _rotate(data * 0xCC9E2D51 & _ALL, 15) * 0x1B873593 & _ALL
    return (_rotate(state, 13) * 5 + 0xE6546B64) & _ALL


def _finish(state: int) -> int:
    state = (state ^ state >> 16) * 0x85EBCA6B & _ALL
    state = (state ^ state >> 13) * 0xC2B2AE35 & _ALL
    return state ^ state >> 16
