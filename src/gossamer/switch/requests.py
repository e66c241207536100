"""What a controller may ask of the switch that is neither a rule nor a statistic."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from gossamer.openflow import encode
from gossamer.openflow import message as m
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.pipeline.world import Fragments
from gossamer.switch import group_statistics, statistics, table_statistics
from gossamer.switch.async_config import PacketInReason
from gossamer.switch.ct_match import CtMatch, flushing
from gossamer.switch.describe import port_desc
from gossamer.switch.role import Role
from gossamer.switch.show import CommandError
from gossamer.switch.table import N_TABLES
from gossamer.switch.table_mod import table_mod

if TYPE_CHECKING:
    from gossamer.switch.session import Session

log = logging.getLogger(__name__)

_FRAGMENTS: Final = 3
_REASSEMBLE: Final = 2
_INVALID_TTL: Final = 1 << 2
"""OFPC_INVALID_TTL_TO_CONTROLLER of OpenFlow 1.1 and 1.2, and Open vSwitch's own in 1.0."""
_INVALID_TTL_REASON: Final = 1 << PacketInReason.INVALID_TTL


def _ignore(session: Session, message: object, xid: int) -> None:
    """Needs no answer."""


def _peer_error(session: Session, message: m.Error, xid: int) -> None:
    log.info(
        "bridge=%s peer=%s: peer reports error type=%d code=%d",
        session.bridge.name, session.connection.name, message.kind, message.code,
    )  # fmt: skip


def _echo(session: Session, message: m.EchoRequest, xid: int) -> None:
    session.connection.send(encode.echo_reply(message.data, session.version, xid))


def _features(session: Session, message: m.FeaturesRequest, xid: int) -> None:
    ports = session.bridge.ports
    features = m.Features(
        datapath_id=ports.identity.datapath_id,
        n_buffers=0,
        n_tables=N_TABLES,
        ports=tuple(port_desc(p) for p in ports.in_order()),
    )
    session.connection.send(encode.features_reply(features, session.version, xid))


def _get_config(session: Session, message: m.GetConfigRequest, xid: int) -> None:
    flags, length = int(session.bridge.rules.fragments), session.feed.miss_send_len
    if session.version < m.Version.V13 and session.feed.config.packet_in & _INVALID_TTL_REASON:
        flags |= _INVALID_TTL
    session.connection.send(encode.get_config_reply(flags, length, session.version, xid))


def _set_config(session: Session, message: m.SetConfig, xid: int) -> None:
    feed = session.feed
    feed.miss_send_len = message.miss_send_len
    if session.version < m.Version.V13:
        wanted = feed.config.packet_in & ~_INVALID_TTL_REASON
        if message.flags & _INVALID_TTL:
            wanted |= _INVALID_TTL_REASON
        feed.config = replace(feed.config, packet_in=wanted)
    session.bridge.update_table_miss()
    if session.role is not Role.SLAVE:
        _handle_fragments(session, message.flags & _FRAGMENTS)


def _handle_fragments(session: Session, flags: int) -> None:
    """What a controller wants tables to see of fragments.  Nobody puts them together here: as in
    Open vSwitch, the mode is left as it was then, without an error."""
    if flags == _REASSEMBLE:
        log.warning(
            "bridge=%s: unsupported fragment handling mode reassemble", session.bridge.name
        )
    else:
        session.bridge.set_fragments(Fragments(flags))


def _packet_out(session: Session, message: m.PacketOut, xid: int) -> None:
    session.require_writer()
    session.bridge.packet_out(message)


def _resume(session: Session, message: m.Resume, xid: int) -> None:
    session.bridge.resume(message)


def _port_mod(session: Session, message: m.PortMod, xid: int) -> None:
    session.require_writer()
    session.bridge.port_mod(message, session)


def _table_mod(session: Session, message: m.TableMod, xid: int) -> None:
    session.require_writer()
    table_mod(session.bridge, message)


def _role(session: Session, message: m.RoleRequest, xid: int) -> None:
    controllers = session.bridge.controllers
    if message.role:
        role = Role(message.role)
        generation_id = message.generation_id
        if generation_id is not None and not controllers.accept_generation(generation_id):
            raise OpenFlowError(ErrorCode.ROLE_REQUEST_FAILED_STALE)
        if role is Role.MASTER:
            controllers.demote_masters(session)
        session.role = role
        session.bridge.roles_changed = True
    generation = controllers.generation_id
    session.connection.send(
        encode.role_reply(session.role, generation, session.version, xid, nicira=message.nicira)
    )


def _get_async(session: Session, message: m.GetAsyncRequest, xid: int) -> None:
    config = session.feed.config.message()
    session.connection.send(encode.get_async_reply(config, session.version, xid))


def _set_async(session: Session, message: m.SetAsync, xid: int) -> None:
    session.feed.config = session.feed.config.changed(message.masks, session.version)
    session.bridge.update_table_miss()


