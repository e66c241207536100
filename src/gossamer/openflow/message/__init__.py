"""Messages, free of any version's layout: what `codec.decode()` gives and the encoders take.

One module a theme; all names are here as well.
"""

from __future__ import annotations

from gossamer.openflow.message.asynchronous import (
    ASYNC_KINDS,
    AsyncConfig,
    GetAsyncRequest,
    SetAsync,
)
from gossamer.openflow.message.continuation import (
    Continuation,
    PausedActions,
)
from gossamer.openflow.message.flow import (
    FlowMod,
    FlowMonitor,
    FlowMonitorCancel,
    FlowMonitorRequest,
    FlowRemoved,
    FlowStats,
    FlowStatsRequest,
    FlowUpdate,
    FlowUpdateEvent,
    MonitorCommand,
)
from gossamer.openflow.message.group import (
    BUCKET_ALL,
    BUCKET_FIRST,
    BUCKET_LAST,
    BUCKET_MAX,
    CAPABILITY_CHAINING,
    CAPABILITY_CHAINING_CHECKS,
    CAPABILITY_SELECT_LIVENESS,
    CAPABILITY_SELECT_WEIGHT,
    GROUP_ALL,
    GROUP_ANY,
    GroupCommand,
    GroupDescRequest,
    GroupFeatures,
    GroupFeaturesRequest,
    GroupMod,
    GroupStats,
    GroupStatsRequest,
)
from gossamer.openflow.message.meter import (
    METER_ALL,
    MeterCommand,
    MeterConfigRequest,
    MeterFeatures,
    MeterFeaturesRequest,
    MeterMod,
    MeterStats,
    MeterStatsRequest,
)
from gossamer.openflow.message.packet import (
    PacketIn,
    PacketInFormat,
    PacketOut,
    Resume,
    SetPacketInFormat,
)
from gossamer.openflow.message.port import (
    ALL_QUEUES,
    CONFIG_DOWN,
    CONFIG_NO_FLOOD,
    CONFIG_NO_FWD,
    CONFIG_NO_PACKET_IN,
    CONFIG_NO_RECV,
    CONFIG_NO_RECV_STP,
    CONFIG_NO_STP,
    STATE_LINK_DOWN,
    STATE_LIVE,
    PortDesc,
    PortDescRequest,
    PortMod,
    PortStats,
    PortStatsRequest,
    QueueConfigRequest,
    QueueDesc,
    QueueStats,
    QueueStatsRequest,
)
from gossamer.openflow.message.session import (
    BarrierRequest,
    BundleAdd,
    BundleControl,
    ConnectionFlush,
    ConnectionTuple,
    Desc,
    DescRequest,
    EchoReply,
    EchoRequest,
    Error,
    Features,
    FeaturesRequest,
    FlowAge,
    FlowFormat,
    FlowModTableId,
    GetConfigRequest,
    Hello,
    IpfixStatsRequest,
    RoleRequest,
    SetConfig,
    SetControllerId,
    SetFlowFormat,
    TlvTableMod,
    TlvTableRequest,
)
from gossamer.openflow.message.table import (
    ALL_METADATA,
    EVICTION_IMPORTANCE,
    EVICTION_LIFETIME,
    EVICTION_OTHER,
    FeaturesCommand,
    RuleFeatures,
    TableDesc,
    TableDescRequest,
    TableFeatures,
    TableFeaturesRequest,
    TableMod,
    TableReason,
    TableStats,
    TableStatsRequest,
)
from gossamer.openflow.message.version import (
    ALL_TABLES,
    ANY_GROUP,
    NO_BUFFER,
    NO_COOKIE,
    Version,
)

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
    | TlvTableMod
    | TlvTableRequest
    | ConnectionFlush
    | IpfixStatsRequest
    | FlowMonitorCancel
    | Resume
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

__all__ = [
    "ALL_METADATA",
    "ALL_QUEUES",
    "ALL_TABLES",
    "ANY_GROUP",
    "ASYNC_KINDS",
    "BUCKET_ALL",
    "BUCKET_FIRST",
    "BUCKET_LAST",
    "BUCKET_MAX",
    "CAPABILITY_CHAINING",
    "CAPABILITY_CHAINING_CHECKS",
    "CAPABILITY_SELECT_LIVENESS",
    "CAPABILITY_SELECT_WEIGHT",
    "CONFIG_DOWN",
    "CONFIG_NO_FLOOD",
    "CONFIG_NO_FWD",
    "CONFIG_NO_PACKET_IN",
    "CONFIG_NO_RECV",
    "CONFIG_NO_RECV_STP",
    "CONFIG_NO_STP",
    "EVICTION_IMPORTANCE",
    "EVICTION_LIFETIME",
    "EVICTION_OTHER",
    "GROUP_ALL",
    "GROUP_ANY",
    "METER_ALL",
    "NO_BUFFER",
    "NO_COOKIE",
    "STATE_LINK_DOWN",
    "STATE_LIVE",
    "AsyncConfig",
    "BarrierRequest",
    "BundleAdd",
    "BundleControl",
    "ConnectionFlush",
    "ConnectionTuple",
    "Continuation",
    "Desc",
    "DescRequest",
    "EchoReply",
    "EchoRequest",
    "Error",
    "Features",
    "FeaturesCommand",
    "FeaturesRequest",
    "FlowAge",
    "FlowFormat",
    "FlowMod",
    "FlowModTableId",
    "FlowMonitor",
    "FlowMonitorCancel",
    "FlowMonitorRequest",
    "FlowRemoved",
    "FlowStats",
    "FlowStatsRequest",
    "FlowUpdate",
    "FlowUpdateEvent",
    "GetAsyncRequest",
    "GetConfigRequest",
    "GroupCommand",
    "GroupDescRequest",
    "GroupFeatures",
    "GroupFeaturesRequest",
    "GroupMod",
    "GroupStats",
    "GroupStatsRequest",
    "Hello",
    "IpfixStatsRequest",
    "Message",
    "MeterCommand",
    "MeterConfigRequest",
    "MeterFeatures",
    "MeterFeaturesRequest",
    "MeterMod",
    "MeterStats",
    "MeterStatsRequest",
    "MonitorCommand",
    "PacketIn",
    "PacketInFormat",
    "PacketOut",
    "PausedActions",
    "PortDesc",
    "PortDescRequest",
    "PortMod",
    "PortStats",
    "PortStatsRequest",
    "QueueConfigRequest",
    "QueueDesc",
    "QueueStats",
    "QueueStatsRequest",
    "Resume",
    "RoleRequest",
    "RuleFeatures",
    "SetAsync",
    "SetConfig",
    "SetControllerId",
    "SetFlowFormat",
    "SetPacketInFormat",
    "TableDesc",
    "TableDescRequest",
    "TableFeatures",
    "TableFeaturesRequest",
    "TableMod",
    "TableReason",
    "TableStats",
    "TableStatsRequest",
    "TlvTableMod",
    "TlvTableRequest",
    "Version",
]
