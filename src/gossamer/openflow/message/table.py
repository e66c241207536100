"""Flow tables: what they can do, and what is in them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

ALL_METADATA: Final = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class TableMod:
    """OFPT_TABLE_MOD; what is None the version, or the message, does not speak of.

    `vacancy_down` and `vacancy_up` are percentages of free entries: vacancy events tell when
    there are fewer than the one, or more than the other.
    """

    table_id: int
    config: int
    miss: int | None = None
    evicts: bool | None = None
    vacancy: bool | None = None
    vacancy_down: int = 0
    vacancy_up: int = 0
    eviction_flags: int | None = None


@dataclass(frozen=True, slots=True)
class TableStatsRequest:
    """OFPMP_TABLE."""


@dataclass(frozen=True, slots=True)
class TableFeaturesRequest:
    """OFPMP_TABLE_FEATURES; `tables` is not empty where the peer wants to set them.

    `more`: the request goes on in the next message.
    """

    body: bytes = b""
    tables: tuple[TableFeatures, ...] = ()
    more: bool = False


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


EVICTION_OTHER: Final = 1 << 0
EVICTION_IMPORTANCE: Final = 1 << 1
EVICTION_LIFETIME: Final = 1 << 2
"""What eviction goes by (ofp_table_mod_prop_eviction_flag)."""


@dataclass(frozen=True, slots=True)
class TableDesc:
    """A table of a table description or a table status; vacancies are percentages.

    `vacancy_down` and `vacancy_up` are the thresholds of vacancy events, None where these are off.
    """

    table_id: int
    evicts: bool = False
    eviction_flags: int = EVICTION_OTHER | EVICTION_IMPORTANCE | EVICTION_LIFETIME
    vacancy_down: int | None = None
    vacancy_up: int | None = None
    vacancy: int = 0


class TableReason(IntEnum):
    """ofp_table_reason: vacancy fell below, or rose above, its threshold."""

    VACANCY_DOWN = 3
    VACANCY_UP = 4


class FeaturesCommand(IntEnum):
    """ofp_table_features_command (OpenFlow 1.5.1, 7.3.5.18)."""

    REPLACE = 0
    MODIFY = 1
    ENABLE = 2
    DISABLE = 3


@dataclass(frozen=True, slots=True)
class RuleFeatures:
    """What the flows of a table, or its miss, can do.

    `instructions` and actions are sets of bits by type, fields are names of the field table.
    """

    instructions: int = 0
    next_tables: frozenset[int] = frozenset()
    write_actions: int = 0
    apply_actions: int = 0
    write_fields: frozenset[str] = frozenset()
    apply_fields: frozenset[str] = frozenset()

    def includes(self, other: RuleFeatures) -> bool:
        """True when `other` asks for nothing more."""
        return not (
            other.instructions & ~self.instructions
            or other.write_actions & ~self.write_actions
            or other.apply_actions & ~self.apply_actions
            or other.next_tables - self.next_tables
            or other.write_fields - self.write_fields
            or other.apply_fields - self.apply_fields
        )


@dataclass(frozen=True, slots=True)
class TableFeatures:
    """A table of a table features message; `rules` is None where it has no properties."""

    table_id: int
    name: str
    max_entries: int
    command: FeaturesCommand = FeaturesCommand.REPLACE
    metadata_match: int = ALL_METADATA
    metadata_write: int = ALL_METADATA
    evicts: bool = True
    vacancy: bool = True
    rules: RuleFeatures | None = None
    miss: RuleFeatures = RuleFeatures()
    match: frozenset[str] = frozenset()
    masked: frozenset[str] = frozenset()
    wildcards: frozenset[str] = frozenset()

    def includes(self, other: TableFeatures) -> bool:
        """True when `other` asks for nothing that this table cannot do."""
        if (
            other.metadata_match & ~self.metadata_match
            or other.metadata_write & ~self.metadata_write
        ):
            return False
        if other.rules is None or self.rules is None:
            return True
        return (
            self.rules.includes(other.rules)
            and self.miss.includes(other.miss)
            and other.match <= self.match
            and other.masked <= self.masked
            and other.wildcards <= self.wildcards
        )
