"""What a bridge forwards by: flow tables, groups and meters; changing them, and keeping them.

A change is carried out here at once, reaches the datapath with `commit()`, all
of it in one transaction, and the journal with `note()`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gossamer.breath import in_parts
from gossamer.errors import DatapathError
from gossamer.openflow import message as m
from gossamer.openflow.codec import Context
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.pipeline.action import Actions, FinTimeout
from gossamer.pipeline.action_learn import Learn
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.group import Group
from gossamer.pipeline.meter import Meter
from gossamer.pipeline.tlv import LAYOUT
from gossamer.pipeline.world import Fragments
from gossamer.switch.complaints import Complaints
from gossamer.switch.flow_event import FlowEvent, RemovedReason
from gossamer.switch.flow_mod import FlowMods
from gossamer.switch.groups import GroupMods
from gossamer.switch.journal import Journal, JournalError
from gossamer.switch.journal_record import Snapshot
from gossamer.switch.learn import shorten, teach
from gossamer.switch.meters import MeterMods
from gossamer.switch.numbered import Numbered
from gossamer.switch.own_meters import OwnMeters, is_own
from gossamer.switch.references import references_of
from gossamer.switch.replay import replay
from gossamer.switch.rule_mod import TABLE_ID_EXTENSION, RuleMod
from gossamer.switch.table import TableSettings
from gossamer.switch.tables import FlowTables
from gossamer.switch.tlv_table import TlvTable, options_in

if TYPE_CHECKING:
    from gossamer.switch.contract import Counted, Datapath

log = logging.getLogger(__name__)

_SNAPSHOT_POLL_S: Final = 0.1
Mode = tuple[bool, str]
"""Whether the bridge has controllers, and its fail mode: a change of it empties the tables."""


class RuleSet:
    """The rules of one bridge and their journal.

    Raises JournalError where the journal cannot be opened.
    """

    def __init__(self, name: str, datapath: Datapath, bridge_id: int, journal: Path) -> None:
        self.name = name
        self.tables = FlowTables(datapath, bridge_id)
        self.groups: Numbered[Group] = Numbered(
            lambda group: datapath.set_group(bridge_id, group),
            lambda group_id: datapath.delete_group(bridge_id, group_id),
        )
        self.meters: Numbered[Meter] = Numbered(self._put_meter, self._drop_meter)
        self.own_meters = OwnMeters(self.meters)
        self.tables.stores += (self.groups, self.meters)
        self.group_mods = GroupMods(self.tables, self.groups)
        self.meter_mods = MeterMods(self.tables, self.meters)
        self.options = TlvTable(datapath, bridge_id)
        self.flow_mods = FlowMods(self.tables, self.check_actions)
        self._datapath = datapath
        self._bridge_id = bridge_id
        self.journal = Journal(journal)
        self.journal.breathe = lambda: datapath.breathe()
        self.mode: Mode | None = None
        self._complaints = Complaints(log)
        self.fragments = Fragments.NORMAL
        """What tables see of IP fragments."""
        replay(self)
        datapath.set_fragments(bridge_id, self.fragments)

    def _put_meter(self, meter: Meter) -> None:
        self.own_meters.forget(meter.meter_id)
        if not is_own(meter.meter_id):
            self._datapath.set_meter(self._bridge_id, meter)

    def _drop_meter(self, meter_id: int) -> None:
        self.own_meters.forget(meter_id)
        if not is_own(meter_id):
            self._datapath.delete_meter(self._bridge_id, meter_id)

    def meter_statistics(self, meter_id: int) -> Counted:
        """Counters of a meter that is there."""
        packets, n_bytes, bands = self.own_meters.statistics(meter_id)
        if is_own(meter_id):
            return packets, n_bytes, bands
        there = self._datapath.meter_statistics(self._bridge_id, meter_id)
        both = [(a + c, b + d) for (a, b), (c, d) in zip(bands, there[2], strict=True)]
        return packets + there[0], n_bytes + there[1], both

    # -- changes ------------------------------------------------------------------------------

    def apply(self, message: RuleMod, now: float, source: object, xid: int) -> list[Flow]:
        """Carry out one message at CLOCK_MONOTONIC `now`; returns the flows that had to make room.

        Raises OpenFlowError with the code the specification gives; then
        nothing was changed.
        """
        if isinstance(message, m.FlowMod):
            if LAYOUT.fields:
                self._check_options(message)
            self.flow_mods.apply(message, now, source)
            return self.flow_mods.take_evicted() if self.flow_mods.evicted else []
        if isinstance(message, m.GroupMod):
            self._check_buckets(message.group)
            self.group_mods.apply(message, now, source, xid)
        else:
            self.meter_mods.apply(message, now, source, xid)
        return []

    def _check_options(self, message: m.FlowMod) -> None:
        """Raises OpenFlowError for options that this bridge has not mapped (another one has)."""
        for field in options_in(message.match, message.actions):
            if not self.options.maps_field(field):
                raise OpenFlowError(ErrorCode.FLOW_MOD_FAILED_NX_INVALID_TLV_FIELD, field.name)

    def change_options(self, message: m.TlvTableMod) -> None:
        """Carry out a change of the TLV table.  Raises OpenFlowError; then nothing has changed."""
        used = {f.name for flow in self.tables for f in options_in(flow.match, flow.actions)}
        in_use = frozenset(o.index for o in self.options.maps() if f"tun_metadata{o.index}" in used)
        self.options.apply(message, in_use)
        self.journal.options(self.options.saved(), time.monotonic())
        self.flush_journal()

    def check_actions(self, actions: Actions) -> None:
        """Raises OpenFlowError for actions that name a group or meter that is not there."""
        references = references_of(actions)
        for group_id in references.groups:
            if group_id not in self.groups:
                raise OpenFlowError(
                    ErrorCode.BAD_ACTION_BAD_OUT_GROUP, f"there is no group {group_id}"
                )
        for meter_id in references.meters:
            if meter_id not in self.meters:
                raise OpenFlowError(
                    ErrorCode.METER_MOD_FAILED_INVALID_METER, f"there is no meter {meter_id}"
                )

    def _check_buckets(self, group: Group) -> None:
        for bucket in group.buckets:
            for meter_id in references_of(bucket.actions).meters:
                if meter_id not in self.meters:
                    raise OpenFlowError(
                        ErrorCode.METER_MOD_FAILED_INVALID_METER, f"there is no meter {meter_id}"
                    )

    def commit(self) -> list[FlowEvent]:
        """Hand changes to the datapath; what happened to flows is for those who want to know.

        Raises DatapathError with everything since the last commit taken back.
        """
        return self.tables.commit() if self.tables.dirty else []

    def rollback(self) -> None:
        """Take back everything since the last commit."""
        self.tables.rollback()

    def learn(self, lessons: Iterable[tuple[Learn, int]]) -> list[FlowEvent]:
        """Add or refresh the flows that packets teach: learn actions, each with a flow key.

        Raises DatapathError where there is no room for them; then none is learned.
        """
        now = time.monotonic()
        evicted: list[Flow] = []
        found = [teach(self.tables, action, key, now, evicted) for action, key in lessons]
        flows = list(dict.fromkeys(flow for flow in found if flow is not None))
        if not flows:
            return []
        events = self.commit()
        self.journal.flows(flows, now)
        if evicted:
            # After the others, of which one may have gone again in the same turn.
            self.journal.removed(evicted, now)
        self.flush_journal()
        return events

    def fin_passed(self, flow: Flow) -> None:
        """A FIN or RST passed a flow: what its fin_timeout says holds from now on."""
        now = time.monotonic()
        shortened = [
            shorten(self.tables, flow, action)
            for action in flow.actions
            if isinstance(action, FinTimeout)
        ]
        if any(shortened):
            self.note_flows([flow], now)

    def replace_all(self, flows: Sequence[Flow]) -> list[FlowEvent]:
        """These flows and no others; groups and meters stay.  Raises DatapathError."""
        now = time.monotonic()
        for table in self.tables.tables:
            if table.n_flows:
                self.tables.clear_table(table, RemovedReason.DELETE)
        for flow in flows:
            self.tables.add(flow)
        events = self.commit()
        self.journal.cleared(now)
        if flows:
            self.journal.flows(flows, now)
        self.flush_journal()
        return events

    def expire(self, now: float) -> list[FlowEvent]:
        """Remove flows whose time is over."""
        over = self.tables.timeouts.expired(now, self._datapath.read_flow_statistics)
        if not over:
            return []
        for flow, hard in over:
            reason = RemovedReason.HARD_TIMEOUT if hard else RemovedReason.IDLE_TIMEOUT
            self.tables.remove(flow, reason)
        try:
            events = self.commit()
        except DatapathError as e:
            log.warning("bridge=%s: cannot remove expired flows: %s", self.name, e)
            for flow, _ in over:
                self.tables.timeouts.add(flow)
            return []
        self.journal.removed([flow for flow, _ in over], now)
        self.flush_journal()
        return events

    # -- the journal --------------------------------------------------------------------------

    def note(self, raw: Sequence[bytes | list[Flow]], context: Context, now: float) -> None:
        """Write to the journal what was committed: messages, and flows that were evicted."""
        how = TABLE_ID_EXTENSION if context.flow_mod_table_id else 0
        messages: list[bytes] = []
        for item in in_parts(raw, self._datapath.breathe):
            if isinstance(item, list):
                self.journal.messages(messages, how, now)
                self.journal.removed(item, now)
                messages = []
            else:
                messages.append(item)
        if messages:
            self.journal.messages(messages, how, now)
        self.flush_journal()

    def note_flows(self, flows: Sequence[Flow], now: float) -> None:
        """Write flows that the switch made or changed of its own accord."""
        self.journal.flows(flows, now)
        self.flush_journal()

    def note_tables(self) -> None:
        """Write what table-mods chose."""
        self.journal.tables(self._table_settings(), time.monotonic())
        self.flush_journal()

    def set_fragments(self, fragments: Fragments) -> None:
        """Let tables see this much of IP fragments."""
        if fragments is not self.fragments:
            self.fragments = fragments
            self._datapath.set_fragments(self._bridge_id, fragments)
            self.journal.fragments(fragments, time.monotonic())
            self.flush_journal()

    def note_mode(self, mode: Mode) -> None:
        """Write whether there are controllers, and the fail mode."""
        self.mode = mode
        self.journal.mode(mode, time.monotonic())
        self.flush_journal()

    def flush_journal(self) -> None:
        """Write what was noted; begin the file anew where there is nothing left to say."""
        now = time.monotonic()
        unlearned = self.tables.take_unlearned()
        if unlearned:
            self.journal.removed(unlearned, now)
        mode = self.mode or (False, "standalone")
        try:
            self.journal.flush()
            if self.journal.wants_truncation and self._empty:
                self.journal.truncate(mode, now)
                self.journal.tables(self._table_settings(), now)
                self.journal.options(self.options.saved(), now)
                self.journal.fragments(self.fragments, now)
                self.journal.flush()
        except JournalError as e:
            self._complain(e)

    def _compact_journal(self) -> None:
        """Make the file smaller where that is due.

        Between messages only: a child shares this process's memory, and each page
        of it that is let go of meanwhile is copied first.  What a bundle of 400,000
        flows leaves took 150 ms to go so.
        """
        if self.journal.wants_compaction:
            try:
                mode = self.mode or (False, "standalone")
                self.journal.compact(self._snapshot(mode), time.monotonic())
            except JournalError as e:
                self._complain(e)

    def _complain(self, error: JournalError) -> None:
        self._complaints.say(
            f"bridge={self.name}", f"flows will not survive a restart: {error} ({error.remedy})"
        )

    @property
    def _empty(self) -> bool:
        return self.tables.empty and not len(self.groups) and not len(self.meters)

    def _table_settings(self) -> dict[int, TableSettings]:
        return {
            t.table_id: t.settings for t in self.tables.tables if t.settings != TableSettings()
        }

    def _snapshot(self, mode: Mode) -> Snapshot:
        return Snapshot(
            mode,
            self.tables,
            [(entry.value, entry.created_s) for entry in self.groups.entries()],
            [(entry.value, entry.created_s) for entry in self.meters.entries()],
            self._table_settings(),
            self.options.saved(),
            self.fragments,
        )

    def next_s(self) -> float | None:
        """When `run()` has something to do, CLOCK_MONOTONIC; None: nothing is due."""
        moments = [self.tables.timeouts.next_s]
        if self.journal.wants_compaction:
            moments.append(time.monotonic())
        if self.journal.compacting:
            moments.append(time.monotonic() + _SNAPSHOT_POLL_S)
        moments.append(self.journal.mend_at_s)
        return min((t for t in moments if t is not None), default=None)

    def run(self, now: float) -> list[FlowEvent]:
        """Expire flows, begin and finish snapshots."""
        try:
            self.journal.poll()
        except JournalError as e:
            self._complain(e)
        if self.journal.wants_mending:
            self.flush_journal()
        self._compact_journal()
        if self.journal.mend_at_s is None:
            self._complaints.settled(f"bridge={self.name}")
        moment = self.tables.timeouts.next_s
        return self.expire(now) if moment is not None and moment <= now else []

    def close(self) -> None:
        """The daemon ends."""
        self.options.close()
        self.journal.close()
