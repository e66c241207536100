"""How an action is put in bytes: its header, and the fields it names."""

from __future__ import annotations

from gossamer.openflow.action_field import said_bits
from gossamer.openflow.message import Version
from gossamer.openflow.oxm import encode_header
from gossamer.pipeline.action import SubField
from gossamer.pipeline.fields import NX_VENDOR, Field


def be(value: int, length: int) -> bytes:
    """A number of `length` bytes, most significant first."""
    return value.to_bytes(length, "big")


def plain(kind: int, rest: bytes, length: int = 8) -> bytes:
    """An action of the standard, filled up to `length` bytes."""
    return (be(kind, 2) + be(length, 2) + rest).ljust(length, b"\0")


def nicira(subtype: int, rest: bytes) -> bytes:
    """A Nicira action, filled up to a multiple of 8 bytes."""
    length = (10 + len(rest) + 7) // 8 * 8
    head = b"\xff\xff" + be(length, 2) + be(NX_VENDOR, 4) + be(subtype, 2)
    return (head + rest).ljust(length, b"\0")


def nxm(field: Field) -> bytes:
    """A field's header inside a Nicira action: the NXM one where there is one."""
    return encode_header(field, Version.V10, False)


def packed_bits(sub: SubField) -> bytes:
    """Offset and width of a subfield in two bytes (nicira-ext.h, ofs_nbits)."""
    return be(sub.low << 6 | (said_bits(sub) - 1), 2)


def plain_or_nicira(kind: int, nicira_kind: int, value: bytes, version: int) -> bytes:
    """An action of OpenFlow 1.1 that 1.0 has from Nicira."""
    if version == Version.V10:
        return nicira(nicira_kind, value if len(value) < 4 else bytes(2) + value)
    return plain(kind, value)
