"""The flow tables of one bridge, and the changes the datapath has not seen yet.

A change is made in the tables here at once and gathered; `commit()` hands all
of them to the datapath in one transaction, with what changed in `stores` (the
groups and meters).  Until then `rollback()` takes them back: that is what makes
bundles atomic, and what a datapath that is full leaves a bridge with.

Whatever happened in a batch, the datapath needs no more than two lists: flows
it knows and must forget, then flows that are new or changed.  A flow that came
and went within the batch never reaches it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

from gossamer.datapath.settings import MissAction
from gossamer.errors import DatapathError
from gossamer.pipeline.action import Actions
from gossamer.pipeline.flow import Flow, FlowTable
from gossamer.switch.config import FlowTableConfig
from gossamer.switch.numbered import Store
from gossamer.switch.references import ReferenceIndex
from gossamer.switch.timeouts import Timeouts

N_TABLES: Final = 254
"""Tables 0..253 are the controllers'; 254 is kept for the switch itself, as in Open vSwitch."""
DEFAULT_MAX_FLOWS: Final = 1_000_000


class FlowDatapath(Protocol):
    """The part of the datapath that flow tables need."""

    def transaction(self) -> AbstractContextManager[object]: ...

    def insert_flows(self, bridge_id: int, flows: Sequence[Flow]) -> None: ...

    def remove_flows(self, bridge_id: int, flows: Sequence[Flow]) -> None: ...

    def read_flow_statistics(self, flows: Sequence[Flow]) -> None: ...


class EventKind(IntEnum):
    """What happened to a flow."""

    ADDED = 0
    REMOVED = 1
    MODIFIED = 2


class RemovedReason(IntEnum):
    """Why a flow went (ofp_flow_removed_reason of OpenFlow 1.4)."""

    IDLE_TIMEOUT = 0
    HARD_TIMEOUT = 1
    DELETE = 2
    GROUP_DELETE = 3
    METER_DELETE = 4
    EVICTION = 5


FLAG_SEND_FLOW_REM: Final = 1
"""Bit of `Flow.flags` that asks for flow-removed (OFPFF_SEND_FLOW_REM)."""


@dataclass(frozen=True, slots=True)
class FlowEvent:
    """A change somebody may want to hear of.

    `source` is the connection that asked for it (None: the switch itself),
    `xid` the transaction.
    """

    kind: EventKind
    flow: Flow
    reason: RemovedReason
    source: object
    xid: int
    changed: bool = True
    """False for a modification that left actions and cookie as they were."""


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
        self.vacancy_is_low = False
        """Controllers were told that little is free, and not yet that it is more again."""

    def configure(self, config: FlowTableConfig) -> None:
        """Take what the database says."""
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


class _Undo(IntEnum):
    ADD = 0
    REMOVE = 1
    MODIFY = 2
    CLEAR = 3


