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

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from enum import IntEnum
from typing import Any, Final, Protocol

from gossamer.breath import in_parts, let_go
from gossamer.errors import DatapathError
from gossamer.pipeline.action import Actions
from gossamer.pipeline.flow import Flow
from gossamer.switch.config import FlowTableConfig
from gossamer.switch.flow_event import FLAG_SEND_FLOW_REM, EventKind, FlowEvent, RemovedReason
from gossamer.switch.numbered import Store
from gossamer.switch.references import ReferenceIndex
from gossamer.switch.table import N_TABLES, Table
from gossamer.switch.timeouts import Timeouts


class FlowDatapath(Protocol):
    """The part of the datapath that flow tables need."""

    @property
    def breathe(self) -> Callable[[], None]: ...

    def transaction(self) -> AbstractContextManager[object]: ...

    def insert_flows(self, bridge_id: int, flows: Sequence[Flow]) -> None: ...

    def remove_flows(self, bridge_id: int, flows: Sequence[Flow]) -> None: ...

    def read_flow_statistics(self, flows: Sequence[Flow]) -> None: ...


_PART: Final = 512
"""Flows between two breaths."""


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
        self._config: dict[int, FlowTableConfig] = {}
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
        if config == self._config:
            return
        self._config = config
        default = FlowTableConfig()
        for table in self.tables:
            wanted = config.get(table.table_id, default)
            if wanted != table.config:
                table.configure(wanted)

    def add(
        self, flow: Flow, source: object = None, xid: int = 0, *, keep_counters: bool = False
    ) -> Flow | None:
        """Add a flow; returns the one it replaced (same table, match and priority).

        With `keep_counters` it counts on from there.
        """
        table = self.tables[flow.table_id]
        replaced = table.insert(flow)
        if table.eviction is not None:
            table.eviction.add(flow)
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
            self.events.append(
                FlowEvent(
                    EventKind.ADDED, flow, RemovedReason.DELETE, source, xid, replaced=replaced
                )
            )
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
            or table.eviction is not None
        ):
            for flow in in_parts(flows, self.datapath.breathe):
                self._forget(flow)
        else:
            self._removed.update(dict.fromkeys(flows))
        for flow in in_parts(flows, self.datapath.breathe):
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
        old, changed = flow.actions, flow.actions != actions or flow.cookie != cookie
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
                FlowEvent(
                    EventKind.MODIFIED, flow, RemovedReason.DELETE, source, xid, changed,
                    old_actions=old,
                )
            )

    def _forget(self, flow: Flow) -> None:
        """A flow left its table; one the datapath knows must leave that too."""
        self._inserted.pop(flow, None)
        self._changed.pop(flow, None)
        self.references.discard(flow)
        eviction = self.tables[flow.table_id].eviction
        if eviction is not None:
            eviction.discard(flow)
        if flow.flow_id:
            self._removed[flow] = None
        if flow.idle_timeout_s or flow.hard_timeout_s:
            self.timeouts.discard(flow)

    def commit(self) -> list[FlowEvent]:
        """Hand all changes to the datapath; returns the events in order.

        Raises DatapathError where the datapath refuses; then everything since
        the last commit is taken back, in the tables as in the datapath.
        """
        if self.references.forgotten:
            self._unlearn()
        removed, inserted = list(self._removed), [*self._inserted, *self._changed]
        if inserted and removed:
            # A flow that another one replaces need not be removed: the datapath writes over it.
            looked_at = in_parts(removed, self.datapath.breathe)
            removed = [f for f in looked_at if self._at(f) is None]
        taken_back = False
        try:
            with self.datapath.transaction():
                try:
                    self._hand_over(removed, inserted)
                except DatapathError:
                    # Within the transaction, so that no packet sees what was handed over.
                    taken_back = True
                    self._take_back(inserted)
                    raise
        except DatapathError:
            if not taken_back:
                self._take_back(inserted)
            raise
        by_id, breathe = self.by_id, self.datapath.breathe
        for flow in in_parts(list(self._removed), breathe):
            by_id.pop(flow.flow_id, None)
        for flow in in_parts(inserted, breathe):
            by_id[flow.flow_id] = flow
        events, self.events = self.events, []
        if len(inserted) > _PART:
            # They are there to stay, and none is in a cycle.
            gc.collect(0)
            gc.freeze()
        for of_batch in (*self._reset(), removed, inserted):
            let_go(of_batch, breathe)
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
        changed = [store for store in self.stores if store.dirty]
        for store in changed:
            store.hand_over()
        self._hand_over_flows(removed, inserted)
        for store in changed:
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
        eviction = self.tables[flow.table_id].eviction
        if eviction is not None:
            eviction.add(flow)
        self._removed.pop(flow, None)
        self.references.add(flow)
        # A flow the datapath already had is written again, which is harmless and simple.
        (self._changed if flow.flow_id else self._inserted)[flow] = None
        if flow.idle_timeout_s or flow.hard_timeout_s:
            self.timeouts.add(flow)

    def _reset(self) -> list[list[Any]]:
        """Begin a new batch; returns what was in the last one."""
        for store in self.stores:
            store.settle()
        self.references.forgotten.clear()
        undo, self._undo = self._undo, []
        batch: list[list[Any]] = [undo]
        for flows in (self._inserted, self._changed, self._removed):
            batch.append(list(flows))
            flows.clear()
        return batch
