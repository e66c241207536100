"""The messages that change rules: known by their bytes, and read again from a journal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gossamer.openflow import message as m
from gossamer.openflow.codec import Context, decode, decode_flow_mod
from gossamer.switch.journal_record import Record

TABLE_ID_EXTENSION: Final = 1
"""Context bit of a journal record: FLOW_MODs of OpenFlow 1.0 that carry a table."""
FLOW_MOD: Final = 14
GROUP_MOD: Final = 15
METER_MOD: Final = 29
VENDOR: Final = 4
NXT_FLOW_MOD: Final = bytes.fromhex("000023200000000d")
"""Vendor and subtype of Nicira's FLOW_MOD, which OpenFlow 1.0 needs for NXM matches."""
NXT_GROUP_MOD: Final = bytes.fromhex("000023200000001f")
"""That of Nicira's GROUP_MOD, with which earlier versions have what 1.5 can do."""

RuleMod = m.FlowMod | m.GroupMod | m.MeterMod
"""What changes rules."""


def is_flow_mod(raw: bytes) -> bool:
    """Whether a message is a FLOW_MOD, in whatever form."""
    return raw[1] == FLOW_MOD or (raw[1] == VENDOR and raw[8:16] == NXT_FLOW_MOD)


def is_rule_mod(raw: bytes) -> bool:
    """Whether a message changes rules."""
    kind = raw[1]
    if kind == VENDOR:
        return raw[8:16] in (NXT_FLOW_MOD, NXT_GROUP_MOD)
    # In OpenFlow 1.0 the number of GROUP_MOD is that of PORT_MOD.
    return kind == FLOW_MOD or (raw[0] > 1 and kind in (GROUP_MOD, METER_MOD))


def messages_in(record: Record) -> Iterator[tuple[RuleMod, int]]:
    """The messages of a record with their transaction ids, each read as its connection would."""
    payload: bytes = record.payload
    contexts: dict[int, Context] = {}
    offset = 0
    while offset < len(payload):
        length = int.from_bytes(payload[offset + 2 : offset + 4], "big")
        raw = payload[offset : offset + length]
        context = contexts.get(raw[0])
        if context is None:
            context = contexts[raw[0]] = Context(raw[0])
            context.flow_mod_table_id = bool(record.context & TABLE_ID_EXTENSION)
        message = decode_flow_mod(raw, context) if is_flow_mod(raw) else decode(raw, context)
        assert isinstance(message, RuleMod)
        yield message, int.from_bytes(raw[4:8], "big")
        offset += length
