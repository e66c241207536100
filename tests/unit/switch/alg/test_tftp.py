"""What is a request of TFTP."""

from __future__ import annotations

import pytest

from gossamer.switch.alg.tftp import is_request


@pytest.mark.parametrize(
    "payload",
    [
        b"\0\1file\0octet\0",
        b"\0\2dir/file\0NetASCII\0",
        b"\0\1file\0octet\0blksize\x001428\0",
    ],
)
def test_a_request_is_known(payload: bytes) -> None:
    assert is_request(payload)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\0\1", b"\0\3\0\1data", b"\0\1file\0", b"\0\1file\0octet", b"\0\1\0octet\0", b"\0\1f\0x\0"],
)
def test_other_packets_are_none(payload: bytes) -> None:
    assert not is_request(payload)
