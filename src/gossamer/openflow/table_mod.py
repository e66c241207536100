"""TABLE_MOD (OpenFlow 1.1.0, A.3.3; 1.4.1, 7.3.4.1)."""

from __future__ import annotations

from struct import unpack_from
from typing import Final

from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.message import TableMod, Version
from gossamer.openflow.properties import Property, properties

EVICTION: Final = 1 << 2
VACANCY_EVENTS: Final = 1 << 3
"""Bits of a table's configuration from OpenFlow 1.4 on."""
PROPERTY_EVICTION, PROPERTY_VACANCY = 2, 3
_MISS: Final = 0b11


def decode_table_mod(data: bytes, version: int) -> TableMod:
    """OFPT_TABLE_MOD.  Raises OpenFlowError(TABLE_MOD_FAILED_*, BAD_PROPERTY_*, BAD_LEN)."""
    if len(data) < 16 or (version < Version.V14 and len(data) != 16):
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    table_id, config = unpack_from(">B3xI", data, 8)
    if version < Version.V13:
        if config & _MISS == _MISS or config & ~_MISS:
            raise OpenFlowError(ErrorCode.TABLE_MOD_FAILED_BAD_CONFIG)
        return TableMod(table_id, config, miss=config & _MISS)
    if version == Version.V13:
        return TableMod(table_id, config)
    down = up = 0
    flags: int | None = None
    for p in properties(data[16:]):
        if p.vendor or p.type not in (PROPERTY_EVICTION, PROPERTY_VACANCY):
            raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_TYPE, f"table property {p.type}")
        if p.type == PROPERTY_EVICTION:
            flags = p.number(4)
        else:
            down, up = _thresholds(p)
    return TableMod(
        table_id, config, None, bool(config & EVICTION), bool(config & VACANCY_EVENTS), down, up,
        flags,
    )  # fmt: skip


def _thresholds(p: Property) -> tuple[int, int]:
    if len(p.payload) != 4:
        raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_LEN)
    down, up, vacancy, _ = p.payload
    if down > up or up > 100 or vacancy:
        raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_VALUE, f"vacancy {down}..{up}, {vacancy}")
    return down, up
