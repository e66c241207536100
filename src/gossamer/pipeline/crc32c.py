"""The CRC that SCTP has in place of a checksum."""

from __future__ import annotations

from typing import Final


def _crc32c_table() -> list[int]:
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ 0x82F63B78 if n & 1 else n >> 1
        table.append(n)
    return table


_CRC32C: Final = _crc32c_table()


def crc32c(data: bytes | bytearray) -> int:
    """The CRC that SCTP carries in place of a checksum (RFC 9260, appendix A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC32C[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF
