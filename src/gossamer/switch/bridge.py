"""A bridge: its ports, its flow tables, their journal, and who programs it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gossamer.datapath.settings import MissAction
from gossamer.errors import DatapathError, DeviceError
from gossamer.openflow import message as m
from gossamer.openflow.codec import Context, decode_flow_mod
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.pipeline.action import OfPort, Output
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import ANY
from gossamer.switch.config import BridgeConfig, FailMode, SslConfig
from gossamer.switch.connections import Controllers
from gossamer.switch.contract import Poller
from gossamer.switch.flow_mod import FlowMods
from gossamer.switch.journal import Journal, JournalError, Kind, Record
from gossamer.switch.packet_in import PacketForController, from_datapath
from gossamer.switch.packet_out import check as check_packet_out
from gossamer.switch.packet_out import packet_out
from gossamer.switch.port import Port
from gossamer.switch.ports import BridgePorts, PortListener
from gossamer.switch.status import BridgeStatus
from gossamer.switch.tables import N_TABLES, FlowEvent, FlowTables, RemovedReason

if TYPE_CHECKING:
    from gossamer.datapath.settings import Punt
    from gossamer.pipeline.world import Bridge as View
    from gossamer.switch.session import Session
    from gossamer.switch.switch import Switch

log = logging.getLogger(__name__)

_SNAPSHOT_POLL_S: Final = 0.1
FAIL_OPEN_PRIORITY: Final = 0xF0F0
_JOURNAL_SUFFIX: Final = ".flows"
_NORMAL: Final = (Output(OfPort.NORMAL),)
_TABLE_ID_EXTENSION: Final = 1
"""Context bit of a journal record: FLOW_MODs of OpenFlow 1.0 that carry a table."""

Mode = tuple[bool, str]
"""Whether the bridge has controllers, and its fail mode: a change of it empties the tables."""


class Bridge(PortListener):
    """One bridge.

    Raises JournalError where its journal cannot be opened, DatapathError where
    the datapath has no room for it.
    """

    def __init__(self, config: BridgeConfig, switch: Switch) -> None:
        self.name = config.name
        self.config = config
        self.datapath = switch.datapath
        self.rundir = switch.rundir
        self.ports = BridgePorts(config, switch.datapath, switch.devices, switch.rundir)
        self.ports.listener = self
        self.tables = FlowTables(switch.datapath, self.ports.bridge_id)
        self.flow_mods = FlowMods(self.tables)
        self.journal = Journal(switch.rundir / f"{config.name}{_JOURNAL_SUFFIX}")
        self.view: View | None = None
        """What the reference pipeline knows of this bridge; None when ports changed since."""
        self.misses: dict[int, MissAction] = {}
        """What tables do with packets that match nothing, where that is not to drop them."""
        self._switch = switch
        self._mode: Mode | None = None
        self._port_mod_source: Session | None = None
        self.roles_changed = False
        self._replay()
        self.controllers = Controllers(self)

    # -- configuration ------------------------------------------------------------------------

    def configure(self, config: BridgeConfig, ssl: SslConfig | None) -> None:
        """Bring ports, tables and controllers to what `config` says."""
        self.config = config
        self.view = None
        self.ports.converge(config)
        self.tables.configure(dict(config.flow_tables))
        self.controllers.configure(config.controllers, config.protocols, config.fail_mode, ssl)
        mode = (self.controllers.has_controllers, str(config.fail_mode))
        before, self._mode = self._mode, mode
        if before is None or before[0] != mode[0] or (not mode[0] and before[1] != mode[1]):
            self._start_over()
        if mode != before:
            self.journal.mode(mode, time.monotonic())
            self._flush_journal()
        self.update_table_miss()

    def _start_over(self) -> None:
        """Empty the tables; a standalone bridge without controllers then acts as any switch."""
        flows = []
        if not self.controllers.has_controllers and self.config.fail_mode == FailMode.STANDALONE:
            flows.append(self._own_flow(0))
        self._replace_all(flows)

    def enter_fail_open(self) -> None:
        """No controller can be reached: forward by ourselves."""
        self._replace_all([self._own_flow(FAIL_OPEN_PRIORITY)])

    def leave_fail_open(self) -> None:
        """A controller is back: it decides again."""
        flow = self.tables.tables[0].find_strict(ANY, FAIL_OPEN_PRIORITY)
        if flow is not None:
            self.tables.remove(flow, RemovedReason.DELETE)
            self.commit()
            self.journal.removed([flow], time.monotonic())
            self._flush_journal()

    def _own_flow(self, priority: int) -> Flow:
        now = time.monotonic()
        return Flow(0, priority, ANY, _NORMAL, created_s=now, modified_s=now, used_s=now)

    def _replace_all(self, flows: Sequence[Flow]) -> None:
        now = time.monotonic()
        for table in self.tables.tables:
            if table.n_flows:
                self.tables.clear_table(table, RemovedReason.DELETE)
        for flow in flows:
            self.tables.add(flow)
        self.commit()
        self.journal.cleared(now)
        if flows:
            self.journal.flows(flows, now)
        self._flush_journal()

    def update_table_miss(self) -> None:
        """Tell the datapath what tables do with packets that match nothing.

        That is the controllers' choice (OpenFlow 1.1 and 1.2, table-mod), and
        where they did not choose: drop, unless a controller is connected
        whose version expects packet-ins (up to OpenFlow 1.2).
        """
        wanted = any(s.wants_misses for s in self.controllers.primary_sessions())
        default = MissAction.CONTROLLER if wanted else MissAction.DROP
        for table in self.tables.tables[:N_TABLES]:
            action = table.miss if table.miss is not None else default
            if self.misses.get(table.table_id, MissAction.DROP) is not action:
                self.datapath.set_table_miss(self.ports.bridge_id, table.table_id, action)
                self.misses[table.table_id] = action

    # -- flows and their journal --------------------------------------------------------------

    def _replay(self) -> None:
        """Read the journal; the datapath gets the flows that are alive at its end."""
        n = 0
        for record in self.journal.open():
            n += 1
            try:
                self._replay_record(record)
            except OpenFlowError as e:
                # Only a journal of another version of ourselves holds what we refuse now.
                log.warning("bridge=%s: journal: %s", self.name, e)
        if n:
            self.commit()
            for flow in self.tables:
                if flow.idle_timeout_s or flow.hard_timeout_s:
                    self.tables.timeouts.add(flow)
            log.info("bridge=%s: %d flows recovered", self.name, len(self.tables))

    def _replay_record(self, record: Record) -> None:
        tables = self.tables
        if record.kind is Kind.MESSAGES:
            for message in _flow_mods_in(record):
                self.flow_mods.replay(message, record.time_s)
        elif record.kind is Kind.FLOWS:
            for flow in record.payload:
                tables.add(flow)
        elif record.kind is Kind.REMOVED:
            for table_id, priority, value, mask in record.payload:
                gone = tables.tables[table_id].find_strict(
                    replace(ANY, value=value, mask=mask), priority
                )
                if gone is not None:
                    tables.remove(gone, RemovedReason.DELETE)
        elif record.kind is Kind.CLEARED:
            for table in tables.tables:
                tables.clear_table(table, RemovedReason.DELETE)
        else:
            self._mode = record.payload
        tables.events.clear()

    def commit(self) -> list[FlowEvent]:
        """Hand changes to the datapath, and tell those who want to know.

        Raises DatapathError with everything since the last commit taken back.
        """
        if not self.tables.dirty:
            return []
        events = self.tables.commit()
        if events:
            for session in self.controllers.sessions():
                session.flow_events(events)
        return events

    def note(self, raw: Sequence[bytes | list[Flow]], context: Context, now: float) -> None:
        """Write to the journal what was committed: FLOW_MODs, and flows that were evicted."""
        how = _TABLE_ID_EXTENSION if context.flow_mod_table_id else 0
        messages: list[bytes] = []
        for item in raw:
            if isinstance(item, list):
                self.journal.messages(messages, how, now)
                self.journal.removed(item, now)
                messages = []
            else:
                messages.append(item)
        if messages:
            self.journal.messages(messages, how, now)
        self._flush_journal()

    def _flush_journal(self) -> None:
        try:
            self.journal.flush()
            if self.tables.empty and self.journal.wants_truncation:
                self.journal.truncate(self._journal_mode, time.monotonic())
            elif self.journal.wants_compaction:
                self.journal.compact(self.tables, self._journal_mode, time.monotonic())
        except JournalError as e:
            log.warning("bridge=%s: flows will not survive a restart: %s", self.name, e)

    @property
    def _journal_mode(self) -> Mode:
        return self._mode or (False, str(FailMode.STANDALONE))

    def _expire(self, now: float) -> None:
        over = self.tables.timeouts.expired(now, self.datapath.read_flow_statistics)
        if not over:
            return
        for flow, hard in over:
            reason = RemovedReason.HARD_TIMEOUT if hard else RemovedReason.IDLE_TIMEOUT
            self.tables.remove(flow, reason)
        try:
            self.commit()
        except DatapathError as e:
            log.warning("bridge=%s: cannot remove expired flows: %s", self.name, e)
            for flow, _ in over:
                self.tables.timeouts.add(flow)
            return
        self.journal.removed([flow for flow, _ in over], now)
        self._flush_journal()

    # -- the event loop -----------------------------------------------------------------------

    def run(self) -> bool:
        """Do what is ready; True when the status changed."""
        changed = self.controllers.run() or self.roles_changed
        self.roles_changed = False
        if changed:
            self.update_table_miss()
        moment = self.tables.timeouts.next_s
        if moment is not None:
            now = time.monotonic()
            if moment <= now:
                self._expire(now)
        try:
            self.journal.poll()
        except JournalError as e:
            log.warning("bridge=%s: %s", self.name, e)
        return changed

    def wait(self, poller: Poller) -> None:
        """Say what to wake for."""
        self.controllers.wait(poller)
        if self.journal.compacting:
            poller.timer_wait_until(int((time.monotonic() + _SNAPSHOT_POLL_S) * 1000))
        moment = self.tables.timeouts.next_s
        if moment is not None:
            poller.timer_wait_until(int(moment * 1000) + 1)

    def punt(self, punt: Punt) -> None:
        """A packet for the controllers came up from the datapath."""
        flow = self.tables.by_id.get(punt.flow_id)
        userdata = self.datapath.userdata(punt.userdata_id) if punt.userdata_id else b""
        self.packet_in(from_datapath(punt, flow, userdata))

    def packet_in(self, packet: PacketForController) -> None:
        """Give a packet to the controllers that want it."""
        for session in self.controllers.sessions():
            session.packet_in(packet)

    # -- what controllers ask beside flows ----------------------------------------------------

    @property
    def fragment_handling(self) -> int:
        """ofp_config_flags: fragments are forwarded like any packet; nothing else is offered."""
        return 0

    def check_port_mod(self, message: m.PortMod) -> Port:
        """The port a port-mod means.

        Raises OpenFlowError where there is none, or it has another address.
        """
        port = self.ports.by_ofport.get(message.port)
        if port is None:
            raise OpenFlowError(ErrorCode.PORT_MOD_FAILED_BAD_PORT)
        if message.hw_addr != port.mac:
            raise OpenFlowError(ErrorCode.PORT_MOD_FAILED_BAD_HW_ADDR)
        return port

    def port_mod(self, message: m.PortMod, source: Session) -> None:
        """Carry out a port-mod; raises OpenFlowError where that is impossible."""
        port = self.check_port_mod(message)
        self._port_mod_source = source
        try:
            self.ports.modify_port(port, message.config, message.mask)
        except DeviceError as e:
            raise OpenFlowError(ErrorCode.PORT_MOD_FAILED_BAD_CONFIG, str(e)) from e
        finally:
            self._port_mod_source = None

    def check_packet_out(self, message: m.PacketOut) -> None:
        """Raises OpenFlowError where a packet-out could not be carried out."""
        check_packet_out(message)

    def packet_out(self, message: m.PacketOut) -> None:
        """Carry out a packet-out; raises OpenFlowError where the request is wrong."""
        packet_out(self._switch, self, message)

    # -- ports --------------------------------------------------------------------------------

    def port_added(self, port: Port) -> None:
        """Tell controllers."""
        self._port_status(0, port)

    def port_deleted(self, port: Port) -> None:
        """Tell controllers."""
        self._port_status(1, port)

    def port_modified(self, port: Port) -> None:
        """Tell controllers."""
        self._port_status(2, port)

    def _port_status(self, reason: int, port: Port) -> None:
        for session in self.controllers.sessions():
            session.port_status(reason, port, self._port_mod_source)

    def settings_changed(self) -> None:
        """What packets may do at some port is different."""
        self.view = None

    def datapath_id_changed(self) -> None:
        """Controllers learn it from the features reply of a new connection."""
        self.controllers.reconnect()

    # -- ends ---------------------------------------------------------------------------------

    def status(self) -> BridgeStatus:
        """For the database."""
        return replace(self.ports.status({}), controllers=self.controllers.status())

    def close(self) -> None:
        """The daemon ends; the bridge goes on in the datapath."""
        self.controllers.close()
        self.journal.close()

    def remove(self) -> None:
        """The bridge ends."""
        self.controllers.close()
        self.journal.remove()
        self.ports.remove()


def _flow_mods_in(record: Record) -> Iterator[m.FlowMod]:
    """The FLOW_MODs of a record, each read as its connection would have."""
    payload: bytes = record.payload
    contexts: dict[int, Context] = {}
    offset = 0
    while offset < len(payload):
        length = int.from_bytes(payload[offset + 2 : offset + 4], "big")
        raw = payload[offset : offset + length]
        context = contexts.get(raw[0])
        if context is None:
            context = contexts[raw[0]] = Context(raw[0])
            context.flow_mod_table_id = bool(record.context & _TABLE_ID_EXTENSION)
        yield decode_flow_mod(raw, context)
        offset += length
