"""Packets to and from controllers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from gossamer.openflow.message.continuation import Continuation
from gossamer.openflow.message.version import NO_BUFFER
from gossamer.pipeline.action import Actions
from gossamer.pipeline.match import ANY, Match


class PacketInFormat(IntEnum):
    """NXT_SET_PACKET_IN_FORMAT."""

    STANDARD = 0
    NXT_PACKET_IN = 1
    NXT_PACKET_IN2 = 2


@dataclass(frozen=True, slots=True)
class SetPacketInFormat:
    """NXT_SET_PACKET_IN_FORMAT."""

    format: int


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
    continuation: Continuation | None = None
    """How to go on, of a packet that controller(pause) stopped; NXT_PACKET_IN2 only."""


@dataclass(frozen=True, slots=True)
class Resume:
    """NXT_RESUME: go on with a paused packet, as the controller may have changed it.

    `metadata` says the pipeline fields: in_port, metadata, registers, tunnel.
    """

    data: bytes
    total_len: int
    table_id: int
    cookie: int
    reason: int
    metadata: Match
    continuation: Continuation


@dataclass(frozen=True, slots=True)
class PacketOut:
    """OFPT_PACKET_OUT (OpenFlow 1.3.5, 7.3.7); `match` is that of OpenFlow 1.5, in_port included."""

    buffer_id: int
    in_port: int
    actions: Actions
    data: bytes
    match: Match = ANY
