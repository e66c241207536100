"""How errors are told: which code of which version, and the message that carries it."""

from __future__ import annotations

from struct import unpack_from
from typing import Final

from gossamer.errors import GossamerError
from gossamer.openflow.error_code import ErrorCode, WireCode
from gossamer.openflow.message.version import Version

__all__ = [
    "ErrorCode",
    "OpenFlowError",
    "decode_error",
    "encode_error",
    "error_body",
    "find_code",
    "wire_code",
]

_NEAREST: Final = {
    "BAD_ACTION": (2, 5),
    "BAD_MATCH_BAD_LEN": (1, 6),
    "BAD_INSTRUCTION_BAD_LEN": (1, 6),
    "FLOW_MOD_FAILED": (3, 5),
    "PORT_MOD_FAILED": (4, 0),
}
"""By the beginning of a name: a code of OpenFlow 1.0 for what it has none for."""
_NX_ERROR_TYPE: Final = 0xB0C2
"""Type of Nicira's errors in OpenFlow 1.0 and 1.1."""


class OpenFlowError(GossamerError):
    """A request that must be refused; `code` says how the peer is told."""

    def __init__(self, code: ErrorCode, message: str = "", *, place: str = "") -> None:
        super().__init__(message or code.name, place=place)
        self.code = code


def _find(rows: tuple[WireCode, ...], version: int) -> WireCode | None:
    return next((row for row in reversed(rows) if row.since <= version), None)


def find_code(code: ErrorCode, version: int) -> WireCode:
    """How an error is told in a version of the protocol."""
    found = _find(code.value, version) or _find(ErrorCode.BAD_REQUEST_UNSAYABLE.value, version)
    assert found is not None
    return found


def wire_code(code: ErrorCode, version: int) -> tuple[int, int]:
    """(type, code) as the standard of a version has it; where it has none, the nearest it has.

    `error_body()` is what can say the errors of extensions.
    """
    rows = tuple(row for row in code.value if not row.vendor)
    found = _find(rows, version)
    if found is not None:
        return found.kind, found.code
    return next((near for name, near in _NEAREST.items() if code.name.startswith(name)), (1, 1))


def error_body(code: ErrorCode, version: int) -> bytes:
    """The body of an OFPT_ERROR up to the data (OpenFlow 1.3.5, 7.4.4)."""
    w = find_code(code, version)
    if not w.vendor:
        return w.kind.to_bytes(2, "big") + w.code.to_bytes(2, "big")
    vendor = w.vendor.to_bytes(4, "big")
    if version < Version.V12:
        head = _NX_ERROR_TYPE.to_bytes(2, "big") + bytes(2) + vendor
        return head + w.kind.to_bytes(2, "big") + w.code.to_bytes(2, "big")
    return b"\xff\xff" + w.code.to_bytes(2, "big") + vendor


def encode_error(code: ErrorCode, version: int, request: bytes, xid: int) -> bytes:
    """An OFPT_ERROR that answers `request`, with all of it that fits, as Open vSwitch does."""
    body = error_body(code, version)
    body += request[: 0xFFFF - 8 - len(body)]
    head = bytes((version, 1)) + (8 + len(body)).to_bytes(2, "big") + xid.to_bytes(4, "big")
    return head + body


def _by_wire() -> dict[tuple[int, int, int, int], ErrorCode]:
    known: dict[tuple[int, int, int, int], ErrorCode] = {}
    for code in ErrorCode:
        for version in Version:
            row = _find(code.value, version)
            if row is not None:
                known.setdefault((version, row.vendor, row.kind, row.code), code)
    return known


_KNOWN: Final = _by_wire()


def decode_error(body: bytes, version: int) -> tuple[ErrorCode | None, bytes]:
    """(error, data) of the body of an OFPT_ERROR; None for codes that have no name here.

    Raises OpenFlowError(BAD_LEN) for a body that is cut short.
    """
    if len(body) < 4:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    kind, code = int.from_bytes(body[:2], "big"), int.from_bytes(body[2:4], "big")
    if kind == _NX_ERROR_TYPE and version < Version.V12:
        if len(body) < 12:
            raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
        key = (version, *unpack_from(">IHH", body, 4))
        return _KNOWN.get(key), body[12:]
    if kind == 0xFFFF and version >= Version.V12:
        if len(body) < 8:
            raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
        vendor = int.from_bytes(body[4:8], "big")
        return _KNOWN.get((version, vendor, kind, code)), body[8:]
    return _KNOWN.get((version, 0, kind, code)), body[4:]
