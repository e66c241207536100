"""What settles how a connection speaks: features, configuration, roles, bundles."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from gossamer.openflow.message.port import PortDesc
from gossamer.pipeline.tlv import OptionMap


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
class Features:
    """OFPT_FEATURES_REPLY."""

    datapath_id: int
    n_buffers: int
    n_tables: int
    auxiliary_id: int = 0
    ports: tuple[PortDesc, ...] = ()


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
class RoleRequest:
    """OFPT_ROLE_REQUEST and NXT_ROLE_REQUEST; role: 0 no change, 1 equal, 2 master, 3 slave."""

    role: int
    generation_id: int | None = None
    nicira: bool = False


class FlowFormat(IntEnum):
    """How OpenFlow 1.0 connections speak of flows (NXT_SET_FLOW_FORMAT)."""

    OPENFLOW10 = 0
    NXM = 2


@dataclass(frozen=True, slots=True)
class SetFlowFormat:
    """NXT_SET_FLOW_FORMAT."""

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
class ConnectionTuple:
    """What is asked of one direction of a connection; an empty address, 0 and None are anything."""

    src: bytes = b""
    """4 or 16 bytes."""
    dst: bytes = b""
    sport: int = 0
    dport: int = 0
    icmp_id: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None


@dataclass(frozen=True, slots=True)
class ConnectionFlush:
    """NXT_CT_FLUSH_ZONE and NXT_CT_FLUSH: forget tracked connections that are as asked.

    A `zone` of None and a `proto` of 0 are any.
    """

    zone: int | None = None
    proto: int = 0
    orig: ConnectionTuple = ConnectionTuple()
    reply: ConnectionTuple = ConnectionTuple()


@dataclass(frozen=True, slots=True)
class IpfixStatsRequest:
    """NXST_IPFIX_BRIDGE, or NXST_IPFIX_FLOW (`flow`)."""

    flow: bool


@dataclass(frozen=True, slots=True)
class TlvTableMod:
    """NXT_TLV_TABLE_MOD; command 0 adds, 1 deletes by index, 2 deletes all."""

    command: int
    maps: tuple[OptionMap, ...] = ()


@dataclass(frozen=True, slots=True)
class TlvTableRequest:
    """NXT_TLV_TABLE_REQUEST."""


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


@dataclass(frozen=True, slots=True)
class DescRequest:
    """OFPMP_DESC."""


@dataclass(frozen=True, slots=True)
class Desc:
    """OFPMP_DESC reply."""

    mfr: str
    hw: str
    sw: str
    serial: str
    dp: str
