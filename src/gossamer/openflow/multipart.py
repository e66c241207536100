"""Requests for statistics and descriptions (OpenFlow 1.0.0, 5.3.5; 1.3.5, 7.3.5)."""

from __future__ import annotations

from struct import unpack_from

from gossamer.openflow import message as m
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.flow_mod import decode_nxm_match
from gossamer.openflow.flow_monitor import (
    decode_monitors13,
    decode_monitors14,
    decode_monitors_nx,
)
from gossamer.openflow.match import decode_ofp_match
from gossamer.openflow.message import Message, Version
from gossamer.openflow.oxm import is_valid_port, port_from_16
from gossamer.openflow.table_features import decode_table_features
from gossamer.pipeline.fields import NX_VENDOR, ONF_VENDOR
from gossamer.pipeline.of_port import OfPort

_VENDOR = 0xFFFF
_ONF_FLOW_MONITOR = 1870


def body_offset(version: int) -> int:
    """Where the body of a multipart message begins."""
    return 12 if version == Version.V10 else 16


def decode_multipart(data: bytes, version: int) -> Message:
    """OFPT_STATS_REQUEST or OFPT_MULTIPART_REQUEST.  Raises OpenFlowError(BAD_STAT, BAD_LEN, ...)."""
    offset = body_offset(version)
    if len(data) < offset:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    kind, flags = unpack_from(">HH", data, 8)
    body = data[offset:]
    if flags and kind != 12:
        # Requests in pieces exist for table features only.
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_STAT, "a request in several pieces")
    if len(data) % 8 and (kind in (12, 16) or (kind in (1, 2, 17) and version > Version.V10)):
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    if kind == _VENDOR:
        return _vendor(data, offset, version)
    since = {6: 2, 7: 2, 8: 3, 9: 4, 10: 4, 11: 4, 12: 4, 14: 5, 15: 5, 16: 5, 17: 6}.get(kind, 1)
    if version < since:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_STAT, f"statistics {kind}")
    match kind:
        case 0:
            return _empty(body, m.DescRequest())
        case 1 | 2 | 17:
            return _flows(data, offset, version, kind)
        case 3:
            return _empty(body, m.TableStatsRequest())
        case 4:
            return m.PortStatsRequest(_port(body, version))
        case 5:
            _length(body, 8)
            if version == Version.V10:
                number, queue = unpack_from(">H2xI", body)
                port = port_from_16(number)
                # OpenFlow 1.0 says "all" where later versions say "any".
                return m.QueueStatsRequest(OfPort.ANY if port == OfPort.ALL else port, queue)
            port, queue = unpack_from(">II", body)
            return m.QueueStatsRequest(_checked(port), queue)
        case 6:
            _length(body, 8)
            return m.GroupStatsRequest(_first_word(body))
        case 7:
            if version == Version.V15:
                _length(body, 8)
                return m.GroupDescRequest(_first_word(body))
            return _empty(body, m.GroupDescRequest())
        case 8:
            return _empty(body, m.GroupFeaturesRequest())
        case 9:
            _length(body, 8)
            return m.MeterStatsRequest(_first_word(body))
        case 10:
            _length(body, 8)
            return m.MeterConfigRequest(_first_word(body))
        case 11:
            return _empty(body, m.MeterFeaturesRequest())
        case 12:
            tables = decode_table_features(body, version)
            return m.TableFeaturesRequest(body, tables, bool(flags & 1))
        case 13:
            if version == Version.V15:
                return m.PortDescRequest(_port(body, version))
            return _empty(body, m.PortDescRequest(0xFFFFFFFF))
        case 14:
            return _empty(body, m.TableDescRequest())
        case 15:
            _length(body, 8)
            port, queue = unpack_from(">II", body)
            return m.QueueConfigRequest(_checked(port), queue, multipart=True)
        case 16:
            return m.FlowMonitorRequest(decode_monitors14(data, offset, version), nicira=False)
        case _:
            raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_STAT, f"statistics {kind}")


def _length(body: bytes, length: int) -> None:
    if len(body) != length:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)


def _first_word(body: bytes) -> int:
    return int.from_bytes(body[:4], "big")


def _empty(body: bytes, request: Message) -> Message:
    _length(body, 0)
    return request


def _port(body: bytes, version: int) -> int:
    _length(body, 8)
    if version == Version.V10:
        return port_from_16(unpack_from(">H", body)[0])
    return _checked(_first_word(body))


def _checked(port: int) -> int:
    """Raises OpenFlowError(BAD_OUT_PORT) for numbers that no port can have."""
    if not is_valid_port(port):
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_OUT_PORT, f"port {port:#x}")
    return port


def _flows(data: bytes, offset: int, version: int, kind: int) -> Message:
    aggregate, stats_only = kind == 2, kind == 17
    if version == Version.V10:
        if len(data) != offset + 44:
            raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
        match, at = decode_ofp_match(data, offset, version)
        table_id, port = unpack_from(">BxH", data, at)
        return m.FlowStatsRequest(table_id, match, port_from_16(port), aggregate=aggregate)
    if len(data) < offset + 32:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    table_id, port, group, cookie, cookie_mask = unpack_from(">B3xII4xQQ", data, offset)
    _checked(port)
    match, at = decode_ofp_match(data, offset + 32, version)
    if at != len(data):
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    return m.FlowStatsRequest(
        table_id, match, port, group, cookie, cookie_mask, aggregate, stats_only=stats_only
    )


def _vendor(data: bytes, offset: int, version: int) -> Message:
    if len(data) < offset + 8:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    vendor, subtype = unpack_from(">II", data, offset)
    if vendor == ONF_VENDOR:
        if subtype != _ONF_FLOW_MONITOR or version != Version.V13:
            raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_SUBTYPE, f"ONF statistics {subtype}")
        return m.FlowMonitorRequest(decode_monitors13(data, offset + 8, version), nicira=True)
    if vendor != NX_VENDOR:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_VENDOR, f"vendor {vendor:#010x}")
    at = offset + (12 if version == Version.V10 else 8)
    if subtype in (0, 1) and version == Version.V10:
        if len(data) < at + 8:
            raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
        port, match_len, table_id = unpack_from(">HHB", data, at)
        match, cookie, cookie_mask, end = decode_nxm_match(data, at + 8, match_len)
        if end != len(data):
            raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
        return m.FlowStatsRequest(
            table_id, match, port_from_16(port), m.ANY_GROUP, cookie, cookie_mask,
            aggregate=subtype == 1, nicira=True,
        )  # fmt: skip
    if subtype == 2 and version <= Version.V12:
        return m.FlowMonitorRequest(decode_monitors_nx(data, at), nicira=True)
    body = data[at:]
    if subtype in (7, 8) and version == Version.V10:
        _length(body, 8)
        if subtype == 7:
            return m.GroupStatsRequest(_first_word(body))
        return m.GroupDescRequest(_first_word(body))
    if subtype == 9 and version <= Version.V11:
        return _empty(body, m.GroupFeaturesRequest())
    if subtype in (3, 4):
        return m.IpfixStatsRequest(subtype == 4)
    raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_SUBTYPE, f"Nicira statistics {subtype}")
