"""A bridge: its ports, its rules, and who programs it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gossamer.datapath.settings import MissAction, PuntReason
from gossamer.errors import DatapathError, DeviceError
from gossamer.openflow import message as m
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.pipeline.action import Output
from gossamer.pipeline.action_learn import Learn
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import ANY
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.world import Fragments
from gossamer.switch.config import BridgeConfig, FailMode, SslConfig
from gossamer.switch.connections import Controllers
from gossamer.switch.contract import Poller
from gossamer.switch.flow_event import FlowEvent, RemovedReason
from gossamer.switch.in_band import InBand, remotes
from gossamer.switch.local_network import LocalNetworks, wanted_network
from gossamer.switch.packet_in import PacketForController, as_on_the_wire, from_datapath
from gossamer.switch.packet_out import check as check_packet_out
from gossamer.switch.packet_out import packet_out
from gossamer.switch.port import Port
from gossamer.switch.port_listener import PortListener
from gossamer.switch.ports import BridgePorts
from gossamer.switch.resume import resume
from gossamer.switch.ruleset import Mode, RuleSet
from gossamer.switch.slow_path import take_through
from gossamer.switch.status import BridgeStatus
from gossamer.switch.table import N_TABLES, Table
from gossamer.switch.table_mod import passed_a_mark
from gossamer.switch.tables import FlowTables

if TYPE_CHECKING:
    from gossamer.datapath.settings import Punt
    from gossamer.export.ipfix import IpfixExporter
    from gossamer.pipeline.world import Bridge as View
    from gossamer.switch.session import Session
    from gossamer.switch.switch import Switch

log = logging.getLogger(__name__)

FAIL_OPEN_PRIORITY: Final = 0xF0F0
_JOURNAL_SUFFIX: Final = ".flows"
_NORMAL: Final = (Output(OfPort.NORMAL),)


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
        self.ports = BridgePorts(
            config, switch.datapath, switch.devices, switch.rundir, switch.tunnels
        )
        self.ports.listener = self
        journal = switch.rundir / f"{config.name}{_JOURNAL_SUFFIX}"
        self.rules = RuleSet(config.name, switch.datapath, self.ports.bridge_id, journal)
        self.view: View | None = None
        """What the reference pipeline knows of this bridge; None when ports changed since."""
        self.misses: dict[int, MissAction] = {}
        """What tables do with packets that match nothing, where that is not to drop them."""
        self._switch = switch
        self.sampling = False
        """Somebody wants to hear of packets that rules sample."""
        self._marked: list[Table] = []
        self.watch_vacancy()
        self._port_mod_source: Session | None = None
        self.roles_changed = False
        self.controllers = Controllers(self)
        self._local_networks = LocalNetworks(config.name, switch.devices)
        self.in_band = InBand(
            config.name,
            self.ports.bridge_id,
            switch.datapath,
            switch.devices,
            self.tables.tables[0].hidden,
        )

    @property
    def tables(self) -> FlowTables:
        """Its flow tables."""
        return self.rules.tables

    # -- configuration ------------------------------------------------------------------------

    def configure(
        self, config: BridgeConfig, ssl: SslConfig | None, managers: Iterable[str] = ()
    ) -> None:
        """Bring ports, tables and controllers to what `config` says.

        `managers` are targets that in-band control lets through beside the controllers.
        """
        self.config = config
        self.view = None
        self.ports.converge(config)
        self.tables.configure(dict(config.flow_tables))
        self.controllers.configure(config.controllers, config.protocols, config.fail_mode, ssl)
        self.in_band.configure(remotes(config, managers), config.in_band_queue)
        self.in_band.run(time.monotonic(), self._local_mac())
        self._local_networks.configure(wanted_network(config))
        self._local_networks.run(self.ports.ports.get(self.name))
        mode: Mode = (self.controllers.has_controllers, str(config.fail_mode))
        before = self.rules.mode
        if before is None or before[0] != mode[0] or (not mode[0] and before[1] != mode[1]):
            self._start_over()
        if mode != before:
            self.rules.note_mode(mode)
        self.update_table_miss()

    def _local_mac(self) -> bytes:
        """The address of the bridge's own device, b"" where there is none."""
        local = self.ports.ports.get(self.name)
        return local.mac if local is not None else b""

    def _start_over(self) -> None:
        """Empty the tables; a standalone bridge without controllers then acts as any switch."""
        flows = []
        if not self.controllers.has_controllers and self.config.fail_mode == FailMode.STANDALONE:
            flows.append(self._own_flow(0))
        self.tell(self.rules.replace_all(flows))

    def enter_fail_open(self) -> None:
        """No controller can be reached: forward by ourselves."""
        self.tell(self.rules.replace_all([self._own_flow(FAIL_OPEN_PRIORITY)]))

    def leave_fail_open(self) -> None:
        """A controller is back: it decides again."""
        flow = self.tables.tables[0].find_strict(ANY, FAIL_OPEN_PRIORITY)
        if flow is not None:
            self.tables.remove(flow, RemovedReason.DELETE)
            self.tell(self.rules.commit())
            self.rules.journal.removed([flow], time.monotonic())
            self.rules.flush_journal()

    def _own_flow(self, priority: int) -> Flow:
        now = time.monotonic()
        return Flow(0, priority, ANY, _NORMAL, created_s=now, modified_s=now, used_s=now)

    def update_table_miss(self) -> None:
        """Tell the datapath what tables do with packets that match nothing.

        That is the controllers' choice (OpenFlow 1.1 and 1.2, table-mod), and
        where they did not choose: drop, unless a controller is connected
        whose version expects packet-ins (up to OpenFlow 1.2).
        """
        heard = any(s.feed.wants_misses for s in self.controllers.sessions())
        default = MissAction.CONTROLLER if heard else MissAction.DROP
        # It is asked with each change of the configuration; mostly nothing is different.
        wanted = {
            table.table_id: default if table.settings.miss is None else table.settings.miss
            for table in self.tables.tables[:N_TABLES]
            if table.settings.miss is not None or default is not MissAction.DROP
        }
        if wanted == self.misses:
            return
        for table_id in wanted.keys() | self.misses.keys():
            action = wanted.get(table_id, MissAction.DROP)
            if action is not self.misses.get(table_id, MissAction.DROP):
                self.datapath.set_table_miss(self.ports.bridge_id, table_id, action)
        self.misses = wanted

    def commit(self) -> None:
        """Make changes of rules take effect, and tell those who want to know.

        Raises DatapathError with everything since the last commit taken back.
        """
        self.tell(self.rules.commit())
        self._tell_vacancy()

    def set_fragments(self, fragments: Fragments) -> None:
        """Let tables see this much of IP fragments."""
        self.rules.set_fragments(fragments)
        self.view = None

    def exporters(self) -> dict[int, IpfixExporter]:
        """Who exports flows of sampled packets, by collector set."""
        return self._switch.sampling.exporters(self.name)

    def set_sampling(self, wanted: bool) -> None:
        """Whether anybody wants to hear of packets that rules sample."""
        if wanted is not self.sampling:
            self.sampling = wanted
            self.datapath.set_sampling(self.ports.bridge_id, wanted)

    def watch_vacancy(self) -> None:
        """Note which tables have marks that controllers want to be told of."""
        self._marked = [t for t in self.tables.tables if t.settings.vacancy is not None]

    def _tell_vacancy(self) -> None:
        for table in self._marked:
            if passed_a_mark(table):
                for session in self.controllers.sessions():
                    session.feed.table_status(table)

    def tell(self, events: Sequence[FlowEvent]) -> None:
        """Tell controllers what happened to flows."""
        if events:
            for session in self.controllers.sessions():
                session.feed.flow_events(events)

    # -- the event loop -----------------------------------------------------------------------

    def run(self) -> bool:
        """Do what is ready; True when the status changed."""
        self.in_band.run(time.monotonic(), self._local_mac())
        self._local_networks.run(self.ports.ports.get(self.name))
        changed = self.controllers.run() or self.roles_changed
        self.roles_changed = False
        if changed:
            self.update_table_miss()
        self.tell(self.rules.run(time.monotonic()))
        self._tell_vacancy()
        return changed

    def wait(self, poller: Poller) -> None:
        """Say what to wake for."""
        self.controllers.wait(poller)
        for moment in (self.rules.next_s(), self.in_band.next_s()):
            if moment is not None:
                poller.timer_wait_until(int(moment * 1000) + 1)

    def punts(self, punts: Sequence[Punt]) -> None:
        """Packets that came up from the datapath: to be learned from, and for the controllers."""
        lessons: list[tuple[Learn, int]] = []
        for punt in punts:
            flow = self.tables.by_id.get(punt.flow_id)
            if punt.reason == PuntReason.LEARN:
                # What a flow taught that is gone since would outlive it.
                if flow is not None:
                    lessons.append((self.datapath.packets.learn_action(punt.userdata_id), punt.key))
            elif punt.reason == PuntReason.SAMPLE:
                action = self.datapath.packets.sample_action(punt.userdata_id)
                self._switch.sampling.sampled(self, action, punt)
            elif punt.reason == PuntReason.FIN:
                if flow is not None:
                    self.rules.fin_passed(flow)
            elif punt.reason == PuntReason.SLOW:
                take_through(self._switch, self, punt)
            else:
                userdata = self.datapath.packets.userdata(punt.userdata_id) if punt.userdata_id else b""
                for part in as_on_the_wire(punt):
                    self.packet_in(from_datapath(part, flow, userdata))
        if lessons:
            self.learn(lessons)

    def learn(self, lessons: Iterable[tuple[Learn, int]]) -> None:
        """Learn from packets: learn actions, each with the flow key it saw."""
        try:
            self.tell(self.rules.learn(lessons))
        except DatapathError as e:
            log.warning("bridge=%s: cannot learn flows: %s", self.name, e)

    def punt(self, punt: Punt) -> None:
        """One packet that came up."""
        self.punts((punt,))

    def packet_in(self, packet: PacketForController) -> None:
        """Give a packet to the controllers that want it, as far as their meter lets it through."""
        if not self.rules.own_meters.passes(packet.meter_id, len(packet.data), time.monotonic()):
            return
        for session in self.controllers.sessions():
            session.feed.packet_in(packet)

    def forward_request(
        self, message: m.GroupMod | m.MeterMod, xid: int, source: Session
    ) -> None:
        """Tell other controllers what one of them did to groups or meters."""
        for session in self.controllers.sessions():
            if session is not source:
                session.feed.forwarded_request(message, xid)

    # -- what controllers ask beside flows ----------------------------------------------------

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

    def resume(self, message: m.Resume) -> None:
        """Go on with a packet that waited at a controller; raises OpenFlowError."""
        resume(self._switch, self, message)

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
            session.feed.port_status(reason, port, self._port_mod_source)

    def settings_changed(self) -> None:
        """What packets may do at some port is different."""
        self.view = None

    def datapath_id_changed(self) -> None:
        """Controllers learn it from the features reply of a new connection."""
        self.controllers.reconnect()

    # -- ends ---------------------------------------------------------------------------------

    def status(self) -> BridgeStatus:
        """For the database."""
        return replace(self.ports.status(), controllers=self.controllers.status())

    def close(self) -> None:
        """The daemon ends; the bridge goes on in the datapath."""
        self.controllers.close()
        self.rules.close()

    def remove(self) -> None:
        """The bridge ends."""
        self.controllers.close()
        self.rules.options.close()
        self.rules.journal.remove()
        self.ports.remove()
