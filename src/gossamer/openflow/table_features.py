"""What flow tables can do, told and asked for (OpenFlow 1.3.5, 7.3.5.5; 1.5.1, 7.3.5.18)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from struct import Struct
from typing import Final

from gossamer.openflow.capabilities import action_bitmap
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.frame import multipart, pieces
from gossamer.openflow.message import (
    FeaturesCommand,
    RuleFeatures,
    TableFeatures,
    TableStats,
    Version,
)
from gossamer.openflow.oxm import decode_header, encode_header
from gossamer.openflow.properties import encode_property, properties, unknown
from gossamer.openflow.table_mod import EVICTION, VACANCY_EVENTS
from gossamer.pipeline.field_views import XREGS, XXREGS
from gossamer.pipeline.fields import FIELDS, Field

_HEAD: Final = Struct(">HBB4x32sQQII")
(
    _INSTRUCTIONS, _NEXT, _WRITE, _APPLY, _MATCH, _WILDCARDS, _WRITE_SET, _APPLY_SET
) = (0, 2, 4, 6, 8, 10, 12, 14)  # fmt: skip
"""Types of properties; that of a table's miss is the next higher one, but for the matches."""
_REQUIRED: Final = sum(1 << kind for kind in (0, 2, 4, 6, 8, 10, 12, 14))
_GOTO, _METADATA, _WRITE_ACTIONS, _APPLY_ACTIONS, _CLEAR, _METER = range(1, 7)
_WITHOUT_GOTO: Final = sum(1 << i for i in (_METADATA, _WRITE_ACTIONS, _APPLY_ACTIONS, _CLEAR))
_ALL_TABLES: Final = 0xFF
_KNOWN: Final[tuple[Field, ...]] = (
    *(f for f in FIELDS if f.oxm or f.nxm is not None),
    *XREGS,
    *XXREGS,
)
_MATCHABLE: Final = frozenset(f.name for f in _KNOWN)
_MASKABLE: Final = frozenset(f.name for f in _KNOWN if f.maskable)
_WRITABLE: Final = frozenset(f.name for f in _KNOWN if f.writable)


def table_features(t: TableStats, version: int, last: int) -> TableFeatures:
    """What one of our tables can do; `last` is the number of the last table."""
    following = frozenset(range(t.table_id + 1, last + 1))
    instructions = _WITHOUT_GOTO | (1 << _GOTO if following else 0)
    if Version.V13 <= version < Version.V15:
        instructions |= 1 << _METER
    actions = action_bitmap(version)
    rules = RuleFeatures(instructions, following, actions, actions, _WRITABLE, _WRITABLE)
    return TableFeatures(
        t.table_id, t.name, t.max_entries, rules=rules, miss=rules, match=_MATCHABLE,
        masked=_MASKABLE, wildcards=_MATCHABLE,
    )  # fmt: skip


def table_features_replies(
    tables: Iterable[TableStats | TableFeatures], version: int, xid: int
) -> list[bytes]:
    """OFPMP_TABLE_FEATURES; of a `TableStats`, what our tables can do."""
    tables = list(tables)
    last = tables[-1].table_id if tables else 0
    records = (
        _encode(t if isinstance(t, TableFeatures) else table_features(t, version, last), version)
        for t in tables
    )
    return [multipart(version, 12, xid, body, more) for body, more in pieces(records)]


# -- to bytes -----------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def _ids(bits: int) -> bytes:
    return b"".join(
        kind.to_bytes(2, "big") + (4).to_bytes(2, "big") for kind in range(32) if bits >> kind & 1
    )


@lru_cache(maxsize=16)  # all tables have the same, and there are 254 of them
def _fields(names: frozenset[str], masked: frozenset[str], version: int) -> bytes:
    return b"".join(encode_header(f, version, f.name in masked) for f in _KNOWN if f.name in names)


def _rules(r: RuleFeatures, miss: int, version: int) -> bytes:
    nothing: frozenset[str] = frozenset()
    return (
        encode_property(_INSTRUCTIONS + miss, _ids(r.instructions))
        + encode_property(_NEXT + miss, bytes(sorted(r.next_tables)))
        + encode_property(_WRITE + miss, _ids(r.write_actions))
        + encode_property(_WRITE_SET + miss, _fields(r.write_fields, nothing, version))
        + encode_property(_APPLY + miss, _ids(r.apply_actions))
        + encode_property(_APPLY_SET + miss, _fields(r.apply_fields, nothing, version))
    )


def _encode(t: TableFeatures, version: int) -> bytes:
    body = b""
    if t.rules is not None:
        body = _rules(t.rules, 0, version) + _rules(t.miss, 1, version)
        body += encode_property(_MATCH, _fields(t.match, t.masked, version))
        # What may be wildcarded whole is named without a mask; ovs-ofctl refuses anything else.
        body += encode_property(_WILDCARDS, _fields(t.wildcards, frozenset(), version))
    capabilities = 0
    if version >= Version.V14:
        capabilities = (EVICTION if t.evicts else 0) | (VACANCY_EVENTS if t.vacancy else 0)
    head = _HEAD.pack(
        _HEAD.size + len(body), t.table_id, t.command if version >= Version.V15 else 0,
        t.name.encode()[:31], t.metadata_match, t.metadata_write, capabilities, t.max_entries,
    )  # fmt: skip
    return head + body


# -- from bytes ---------------------------------------------------------------------------------


