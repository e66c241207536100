"""What a connection hears of its own accord (OpenFlow 1.3.5, 6.1.2; 1.4.1, 7.4)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gossamer.openflow import encode
from gossamer.openflow import message as m
from gossamer.switch.async_config import AsyncConfig, PacketInReason, default_config
from gossamer.switch.describe import flow_removed, port_desc, table_desc
from gossamer.switch.flow_event import FLAG_SEND_FLOW_REM, EventKind, FlowEvent
from gossamer.switch.monitor import FlowMonitors
from gossamer.switch.pacing import PacketInLimits, PacketInPacer
from gossamer.switch.table import Table

if TYPE_CHECKING:
    from gossamer.switch.packet_in import PacketForController
    from gossamer.switch.port import Port
    from gossamer.switch.session import Session

_UNASKED: Final = 0
"""Transaction id of what no request asked for."""
DEFAULT_MISS_SEND_LEN: Final = 128
MAX_WAITING_PACKET_INS: Final = 256 * 1024
"""Bytes that may wait for a controller that does not keep up; then packet-ins are dropped."""


class Feed:
    """The asynchronous messages of one session: which it wants, and when it gets them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.miss_send_len = 0 if session.service else DEFAULT_MISS_SEND_LEN
        self.controller_id = 0
        self.packet_in_format = m.PacketInFormat.STANDARD
        self.config: AsyncConfig = default_config(1)
        self.monitors = FlowMonitors(session)
        self._enabled = True
        now = time.monotonic()
        self._pacers = (PacketInPacer(PacketInLimits(), now), PacketInPacer(PacketInLimits(), now))

    def configure(self, limits: PacketInLimits, enabled: bool) -> None:
        """Take the settings of the Controller row."""
        self._enabled = enabled
        for pacer in self._pacers:
            pacer.configure(limits, time.monotonic())

    def started(self, version: int) -> None:
        """The version is settled."""
        self.config = default_config(version)

    def ended(self) -> None:
        """The connection is gone."""
        self.monitors.clear()

    def run(self, now: float) -> None:
        """Send packet-ins whose time has come, and what monitors were not told while paused."""
        self.monitors.run()
        for pacer in self._pacers:
            for message in pacer.due(now):
                self._session.connection.send(message)

    def next_s(self) -> float | None:
        """When `run()` has something to do."""
        moments = [p.next_s for p in self._pacers]
        return min((t for t in moments if t is not None), default=None)

    @property
    def wants_misses(self) -> bool:
        """A controller, or a tool that watches, of a version that expects what no flow matched."""
        return not self._is_deaf and bool(
            self.config.packet_in >> PacketInReason.IMPLICIT_MISS & 1
        )

    @property
    def _is_deaf(self) -> bool:
        """A tool that did not ask to hear anything."""
        return self._session.service and not self.miss_send_len

    def _wants(self, kind: str, reason: int) -> bool:
        if not self._enabled or self._is_deaf:
            return False
        prefix = "slave_" if self._session.is_slave else ""
        mask: int = getattr(self.config, prefix + kind)
        return bool(mask >> reason & 1)

    def packet_in(self, packet: PacketForController) -> None:
        """A packet for controllers, of which this may be one."""
        session = self._session
        if packet.controller_id != self.controller_id or not self._wants(
            "packet_in", packet.reason
        ):
            return
        connection = session.connection
        if connection.output_bytes > MAX_WAITING_PACKET_INS:
            connection.n_dropped += 1
            return
        encoded = encode.packet_in(
            packet.message(session.version), session.version, self.packet_in_format
        )
        pacer = self._pacers[packet.reason.is_miss]
        for message in pacer.offer(packet.in_port, encoded, time.monotonic()):
            connection.send(message)

    def port_status(self, reason: int, port: Port, source: Session | None) -> None:
        """A port came (0), went (1) or changed (2)."""
        session = self._session
        if source is session and session.version < m.Version.V15:
            return  # before 1.5 a controller is not told of its own port-mod
        if self._wants("port_status", reason):
            session.connection.send(
                encode.port_status(reason, port_desc(port), session.version, _UNASKED)
            )

    def flow_events(self, events: Sequence[FlowEvent]) -> None:
        """Flows were added, changed or removed."""
        session, now = self._session, time.monotonic()
        for event in events:
            if (
                event.kind is EventKind.REMOVED
                and event.flow.flags & FLAG_SEND_FLOW_REM
                and self._wants("flow_removed", event.reason)
            ):
                session.connection.send(
                    encode.flow_removed(
                        flow_removed(event, now), session.version, session.context, _UNASKED
                    )
                )
        self.monitors.events(events)

    def role_status(self, reason: int) -> None:
        """This controller has another role, and did not ask for it (OpenFlow 1.4.1, 7.4.4)."""
        session = self._session
        if session.version >= m.Version.V13 and self._wants("role_status", reason):
            generation = session.bridge.controllers.generation_id
            session.connection.send(
                encode.role_status(session.role, reason, generation, session.version, _UNASKED)
            )

    def table_status(self, table: Table) -> None:
        """A table fills up, or has room again (OpenFlow 1.4.1, 7.4.5)."""
        session = self._session
        down, up = m.TableReason.VACANCY_DOWN, m.TableReason.VACANCY_UP
        reason = down if table.vacancy_is_low else up
        if session.version >= m.Version.V14 and self._wants("table_status", reason):
            session.connection.send(
                encode.table_status(table_desc(table), reason, session.version, _UNASKED)
            )

    def forwarded_request(self, message: m.GroupMod | m.MeterMod, xid: int) -> None:
        """Another controller changed a group or a meter (OpenFlow 1.4.1, 7.4.6)."""
        version = self._session.version
        reason = 0 if isinstance(message, m.GroupMod) else 1
        if self._wants("requestforward", reason):
            self._session.connection.send(encode.request_forward(message, version, xid))
