"""Messages, free of any version's layout: what `codec.decode()` gives and the encoders take."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from gossamer.pipeline.action import Actions, OfPort
from gossamer.pipeline.match import ANY, Match


class Version(IntEnum):
    """Wire versions."""

    V10 = 1
    V11 = 2
    V12 = 3
    V13 = 4
    V14 = 5
    V15 = 6


ANY_GROUP: Final = 0xFFFFFFFF
ALL_TABLES: Final = 0xFF
NO_BUFFER: Final = 0xFFFFFFFF
NO_COOKIE: Final = 0xFFFFFFFFFFFFFFFF
"""The cookie of what no flow caused."""


class FlowFormat(IntEnum):
    """How OpenFlow 1.0 connections speak of flows (NXT_SET_FLOW_FORMAT)."""

    OPENFLOW10 = 0
    NXM = 2


class PacketInFormat(IntEnum):
    """NXT_SET_PACKET_IN_FORMAT."""

    STANDARD = 0
    NXT_PACKET_IN = 1
    NXT_PACKET_IN2 = 2


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
class Hello:
    """OFPT_HELLO, after the versions were settled."""


@dataclass(frozen=True, slots=True)
class Error:
    """OFPT_ERROR from the peer."""

    kind: int
    code: int
    data: bytes


@dataclass(frozen=True, slots=True)
class EchoRequest:
    """OFPT_ECHO_REQUEST."""

    data: bytes


@dataclass(frozen=True, slots=True)
class EchoReply:
    """OFPT_ECHO_REPLY."""

    data: bytes


@dataclass(frozen=True, slots=True)
class FeaturesRequest:
    """OFPT_FEATURES_REQUEST."""


@dataclass(frozen=True, slots=True)
class GetConfigRequest:
    """OFPT_GET_CONFIG_REQUEST."""


@dataclass(frozen=True, slots=True)
class SetConfig:
    """OFPT_SET_CONFIG."""

    flags: int
    miss_send_len: int


@dataclass(frozen=True, slots=True)
class BarrierRequest:
    """OFPT_BARRIER_REQUEST."""


@dataclass(frozen=True, slots=True)
class PacketOut:
    """OFPT_PACKET_OUT (OpenFlow 1.3.5, 7.3.7); `match` is that of OpenFlow 1.5, in_port included."""

    buffer_id: int
    in_port: int
    actions: Actions
    data: bytes
    match: Match = ANY


@dataclass(frozen=True, slots=True)
class PortMod:
    """OFPT_PORT_MOD; config and mask in OpenFlow 1.1's bits."""

    port: int
    hw_addr: bytes
    config: int
    mask: int
    advertise: int = 0


@dataclass(frozen=True, slots=True)
class TableMod:
    """OFPT_TABLE_MOD; `miss` is None where the version does not speak of it."""

    table_id: int
    config: int
    miss: int | None = None
    evicts: bool | None = None
    vacancy: bool | None = None


@dataclass(frozen=True, slots=True)
class GroupMod:
    """OFPT_GROUP_MOD, not yet taken apart."""

    command: int
    group_id: int


@dataclass(frozen=True, slots=True)
class MeterMod:
    """OFPT_METER_MOD, not yet taken apart."""

    command: int
    meter_id: int


@dataclass(frozen=True, slots=True)
class RoleRequest:
    """OFPT_ROLE_REQUEST and NXT_ROLE_REQUEST; role: 0 no change, 1 equal, 2 master, 3 slave."""

    role: int
    generation_id: int | None = None
    nicira: bool = False


@dataclass(frozen=True, slots=True)
class GetAsyncRequest:
    """OFPT_GET_ASYNC_REQUEST."""


@dataclass(frozen=True, slots=True)
class SetAsync:
    """Which events a connection gets: by kind, (as master or equal, as slave) masks of reasons.

    Kinds: "packet_in", "port_status", "flow_removed"; those absent stay.
    """

    masks: dict[str, tuple[int | None, int | None]]


@dataclass(frozen=True, slots=True)
class SetFlowFormat:
    """NXT_SET_FLOW_FORMAT."""

    format: int


