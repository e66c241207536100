"""One flow table: its flows, and what the database and controllers chose for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gossamer.pipeline.flow import Flow, FlowTable
from gossamer.switch.config import FlowTableConfig
from gossamer.switch.eviction import Eviction, group_mask

if TYPE_CHECKING:
    from gossamer.datapath.settings import MissAction

N_TABLES: Final = 254
"""Tables 0..253 are the controllers'; 254 is kept for the switch itself, as in Open vSwitch."""
DEFAULT_MAX_FLOWS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Vacancy:
    """When controllers are told how full a table is, percent free (OpenFlow 1.4.1, 7.3.4.1)."""

    down: int
    up: int


@dataclass(frozen=True, slots=True)
class TableSettings:
    """What controllers chose for a table by table-mods."""

    miss: MissAction | None = None
    """None: what the controller's version implies."""
    evicts: bool = False
    """OFPTC14_EVICTION."""
    vacancy: Vacancy | None = None
    """OFPTC14_VACANCY_EVENTS."""
    name: str | None = None
    max_entries: int | None = None
    """Name and size by a table features request; None: as the database has it."""


class Table(FlowTable):
    """One flow table with its name and limits (ovs-vswitchd.conf.db(5), Flow_Table)."""

    def __init__(self, table_id: int) -> None:
        super().__init__(table_id)
        self.config = FlowTableConfig()
        self.settings = TableSettings()
        self.max_flows: int | None = None
        """Flows that it may hold, None where that is not limited."""
        self.eviction: Eviction | None = None
        """Kept from the first time that a full table has to make room."""
        self.hidden = FlowTable(table_id)
        """Flows of the switch itself, above all others: in-band control."""
        self.vacancy_is_low = False
        """Controllers were told that little is free, and not yet that it is more again."""

    def masks(self) -> Iterable[int]:
        """The masks of its flows and of the hidden ones."""
        return (*self.hidden.subtables, *self.subtables)

    def lookup(self, key: int) -> Flow | None:
        """The flow of the highest priority that matches `key`."""
        hidden = self.hidden.lookup(key) if self.hidden.n_flows else None
        return hidden if hidden is not None else super().lookup(key)

    def configure(self, config: FlowTableConfig) -> None:
        """Take what the database says."""
        if config.groups != self.config.groups:
            self.eviction = None
        self.config = config
        self._update_limit()

    def choose(self, settings: TableSettings) -> None:
        """Take what a controller says."""
        self.settings = settings
        self._update_limit()

    def _update_limit(self) -> None:
        limits = (self.config.flow_limit, self.settings.max_entries)
        self.max_flows = min((n for n in limits if n is not None), default=None)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.config.name if self.settings.name is None else self.settings.name

    def give_up(self) -> Flow | None:
        """The flow that goes to make room; None where none may."""
        if self.eviction is None:
            self.eviction = Eviction(group_mask(self.config.groups), self)
        return self.eviction.victim()

    @property
    def evicts(self) -> bool:
        """Whether a full table makes room by itself."""
        return self.config.evict_when_full or self.settings.evicts

    @property
    def limit(self) -> int:
        """Flows that fit."""
        return DEFAULT_MAX_FLOWS if self.max_flows is None else self.max_flows

    @property
    def percent_free(self) -> int:
        """How much of it is free (ofp_table_mod_prop_vacancy.vacancy)."""
        return max(self.limit - self.n_flows, 0) * 100 // self.limit if self.limit else 0
