"""A bridge's rules as its journal has them, when a daemon starts."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from gossamer.openflow import message as m
from gossamer.openflow.error import OpenFlowError
from gossamer.pipeline.match import ANY
from gossamer.pipeline.world import Fragments
from gossamer.switch.flow_event import RemovedReason
from gossamer.switch.journal_record import Kind, Record
from gossamer.switch.rule_mod import messages_in
from gossamer.switch.table import TableSettings

if TYPE_CHECKING:
    from gossamer.switch.ruleset import RuleSet

log = logging.getLogger(__name__)


def replay(rules: RuleSet) -> None:
    """Read the journal of a new rule set; the datapath gets what is there at its end.

    Raises JournalError where it cannot be opened.
    """
    n = 0
    for record in rules.journal.open():
        n += 1
        try:
            _replay_record(rules, record)
        except OpenFlowError as e:
            # Only a journal of another version of ourselves holds what we refuse now.
            log.warning("bridge=%s: journal: %s", rules.name, e)
    if n:
        # Flows that went because nothing teaches them any more are in the journal as such.
        rules.tables.references.forgotten.clear()
        rules.commit()
        for flow in rules.tables:
            if flow.idle_timeout_s or flow.hard_timeout_s:
                rules.tables.timeouts.add(flow)
        log.info("bridge=%s: %d flows recovered", rules.name, len(rules.tables))


def _replay_record(rules: RuleSet, record: Record) -> None:
    tables = rules.tables
    match record.kind:
        case Kind.MESSAGES:
            for message, xid in messages_in(record):
                if isinstance(message, m.FlowMod):
                    rules.flow_mods.replay(message, record.time_s)
                else:
                    rules.apply(message, record.time_s, None, xid)
        case Kind.FLOWS:
            for flow in record.payload:
                tables.add(flow)
        case Kind.REMOVED:
            for table_id, priority, value, mask in record.payload:
                match = replace(ANY, value=value, mask=mask)
                gone = tables.tables[table_id].find_strict(match, priority)
                if gone is not None:
                    tables.remove(gone, RemovedReason.DELETE)
        case Kind.CLEARED:
            for table in tables.tables:
                tables.clear_table(table, RemovedReason.DELETE)
        case Kind.GROUPS:
            for group, created_s in record.payload:
                rules.groups.set(group.group_id, group, created_s)
        case Kind.METERS:
            for meter, created_s in record.payload:
                rules.meters.set(meter.meter_id, meter, created_s)
        case Kind.TABLES:
            for table in tables.tables:
                table.choose(record.payload.get(table.table_id, TableSettings()))
        case Kind.OPTIONS:
            rules.options.restore(record.payload)
        case Kind.FRAGMENTS:
            rules.fragments = Fragments(record.payload)
        case Kind.MODE:
            rules.mode = record.payload
    tables.events.clear()