@dataclass(frozen=True, slots=True)
class SetPacketInFormat:
    """NXT_SET_PACKET_IN_FORMAT."""

    format: int


@dataclass(frozen=True, slots=True)
class FlowModTableId:
    """NXT_FLOW_MOD_TABLE_ID."""

    enable: bool


@dataclass(frozen=True, slots=True)
class SetControllerId:
    """NXT_SET_CONTROLLER_ID."""

    controller_id: int


@dataclass(frozen=True, slots=True)
class FlowAge:
    """NXT_FLOW_AGE: an obsolete message that means nothing."""


@dataclass(frozen=True, slots=True)
class TlvTableRequest:
    """NXT_TLV_TABLE_REQUEST."""


@dataclass(frozen=True, slots=True)
class FlowMonitorCancel:
    """NXT_FLOW_MONITOR_CANCEL."""

    monitor_id: int


@dataclass(frozen=True, slots=True)
class QueueConfigRequest:
    """OFPT_QUEUE_GET_CONFIG_REQUEST, or OFPMP_QUEUE_DESC."""

    port: int
    queue_id: int = 0xFFFFFFFF
    multipart: bool = False


@dataclass(frozen=True, slots=True)
class BundleControl:
    """OFPT_BUNDLE_CONTROL (OpenFlow 1.4.1, 7.3.9.2); type 0 open, 2 close, 4 commit, 6 discard."""

    bundle_id: int
    type: int
    flags: int
    onf: bool = False


@dataclass(frozen=True, slots=True)
class BundleAdd:
    """OFPT_BUNDLE_ADD_MESSAGE; `message` is a whole OpenFlow message."""

    bundle_id: int
    flags: int
    message: bytes
    onf: bool = False


# -- requests for statistics and descriptions ------------------------------------------------


@dataclass(frozen=True, slots=True)
class DescRequest:
    """OFPMP_DESC."""


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


@dataclass(frozen=True, slots=True)
class TableStatsRequest:
    """OFPMP_TABLE."""


@dataclass(frozen=True, slots=True)
class TableFeaturesRequest:
    """OFPMP_TABLE_FEATURES; `body` is not empty where the peer wants to set them."""

    body: bytes


@dataclass(frozen=True, slots=True)
class TableDescRequest:
    """OFPMP_TABLE_DESC."""


@dataclass(frozen=True, slots=True)
class PortStatsRequest:
    """OFPMP_PORT_STATS."""

    port: int


@dataclass(frozen=True, slots=True)
class PortDescRequest:
    """OFPMP_PORT_DESC."""

    port: int


@dataclass(frozen=True, slots=True)
class QueueStatsRequest:
    """OFPMP_QUEUE."""

    port: int
    queue_id: int


@dataclass(frozen=True, slots=True)
class GroupStatsRequest:
    """OFPMP_GROUP."""


@dataclass(frozen=True, slots=True)
class GroupDescRequest:
    """OFPMP_GROUP_DESC."""


@dataclass(frozen=True, slots=True)
class GroupFeaturesRequest:
    """OFPMP_GROUP_FEATURES."""


@dataclass(frozen=True, slots=True)
class MeterStatsRequest:
    """OFPMP_METER."""


@dataclass(frozen=True, slots=True)
class MeterConfigRequest:
    """OFPMP_METER_CONFIG."""


@dataclass(frozen=True, slots=True)
class MeterFeaturesRequest:
    """OFPMP_METER_FEATURES."""


@dataclass(frozen=True, slots=True)
class FlowMonitor:
    """One monitor of a FLOW_MONITOR request; flags are NXFMF_* (initial 1, add 2, delete 4,
    modify 8, actions 16, own 32).  Command: 0 add, 1 modify, 2 delete."""

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


# -- what the switch describes ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PortDesc:
    """A port as controllers see it.

    `config` and `state` are OpenFlow 1.1's bits (config: 1 down, 4 no-recv,
    32 no-fwd, 64 no-packet-in, and 0x10000 for 1.0's no-flood; state: 1 link
    down, 4 live).  Features are OpenFlow 1.1's; speeds in kbit/s.
    """

    number: int
    hw_addr: bytes
    name: str
    config: int = 0
    state: int = 0
    curr: int = 0
    advertised: int = 0
    supported: int = 0
    peer: int = 0
    curr_speed: int = 0
    max_speed: int = 0


