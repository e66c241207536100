"""TABLE_MOD: what controllers choose for tables (OpenFlow 1.1, 7.3.4.1; 1.4.1, 7.3.4.1).

Up to OpenFlow 1.2 that is what becomes of packets nothing matches; from 1.4 on
whether a full table evicts flows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gossamer.datapath.settings import MissAction
from gossamer.openflow import message as m
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.switch.tables import N_TABLES, TableSettings

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
        table.settings = settings
    bridge.rules.note_tables()
    bridge.update_table_miss()


def _changed(settings: TableSettings, message: m.TableMod) -> TableSettings:
    if message.miss is not None:
        settings = replace(settings, miss=_MISS[message.miss])
    if message.evicts is not None:
        settings = replace(settings, evicts=message.evicts)
    return settings
