"""Requests of TFTP (RFC 1350, RFC 2347): the server answers from another port than it was asked at."""

from __future__ import annotations

from typing import Final

_READ: Final = b"\0\1"
_WRITE: Final = b"\0\2"
_MODES: Final = (b"netascii", b"octet", b"mail")


def is_request(payload: bytes) -> bool:
    """Whether this is a request to read or write a file, after which data come from a new port."""
    if payload[:2] not in (_READ, _WRITE):
        return False
    name, _, rest = payload[2:].partition(b"\0")
    mode, end, _ = rest.partition(b"\0")
    return bool(name) and bool(end) and mode.lower() in _MODES
