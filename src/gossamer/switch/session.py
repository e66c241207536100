"""What one controller, or tool, may ask of a bridge, and what it hears of its own accord.

A session gets the messages of its connection in batches.  FLOW_MODs and
barriers that follow each other are carried out together in one transaction of
the datapath (`flow_batch.py`); everything else is answered one by one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from gossamer.datapath.settings import MissAction
from gossamer.openflow import encode
from gossamer.openflow import message as m
from gossamer.openflow.codec import Context, decode
from gossamer.openflow.error import ErrorCode, OpenFlowError, wire_code
from gossamer.openflow.frame import frame
from gossamer.pipeline.fields import ONF_VENDOR
from gossamer.switch import statistics
from gossamer.switch.async_config import AsyncConfig, PacketInReason, default_config
from gossamer.switch.bundle import Bundles
from gossamer.switch.connection import ERROR, HEADER_LEN, Connection
from gossamer.switch.describe import flow_removed, port_desc
from gossamer.switch.flow_batch import FlowBatch
from gossamer.switch.monitor import FlowMonitors
from gossamer.switch.pacing import PacketInLimits, PacketInPacer
from gossamer.switch.tables import N_TABLES, EventKind, FlowEvent

if TYPE_CHECKING:
    from gossamer.switch.bridge import Bridge
    from gossamer.switch.packet_in import PacketForController
    from gossamer.switch.port import Port
    from gossamer.switch.snoop import Snooper

log = logging.getLogger(__name__)

_INVALID_TTL: Final = 1 << 2
"""OFPC_INVALID_TTL_TO_CONTROLLER of OpenFlow 1.1 and 1.2, and Open vSwitch's own in 1.0."""
_UNASKED: Final = 0
"""Transaction id of what no request asked for."""
FLOW_MOD: Final = 14
VENDOR: Final = 4
_NXT_FLOW_MOD: Final = bytes.fromhex("000023200000000d")
"""Vendor and subtype of Nicira's FLOW_MOD, which OpenFlow 1.0 needs for NXM matches."""
_MAX_ERROR_DATA: Final = 0xFFFF - 16
_BUNDLE_FAILED: Final = 17
_EXPERIMENTER_ERROR: Final = b"\xff\xff"
_ONF_BUNDLE_FAILED: Final = 2300
"""First of the codes of ONF extension 230."""
DEFAULT_MISS_SEND_LEN: Final = 128
MAX_WAITING_PACKET_INS: Final = 256 * 1024
"""Bytes that may wait for a controller that does not keep up; then packet-ins are dropped."""


class Role(IntEnum):
    """ofp_controller_role (OpenFlow 1.3.5, 7.3.9)."""

    EQUAL = 1
    MASTER = 2
    SLAVE = 3

    @property
    def database_name(self) -> str:
        """As Controller.role has it."""
        return {Role.EQUAL: "other", Role.MASTER: "master", Role.SLAVE: "slave"}[self]

    @property
    def rank(self) -> int:
        """Who matters most."""
        return {Role.SLAVE: 0, Role.EQUAL: 1, Role.MASTER: 2}[self]


