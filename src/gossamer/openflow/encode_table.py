"""Flow tables on the wire: counters and descriptions (OpenFlow 1.3.5, 7.3.5.4; 1.4.1, 7.3.5.8)."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final

from gossamer.openflow.capabilities import action_bitmap
from gossamer.openflow.frame import multipart, pieces
from gossamer.openflow.message import TableDesc, TableStats, Version
from gossamer.openflow.properties import encode_number, encode_property
from gossamer.openflow.table_mod import (
    EVICTION,
    PROPERTY_EVICTION,
    PROPERTY_VACANCY,
    VACANCY_EVENTS,
)
from gossamer.pipeline.fields import FIELDS, OXM_BASIC

_TABLE10: Final = Struct(">B3x32sIIIQQ")
_TABLE11: Final = Struct(">B7x32sIIIIIIIIQQ")
_TABLE12: Final = Struct(">B7x32sQQIIQQQQIIIIQQ")
_TABLE13: Final = Struct(">B3xIQQ")
_WILDCARDS10: Final = 0x3FFFFF
_FIELDS11: Final = 0xFBFF
"""All there are but the type of the match itself (enum ofp_flow_match_fields)."""
_INSTRUCTIONS: Final = 0b11111 << 1
_GOTO_TABLE: Final = 1 << 1
_ALL64: Final = 0xFFFFFFFFFFFFFFFF
_ACTIONS11: Final = action_bitmap(Version.V11)
_ACTIONS12: Final = action_bitmap(Version.V12)
_OXM: Final = {f.oxm[1]: f for f in FIELDS if f.oxm and f.oxm[0] == OXM_BASIC and f.oxm[1] < 40}
_OXM_BITS: Final = sum(1 << number for number in _OXM)
_WRITABLE_BITS: Final = sum(1 << number for number, f in _OXM.items() if f.writable)


def _table_stats(t: TableStats, version: int, is_last: bool) -> bytes:
    instructions = _INSTRUCTIONS & ~(_GOTO_TABLE if is_last else 0)
    name = t.name.encode()[:31].ljust(32, b"\0")
    if version == Version.V10:
        return _TABLE10.pack(
            t.table_id, name, _WILDCARDS10, t.max_entries, t.active, t.lookups, t.matched
        )
    if version == Version.V11:
        return _TABLE11.pack(
            t.table_id, name, _FIELDS11, _FIELDS11, instructions, _ACTIONS11, _ACTIONS11, t.miss,
            t.max_entries, t.active, t.lookups, t.matched,
        )  # fmt: skip
    if version == Version.V12:
        return _TABLE12.pack(
            t.table_id, name, _OXM_BITS, _OXM_BITS, _ACTIONS12, _ACTIONS12, _WRITABLE_BITS,
            _WRITABLE_BITS, _ALL64, _ALL64, instructions, t.miss, t.max_entries, t.active,
            t.lookups, t.matched,
        )  # fmt: skip
    return _TABLE13.pack(t.table_id, t.active, t.lookups, t.matched)


def table_stats_replies(tables: Iterable[TableStats], version: int, xid: int) -> list[bytes]:
    """OFPMP_TABLE."""
    tables = list(tables)
    records = (_table_stats(t, version, t is tables[-1]) for t in tables)
    return [multipart(version, 3, xid, body, more) for body, more in pieces(records)]


def table_desc(t: TableDesc) -> bytes:
    """ofp_table_desc with its properties (OpenFlow 1.4.1, 7.3.5.8)."""
    config = EVICTION if t.evicts else 0
    body = encode_number(PROPERTY_EVICTION, t.eviction_flags, 4)
    if t.vacancy_down is not None and t.vacancy_up is not None:
        config |= VACANCY_EVENTS
        thresholds = bytes((t.vacancy_down, t.vacancy_up, t.vacancy, 0))
        body += encode_property(PROPERTY_VACANCY, thresholds)
    head = (8 + len(body)).to_bytes(2, "big") + bytes((t.table_id, 0))
    return head + config.to_bytes(4, "big") + body


def table_desc_replies(
    tables: Iterable[TableDesc | TableStats], version: int, xid: int
) -> list[bytes]:
    """OFPMP_TABLE_DESC (OpenFlow 1.4.1, 7.3.5.8); of a TableStats only whether it evicts is told."""
    records = (
        table_desc(t if isinstance(t, TableDesc) else TableDesc(t.table_id, t.evicts))
        for t in tables
    )
    return [multipart(version, 14, xid, body, more) for body, more in pieces(records)]
