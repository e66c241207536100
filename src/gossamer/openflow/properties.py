"""Properties: type, length and value, the way later OpenFlow extends its structures (1.5.1, 7.2.1.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from gossamer.openflow.error import ErrorCode, OpenFlowError

EXPERIMENTER: Final = 0xFFFF


class Property(NamedTuple):
    """One property; `payload` is what follows its header (and an experimenter's two words)."""

    type: int
    payload: bytes
    vendor: int = 0
    """0: of the standard."""

    def number(self, length: int) -> int:
        """The payload's first `length` bytes as a number.

        Raises OpenFlowError(BAD_PROPERTY_BAD_LEN) where it is shorter; the padding that some
        properties count to their length is overlooked.
        """
        if len(self.payload) < length:
            raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_LEN)
        return int.from_bytes(self.payload[:length], "big")


def properties(data: bytes, *, first_experimenter: int = EXPERIMENTER) -> Iterator[Property]:
    """The properties of `data`, each padded to 8 bytes.

    Types from `first_experimenter` on are experimenters', whose type here is
    that within their own numbers.  Raises OpenFlowError(BAD_PROPERTY_*).
    """
    offset, end = 0, len(data)
    while offset < end:
        if end - offset < 4:
            raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_LEN)
        kind = int.from_bytes(data[offset : offset + 2], "big")
        length = int.from_bytes(data[offset + 2 : offset + 4], "big")
        padded = (length + 7) // 8 * 8
        if length < 4 or offset + padded > end:
            raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_LEN)
        body = data[offset + 4 : offset + length]
        if kind < first_experimenter:
            yield Property(kind, body)
        else:
            if len(body) < 8:
                raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_LEN)
            vendor = int.from_bytes(body[:4], "big")
            if not vendor:
                raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_EXPERIMENTER)
            yield Property(int.from_bytes(body[4:8], "big"), body[8:], vendor)
        offset += padded


def unknown(of: str, p: Property) -> OpenFlowError:
    """The error for a property that means nothing to us."""
    if p.vendor:
        return OpenFlowError(
            ErrorCode.BAD_PROPERTY_BAD_EXP_TYPE, f"{of} property {p.vendor:#x}:{p.type}"
        )
    return OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_TYPE, f"{of} property {p.type}")


def encode_property(kind: int, payload: bytes) -> bytes:
    """A property of the standard, padded; the padding does not count to its length."""
    length = 4 + len(payload)
    head = kind.to_bytes(2, "big") + length.to_bytes(2, "big")
    return (head + payload).ljust((length + 7) // 8 * 8, b"\0")


def encode_number(kind: int, value: int, length: int) -> bytes:
    """A property of 8 bytes that holds one number; the padding counts to its length."""
    return encode_property(kind, value.to_bytes(length, "big").ljust(4, b"\0"))


def encode_experimenter(
    vendor: int, exp_type: int, payload: bytes, kind: int = EXPERIMENTER
) -> bytes:
    """An experimenter's property, padded."""
    return encode_property(kind, vendor.to_bytes(4, "big") + exp_type.to_bytes(4, "big") + payload)
