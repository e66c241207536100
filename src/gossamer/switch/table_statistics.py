"""Answers about tables, and what may be asked of them (OpenFlow 1.3.5, 7.3.5.4 and 7.3.5.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gossamer.datapath.settings import MissAction
from gossamer.openflow import encode
from gossamer.openflow import message as m
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.table_features import table_features as features_of
from gossamer.switch import describe
from gossamer.switch.statistics import send_all
from gossamer.switch.table import N_TABLES

if TYPE_CHECKING:
    from gossamer.switch.bridge import Bridge
    from gossamer.switch.session import Session

_MISS_WIRE: Final = {MissAction.CONTROLLER: 0, MissAction.CONTINUE: 1, MissAction.DROP: 2}


def tables(session: Session, message: m.TableStatsRequest, xid: int) -> None:
    """OFPMP_TABLE."""
    bridge = session.bridge
    counters = bridge.datapath.table_statistics(bridge.ports.bridge_id)
    stats = []
    for table in bridge.tables.tables[:N_TABLES]:
        counted = counters.get(table.table_id)
        stats.append(
            m.TableStats(
                table_id=table.table_id,
                name=table.name,
                active=table.n_flows,
                lookups=counted.lookups if counted else 0,
                matched=counted.matched if counted else 0,
                max_entries=table.limit,
                miss=_MISS_WIRE[table.settings.miss] if table.settings.miss is not None else 0,
                evicts=table.settings.evicts,
            )
        )
    send_all(session, encode.table_stats_replies(stats, session.version, xid))


def _table_stats(bridge: Bridge, *, active: bool = True) -> list[m.TableStats]:
    return [
        m.TableStats(
            table_id=table.table_id,
            name=table.name,
            active=table.n_flows if active else 0,
            lookups=0,
            matched=0,
            max_entries=table.limit,
            evicts=table.settings.evicts,
        )
        for table in bridge.tables.tables[:N_TABLES]
    ]


def table_features(session: Session, message: m.TableFeaturesRequest, xid: int) -> None:
    """OFPMP_TABLE_FEATURES: what each table can do, and a request for other names and sizes.

    Raises OpenFlowError(TABLE_FEATURES_FAILED) for a request that asks for anything else of a
    table than it can do: then nothing is changed.
    """
    if message.tables:
        session.require_writer()
        session.wanted_tables += message.tables
    if message.more:
        return
    wanted, session.wanted_tables = session.wanted_tables, ()
    if wanted:
        _set_features(session.bridge, wanted, session.version)
    replies = _table_features(tuple(_table_stats(session.bridge, active=False)), session.version)
    with_xid = xid.to_bytes(4, "big")
    for reply in replies:
        session.connection.send(reply[:4] + with_xid + reply[8:])


def _set_features(bridge: Bridge, wanted: Sequence[m.TableFeatures], version: int) -> None:
    stats = _table_stats(bridge, active=False)
    ids = [table.table_id for table in wanted]
    if len(set(ids)) < len(ids):
        raise OpenFlowError(ErrorCode.TABLE_FEATURES_FAILED_BAD_TABLE, "a table is there twice")
    whole = all(table.command == m.FeaturesCommand.REPLACE for table in wanted)
    if whole and len(ids) < len(stats):
        raise OpenFlowError(ErrorCode.TABLE_FEATURES_FAILED_EPERM, "no table can be taken away")
    for asked in wanted:
        if asked.table_id >= N_TABLES:
            raise OpenFlowError(ErrorCode.TABLE_FEATURES_FAILED_BAD_TABLE)
        can = features_of(stats[asked.table_id], version, N_TABLES - 1)
        same = asked.rules is None or (can.includes(asked) and asked.includes(can))
        if not same or asked.command == m.FeaturesCommand.DISABLE:
            raise OpenFlowError(
                ErrorCode.TABLE_FEATURES_FAILED_EPERM,
                f"what table {asked.table_id} can do cannot be changed",
            )
    for asked in wanted:
        table = bridge.tables.tables[asked.table_id]
        table.choose(replace(table.settings, name=asked.name, max_entries=asked.max_entries))
    bridge.rules.note_tables()


@lru_cache(maxsize=32)
def _table_features(stats: tuple[m.TableStats, ...], version: int) -> tuple[bytes, ...]:
    """The reply without its xid: `ovs-ofctl` asks for it before nearly everything it does."""
    return tuple(encode.table_features_replies(stats, version, 0))


def table_desc(session: Session, message: m.TableDescRequest, xid: int) -> None:
    """OFPMP_TABLE_DESC."""
    descs = [describe.table_desc(table) for table in session.bridge.tables.tables[:N_TABLES]]
    send_all(session, encode.table_desc_replies(descs, session.version, xid))
