"""FLOW_MOD in its four layouts: OpenFlow 1.0, NXM, 1.1 to 1.3, and 1.4 on."""

from __future__ import annotations

from struct import Struct
from typing import Final

from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.instruction import decode_instructions
from gossamer.openflow.match import decode_match, decode_ofp_match
from gossamer.openflow.match10 import decode_match10
from gossamer.openflow.message import FlowMod, Version
from gossamer.openflow.oxm import is_valid_port, port_from_16
from gossamer.openflow.validate import check_actions, check_connection
from gossamer.pipeline.match import Match
from gossamer.pipeline.of_port import OfPort

_BODY10: Final = Struct(">QHHHHIHH")
_BODY11: Final = Struct(">QQBBHHHIIIHH")
_BODY_NXM: Final = Struct(">QHHHHIHHH6x")
_NO_COOKIE: Final = 0xFFFFFFFFFFFFFFFF
_COOKIE: Final = (0x0001 << 16 | 30 << 9 | 8).to_bytes(4, "big")
_COOKIE_MASKED: Final = (0x0001 << 16 | 30 << 9 | 1 << 8 | 16).to_bytes(4, "big")
_EMERGENCY10: Final = 1 << 2
_RESET_COUNTS: Final = 1 << 2
"""OFPFF_RESET_COUNTS of OpenFlow 1.2; before, every add does that."""
_ADD: Final = 0


_FLAGS: Final[dict[int, int]] = {Version.V10: 3, Version.V11: 3, Version.V12: 7}
_FLAGS_SINCE_13: Final = 31


def _check_flags(flags: int, version: int) -> None:
    if version == Version.V10 and flags & _EMERGENCY10:
        # Nothing says "no emergency flows"; that there is no room for them is true.
        raise OpenFlowError(ErrorCode.FLOW_MOD_FAILED_TABLE_FULL, "no emergency flows")
    if flags & ~_FLAGS.get(version, _FLAGS_SINCE_13):
        raise OpenFlowError(ErrorCode.FLOW_MOD_FAILED_BAD_FLAGS, f"flags {flags:#x}")


def decode_flow_mod10(data: bytes, with_table_id: bool) -> FlowMod:
    """OFPT_FLOW_MOD of OpenFlow 1.0 (1.0.0, 5.3.3); `with_table_id` after NXT_FLOW_MOD_TABLE_ID."""
    if len(data) < 72 or len(data) % 8:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    match = decode_match10(data, 8)
    cookie, command, idle, hard, priority, buffer_id, out_port, flags = _BODY10.unpack_from(
        data, 48
    )
    if not int.from_bytes(data[8:12], "big") & 0x3FFFFF:
        priority = 0xFFFF  # an exact match stands above all others (1.0.0, 3.4)
    head = (cookie, command, idle, hard, priority, buffer_id, out_port, flags)
    return _flow_mod10(data, head, match, 72, with_table_id, Version.V10)


def _flow_mod10(
    data: bytes, head: tuple[int, ...], match: Match, offset: int, with_table_id: bool, version: int,
    match_cookie: int = 0, cookie_mask: int = 0,
) -> FlowMod:  # fmt: skip
    """What OpenFlow 1.0's message and Nicira's have in common: numbers, and actions at `offset`."""
    cookie, command, idle, hard, priority, buffer_id, out_port, flags = head
    table_id = 0xFF
    if with_table_id:
        table_id, command = command >> 8, command & 0xFF
    actions = decode_instructions(data[offset:], Version.V10)
    actions = check_actions(actions, match, table_id, Version.V10)
    check_connection(match)
    _check_flags(flags, Version.V10)
    if command == _ADD and cookie_mask:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_NXM_INVALID, "an add cannot match on the cookie")
    if command == _ADD:
        flags |= _RESET_COUNTS
    return FlowMod(
        command,
        table_id,
        priority,
        match,
        actions,
        cookie,
        match_cookie,
        cookie_mask,
        cookie != _NO_COOKIE,
        not cookie_mask,
        idle,
        hard,
        0,
        flags,
        buffer_id,
        port_from_16(out_port),
        0xFFFFFFFF,
        int.from_bytes(data[4:8], "big"),
        version,
    )


def decode_nxm_match(data: bytes, offset: int, length: int) -> tuple[Match, int, int, int]:
    """(match, cookie, cookie mask, offset behind the padding) of an NXM match.

    The cookie may stand among the fields (NXM_NX_COOKIE).
    """
    end = offset + (length + 7) // 8 * 8
    if end > len(data):
        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_LEN)
    body = data[offset : offset + length]
    cookie = cookie_mask = 0
    at = 0
    while at + 4 <= len(body):
        head = body[at : at + 4]
        size = 4 + head[3]
        if head in (_COOKIE, _COOKIE_MASKED) and at + size <= len(body):
            cookie = int.from_bytes(body[at + 4 : at + 12], "big")
            cookie_mask = _NO_COOKIE
            if head == _COOKIE_MASKED:
                cookie_mask = int.from_bytes(body[at + 12 : at + 20], "big")
            body = body[:at] + body[at + size :]
            break
        at += size
    return decode_match(body), cookie, cookie_mask, end


def decode_flow_mod_nxm(data: bytes, version: int, with_table_id: bool) -> FlowMod:
    """NXT_FLOW_MOD."""
    if len(data) < 48 or len(data) % 8:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    *head, match_len = _BODY_NXM.unpack_from(data, 16)
    match, cookie, cookie_mask, offset = decode_nxm_match(data, 48, match_len)
    return _flow_mod10(data, tuple(head), match, offset, with_table_id, version, cookie, cookie_mask)


def decode_flow_mod11(data: bytes, version: int) -> FlowMod:
    """OFPT_FLOW_MOD of OpenFlow 1.1 and later (1.3.5, 7.3.4.1)."""
    if len(data) < 48 or len(data) % 8:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    (
        cookie, cookie_mask, table_id, command, idle, hard, priority, buffer_id, out_port, out_group,
        flags, importance,
    ) = _BODY11.unpack_from(data, 8)  # fmt: skip
    match, offset = decode_ofp_match(data, 48, version)
    actions = decode_instructions(data[offset:], version)
    actions = check_actions(actions, match, table_id, version)
    check_connection(match)
    if not is_valid_port(out_port):
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_OUT_PORT, f"out_port {out_port:#x}")
    _check_flags(flags, version)
    adding = command == _ADD
    if adding and version == Version.V11:
        flags |= _RESET_COUNTS
    sets_cookie = adding or (version == Version.V11 and not cookie_mask)
    return FlowMod(
        command,
        table_id,
        priority,
        match,
        actions,
        cookie if sets_cookie else _NO_COOKIE,
        0 if sets_cookie else cookie,
        0 if adding else cookie_mask,
        sets_cookie and not adding and cookie != _NO_COOKIE,
        version == Version.V11 and not cookie_mask,
        idle,
        hard,
        importance if version >= Version.V14 else 0,
        flags,
        buffer_id,
        out_port if command >= 3 else OfPort.ANY,
        out_group if command >= 3 else 0xFFFFFFFF,
        int.from_bytes(data[4:8], "big"),
        version,
    )
