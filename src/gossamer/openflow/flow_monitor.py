"""Flow monitors on the wire: Nicira's, ONF's for OpenFlow 1.3 (EXT-187), 1.4's (7.3.5.17)."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack, unpack_from
from typing import TYPE_CHECKING, Final

from gossamer.openflow.action_encode import encode_actions
from gossamer.openflow.action_order import is_instruction
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.flow_mod import decode_nxm_match
from gossamer.openflow.frame import multipart, multipart_nicira, multipart_onf, pieces
from gossamer.openflow.instruction import encode_instructions
from gossamer.openflow.match import decode_ofp_match, encode_match, encode_ofp_match
from gossamer.openflow.message import (
    FlowMonitor,
    FlowUpdate,
    FlowUpdateEvent,
    MonitorCommand,
    Version,
)
from gossamer.openflow.oxm import is_valid_port, port_from_16
from gossamer.pipeline.action import Actions

if TYPE_CHECKING:
    from gossamer.openflow.context import Context

_INITIAL, _ADD, _DELETE, _MODIFY, _ACTIONS, _OWN = (1 << i for i in range(6))
_CHANGES: Final = _ADD | _DELETE | _MODIFY
_KNOWN: Final = _INITIAL | _CHANGES | _ACTIONS | _OWN
_NO_ABBREV14, _ONLY_OWN14 = 1 << 5, 1 << 6
_ONF_FLOW_MONITOR: Final = 1870
_ADDED_NX, _DELETED_NX, _MODIFIED_NX, _ABBREVIATED_NX = range(4)
_EVENTS_NX: Final = {
    FlowUpdateEvent.ADDED: _ADDED_NX,
    FlowUpdateEvent.REMOVED: _DELETED_NX,
    FlowUpdateEvent.MODIFIED: _MODIFIED_NX,
    FlowUpdateEvent.ABBREVIATED: _ABBREVIATED_NX,
    FlowUpdateEvent.INITIAL: _ADDED_NX,
}
_EVENTS14: Final = {
    FlowUpdateEvent.INITIAL: 0,
    FlowUpdateEvent.ADDED: 1,
    FlowUpdateEvent.REMOVED: 2,
    FlowUpdateEvent.MODIFIED: 3,
    FlowUpdateEvent.ABBREVIATED: 4,
}


def _check_flags(flags: int, known: int) -> None:
    if flags & ~known or not flags & _CHANGES:
        raise OpenFlowError(ErrorCode.FLOW_MONITOR_FAILED_BAD_FLAGS, f"flags {flags:#x}")


def _need(data: bytes, at: int, length: int) -> None:
    if len(data) < at + length:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)


def _zero(padding: bytes) -> None:
    if any(padding):
        raise OpenFlowError(ErrorCode.BAD_REQUEST_MUST_BE_ZERO)


def _check_port(port: int) -> None:
    if not is_valid_port(port):
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_OUT_PORT, f"out_port {port:#x}")


def decode_monitors_nx(data: bytes, at: int) -> tuple[FlowMonitor, ...]:
    """NXST_FLOW_MONITOR, up to OpenFlow 1.2.  Raises OpenFlowError."""
    out: list[FlowMonitor] = []
    while at < len(data):
        _need(data, at, 16)
        monitor_id, flags, port, match_len, table_id = unpack_from(">IHHHB", data, at)
        _check_flags(flags, _KNOWN)
        _zero(data[at + 11 : at + 16])
        match, _, _, at = decode_nxm_match(data, at + 16, match_len)
        out.append(FlowMonitor(monitor_id, flags, port_from_16(port), table_id, match))
    return tuple(out)


def decode_monitors13(data: bytes, at: int, version: int) -> tuple[FlowMonitor, ...]:
    """ONF's flow monitors, which OpenFlow 1.3 has.  Raises OpenFlowError."""
    out: list[FlowMonitor] = []
    while at < len(data):
        _need(data, at, 16)
        monitor_id, flags, port, table_id = unpack_from(">IH2xIB", data, at)
        _check_flags(flags, _KNOWN)
        _zero(data[at + 13 : at + 16])
        _check_port(port)
        match, at = decode_ofp_match(data, at + 16, version)
        out.append(FlowMonitor(monitor_id, flags, port, table_id, match))
    return tuple(out)


