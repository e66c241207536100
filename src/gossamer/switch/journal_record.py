"""What a journal's file consists of: its header, and records of what happened to rules.

    payload length, CRC32 of what follows, kind, context, CLOCK_MONOTONIC, payload

in little-endian order; journal.py says what becomes of them.
"""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from gossamer.breath import Breathe
from gossamer.pipeline.action_choice import (
    Bundle,
    BundleAlgorithm,
    HashFields,
    Multipath,
    MultipathAlgorithm,
)
from gossamer.pipeline.action_ct import Ct, CtClear, Nat
from gossamer.pipeline.action_encap import (
    Decap,
    DecNshTtl,
    Encap,
    NshMdType,
    NshTlv,
    PacketType,
)
from gossamer.pipeline.action_learn import Learn, LearnSpec, LearnTo
from gossamer.pipeline.fields import BY_NAME, Field
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.group import Group
from gossamer.pipeline.match import Match
from gossamer.pipeline.meter import Meter
from gossamer.pipeline.of_port import OfPort

MAGIC = b"GSMFLOW1"
_JOINED: Final = 1024
"""Parts of a record that are written before others have their turn."""
_RECORD = struct.Struct("<IIBB2xd")
_CHECKED = struct.Struct("<BB2xd")
SNAPSHOT_CHUNK = 2000
"""Flows in one snapshot record."""


class Kind(IntEnum):
    """What a record holds."""

    MESSAGES = 1
    """Messages, one after the other; the context byte says how to read them."""
    REMOVED = 2
    """Flows that went by themselves (timeout, eviction): (table, priority, value, mask)."""
    FLOWS = 3
    """Flows as they stood when a snapshot was taken, or that the switch made itself."""
    CLEARED = 4
    """All flows went."""
    MODE = 5
    """(has controllers, fail mode, standalone flow installed by the switch itself)."""
    GROUPS = 6
    """Groups as they stood when a snapshot was taken: (group, created_s)."""
    METERS = 7
    """Meters, likewise."""
    TABLES = 8
    """What table-mods chose: table number -> settings."""
    OPTIONS = 9
    """The TLV table: (row, place in the key)."""
    FRAGMENTS = 10
    """What tables see of IP fragments: pipeline.world.Fragments, as a number."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a bridge must know again: what a compacted journal begins with."""

    mode: tuple[bool, str]
    flows: Iterable[Flow] = ()
    groups: Sequence[tuple[Group, float]] = ()
    meters: Sequence[tuple[Meter, float]] = ()
    tables: Mapping[int, object] = field(default_factory=dict)
    options: Sequence[object] = ()
    fragments: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One record read back; `payload` is bytes for MESSAGES, unpickled data otherwise."""

    kind: Kind
    context: int
    time_s: float
    payload: Any


def _rebuild_field(name: str) -> Field:
    return BY_NAME[name]


def _rebuild_foreign_field(values: tuple[Any, ...]) -> Field:
    return Field(*values)


def _reduce_field(field: Field) -> tuple[Callable[..., Field], tuple[Any, ...]]:
    # Fields are compared by identity in hot paths, so the table's own come back as themselves.
    if BY_NAME.get(field.name) is field:
        return _rebuild_field, (field.name,)
    values = tuple(getattr(field, name) for name in Field.__dataclass_fields__)
    return _rebuild_foreign_field, (values,)


copyreg.pickle(Field, _reduce_field)

_MOVED: Final = {
    ("gossamer.switch.journal", "_rebuild_field"): _rebuild_field,
    ("gossamer.switch.journal", "_rebuild_foreign_field"): _rebuild_foreign_field,
    **{
        ("gossamer.pipeline.action", kind.__name__): kind
        for kind in (
            OfPort,
            *(PacketType, NshMdType, NshTlv, Encap, Decap, DecNshTtl),
            *(HashFields, MultipathAlgorithm, Multipath, BundleAlgorithm, Bundle),
            *(LearnTo, LearnSpec, Learn),
            *(Nat, Ct, CtClear),
        )
    },
}
"""Where earlier versions kept what their journals name: an upgrade reads them."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _MOVED.get((module, name)) or super().find_class(module, name)


