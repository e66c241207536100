"""Answers to requests for statistics and descriptions (OpenFlow 1.3.5, 7.3.5).

Long answers are produced while they are sent, a part at a time: a dump of a
million flows neither stops the switch nor fills its memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from gossamer.devices.qos import QueueCounters
from gossamer.openflow import encode
from gossamer.openflow import message as m
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.pipeline.of_port import OfPort
from gossamer.switch import describe
from gossamer.switch.flow_mod import select
from gossamer.switch.port import Port

if TYPE_CHECKING:
    from gossamer.pipeline.flow import Flow
    from gossamer.switch.bridge import Bridge
    from gossamer.switch.session import Session

_CHUNK: Final = 4000
"""Flows whose counters are read at a time: each time costs a look through all cached paths."""
_ALL_QUEUES: Final = 0xFFFFFFFF


def desc(session: Session, message: m.DescRequest, xid: int) -> None:
    """OFPMP_DESC."""
    session.connection.send(encode.desc_reply(describe.desc(session.bridge), session.version, xid))


def flows(session: Session, message: m.FlowStatsRequest, xid: int) -> None:
    """OFPMP_FLOW and OFPMP_AGGREGATE, and their NXM forms."""
    bridge = session.bridge
    found = [
        flow
        for flow in select(
            bridge.tables,
            message.table_id,
            message.match,
            cookie=message.cookie,
            cookie_mask=message.cookie_mask,
            out_port=message.out_port,
            out_group=message.out_group,
        )
        if not flow.hidden
    ]
    if message.aggregate:
        bridge.datapath.read_flow_statistics(found)
        session.connection.send(
            encode.aggregate_reply(
                sum(f.n_packets + f.own_packets for f in found),
                sum(f.n_bytes + f.own_bytes for f in found),
                len(found),
                session.version,
                xid,
                nicira=message.nicira,
            )
        )
        return
    session.connection.send_lazily(
        encode.flow_stats_replies(
            _flow_stats(bridge, found),
            session.version,
            session.context,
            xid,
            nicira=message.nicira,
            stats_only=message.stats_only,
        )
    )


def _flow_stats(bridge: Bridge, found: list[Flow]) -> Iterator[m.FlowStats]:
    by_id = bridge.tables.by_id
    for start in range(0, len(found), _CHUNK):
        # Some may have gone since the dump began.
        chunk = [f for f in found[start : start + _CHUNK] if by_id.get(f.flow_id) is f]
        bridge.datapath.read_flow_statistics(chunk)
        now = time.monotonic()
        for flow in chunk:
            yield describe.flow_stats(flow, now)


def _ports(bridge: Bridge, number: int) -> list[Port]:
    if number == OfPort.ANY:
        return bridge.ports.in_order()
    port = bridge.ports.by_ofport.get(number)
    return [port] if port is not None else []


def ports(session: Session, message: m.PortStatsRequest, xid: int) -> None:
    """OFPMP_PORT_STATS; an unknown port has none."""
    bridge, now = session.bridge, time.monotonic()
    stats = [_port_stats(bridge, port, now) for port in _ports(bridge, message.port)]
    send_all(session, encode.port_stats_replies(stats, session.version, xid))


def _port_stats(bridge: Bridge, port: Port, now: float) -> m.PortStats:
    counted = bridge.datapath.port_statistics(port.port_id)
    errors = bridge.ports.devices.errors(port.link.ifindex) if port.link else None
    return m.PortStats(
        number=port.ofport,
        rx_packets=counted.rx_packets,
        tx_packets=counted.tx_packets,
        rx_bytes=counted.rx_bytes,
        tx_bytes=counted.tx_bytes,
        rx_dropped=counted.rx_dropped if errors else None,
        tx_dropped=counted.tx_dropped if errors else None,
        rx_errors=errors.rx_errors if errors else None,
        tx_errors=errors.tx_errors if errors else None,
        rx_frame_err=errors.rx_frame_errors if errors else None,
        rx_over_err=errors.rx_over_errors if errors else None,
        rx_crc_err=errors.rx_crc_errors if errors else None,
        collisions=errors.collisions if errors else None,
        duration_s=now - port.created_s,
    )


def port_descs(session: Session, message: m.PortDescRequest, xid: int) -> None:
    """OFPMP_PORT_DESC."""
    found = [describe.port_desc(p) for p in _ports(session.bridge, message.port)]
    send_all(session, encode.port_desc_replies(found, session.version, xid))


def _queued(session: Session, port: int, queue_id: int) -> list[tuple[Port, int]]:
    """The ports and queues that are asked for.  Raises OpenFlowError for those there are not."""
    bridge = session.bridge
    # OpenFlow 1.0 says OFPP_ALL where later versions say OFPP_ANY.
    every = port in (OfPort.ANY, OfPort.ALL)
    if not every and port not in bridge.ports.by_ofport:
        raise OpenFlowError(ErrorCode.QUEUE_OP_FAILED_BAD_PORT)
    ports = bridge.ports.in_order() if every else [bridge.ports.by_ofport[port]]
    found = [
        (p, number)
        for p in ports
        if p.shape is not None
        for number in sorted(p.shape.queues)
        if queue_id in (_ALL_QUEUES, number)
    ]
    if not found and queue_id != _ALL_QUEUES:
        raise OpenFlowError(ErrorCode.QUEUE_OP_FAILED_BAD_QUEUE)
    return found


def queues(session: Session, message: m.QueueStatsRequest, xid: int) -> None:
    """OFPMP_QUEUE."""
    now = time.monotonic()
    counted: dict[str, dict[int, QueueCounters]] = {}
    stats = []
    for port, number in _queued(session, message.port, message.queue_id):
        if port.name not in counted:
            counted[port.name] = session.bridge.ports.devices.queue_counters(port.device)
        c = counted[port.name].get(number, QueueCounters())
        stats.append(
            m.QueueStats(port.ofport, number, c.tx_bytes, c.tx_packets, c.tx_errors, now - port.shaped_s)
        )
    send_all(session, encode.queue_stats_replies(stats, session.version, xid))


def queue_config(session: Session, message: m.QueueConfigRequest, xid: int) -> None:
    """OFPT_QUEUE_GET_CONFIG_REQUEST and OFPMP_QUEUE_DESC."""
    descs = []
    for port, number in _queued(session, message.port, message.queue_id):
        assert port.shape is not None
        queue, speed = port.shape.queues[number], port.speed_mbps * 1_000_000
        descs.append(
            m.QueueDesc(
                port.ofport, number, _share(queue.min_rate_bps, speed), _share(queue.max_rate_bps, speed)
            )
        )
    if message.multipart:
        send_all(session, encode.queue_desc_replies(descs, session.version, xid))
    else:
        session.connection.send(
            encode.queue_get_config_reply(message.port, descs, session.version, xid)
        )


def _share(rate_bps: int, speed_bps: int) -> int | None:
    """In tenths of a percent of the port's speed; None where that is not known."""
    return min(rate_bps * 1000 // speed_bps, 1000) if speed_bps else None


def send_all(session: Session, messages: Iterable[bytes]) -> None:
    """Send the pieces of an answer."""
    for message in messages:
        session.connection.send(message)
