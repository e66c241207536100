"""Flow tables: what they can do, and what is in them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TableMod:
    """OFPT_TABLE_MOD; `miss` is None where the version does not speak of it."""

    table_id: int
    config: int
    miss: int | None = None
    evicts: bool | None = None
    vacancy: bool | None = None


@dataclass(frozen=True, slots=True)
class TableStatsRequest:
    """OFPMP_TABLE."""


@dataclass(frozen=True, slots=True)
class TableFeaturesRequest:
    """OFPMP_TABLE_FEATURES; `body` is not empty where the peer wants to set them."""

    body: bytes


@dataclass(frozen=True, slots=True)
class TableDescRequest:
    """OFPMP_TABLE_DESC."""


@dataclass(frozen=True, slots=True)
class TableStats:
    """A table of a table statistics reply."""

    table_id: int
    name: str
    active: int
    lookups: int
    matched: int
    max_entries: int
    miss: int = 0
    """0 controller, 1 continue, 2 drop (OFPTC11_TABLE_MISS_*); OpenFlow 1.1 and 1.2 only."""
    evicts: bool = False
    vacancy: bool = False
