"""Vendor messages: Nicira's (NXT_*) and ONF's bundles for OpenFlow 1.3."""

from __future__ import annotations

from struct import unpack_from

from gossamer.openflow import message as m
from gossamer.openflow.async_config import decode_masks, decode_properties
from gossamer.openflow.bundle import decode_bundle_add, decode_bundle_control
from gossamer.openflow.connection_flush import decode_flush
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.message import Message, Version
from gossamer.openflow.packet_in2 import decode_resume
from gossamer.pipeline.tlv import MAX_OPTION, N_FIELDS, OptionMap


def _exactly(data: bytes, length: int) -> None:
    if len(data) != length:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)


def decode_nicira(data: bytes, subtype: int, version: int) -> Message:
    """An NXT_* message but NXT_FLOW_MOD.  Raises OpenFlowError(BAD_SUBTYPE) for unknown ones."""
    match subtype:
        case 10:
            _exactly(data, 20)
            role = unpack_from(">I", data, 16)[0]
            if role > 2:
                raise OpenFlowError(ErrorCode.ROLE_REQUEST_FAILED_BAD_ROLE)
            return m.RoleRequest(role + 1, None, nicira=True)
        case 12 if version == Version.V10:
            _exactly(data, 20)
            wanted = unpack_from(">I", data, 16)[0]
            if wanted not in (m.FlowFormat.OPENFLOW10, m.FlowFormat.NXM):
                raise OpenFlowError(ErrorCode.BAD_REQUEST_EPERM, f"flow format {wanted}")
            return m.SetFlowFormat(wanted)
        case 15:
            _exactly(data, 24)
            if data[16] > 1:
                raise OpenFlowError(ErrorCode.BAD_REQUEST_EPERM)
            return m.FlowModTableId(bool(data[16]))
        case 16:
            _exactly(data, 20)
            wanted = unpack_from(">I", data, 16)[0]
            if wanted not in tuple(m.PacketInFormat):
                raise OpenFlowError(ErrorCode.BAD_REQUEST_EPERM, f"packet-in format {wanted}")
            return m.SetPacketInFormat(wanted)
        case 18:
            return m.FlowAge()
        case 19:
            return decode_masks(data[16:], version)
        case 20:
            _exactly(data, 24)
            return m.SetControllerId(unpack_from(">H", data, 22)[0])
        case 21 if version <= Version.V12:
            _exactly(data, 20)
            return m.FlowMonitorCancel(unpack_from(">I", data, 16)[0])
        case 24:
            return _tlv_table_mod(data)
        case 25:
            _exactly(data, 16)
            return m.TlvTableRequest()
        case 27 if version <= Version.V13:
            return decode_properties(data[16:], version)
        case 28:
            return decode_resume(data[16:], version)
        case 29:
            _exactly(data, 24)
            return m.ConnectionFlush(unpack_from(">H", data, 22)[0])
        case 32:
            return decode_flush(data)
        case _:
            raise OpenFlowError(
                ErrorCode.BAD_REQUEST_BAD_SUBTYPE, f"Nicira message {subtype} is not supported"
            )


_CLEAR = 2


def _tlv_table_mod(data: bytes) -> m.TlvTableMod:
    """NXT_TLV_TABLE_MOD.  Raises OpenFlowError(BAD_COMMAND, BAD_FIELD_IDX, BAD_OPT_LEN)."""
    if len(data) < 24 or len(data) % 8:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    command = unpack_from(">H", data, 16)[0]
    if command > _CLEAR:
        raise OpenFlowError(ErrorCode.TLV_TABLE_MOD_FAILED_BAD_COMMAND)
    maps = []
    for at in range(24, len(data), 8):
        found = OptionMap(*unpack_from(">HBBH", data, at))
        if found.index >= N_FIELDS:
            raise OpenFlowError(ErrorCode.TLV_TABLE_MOD_FAILED_BAD_FIELD_IDX, f"index {found.index}")
        if not found.length or found.length % 4 or found.length > MAX_OPTION:
            raise OpenFlowError(ErrorCode.TLV_TABLE_MOD_FAILED_BAD_OPT_LEN, f"{found.length} bytes")
        maps.append(found)
    return m.TlvTableMod(command, tuple(maps))


def decode_onf(data: bytes, subtype: int, version: int) -> Message:
    """ONF's extension messages for OpenFlow 1.3: bundles (EXT-230), flow monitors (EXT-187)."""
    if version != Version.V13:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_SUBTYPE, f"ONF message {subtype}")
    if subtype == 1870:
        _exactly(data, 20)
        return m.FlowMonitorCancel(unpack_from(">I", data, 16)[0])
    if subtype == 2300:
        return decode_bundle_control(data, 16, onf=True)
    if subtype == 2301:
        return decode_bundle_add(data, 16, onf=True)
    raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_SUBTYPE, f"ONF message {subtype}")