class Session:
    """The state of one OpenFlow connection to `bridge`."""

    def __init__(self, bridge: Bridge, *, service: bool) -> None:
        self.bridge = bridge
        self.service = service
        self.role = Role.EQUAL
        self.context = Context(1)
        self.miss_send_len = 0 if service else DEFAULT_MISS_SEND_LEN
        self.controller_id = 0
        self.packet_in_format = m.PacketInFormat.STANDARD
        self.async_config: AsyncConfig = default_config(1)
        self.snooper: Snooper | None = None
        self.monitors = FlowMonitors(self)
        self.bundles = Bundles(self)
        self._batch = FlowBatch(self)
        self._async_enabled = True
        now = time.monotonic()
        self._pacers = (PacketInPacer(PacketInLimits(), now), PacketInPacer(PacketInLimits(), now))
        self._connection: Connection | None = None

    # -- what the connection calls ----------------------------------------------------------

    @property
    def connection(self) -> Connection:
        """The connection this session speaks over."""
        assert self._connection is not None
        return self._connection

    @property
    def version(self) -> int:
        """The wire version settled."""
        return self.context.version

    def attach(self, connection: Connection) -> None:
        """Join session and connection."""
        self._connection = connection

    def configure(self, limits: PacketInLimits, asynchronous: bool) -> None:
        """Take the settings of the Controller row."""
        self._async_enabled = asynchronous
        for pacer in self._pacers:
            pacer.configure(limits, time.monotonic())

    def started(self, version: int) -> None:
        """The version is settled."""
        self.context = Context(version)
        self.async_config = default_config(version)
        self._barrier = 18 if version == 1 else 20
        self.bridge.update_table_miss()

    _barrier = 18

    def ended(self) -> None:
        """The connection is gone."""
        self.monitors.clear()
        self.bundles.clear()
        self.snooper = None
        self.bridge.update_table_miss()

    def transmitted(self, message: bytes) -> None:
        """A message was queued."""
        if self.snooper is not None:
            self.snooper.copy(message)

    def receive(self, messages: list[bytes]) -> None:
        """Carry out messages in order."""
        if self.snooper is not None:
            for raw in messages:
                self.snooper.copy(raw)
        try:
            self._carry_out(messages)
        except Exception:
            # A fault of ours; the connection ends, what it left half done does not stay.
            self.bridge.tables.rollback()
            raise

    def _carry_out(self, messages: list[bytes]) -> None:
        batch, barrier, connection = self._batch, self._barrier, self.connection
        for i, raw in enumerate(messages):
            kind = raw[1]
            if kind == FLOW_MOD or (kind == VENDOR and raw[8:16] == _NXT_FLOW_MOD):
                batch.flow_mod(raw)
            elif kind == barrier and len(raw) == HEADER_LEN:
                batch.barrier(raw)
            else:
                batch.commit()
                self._dispatch(raw)
                if connection.streaming:
                    connection.defer(messages[i + 1 :])
                    return
        batch.commit()

    def run(self, now: float) -> None:
        """Send packet-ins whose time has come."""
        for pacer in self._pacers:
            for message in pacer.due(now):
                self.connection.send(message)
        self.bundles.run(now)

    def next_s(self) -> float | None:
        """When `run()` has something to do."""
        moments = [p.next_s for p in self._pacers]
        return min((t for t in moments if t is not None), default=None)

    # -- requests -----------------------------------------------------------------------------

    def refuse(self, raw: bytes, error: OpenFlowError) -> None:
        """Answer a request with an error."""
        kind, code = wire_code(error.code, self.version)
        body = kind.to_bytes(2, "big") + code.to_bytes(2, "big")
        bundle_kind, bundle_code = wire_code(error.code, m.Version.V15)
        if self.version < m.Version.V14 and bundle_kind == _BUNDLE_FAILED:
            # The extension that brought bundles to OpenFlow 1.3 has errors of its own.
            body = _EXPERIMENTER_ERROR + (_ONF_BUNDLE_FAILED + bundle_code).to_bytes(2, "big")
            body += ONF_VENDOR.to_bytes(4, "big")
        # Open vSwitch sends the whole request back, not the 64 bytes that are the least.
        body += raw[:_MAX_ERROR_DATA]
        self.connection.send(frame(self.version, ERROR, int.from_bytes(raw[4:8], "big"), body))

    def _dispatch(self, raw: bytes) -> None:
        try:
            message = decode(raw, self.context)
            handler = _HANDLERS.get(type(message))
            if handler is None:
                raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_TYPE)
            handler(self, message, int.from_bytes(raw[4:8], "big"))
        except OpenFlowError as e:
            log.debug("bridge=%s peer=%s: %s", self.bridge.name, self.connection.name, e)
            self.refuse(raw, e)

    def require_writer(self) -> None:
        """Raises OpenFlowError(IS_SLAVE) where this controller may only look."""
        if self.role is Role.SLAVE:
            raise OpenFlowError(ErrorCode.BAD_REQUEST_IS_SLAVE)

    def _ignore(self, message: object, xid: int) -> None:
        """Needs no answer."""

    def _peer_error(self, message: m.Error, xid: int) -> None:
        log.info(
            "bridge=%s peer=%s: peer reports error type=%d code=%d",
            self.bridge.name, self.connection.name, message.kind, message.code,
        )  # fmt: skip

    def _echo(self, message: m.EchoRequest, xid: int) -> None:
        self.connection.send(encode.echo_reply(message.data, self.version, xid))

    def _features(self, message: m.FeaturesRequest, xid: int) -> None:
        ports = self.bridge.ports
        features = m.Features(
            datapath_id=ports.datapath_id,
            n_buffers=0,
            n_tables=N_TABLES,
            ports=tuple(port_desc(p) for p in ports.in_order()),
        )
        self.connection.send(encode.features_reply(features, self.version, xid))

    def _get_config(self, message: m.GetConfigRequest, xid: int) -> None:
        flags = self.bridge.fragment_handling
        self.connection.send(encode.get_config_reply(flags, self.miss_send_len, self.version, xid))

    def _set_config(self, message: m.SetConfig, xid: int) -> None:
        self.miss_send_len = message.miss_send_len
        if self.version in (m.Version.V11, m.Version.V12) or message.flags & _INVALID_TTL:
            bit = 1 << PacketInReason.INVALID_TTL
            wanted = self.async_config.packet_in & ~bit
            if message.flags & _INVALID_TTL:
                wanted |= bit
            self.async_config = replace(self.async_config, packet_in=wanted)

    def _packet_out(self, message: m.PacketOut, xid: int) -> None:
        self.require_writer()
        self.bridge.packet_out(message)

    def _port_mod(self, message: m.PortMod, xid: int) -> None:
        self.require_writer()
        self.bridge.port_mod(message, self)

    def _table_mod(self, message: m.TableMod, xid: int) -> None:
        self.require_writer()
        tables = self.bridge.tables.tables[:N_TABLES]
        if message.table_id != m.ALL_TABLES:
            tables = tables[message.table_id : message.table_id + 1]
            if not tables:
                raise OpenFlowError(ErrorCode.TABLE_MOD_FAILED_BAD_TABLE)
        for table in tables:
            if message.miss is not None:
                table.miss = _MISS[message.miss]
            if message.evicts is not None:
                table.evict_by_controller = message.evicts
        self.bridge.update_table_miss()

    def _unsupported_mod(self, message: object, xid: int) -> None:
        self.require_writer()
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_TYPE)

    def _role(self, message: m.RoleRequest, xid: int) -> None:
        controllers = self.bridge.controllers
        if message.role:
            role = Role(message.role)
            generation_id = message.generation_id
            if generation_id is not None and not controllers.accept_generation(generation_id):
                raise OpenFlowError(ErrorCode.ROLE_REQUEST_FAILED_STALE)
            if role is Role.MASTER:
                controllers.demote_masters(self)
            self.role = role
            self.bridge.roles_changed = True
        generation = controllers.generation_id
        self.connection.send(
            encode.role_reply(self.role, generation, self.version, xid, nicira=message.nicira)
        )

    def demote(self) -> None:
        """Another controller became master; this one is told where its version can say so."""
        self.role = Role.SLAVE
        if self.version >= m.Version.V14:
            generation = self.bridge.controllers.generation_id
            self.connection.send(
                encode.role_status(Role.SLAVE, 0, generation, self.version, _UNASKED)
            )

    def _get_async(self, message: m.GetAsyncRequest, xid: int) -> None:
        self.connection.send(encode.get_async_reply(self.async_config.message(), self.version, xid))

    def _set_async(self, message: m.SetAsync, xid: int) -> None:
        self.async_config = self.async_config.changed(message.masks, self.version)
        self.bridge.update_table_miss()

    def _flow_format(self, message: m.SetFlowFormat, xid: int) -> None:
        self.context.flow_format = m.FlowFormat(message.format)

    def _set_packet_in_format(self, message: m.SetPacketInFormat, xid: int) -> None:
        self.packet_in_format = m.PacketInFormat(message.format)

    def _flow_mod_table_id(self, message: m.FlowModTableId, xid: int) -> None:
        self.context.flow_mod_table_id = message.enable

    def _set_controller_id(self, message: m.SetControllerId, xid: int) -> None:
        self.controller_id = message.controller_id

    def _tlv_table(self, message: m.TlvTableRequest, xid: int) -> None:
        self.connection.send(encode.tlv_table_reply(self.version, xid))

    # -- what it hears of its own accord ----------------------------------------------------

    @property
    def wants_misses(self) -> bool:
        """A controller of a version that expects packets no flow matched."""
        return not self.service and bool(
            self.async_config.packet_in >> PacketInReason.IMPLICIT_MISS & 1
        )

    def _wants(self, normally: int, as_slave: int, reason: int) -> bool:
        if not self._async_enabled or (self.service and not self.miss_send_len):
            return False
        mask = as_slave if self.role is Role.SLAVE else normally
        return bool(mask >> reason & 1)

    def packet_in(self, packet: PacketForController) -> None:
        """A packet for controllers, of which this may be one."""
        config = self.async_config
        if packet.controller_id != self.controller_id or not self._wants(
            config.packet_in, config.slave_packet_in, packet.reason
        ):
            return
        if self.connection.output_bytes > MAX_WAITING_PACKET_INS:
            self.connection.n_dropped += 1
            return
        encoded = encode.packet_in(
            packet.message(self.version), self.version, self.packet_in_format
        )
        pacer = self._pacers[packet.reason.is_miss]
        for message in pacer.offer(packet.in_port, encoded, time.monotonic()):
            self.connection.send(message)

    def port_status(self, reason: int, port: Port, source: Session | None) -> None:
        """A port came (0), went (1) or changed (2)."""
        config = self.async_config
        if source is self and self.version < m.Version.V15:
            return  # before 1.5 a controller is not told of its own port-mod
        if self._wants(config.port_status, config.slave_port_status, reason):
            self.connection.send(
                encode.port_status(reason, port_desc(port), self.version, _UNASKED)
            )

    def flow_events(self, events: Sequence[FlowEvent]) -> None:
        """Flows were added, changed or removed."""
        now = time.monotonic()
        config = self.async_config
        for event in events:
            if (
                event.kind is EventKind.REMOVED
                and event.flow.flags & 1
                and self._wants(config.flow_removed, config.slave_flow_removed, event.reason)
            ):
                self.connection.send(
                    encode.flow_removed(
                        flow_removed(event, now), self.version, self.context, _UNASKED
                    )
                )
        self.monitors.events(events)