CONFIG_DOWN: Final = 1 << 0
CONFIG_NO_STP: Final = 1 << 1
CONFIG_NO_RECV: Final = 1 << 2
CONFIG_NO_RECV_STP: Final = 1 << 3
CONFIG_NO_FLOOD: Final = 1 << 4
CONFIG_NO_FWD: Final = 1 << 5
CONFIG_NO_PACKET_IN: Final = 1 << 6
STATE_LINK_DOWN: Final = 1 << 0
STATE_LIVE: Final = 1 << 2


@dataclass(frozen=True, slots=True)
class PortStats:
    """Counters of a port; None is 'not counted'."""

    number: int
    rx_packets: int | None = None
    tx_packets: int | None = None
    rx_bytes: int | None = None
    tx_bytes: int | None = None
    rx_dropped: int | None = None
    tx_dropped: int | None = None
    rx_errors: int | None = None
    tx_errors: int | None = None
    rx_frame_err: int | None = None
    rx_over_err: int | None = None
    rx_crc_err: int | None = None
    collisions: int | None = None
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Features:
    """OFPT_FEATURES_REPLY."""

    datapath_id: int
    n_buffers: int
    n_tables: int
    auxiliary_id: int = 0
    ports: tuple[PortDesc, ...] = ()


@dataclass(frozen=True, slots=True)
class Desc:
    """OFPMP_DESC reply."""

    mfr: str
    hw: str
    sw: str
    serial: str
    dp: str


@dataclass(frozen=True, slots=True)
class FlowStats:
    """A flow of a flow statistics reply; durations and idle times in seconds."""

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
class TableStats:
    """A table of a table statistics reply."""

    table_id: int
    name: str
    active: int
    lookups: int
    matched: int
    max_entries: int
    miss: int = 0
    """0 controller, 1 continue, 2 drop (OFPTC11_TABLE_MISS_*); OpenFlow 1.1 and 1.2 only."""
    evicts: bool = False
    vacancy: bool = False


@dataclass(frozen=True, slots=True)
class PacketIn:
    """A packet for a controller.

    `reason`: 0 no match, 1 action, 2 invalid TTL (and 1.4's own, mapped by the
    encoder).  `key` is the flow key where it stood, for in_port, metadata and
    registers.  `data` is cut to what the controller wants already.
    """

    data: bytes
    total_len: int
    reason: int
    table_id: int
    cookie: int
    in_port: int
    key: int
    buffer_id: int = NO_BUFFER
    userdata: bytes = b""


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


@dataclass(frozen=True, slots=True)
class AsyncConfig:
    """What a connection gets, by kind: (master or equal, slave)."""

    masks: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FlowUpdate:
    """An event of a flow monitor: 0 added, 1 deleted, 2 modified, 3 abbreviated (NXFME_*)."""

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


Message = (
    FlowMod
    | Hello
    | Error
    | EchoRequest
    | EchoReply
    | FeaturesRequest
    | GetConfigRequest
    | SetConfig
    | BarrierRequest
    | PacketOut
    | PortMod
    | TableMod
    | GroupMod
    | MeterMod
    | RoleRequest
    | GetAsyncRequest
    | SetAsync
    | SetFlowFormat
    | SetPacketInFormat
    | FlowModTableId
    | SetControllerId
    | FlowAge
    | TlvTableRequest
    | FlowMonitorCancel
    | QueueConfigRequest
    | BundleControl
    | BundleAdd
    | DescRequest
    | FlowStatsRequest
    | TableStatsRequest
    | TableFeaturesRequest
    | TableDescRequest
    | PortStatsRequest
    | PortDescRequest
    | QueueStatsRequest
    | GroupStatsRequest
    | GroupDescRequest
    | GroupFeaturesRequest
    | MeterStatsRequest
    | MeterConfigRequest
    | MeterFeaturesRequest
    | FlowMonitorRequest
)
"""What a controller may say."""