def decode_monitors14(data: bytes, at: int, version: int) -> tuple[FlowMonitor, ...]:
    """OFPMP_FLOW_MONITOR.  Raises OpenFlowError(FLOW_MONITOR_FAILED_*, ...)."""
    out: list[FlowMonitor] = []
    while at < len(data):
        _need(data, at, 16)
        monitor_id, port, group, flags, table_id, command = unpack_from(">IIIHBB", data, at)
        if command not in tuple(MonitorCommand):
            raise OpenFlowError(ErrorCode.FLOW_MONITOR_FAILED_BAD_COMMAND, f"command {command}")
        match, at = decode_ofp_match(data, at + 16, version)
        if command == MonitorCommand.DELETE:
            out.append(FlowMonitor(monitor_id, 0, port, table_id, match, group, command))
            continue
        _check_flags(flags, _KNOWN | _NO_ABBREV14 | _ONLY_OWN14)
        _check_port(port)
        # To Open vSwitch "only own" means "own ones too, whole", and ovs-ofctl asks for it so.
        own = _OWN if flags & (_NO_ABBREV14 | _ONLY_OWN14) else 0
        flags = flags & (_INITIAL | _CHANGES | _ACTIONS) | own
        out.append(FlowMonitor(monitor_id, flags, port, table_id, match, group, command))
    return tuple(out)


def _abbreviated(u: FlowUpdate, event: int) -> bytes:
    return pack(">HHI", 8, event, u.xid)


def _actions_nx(actions: Actions, version: int) -> bytes:
    """Instructions where ONF has them; Nicira's form has a list of actions in every version."""
    if version in (Version.V10, Version.V13):
        return encode_instructions(actions, version)
    return encode_actions(tuple(a for a in actions if not is_instruction(a)), version)


def _update_nx(u: FlowUpdate, version: int) -> bytes:
    event = _EVENTS_NX[FlowUpdateEvent(u.event)]
    if event == _ABBREVIATED_NX:
        return _abbreviated(u, event)
    if version == Version.V13:
        match = encode_ofp_match(u.match, version)
        match_len, padded = match[2] << 8 | match[3], match
    else:
        match = encode_match(u.match, Version.V10)
        match_len, padded = len(match), match + bytes(-len(match) % 8)
    actions = b"" if u.actions is None else _actions_nx(u.actions, version)
    body = pack(
        ">HHHHHBxQ", u.reason, u.priority, u.idle_timeout, u.hard_timeout, match_len, u.table_id,
        u.cookie,
    )  # fmt: skip
    body += padded + actions
    return pack(">HH", 4 + len(body), event) + body


def _update14(u: FlowUpdate, version: int) -> bytes:
    event = _EVENTS14[FlowUpdateEvent(u.event)]
    if u.event == FlowUpdateEvent.ABBREVIATED:
        return _abbreviated(u, event)
    body = pack(
        ">BBHHH4xQ", u.table_id, u.reason, u.idle_timeout, u.hard_timeout, u.priority, u.cookie
    )
    body += encode_ofp_match(u.match, version)
    body += b"" if u.actions is None else encode_instructions(u.actions, version)
    return pack(">HH", 4 + len(body), event) + body


def flow_updates(
    updates: Sequence[FlowUpdate], version: int, context: Context, xid: int, *, nicira: bool
) -> list[bytes]:
    """What flow monitors tell, in the form of the version; `nicira`: as before OpenFlow 1.4."""
    if not nicira:
        return [
            multipart(version, 16, xid, body, more)
            for body, more in pieces(_update14(u, version) for u in updates)
        ]
    bodies = pieces(_update_nx(u, version) for u in updates)
    if version == Version.V13:
        return [multipart_onf(version, _ONF_FLOW_MONITOR, xid, b, more) for b, more in bodies]
    return [multipart_nicira(version, 2, xid, body, more) for body, more in bodies]
