"""Messages, free of any version's layout: what `codec.decode()` gives and the encoders take.

One module a theme; all names are here as well.
"""

from __future__ import annotations

from gossamer.openflow.message.asynchronous import (
    AsyncConfig,
    GetAsyncRequest,
    SetAsync,
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
    SetPacketInFormat,
)
from gossamer.openflow.message.port import (
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
    QueueStatsRequest,
)
from gossamer.openflow.message.session import (
    BarrierRequest,
    BundleAdd,
    BundleControl,
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
    RoleRequest,
    SetConfig,
    SetControllerId,
    SetFlowFormat,
    TlvTableRequest,
)
from gossamer.openflow.message.table import (
    TableDescRequest,
    TableFeaturesRequest,
    TableMod,
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

__all__ = [
    "ALL_TABLES",
    "ANY_GROUP",
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
    "Desc",
    "DescRequest",
    "EchoReply",
    "EchoRequest",
    "Error",
    "Features",
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
    "Message",
    "MeterCommand",
    "MeterConfigRequest",
    "MeterFeatures",
    "MeterFeaturesRequest",
    "MeterMod",
    "MeterStats",
    "MeterStatsRequest",
    "PacketIn",
    "PacketInFormat",
    "PacketOut",
    "PortDesc",
    "PortDescRequest",
    "PortMod",
    "PortStats",
    "PortStatsRequest",
    "QueueConfigRequest",
    "QueueStatsRequest",
    "RoleRequest",
    "SetAsync",
    "SetConfig",
    "SetControllerId",
    "SetFlowFormat",
    "SetPacketInFormat",
    "TableDescRequest",
    "TableFeaturesRequest",
    "TableMod",
    "TableStats",
    "TableStatsRequest",
    "TlvTableRequest",
    "Version",
]
