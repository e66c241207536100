"""TABLE_MOD: what controllers choose for tables (OpenFlow 1.1, 7.3.4.1; 1.4.1, 7.3.4.1).

Up to OpenFlow 1.2 that is what becomes of packets nothing matches; from 1.4 on
whether a full table evicts flows, and whether controllers are told when it
fills up (vacancy events).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gossamer.datapath.settings import MissAction
from gossamer.openflow import message as m
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.switch.table import N_TABLES, Table, TableSettings, Vacancy

if TYPE_CHECKING:
    from gossamer.switch.bridge import Bridge

_MISS: Final = (MissAction.CONTROLLER, MissAction.CONTINUE, MissAction.DROP)
"""By OFPTC11_TABLE_MISS_*."""


def table_mod(bridge: Bridge, message: m.TableMod) -> None:
    """Carry out a table-mod.

    Raises OpenFlowError(TABLE_MOD_FAILED) where there is no such table or configuration.
    """
    tables = bridge.tables.tables[:N_TABLES]
    if message.table_id != m.ALL_TABLES:
        tables = tables[message.table_id : message.table_id + 1]
        if not tables:
            raise OpenFlowError(ErrorCode.TABLE_MOD_FAILED_BAD_TABLE)
    for table in tables:
        settings = _changed(table.settings, message)
        if settings.vacancy is not None and settings.vacancy != table.settings.vacancy:
            table.vacancy_is_low = table.percent_free < settings.vacancy.up
        table.choose(settings)
    bridge.watch_vacancy()
    bridge.rules.note_tables()
    bridge.update_table_miss()


def _changed(settings: TableSettings, message: m.TableMod) -> TableSettings:
    if message.miss is not None:
        settings = replace(settings, miss=_MISS[message.miss])
    if message.evicts is not None:
        settings = replace(settings, evicts=message.evicts)
    if message.vacancy is not None:
        down, up = message.vacancy_down, message.vacancy_up
        if message.vacancy and not 0 <= down <= up <= 100:
            raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_VALUE, f"vacancy {down} to {up} %")
        settings = replace(settings, vacancy=Vacancy(down, up) if message.vacancy else None)
    return settings


def passed_a_mark(table: Table) -> bool:
    """Whether a table passed a mark that controllers are told of; each passing is told once."""
    vacancy = table.settings.vacancy
    if vacancy is None:
        return False
    free = table.percent_free
    if free > vacancy.up if table.vacancy_is_low else free < vacancy.down:
        table.vacancy_is_low = not table.vacancy_is_low
        return True
    return False