def _flow_format(session: Session, message: m.SetFlowFormat, xid: int) -> None:
    session.context.flow_format = m.FlowFormat(message.format)


def _packet_in_format(session: Session, message: m.SetPacketInFormat, xid: int) -> None:
    session.feed.packet_in_format = m.PacketInFormat(message.format)


def _flow_mod_table_id(session: Session, message: m.FlowModTableId, xid: int) -> None:
    session.context.flow_mod_table_id = message.enable


def _controller_id(session: Session, message: m.SetControllerId, xid: int) -> None:
    session.feed.controller_id = message.controller_id


def _flush_connections(session: Session, message: m.ConnectionFlush, xid: int) -> None:
    session.require_writer()
    conntrack = session.bridge.datapath.conntrack
    try:
        steps = flushing(conntrack, CtMatch.of_message(message), message.zone)
    except CommandError as e:
        log.debug("bridge=%s: NXT_CT_FLUSH: %s", session.bridge.name, e)
        return
    # Nothing is sent, but what comes next, a barrier above all, waits until it is done.
    session.connection.send_lazily(_silently(steps))


def _silently(steps: Iterator[int]) -> Iterator[bytes]:
    """Steps of work that send nothing; where the connection ends, the rest is done at once."""
    try:
        for _ in steps:
            yield b""
    finally:
        for _ in steps:
            pass


def _ipfix(session: Session, message: m.IpfixStatsRequest, xid: int) -> None:
    exporters = session.bridge.exporters() if message.flow else {}
    if not exporters:
        raise OpenFlowError(ErrorCode.STATS_NOT_CONFIGURED)
    sets = [(number, exporter.statistics()) for number, exporter in exporters.items()]
    reply = encode.ipfix_reply(sets, session.version, xid, flow=message.flow)
    session.connection.send(reply)


def _tlv_table(session: Session, message: m.TlvTableRequest, xid: int) -> None:
    maps = session.bridge.rules.options.maps()
    session.connection.send(encode.tlv_table_reply(maps, session.version, xid))


def _tlv_table_mod(session: Session, message: m.TlvTableMod, xid: int) -> None:
    session.require_writer()
    session.bridge.rules.change_options(message)


def _monitor(session: Session, message: m.FlowMonitorRequest, xid: int) -> None:
    session.feed.monitors.request(message, xid)


def _cancel_monitor(session: Session, message: m.FlowMonitorCancel, xid: int) -> None:
    session.feed.monitors.cancel(message.monitor_id)


def _bundle_control(session: Session, message: m.BundleControl, xid: int) -> None:
    session.bundles.control(message, xid)


def _bundle_add(session: Session, message: m.BundleAdd, xid: int) -> None:
    session.bundles.add(message, xid)


Handler = Callable[["Session", Any, int], None]
HANDLERS: Final[dict[type, Handler]] = {
    m.Hello: _ignore,
    m.Error: _peer_error,
    m.EchoRequest: _echo,
    m.EchoReply: _ignore,
    m.FeaturesRequest: _features,
    m.GetConfigRequest: _get_config,
    m.SetConfig: _set_config,
    m.PacketOut: _packet_out,
    m.Resume: _resume,
    m.PortMod: _port_mod,
    m.TableMod: _table_mod,
    m.RoleRequest: _role,
    m.GetAsyncRequest: _get_async,
    m.SetAsync: _set_async,
    m.SetFlowFormat: _flow_format,
    m.SetPacketInFormat: _packet_in_format,
    m.FlowModTableId: _flow_mod_table_id,
    m.SetControllerId: _controller_id,
    m.FlowAge: _ignore,
    m.TlvTableMod: _tlv_table_mod,
    m.TlvTableRequest: _tlv_table,
    m.ConnectionFlush: _flush_connections,
    m.IpfixStatsRequest: _ipfix,
    m.FlowMonitorRequest: _monitor,
    m.FlowMonitorCancel: _cancel_monitor,
    m.BundleControl: _bundle_control,
    m.BundleAdd: _bundle_add,
    m.DescRequest: statistics.desc,
    m.FlowStatsRequest: statistics.flows,
    m.TableStatsRequest: table_statistics.tables,
    m.TableFeaturesRequest: table_statistics.table_features,
    m.TableDescRequest: table_statistics.table_desc,
    m.PortStatsRequest: statistics.ports,
    m.PortDescRequest: statistics.port_descs,
    m.QueueStatsRequest: statistics.queues,
    m.QueueConfigRequest: statistics.queue_config,
    m.GroupStatsRequest: group_statistics.groups,
    m.GroupDescRequest: group_statistics.group_descs,
    m.GroupFeaturesRequest: group_statistics.group_features,
    m.MeterStatsRequest: group_statistics.meters,
    m.MeterConfigRequest: group_statistics.meter_configs,
    m.MeterFeaturesRequest: group_statistics.meter_features,
}
"""Who carries out what `codec.decode()` gives; changes of rules go by themselves (rule_batch.py)."""
