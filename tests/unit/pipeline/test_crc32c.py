"""SCTP's CRC."""

from __future__ import annotations

from gossamer.pipeline.crc32c import crc32c


def test_crc32c_is_the_one_of_rfc_9260() -> None:
    assert crc32c(b"123456789") == 0xE3069283