def decode_table_features(body: bytes, version: int) -> tuple[TableFeatures, ...]:
    """The tables of a request.  Raises OpenFlowError(TABLE_FEATURES_FAILED_*, BAD_PROPERTY_*)."""
    out: list[TableFeatures] = []
    at = 0
    while at < len(body):
        if len(body) - at < _HEAD.size:
            raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_LEN)
        length = int.from_bytes(body[at : at + 2], "big")
        if length < _HEAD.size or length % 8 or at + length > len(body):
            raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_LEN)
        out.append(_decode(body[at : at + length], version))
        at += length
    return tuple(out)


def _decode(data: bytes, version: int) -> TableFeatures:
    _, table_id, command, name, match, write, capabilities, max_entries = _HEAD.unpack_from(data)
    if version < Version.V15:
        command = FeaturesCommand.REPLACE
    elif command not in tuple(FeaturesCommand):
        raise OpenFlowError(ErrorCode.TABLE_FEATURES_FAILED_BAD_COMMAND, f"command {command}")
    if table_id == _ALL_TABLES:
        raise OpenFlowError(ErrorCode.TABLE_FEATURES_FAILED_BAD_TABLE)
    found = _Found(data[_HEAD.size :], version)
    if not found.seen and version >= Version.V15:
        rules, miss = None, RuleFeatures()
    elif _REQUIRED & ~found.seen:
        raise OpenFlowError(ErrorCode.TABLE_FEATURES_FAILED_BAD_FEATURES, "properties are missing")
    else:
        rules, miss = found.rules(0), found.rules(1)
    matched, masked = found.names(_MATCH), found.masked
    matched |= masked
    return TableFeatures(
        table_id,
        name.partition(b"\0")[0].decode("utf-8", "replace"),
        max_entries,
        FeaturesCommand(command),
        match,
        write,
        bool(capabilities & EVICTION),
        bool(capabilities & VACANCY_EVENTS),
        rules,
        miss,
        matched,
        masked,
        (found.names(_WILDCARDS) | masked) & matched,
    )


class _Found:
    """The properties of a table, by their types."""

    def __init__(self, data: bytes, version: int) -> None:
        self.seen = 0
        self.masked: frozenset[str] = frozenset()
        self._bits: dict[int, int] = {}
        self._tables: dict[int, frozenset[int]] = {}
        self._names: dict[int, frozenset[str]] = {}
        for p in properties(data):
            if p.vendor or p.type > _APPLY_SET + 1 or p.type in (_MATCH + 1, _WILDCARDS + 1):
                raise unknown("table features", p)
            if self.seen >> p.type & 1:
                raise OpenFlowError(
                    ErrorCode.TABLE_FEATURES_FAILED_BAD_FEATURES, f"property {p.type} twice"
                )
            self.seen |= 1 << p.type
            self._read(p.type, p.payload)

    def _read(self, kind: int, payload: bytes) -> None:
        even = kind & ~1
        if even == _INSTRUCTIONS:
            self._bits[kind] = _read_ids(payload, _check_instruction)
        elif even in (_WRITE, _APPLY):
            self._bits[kind] = _read_ids(payload, lambda _: None)
        elif even == _NEXT:
            if _ALL_TABLES in payload:
                raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_VALUE, "table 255")
            self._tables[kind] = frozenset(payload)
        else:
            exact: set[str] = set()
            masked: set[str] = set()
            for name, has_mask in _read_fields(payload):
                (masked if has_mask else exact).add(name)
            if kind == _MATCH:
                self.masked = frozenset(masked)
            elif masked:
                raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_MASK, "a mask means nothing here")
            self._names[kind] = frozenset(exact)

    def names(self, kind: int) -> frozenset[str]:
        """The fields of a property."""
        return self._names.get(kind, frozenset())

    def rules(self, miss: int) -> RuleFeatures:
        """Of the flows (`miss` 0), or of the miss (1), which is like them where nothing is said."""

        def kind(of: int) -> int:
            return of + miss if self.seen >> (of + miss) & 1 else of

        return RuleFeatures(
            self._bits.get(kind(_INSTRUCTIONS), 0),
            self._tables.get(kind(_NEXT), frozenset()),
            self._bits.get(kind(_WRITE), 0),
            self._bits.get(kind(_APPLY), 0),
            self.names(kind(_WRITE_SET)),
            self.names(kind(_APPLY_SET)),
        )


def _check_instruction(kind: int) -> None:
    if not _GOTO <= kind <= _METER:
        raise OpenFlowError(ErrorCode.BAD_INSTRUCTION_UNKNOWN_INST, f"instruction {kind}")


def _read_ids(payload: bytes, check: Callable[[int], None]) -> int:
    """A list of types, each with its length, not padded."""
    bits = at = 0
    while at < len(payload):
        kind = int.from_bytes(payload[at : at + 2], "big")
        length = int.from_bytes(payload[at + 2 : at + 4], "big")
        if len(payload) - at < 4 or length < 4 or at + length > len(payload):
            raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_LEN)
        check(kind)
        if kind < 32:
            bits |= 1 << kind
        at += length
    return bits


def _read_fields(payload: bytes) -> Iterator[tuple[str, bool]]:
    """(name, whether with a mask) of a list of OXM headers."""
    at = 0
    while at < len(payload):
        head = decode_header(payload, at)
        if head.field is None:
            raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_FIELD)
        if head.field.name in _MATCHABLE:
            yield head.field.name, head.masked
        at += head.header_bytes