class FlowTables:
    """All flow tables of a bridge."""

    def __init__(self, datapath: FlowDatapath, bridge_id: int) -> None:
        self.datapath = datapath
        self.bridge_id = bridge_id
        self.tables = [Table(i) for i in range(N_TABLES + 1)]
        self.timeouts = Timeouts()
        self.events: list[FlowEvent] = []
        self.by_id: dict[int, Flow] = {}
        """The flows in the datapath, by its name for them: a punt tells which flow sent it."""
        self.watched = False
        """Somebody monitors flows, so that every change is an event."""
        self.stores: list[Store] = []
        """Groups and meters, which take part in every commit and rollback."""
        self.references = ReferenceIndex()
        self.unlearned: list[Flow] = []
        """Flows that commits removed because nothing teaches them any more."""
        self._inserted: dict[Flow, None] = {}
        self._changed: dict[Flow, None] = {}
        self._removed: dict[Flow, None] = {}
        self._undo: list[tuple[_Undo, Flow | Table, object]] = []

    def __len__(self) -> int:
        return sum(table.n_flows for table in self.tables)

    @property
    def empty(self) -> bool:
        """No flow is left in the datapath."""
        return not self.by_id

    def __iter__(self) -> Iterator[Flow]:
        for table in self.tables:
            if table.n_flows:
                yield from table

    @property
    def dirty(self) -> bool:
        """Something waits for `commit()`."""
        return bool(self._undo) or any(store.dirty for store in self.stores)

    def configure(self, config: dict[int, FlowTableConfig]) -> None:
        """Set names and limits; flows beyond a limit stay unless the table evicts."""
        for table in self.tables:
            table.configure(config.get(table.table_id, FlowTableConfig()))

    def add(
        self, flow: Flow, source: object = None, xid: int = 0, *, keep_counters: bool = False
    ) -> Flow | None:
        """Add a flow; returns the one it replaced (same table, match and priority).

        With `keep_counters` it counts on from there.
        """
        replaced = self.tables[flow.table_id].insert(flow)
        self._undo.append((_Undo.ADD, flow, replaced))
        if replaced is not None:
            self._forget(replaced)
            if keep_counters and replaced.flow_id:
                # The datapath keeps counters by its name for the flow.
                flow.flow_id = replaced.flow_id
                flow.n_packets, flow.n_bytes = replaced.n_packets, replaced.n_bytes
                flow.own_packets, flow.own_bytes = replaced.own_packets, replaced.own_bytes
                self._removed.pop(replaced, None)
        self._inserted[flow] = None
        self.references.add(flow)
        if flow.idle_timeout_s or flow.hard_timeout_s:
            self.timeouts.add(flow)
        if self.watched:
            self.events.append(FlowEvent(EventKind.ADDED, flow, RemovedReason.DELETE, source, xid))
        return replaced

    def remove(
        self, flow: Flow, reason: RemovedReason, source: object = None, xid: int = 0
    ) -> None:
        """Take out a flow that is in its table."""
        self.tables[flow.table_id].remove(flow)
        self._undo.append((_Undo.REMOVE, flow, None))
        self._forget(flow)
        if self.watched or flow.flags & FLAG_SEND_FLOW_REM:
            self.events.append(FlowEvent(EventKind.REMOVED, flow, reason, source, xid))

    def clear_table(
        self, table: Table, reason: RemovedReason, source: object = None, xid: int = 0
    ) -> None:
        """Take out all flows of a table; much faster than one by one."""
        flows = list(table)
        self._undo.append((_Undo.CLEAR, table, (table.subtables, table.n_flows)))
        table.subtables, table.n_flows = {}, 0
        if (
            self._inserted
            or self._changed
            or self._removed
            or len(self.timeouts)
            or self.references
        ):
            for flow in flows:
                self._forget(flow)
        else:
            self._removed.update(dict.fromkeys(flows))
        for flow in flows:
            if self.watched or flow.flags & FLAG_SEND_FLOW_REM:
                self.events.append(FlowEvent(EventKind.REMOVED, flow, reason, source, xid))

    def modify(
        self,
        flow: Flow,
        actions: Actions,
        cookie: int,
        now: float,
        source: object = None,
        xid: int = 0,
    ) -> None:
        """Give a flow other actions and another cookie; its counters go on."""
        self._undo.append((_Undo.MODIFY, flow, (flow.actions, flow.cookie, flow.modified_s)))
        changed = flow.actions != actions or flow.cookie != cookie
        self.references.discard(flow)
        flow.actions = actions
        self.references.add(flow)
        flow.cookie = cookie
        flow.modified_s = now
        if changed and flow not in self._inserted:
            self._changed[flow] = None
        if flow.hard_timeout_s:
            self.timeouts.add(flow)
        if self.watched:
            self.events.append(
                FlowEvent(EventKind.MODIFIED, flow, RemovedReason.DELETE, source, xid, changed)
            )

    def _forget(self, flow: Flow) -> None:
        """A flow left its table; one the datapath knows must leave that too."""
        self._inserted.pop(flow, None)
        self._changed.pop(flow, None)
        self.references.discard(flow)
        if flow.flow_id:
            self._removed[flow] = None
        if flow.idle_timeout_s or flow.hard_timeout_s:
            self.timeouts.discard(flow)

    def commit(self) -> list[FlowEvent]:
        """Hand all changes to the datapath; returns the events in order.

        Raises DatapathError where the datapath refuses; then everything since
        the last commit is taken back, in the tables as in the datapath.
        """
        self._unlearn()
        removed, inserted = list(self._removed), [*self._inserted, *self._changed]
        if inserted:
            # A flow that another one replaces need not be removed: the datapath writes over it.
            removed = [f for f in removed if self._at(f) is None]
        try:
            self._hand_over(removed, inserted)
        except DatapathError:
            self._take_back(inserted)
            raise
        by_id = self.by_id
        for flow in self._removed:
            by_id.pop(flow.flow_id, None)
        for flow in inserted:
            by_id[flow.flow_id] = flow
        events, self.events = self.events, []
        self._reset()
        return events

    def _unlearn(self) -> None:
        """Remove flows learned with delete_learned whose last teacher went (ovs-actions(7))."""
        while lessons := self.references.take_finished():
            for table_id, cookie in lessons:
                for flow in [f for f in self.tables[table_id] if f.cookie == cookie]:
                    self.remove(flow, RemovedReason.DELETE)
                    self.unlearned.append(flow)

    def take_unlearned(self) -> list[Flow]:
        """`unlearned`, which is empty then."""
        unlearned, self.unlearned = self.unlearned, []
        return unlearned

    def _take_back(self, handed_over: list[Flow]) -> None:
        """Undo a batch of which the datapath took a part.  What was there before fitted before."""
        self._undo_all()
        self.unlearned.clear()
        known = list(dict.fromkeys([*self._changed, *(f for f in handed_over if self._at(f) is f)]))
        unknown = [f for f in handed_over if self._at(f) is None]
        with self.datapath.transaction():
            self._hand_over_flows(unknown, known)
            for store in self.stores:
                store.take_back()
        for flow in unknown:
            flow.flow_id = 0
        self.events.clear()
        self._reset()

    def _at(self, flow: Flow) -> Flow | None:
        """What is now in the place of `flow`."""
        return self.tables[flow.table_id].find_strict(flow.match, flow.priority)

    def _hand_over(self, removed: list[Flow], inserted: list[Flow]) -> None:
        with self.datapath.transaction():
            for store in self.stores:
                store.hand_over()
            self._hand_over_flows(removed, inserted)
            for store in self.stores:
                store.finish()

    def _hand_over_flows(self, removed: list[Flow], inserted: list[Flow]) -> None:
        if removed:
            self.datapath.remove_flows(self.bridge_id, removed)
        if inserted:
            self.datapath.insert_flows(self.bridge_id, inserted)

    def rollback(self) -> None:
        """Take back all since the last commit."""
        self._undo_all()
        for store in self.stores:
            store.rollback()
        self.events.clear()
        self._reset()

    def _undo_all(self) -> None:
        for kind, subject, before in reversed(self._undo):
            if isinstance(subject, Table):
                assert kind is _Undo.CLEAR and isinstance(before, tuple)
                subject.subtables, subject.n_flows = before
                for flow in subject:
                    self._restore(flow)
            elif kind is _Undo.ADD:
                table = self.tables[subject.table_id]
                self._forget(subject)
                self._removed.pop(subject, None)
                if isinstance(before, Flow):
                    table.insert(before)
                    self._restore(before)
                else:
                    table.remove(subject)
            elif kind is _Undo.REMOVE:
                self.tables[subject.table_id].insert(subject)
                self._restore(subject)
            else:
                assert isinstance(before, tuple)
                self.references.discard(subject)
                subject.actions, subject.cookie, subject.modified_s = before
                self.references.add(subject)
                if subject.hard_timeout_s:
                    self.timeouts.add(subject)
        self._undo.clear()

    def _restore(self, flow: Flow) -> None:
        """A flow is back in its table."""
        self._removed.pop(flow, None)
        self.references.add(flow)
        # A flow the datapath already had is written again, which is harmless and simple.
        (self._changed if flow.flow_id else self._inserted)[flow] = None
        if flow.idle_timeout_s or flow.hard_timeout_s:
            self.timeouts.add(flow)

    def _reset(self) -> None:
        for store in self.stores:
            store.settle()
        self.references.forgotten.clear()
        self._inserted.clear()
        self._changed.clear()
        self._removed.clear()
        self._undo.clear()
