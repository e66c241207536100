"""Flow tables on the wire: counters, descriptions, features (OpenFlow 1.3.5, 7.3.5.4 and 7.3.5.5)."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final

from gossamer.openflow.frame import multipart, pieces
from gossamer.openflow.message import TableStats, Version
from gossamer.openflow.oxm import encode_header
from gossamer.pipeline.fields import FIELDS

_TABLE10: Final = Struct(">B3x32sIIIQQ")
_TABLE11: Final = Struct(">B7x32sIIIIIIIIQQ")
_TABLE12: Final = Struct(">B7x32sQQIIQQQQIIIIQQ")
_TABLE13: Final = Struct(">B3xIQQ")
_WILDCARDS10: Final = 0x3FFFFF
_FIELDS11: Final = 0x3FF
_INSTRUCTIONS: Final = 0b11111 << 1
_ALL64: Final = 0xFFFFFFFFFFFFFFFF
_ACTIONS11: Final = 1 << 0 | 1 << 17 | 1 << 18 | 1 << 21 | 1 << 23 | 1 << 24
_ACTIONS12: Final = _ACTIONS11 | 1 << 25
_OXM_BITS: Final = sum(1 << f.oxm[1] for f in FIELDS if f.oxm and f.oxm[1] < 40)
_WRITABLE_BITS: Final = sum(1 << f.oxm[1] for f in FIELDS if f.oxm and f.oxm[1] < 40 and f.writable)


def _table_stats(t: TableStats, version: int) -> bytes:
    name = t.name.encode()[:31].ljust(32, b"\0")
    if version == Version.V10:
        return _TABLE10.pack(
            t.table_id, name, _WILDCARDS10, t.max_entries, t.active, t.lookups, t.matched
        )
    if version == Version.V11:
        return _TABLE11.pack(
            t.table_id, name, _FIELDS11, _FIELDS11, _INSTRUCTIONS, _ACTIONS11, _ACTIONS11, t.miss,
            t.max_entries, t.active, t.lookups, t.matched,
        )  # fmt: skip
    if version == Version.V12:
        return _TABLE12.pack(
            t.table_id, name, _OXM_BITS, _OXM_BITS, _ACTIONS12, _ACTIONS12, _WRITABLE_BITS,
            _WRITABLE_BITS, _ALL64, _ALL64, _INSTRUCTIONS, t.miss, t.max_entries, t.active,
            t.lookups, t.matched,
        )  # fmt: skip
    return _TABLE13.pack(t.table_id, t.active, t.lookups, t.matched)


def table_stats_replies(tables: Iterable[TableStats], version: int, xid: int) -> list[bytes]:
    """OFPMP_TABLE."""
    records = (_table_stats(t, version) for t in tables)
    return [multipart(version, 3, xid, body, more) for body, more in pieces(records)]


def table_desc_replies(tables: Iterable[TableStats], version: int, xid: int) -> list[bytes]:
    """OFPMP_TABLE_DESC (OpenFlow 1.4.1, 7.3.5.8)."""
    records = []
    for t in tables:
        config = (1 << 2 if t.evicts else 0) | (1 << 3 if t.vacancy else 0)
        head = (8).to_bytes(2, "big") + bytes((t.table_id, 0))
        records.append(head + config.to_bytes(4, "big"))
    return [multipart(version, 14, xid, body, more) for body, more in pieces(records)]


def _property(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return (kind.to_bytes(2, "big") + length.to_bytes(2, "big") + value).ljust(
        (length + 7) // 8 * 8, b"\0"
    )


def _ids(numbers: Iterable[int]) -> bytes:
    return b"".join(n.to_bytes(2, "big") + (4).to_bytes(2, "big") for n in numbers)


def _features(t: TableStats, version: int, last: int) -> bytes:
    following = bytes(range(t.table_id + 1, last + 1))
    actions = _ids((0, 17, 18, 21, 23, 24, 25))
    match = b"".join(
        encode_header(f, version, f.maskable) for f in FIELDS if f.oxm or f.nxm is not None
    )
    # What may be wildcarded whole is named without a mask; ovs-ofctl refuses anything else.
    wildcards = b"".join(
        encode_header(f, version, False) for f in FIELDS if f.oxm or f.nxm is not None
    )
    settable = b"".join(encode_header(f, version, False) for f in FIELDS if f.writable)
    properties = b""
    for miss in (0, 1):
        properties += _property(0 + miss, _ids((1, 2, 3, 4, 5) if following else (2, 3, 4, 5)))
        properties += _property(2 + miss, following)
        properties += _property(4 + miss, actions) + _property(6 + miss, actions)
        properties += _property(12 + miss, settable) + _property(14 + miss, settable)
    properties += _property(8, match) + _property(10, wildcards)
    name = t.name.encode()[:31].ljust(32, b"\0")
    head = bytes((t.table_id,)) + bytes(5) + name + _ALL64.to_bytes(8, "big") * 2
    config = (1 << 2 if t.evicts else 0) if version >= Version.V14 else 0
    if version >= Version.V14:
        head = bytes((t.table_id, 0)) + bytes(4) + name + _ALL64.to_bytes(8, "big") * 2
    body = head + config.to_bytes(4, "big") + t.max_entries.to_bytes(4, "big") + properties
    return (2 + len(body)).to_bytes(2, "big") + body


def table_features_replies(tables: Iterable[TableStats], version: int, xid: int) -> list[bytes]:
    """OFPMP_TABLE_FEATURES."""
    tables = list(tables)
    last = tables[-1].table_id if tables else 0
    records = (_features(t, version, last) for t in tables)
    return [multipart(version, 12, xid, body, more) for body, more in pieces(records)]