_MISS: Final = (MissAction.CONTROLLER, MissAction.CONTINUE, MissAction.DROP)


_HANDLERS: Final[dict[type, Callable[[Session, Any, int], None]]] = {
    m.Hello: Session._ignore,
    m.Error: Session._peer_error,
    m.EchoRequest: Session._echo,
    m.EchoReply: Session._ignore,
    m.FeaturesRequest: Session._features,
    m.GetConfigRequest: Session._get_config,
    m.SetConfig: Session._set_config,
    m.PacketOut: Session._packet_out,
    m.PortMod: Session._port_mod,
    m.TableMod: Session._table_mod,
    m.GroupMod: Session._unsupported_mod,
    m.MeterMod: Session._unsupported_mod,
    m.RoleRequest: Session._role,
    m.GetAsyncRequest: Session._get_async,
    m.SetAsync: Session._set_async,
    m.SetFlowFormat: Session._flow_format,
    m.SetPacketInFormat: Session._set_packet_in_format,
    m.FlowModTableId: Session._flow_mod_table_id,
    m.SetControllerId: Session._set_controller_id,
    m.FlowAge: Session._ignore,
    m.TlvTableRequest: Session._tlv_table,
    m.FlowMonitorRequest: lambda s, message, xid: s.monitors.request(message, xid),
    m.FlowMonitorCancel: lambda s, message, xid: s.monitors.cancel(message.monitor_id),
    m.BundleControl: lambda s, message, xid: s.bundles.control(message, xid),
    m.BundleAdd: lambda s, message, xid: s.bundles.add(message, xid),
    m.DescRequest: statistics.desc,
    m.FlowStatsRequest: statistics.flows,
    m.TableStatsRequest: statistics.tables,
    m.TableFeaturesRequest: statistics.table_features,
    m.TableDescRequest: statistics.table_desc,
    m.PortStatsRequest: statistics.ports,
    m.PortDescRequest: statistics.port_descs,
    m.QueueStatsRequest: statistics.queues,
    m.QueueConfigRequest: statistics.queue_config,
    m.GroupStatsRequest: statistics.groups,
    m.GroupDescRequest: statistics.group_descs,
    m.GroupFeaturesRequest: statistics.group_features,
    m.MeterStatsRequest: statistics.meters,
    m.MeterConfigRequest: statistics.meter_configs,
    m.MeterFeaturesRequest: statistics.meter_features,
}
