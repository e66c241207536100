"""The Internet checksum (RFC 1071)."""

from __future__ import annotations

from struct import unpack


def internet_sum(data: bytes) -> int:
    """The 16-bit one's complement sum of the data, zero-padded to an even length."""
    if len(data) & 1:
        data += b"\0"
    total: int = sum(unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def checksum(data: bytes) -> int:
    """What goes into a header: the complement of that sum."""
    return internet_sum(data) ^ 0xFFFF