def _load(payload: bytes) -> Any:
    return _Reader(io.BytesIO(payload)).load()


def boot_id() -> bytes:
    """The kernel's name for this boot, 16 bytes."""
    text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    return bytes.fromhex(text.strip().replace("-", ""))


def append_record(
    parts: list[bytes],
    kind: Kind,
    context: int,
    now: float,
    payload: list[bytes],
    breathe: Breathe = lambda: None,
) -> None:
    """Add a record to what is to be written; its payload is in pieces."""
    crc = zlib.crc32(_CHECKED.pack(kind, context, now))
    bodies: list[bytes] = []
    for start in range(0, len(payload), _JOINED):
        body = b"".join(payload[start : start + _JOINED])
        crc = zlib.crc32(body, crc)
        bodies.append(body)
        if len(payload) > _JOINED:
            breathe()
    parts.append(_RECORD.pack(sum(map(len, bodies)), crc, kind, context, now))
    parts += bodies


def read_record(data: bytes, offset: int) -> tuple[Record, int] | None:
    """The record at an offset and where it ends; None where it is cut short or damaged."""
    start = offset + _RECORD.size
    if start > len(data):
        return None
    length, crc, kind, context, now = _RECORD.unpack_from(data, offset)
    payload = data[start : start + length]
    if len(payload) != length or crc != zlib.crc32(
        payload, zlib.crc32(_CHECKED.pack(kind, context, now))
    ):
        return None
    kind = Kind(kind)
    if kind is Kind.FLOWS:
        content: Any = _load_flows(payload)
    elif kind in (Kind.MESSAGES, Kind.CLEARED):
        content = payload
    else:
        content = _load(payload)
    return Record(kind, context, now, content), start + length


def dump_flows(flows: Iterable[Flow]) -> bytes:
    """Flows as a payload."""
    rows = [
        (
            f.table_id, f.priority, f.match.value, f.match.mask, f.actions, f.cookie,
            f.idle_timeout_s, f.hard_timeout_s, f.importance, f.flags, f.hidden,
            f.created_s, f.modified_s, f.used_s,
        )
        for f in flows
    ]  # fmt: skip
    return pickle.dumps(rows, 5)


def _load_flows(payload: bytes) -> list[Flow]:
    return [
        Flow(table_id, priority, Match(value, mask), *rest)
        for table_id, priority, value, mask, *rest in _load(payload)
    ]


def write_snapshot(path: Path, snapshot: Snapshot, now: float) -> None:
    """Write a file that begins with a snapshot."""
    with open(path, "wb", opener=lambda p, flags: os.open(p, flags, 0o600)) as stream:
        stream.write(MAGIC + boot_id())
        parts: list[bytes] = []
        for kind, content in (
            (Kind.MODE, snapshot.mode),
            (Kind.TABLES, dict(snapshot.tables)),
            (Kind.OPTIONS, list(snapshot.options)),
            (Kind.GROUPS, list(snapshot.groups)),
            (Kind.METERS, list(snapshot.meters)),
            (Kind.FRAGMENTS, int(snapshot.fragments)),
        ):
            if content:
                append_record(parts, kind, 0, now, [pickle.dumps(content, 5)])
        chunk: list[Flow] = []
        for flow in snapshot.flows:
            chunk.append(flow)
            if len(chunk) == SNAPSHOT_CHUNK:
                append_record(parts, Kind.FLOWS, 0, now, [dump_flows(chunk)])
                stream.write(b"".join(parts))
                parts.clear()
                chunk.clear()
        append_record(parts, Kind.FLOWS, 0, now, [dump_flows(chunk)])
        stream.write(b"".join(parts))
