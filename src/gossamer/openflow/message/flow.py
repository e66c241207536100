"""Flows: changing them, their statistics, their end, and who watches them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from gossamer.openflow.message.version import ANY_GROUP, NO_BUFFER
from gossamer.pipeline.action import Actions
from gossamer.pipeline.match import ANY, Match
from gossamer.pipeline.of_port import OfPort


@dataclass(slots=True)
class FlowMod:
    """Add, modify or delete flows (OpenFlow 1.3.5, 7.3.4.1).

    `match_cookie`/`cookie_mask` select flows; `cookie` is what a flow gets.
    """

    command: int
    table_id: int
    priority: int
    match: Match
    actions: Actions
    cookie: int = 0
    match_cookie: int = 0
    cookie_mask: int = 0
    modifies_cookie: bool = False
    adds_when_nothing_matches: bool = False
    idle_timeout: int = 0
    hard_timeout: int = 0
    importance: int = 0
    flags: int = 0
    buffer_id: int = NO_BUFFER
    out_port: int = OfPort.ANY
    out_group: int = ANY_GROUP
    xid: int = 0
    version: int = 1


@dataclass(frozen=True, slots=True)
class FlowStatsRequest:
    """OFPMP_FLOW, OFPMP_AGGREGATE (`aggregate`) or their NXM forms (`nicira`)."""

    table_id: int
    match: Match
    out_port: int = OfPort.ANY
    out_group: int = ANY_GROUP
    cookie: int = 0
    cookie_mask: int = 0
    aggregate: bool = False
    nicira: bool = False
    stats_only: bool = False
    """OFPMP_FLOW_STATS of OpenFlow 1.5: without instructions."""


class FlowStats(NamedTuple):
    """A flow of a flow statistics reply; durations and idle times in seconds.

    A tuple, since a frozen dataclass takes four times as long to make, and a dump makes many.
    """

    table_id: int
    priority: int
    match: Match
    actions: Actions
    cookie: int
    duration_s: float
    idle_timeout: int
    hard_timeout: int
    flags: int
    importance: int
    n_packets: int
    n_bytes: int
    idle_age_s: int = -1
    hard_age_s: int = -1


@dataclass(frozen=True, slots=True)
class FlowRemoved:
    """A flow ended; reason 0 idle, 1 hard, 2 delete, 3 group, 4 meter, 5 eviction."""

    match: Match
    cookie: int
    priority: int
    reason: int
    table_id: int
    duration_s: float
    idle_timeout: int
    hard_timeout: int
    n_packets: int
    n_bytes: int


class MonitorCommand(IntEnum):
    """ofp_flow_monitor_command (OpenFlow 1.4.1, 7.3.5.17)."""

    ADD = 0
    MODIFY = 1
    DELETE = 2


@dataclass(frozen=True, slots=True)
class FlowMonitor:
    """One monitor of a FLOW_MONITOR request; flags are NXFMF_* (initial 1, add 2, delete 4,
    modify 8, actions 16, own 32), `command` is a `MonitorCommand`."""

    monitor_id: int
    flags: int
    out_port: int
    table_id: int
    match: Match
    out_group: int = ANY_GROUP
    command: int = 0


@dataclass(frozen=True, slots=True)
class FlowMonitorRequest:
    """NXST_FLOW_MONITOR or OFPMP_FLOW_MONITOR."""

    monitors: tuple[FlowMonitor, ...]
    nicira: bool


@dataclass(frozen=True, slots=True)
class FlowMonitorCancel:
    """NXT_FLOW_MONITOR_CANCEL."""

    monitor_id: int


class FlowUpdateEvent(IntEnum):
    """What a flow monitor tells; the first four as Nicira numbers them (NXFME_*)."""

    ADDED = 0
    REMOVED = 1
    MODIFIED = 2
    ABBREVIATED = 3
    INITIAL = 4
    """The flow was there when the monitor came; before OpenFlow 1.4 told as ADDED."""


@dataclass(frozen=True, slots=True)
class FlowUpdate:
    """An event of a flow monitor (`FlowUpdateEvent`); of an abbreviated one `xid` alone counts."""

    event: int
    reason: int = 0
    table_id: int = 0
    priority: int = 0
    match: Match = ANY
    actions: Actions | None = None
    cookie: int = 0
    idle_timeout: int = 0
    hard_timeout: int = 0
    xid: int = 0
