"""NXT_PACKET_IN2 and NXT_RESUME: packet-ins as lists of properties (nicira-ext.h)."""

from __future__ import annotations

from typing import Final

from gossamer.openflow.action import decode_actions
from gossamer.openflow.action_encode import encode_actions
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.frame import nicira
from gossamer.openflow.match import decode_match, encode_match
from gossamer.openflow.message import (
    NO_COOKIE,
    Continuation,
    PacketIn,
    PausedActions,
    Resume,
    Version,
)
from gossamer.openflow.properties import (
    Property,
    encode_number,
    encode_property,
    properties,
    unknown,
)
from gossamer.pipeline.action import DROP
from gossamer.pipeline.match import ANY, Match

_PACKET_IN2: Final = 30
(
    _PACKET, _FULL_LEN, _BUFFER_ID, _TABLE_ID, _COOKIE, _REASON, _METADATA, _USERDATA, _CONTINUATION
) = range(9)  # fmt: skip
(
    _C_BRIDGE, _C_STACK, _C_MIRRORS, _C_CONNTRACKED, _C_TABLE_ID, _C_COOKIE, _C_ACTIONS,
    _C_ACTION_SET, _C_ODP_PORT,
) = range(0x8000, 0x8009)  # fmt: skip
_MAX_STACKED: Final = 128


def _number(kind: int, value: int, length: int) -> bytes:
    return encode_property(kind, value.to_bytes(length, "big"))


def _number64(kind: int, value: int) -> bytes:
    """64 bits are aligned to 8 bytes, so that four of padding come first."""
    return encode_property(kind, bytes(4) + value.to_bytes(8, "big"))


def _nested(kind: int, body: bytes) -> bytes:
    return encode_property(kind, bytes(4) + body)


def encode_packet_in2(p: PacketIn, metadata: Match, version: int, xid: int) -> bytes:
    """NXT_PACKET_IN2."""
    body = encode_property(_PACKET, p.data)
    if p.total_len != len(p.data):
        body += encode_number(_FULL_LEN, p.total_len, 4)
    body += _number(_TABLE_ID, p.table_id, 1)
    if p.cookie != NO_COOKIE:
        body += _number64(_COOKIE, p.cookie)
    body += _number(_REASON, p.reason, 1)
    # OXM in every version, as Open vSwitch sends it.
    body += encode_property(_METADATA, encode_match(metadata, max(version, Version.V12)))
    if p.continuation is not None:
        body += _nested(_CONTINUATION, encode_continuation(p.continuation, version))
    if p.userdata:
        body += encode_property(_USERDATA, p.userdata)
    return nicira(version, _PACKET_IN2, xid, body)


def encode_continuation(c: Continuation, version: int) -> bytes:
    """The properties inside of a continuation; they are private to the switch."""
    body = encode_property(_C_BRIDGE, c.bridge) if any(c.bridge) else b""
    for value in reversed(c.stack):
        body += encode_property(_C_STACK, value)
    if c.mirrors:
        body += encode_number(_C_MIRRORS, c.mirrors, 4)
    if c.conntracked:
        body += encode_property(_C_CONNTRACKED, b"")
    table_id = cookie = 0
    for paused in c.paused:
        if paused.table_id != table_id:
            table_id = paused.table_id
            body += _number(_C_TABLE_ID, table_id, 1)
        if paused.cookie != cookie:
            cookie = paused.cookie
            body += _number64(_C_COOKIE, cookie)
        body += _nested(_C_ACTIONS, encode_actions(paused.actions, version))
    if c.action_set:
        body += _nested(_C_ACTION_SET, encode_actions(c.action_set, version))
    return body


def decode_resume(data: bytes, version: int) -> Resume:
    """The properties of NXT_RESUME.

    Raises OpenFlowError(BAD_PROPERTY_*, BAD_LEN), and what metadata and actions raise.
    """
    packet, total_len, table_id, cookie, reason = b"", 0, 0, NO_COOKIE, 0
    metadata, continuation = ANY, Continuation(bytes(16))
    for p in properties(data):
        if p.vendor:
            raise unknown("packet-in", p)
        match p.type:
            case 0:  # _PACKET
                packet = p.payload
            case 1:  # _FULL_LEN
                total_len = p.number(4)
            case 2:  # _BUFFER_ID
                p.number(4)
            case 3:  # _TABLE_ID
                table_id = p.number(1)
            case 4:  # _COOKIE
                cookie = _number_at_4(p)
            case 5:  # _REASON
                reason = p.number(1)
            case 6:  # _METADATA
                metadata = decode_match(p.payload)
            case 7:  # _USERDATA
                pass
            case 8:  # _CONTINUATION
                continuation = decode_continuation(_inside(p), version)
            case _:
                raise unknown("packet-in", p)
    if not packet or (total_len and total_len < len(packet)):
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN, "a packet is missing or too long")
    return Resume(
        packet, total_len or len(packet), table_id, cookie, reason, metadata, continuation
    )


def _number_at_4(p: Property) -> int:
    if len(p.payload) < 12:
        raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_LEN)
    return int.from_bytes(p.payload[4:12], "big")


def _inside(p: Property) -> bytes:
    """What is nested in a property, behind the padding of its header."""
    if len(p.payload) < 4:
        raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_LEN)
    return p.payload[4:]


def decode_continuation(data: bytes, version: int) -> Continuation:
    """Inverse of `encode_continuation()`.  Raises OpenFlowError."""
    bridge, mirrors, conntracked, table_id, cookie = bytes(16), 0, False, 0, 0
    stack: list[bytes] = []
    paused: list[PausedActions] = []
    action_set = DROP
    for p in properties(data):
        if p.vendor:
            raise unknown("continuation", p)
        kind = p.type
        if kind == _C_BRIDGE:
            bridge = p.payload
            if len(bridge) != 16:
                raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_LEN)
        elif kind == _C_STACK:
            if len(p.payload) > _MAX_STACKED:
                raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_LEN)
            stack.insert(0, p.payload)
        elif kind == _C_MIRRORS:
            mirrors = p.number(4)
        elif kind == _C_CONNTRACKED:
            conntracked = True
        elif kind == _C_TABLE_ID:
            table_id = p.number(1)
        elif kind == _C_COOKIE:
            cookie = _number_at_4(p)
        elif kind == _C_ACTIONS:
            paused.append(PausedActions(table_id, cookie, decode_actions(_inside(p), version)))
        elif kind == _C_ACTION_SET:
            action_set = decode_actions(_inside(p), version)
        elif kind == _C_ODP_PORT:
            p.number(4)
        else:
            raise unknown("continuation", p)
    return Continuation(bridge, tuple(paused), action_set, tuple(stack), mirrors, conntracked)
