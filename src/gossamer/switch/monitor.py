"""Flow monitors: a controller watches the flows that others change.

Nicira's extension, as `ovs-ofctl monitor watch:` uses it, and its form in
OpenFlow 1.4.1 (7.3.5.17).  Changes a session makes itself come back to it
only as the transaction id of its request, unless it asked to see them whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from gossamer.openflow import encode
from gossamer.openflow import message as m
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.pipeline.of_port import OfPort
from gossamer.switch.flow_event import EventKind, FlowEvent, RemovedReason
from gossamer.switch.flow_mod import output_ports, select, sends_to

if TYPE_CHECKING:
    from gossamer.pipeline.flow import Flow
    from gossamer.switch.session import Session

INITIAL: Final = 1
ADD: Final = 2
DELETE: Final = 4
MODIFY: Final = 8
ACTIONS: Final = 16
OWN: Final = 32
_KNOWN: Final = INITIAL | ADD | DELETE | MODIFY | ACTIONS | OWN
_FLAG_OF: Final = {EventKind.ADDED: ADD, EventKind.REMOVED: DELETE, EventKind.MODIFIED: MODIFY}
_EVENT_OF: Final = {
    EventKind.ADDED: m.FlowUpdateEvent.ADDED,
    EventKind.REMOVED: m.FlowUpdateEvent.REMOVED,
    EventKind.MODIFIED: m.FlowUpdateEvent.MODIFIED,
}
MAX_BACKLOG_BYTES: Final = 128 * 1024
"""Updates a watcher may leave unread before it is told no more until it has read them."""


class FlowMonitors:
    """The monitors of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._monitors: dict[int, m.FlowMonitor] = {}
        self._nicira = True
        self._missed: dict[Flow, bool] | None = None
        """While paused: flows to be told of later, with True for those the watcher never saw."""

    def clear(self) -> None:
        """The connection is gone."""
        self._missed = None
        if self._monitors:
            self._monitors.clear()
            self._watch()

    def _watch(self) -> None:
        bridge = self._session.bridge
        sessions = bridge.controllers.sessions()
        bridge.tables.watched = any(s.feed.monitors.active for s in sessions)

    @property
    def active(self) -> bool:
        """Something is monitored."""
        return bool(self._monitors)

    def request(self, message: m.FlowMonitorRequest, xid: int) -> None:
        """Add, change or delete monitors; answers with the flows that are there already.

        Raises OpenFlowError as OpenFlow 1.4.1, 7.5.4.17 says; then nothing changed.
        """
        wanted = dict(self._monitors)
        initial: dict[Flow, int] = {}
        for monitor in message.monitors:
            if monitor.command == m.MonitorCommand.DELETE:
                if wanted.pop(monitor.monitor_id, None) is None:
                    raise OpenFlowError(ErrorCode.FLOW_MONITOR_FAILED_UNKNOWN_MONITOR)
                continue
            if monitor.flags & ~_KNOWN or not monitor.flags & (INITIAL | ADD | DELETE | MODIFY):
                raise OpenFlowError(ErrorCode.FLOW_MONITOR_FAILED_BAD_FLAGS)
            exists = monitor.monitor_id in wanted
            if exists and monitor.command == m.MonitorCommand.ADD:
                raise OpenFlowError(ErrorCode.FLOW_MONITOR_FAILED_MONITOR_EXISTS)
            if not exists and monitor.command == m.MonitorCommand.MODIFY:
                raise OpenFlowError(ErrorCode.FLOW_MONITOR_FAILED_UNKNOWN_MONITOR)
            wanted[monitor.monitor_id] = monitor
            if monitor.flags & INITIAL:
                for flow in self._matching(monitor):
                    initial[flow] = initial.get(flow, 0) | monitor.flags
        self._monitors = wanted
        self._nicira = message.nicira
        self._watch()
        updates = [
            _update(m.FlowUpdateEvent.INITIAL, flow, with_actions=bool(flags & ACTIONS))
            for flow, flags in initial.items()
        ]
        self._send(updates, xid)

    def _matching(self, monitor: m.FlowMonitor) -> Iterable[Flow]:
        flows = select(
            self._session.bridge.tables,
            monitor.table_id,
            monitor.match,
            out_port=monitor.out_port,
            out_group=monitor.out_group,
        )
        return (f for f in flows if not f.hidden)

    def cancel(self, monitor_id: int) -> None:
        """Forget a monitor.

        Raises OpenFlowError where there is none of that number.
        """
        if self._monitors.pop(monitor_id, None) is None:
            raise OpenFlowError(ErrorCode.FLOW_MONITOR_FAILED_UNKNOWN_MONITOR)
        self._watch()

    def events(self, events: Sequence[FlowEvent]) -> None:
        """Tell what the monitors see of these changes."""
        if not self._monitors:
            return
        updates: list[m.FlowUpdate] = []
        abbreviated: set[int] = set()
        for event in events:
            flags = self._flags_for(event)
            if not flags or (self._missed is not None and self._postponed(event)):
                continue
            if event.source is self._session and not flags & OWN:
                if event.xid not in abbreviated:
                    abbreviated.add(event.xid)
                    updates.append(m.FlowUpdate(m.FlowUpdateEvent.ABBREVIATED, xid=event.xid))
                continue
            reason = int(event.reason) if event.kind is EventKind.REMOVED else 0
            with_actions = bool(flags & ACTIONS)
            updates.append(
                _update(_EVENT_OF[event.kind], event.flow, with_actions=with_actions, reason=reason)
            )
        if updates:
            self._send(updates, 0)
        session = self._session
        if self._missed is None and session.connection.output_bytes > MAX_BACKLOG_BYTES:
            self._missed = {}
            session.connection.send(encode.flow_monitor_paused(session.version, 0, resumed=False))

    def _postponed(self, event: FlowEvent) -> bool:
        """Note what a paused watcher is to be told later; False for what it must hear now.

        A flow that goes is told of at once, since it cannot be looked up later; one the watcher
        never heard of, not at all.
        """
        assert self._missed is not None
        if event.kind is EventKind.REMOVED:
            return self._missed.pop(event.flow, False)
        if event.kind is EventKind.ADDED:
            # One that took another's place is as new to the watcher as that one was.
            new = event.replaced is None or self._missed.pop(event.replaced, False)
            self._missed[event.flow] = new
        else:
            self._missed.setdefault(event.flow, False)
        return True

    def run(self) -> None:
        """Go on where a watcher has read what it was told."""
        if self._missed is None or self._session.connection.output_bytes:
            return
        missed, self._missed = self._missed, None
        updates = []
        for flow, new in missed.items():
            kind = EventKind.ADDED if new else EventKind.MODIFIED
            flags = self._flags_for(FlowEvent(kind, flow, RemovedReason.DELETE, None, 0))
            if flags:
                updates.append(_update(_EVENT_OF[kind], flow, with_actions=bool(flags & ACTIONS)))
        if updates:
            self._send(updates, 0)
        session = self._session
        session.connection.send(encode.flow_monitor_paused(session.version, 0, resumed=True))

    def _flags_for(self, event: FlowEvent) -> int:
        if event.kind is EventKind.MODIFIED and not event.changed:
            return 0
        wanted, flow, flags = _FLAG_OF[event.kind], event.flow, 0
        for monitor in self._monitors.values():
            if (
                monitor.flags & wanted
                and monitor.table_id in (m.ALL_TABLES, flow.table_id)
                and monitor.match.covers(flow.match)
                and _concerns(event, monitor)
            ):
                flags |= monitor.flags
        return flags

    def _send(self, updates: Sequence[m.FlowUpdate], xid: int) -> None:
        session = self._session
        for message in encode.flow_updates(
            updates, session.version, session.context, xid, nicira=self._nicira
        ):
            session.connection.send(message)


def _concerns(event: FlowEvent, monitor: m.FlowMonitor) -> bool:
    """Whether a flow sends to what is watched, or sent to its port before the change."""
    flow = event.flow
    if sends_to(flow, monitor.out_port, monitor.out_group):
        return True
    before = event.before
    return (
        before is not None
        and monitor.out_port in output_ports(before)
        and sends_to(flow, OfPort.ANY, monitor.out_group)
    )


def _update(
    kind: m.FlowUpdateEvent, flow: Flow, *, with_actions: bool, reason: int = 0
) -> m.FlowUpdate:
    return m.FlowUpdate(
        event=kind,
        reason=reason,
        table_id=flow.table_id,
        priority=flow.priority,
        match=flow.match,
        actions=flow.actions if with_actions else None,
        cookie=flow.cookie,
        idle_timeout=flow.idle_timeout_s,
        hard_timeout=flow.hard_timeout_s,
    )
