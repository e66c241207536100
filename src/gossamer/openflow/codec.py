"""From bytes to messages: what a controller says (OpenFlow 1.0 to 1.5, ONF and Nicira extensions)."""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack_from
from typing import Final

from gossamer.openflow import message as m
from gossamer.openflow.action import decode_action_list
from gossamer.openflow.async_config import decode_masks, decode_properties
from gossamer.openflow.bundle import decode_bundle_add, decode_bundle_control
from gossamer.openflow.context import Context
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.flow_mod import decode_flow_mod10, decode_flow_mod11, decode_flow_mod_nxm
from gossamer.openflow.group_mod import decode_group_mod
from gossamer.openflow.match import decode_ofp_match
from gossamer.openflow.message import Message, Version
from gossamer.openflow.meter_mod import decode_meter_mod
from gossamer.openflow.multipart import decode_multipart
from gossamer.openflow.nicira import decode_nicira, decode_onf
from gossamer.openflow.oxm import is_valid_port, port_from_16
from gossamer.openflow.port_mod import decode_port_mod
from gossamer.openflow.table_mod import decode_table_mod
from gossamer.pipeline.fields import BY_NAME, KEY_LEN, NX_VENDOR, ONF_VENDOR, PACKET_OFFSET
from gossamer.pipeline.match import ANY
from gossamer.pipeline.of_port import OfPort

_FIRST_NO_PORT: Final = 0xFF00
_PACKET_FIELDS: Final = (1 << 8 * (KEY_LEN - PACKET_OFFSET)) - 1
"""Bits of the key that are headers; a packet-out has these in its packet."""
_NXT_FLOW_MOD: Final = 13
_NXT_GROUP_MOD: Final = 31


def frame_length(buffer: bytes | bytearray | memoryview, offset: int = 0) -> int:
    """Length of the message that begins at `offset`, 0 while its header is not complete.

    Raises OpenFlowError(BAD_LEN) for a length below that of a header.
    """
    if len(buffer) - offset < 8:
        return 0
    length = buffer[offset + 2] << 8 | buffer[offset + 3]
    if length < 8:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    return length


def decode_flow_mod(data: bytes, context: Context) -> m.FlowMod:
    """OFPT_FLOW_MOD, or NXT_FLOW_MOD.  Raises OpenFlowError."""
    if context.version == Version.V10:
        if data[1] == 4:
            return decode_flow_mod_nxm(data, context.version, context.flow_mod_table_id)
        return decode_flow_mod10(data, context.flow_mod_table_id)
    return decode_flow_mod11(data, context.version)


def decode(data: bytes, context: Context) -> Message:
    """One whole message of the version of `context`.

    Raises OpenFlowError with the code the specification gives; nothing else.
    """
    if len(data) < 8 or (data[2] << 8 | data[3]) != len(data):
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    version = context.version
    if data[0] != version and data[1] not in (0, 1, 2, 3):
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_VERSION)
    kind = data[1]
    decoder = (_V10 if version == Version.V10 else _LATER).get(kind)
    if decoder is None or not _SINCE.get(kind, 0) <= version <= _UNTIL.get(kind, Version.V15):
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_TYPE, f"message type {kind}")
    if len(data) % 8 and version >= _EIGHTS.get(kind, _NEVER):
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    return decoder(data, context)


_NEVER: Final = 99
_EIGHTS: Final = {
    14: Version.V10,
    15: Version.V11,
    16: Version.V14,
    17: Version.V14,
    28: Version.V14,
    29: Version.V13,
    33: Version.V14,
}
"""From which version on messages of a type fill multiples of 8 bytes."""
_NICIRA_EIGHTS: Final = frozenset((13, 27, 28, 31))


def _exactly(data: bytes, length: int) -> None:
    if len(data) != length:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)


def _at_least(data: bytes, length: int) -> None:
    if len(data) < length:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)


def _hello(data: bytes, context: Context) -> Message:
    return m.Hello()


def _error(data: bytes, context: Context) -> Message:
    _at_least(data, 12)
    kind, code = unpack_from(">HH", data, 8)
    return m.Error(kind, code, data[12:])


def _echo_request(data: bytes, context: Context) -> Message:
    return m.EchoRequest(data[8:])


def _echo_reply(data: bytes, context: Context) -> Message:
    return m.EchoReply(data[8:])


def _vendor(data: bytes, context: Context) -> Message:
    _at_least(data, 16)
    vendor, subtype = unpack_from(">II", data, 8)
    if len(data) % 8 and vendor == NX_VENDOR and subtype in _NICIRA_EIGHTS:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    if vendor == NX_VENDOR:
        if subtype == _NXT_FLOW_MOD:
            return decode_flow_mod_nxm(data, context.version, context.flow_mod_table_id)
        if subtype == _NXT_GROUP_MOD and context.version == Version.V10:
            return decode_group_mod(data, 16, context.version)
        return decode_nicira(data, subtype, context.version)
    if vendor == ONF_VENDOR:
        return decode_onf(data, subtype, context.version)
    raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_VENDOR, f"vendor {vendor:#010x}")


def _features(data: bytes, context: Context) -> Message:
    _exactly(data, 8)
    return m.FeaturesRequest()


def _get_config(data: bytes, context: Context) -> Message:
    _exactly(data, 8)
    return m.GetConfigRequest()


def _set_config(data: bytes, context: Context) -> Message:
    _exactly(data, 12)
    flags, miss_send_len = unpack_from(">HH", data, 8)
    if flags & ~7:  # the two lowest are one number: 3 is Open vSwitch's OFPC_FRAG_NX_MATCH
        raise OpenFlowError(ErrorCode.SWITCH_CONFIG_FAILED_BAD_FLAGS)
    return m.SetConfig(flags, miss_send_len)


def _packet_out(data: bytes, context: Context) -> Message:
    match = ANY
    if context.version == Version.V10:
        _at_least(data, 16)
        buffer_id, in_port, length = unpack_from(">IHH", data, 8)
        in_port, offset = port_from_16(in_port), 16
    elif context.version < Version.V15:
        _at_least(data, 24)
        buffer_id, in_port, length = unpack_from(">IIH", data, 8)
        offset = 24
    else:
        _at_least(data, 24)
        buffer_id, length = unpack_from(">IH", data, 8)
        match, offset = decode_ofp_match(data, 16, context.version)
        if match.mask & _PACKET_FIELDS:
            raise OpenFlowError(ErrorCode.BAD_REQUEST_PIPELINE_FIELDS_ONLY)
        in_port, exact = match.field(BY_NAME["in_port"])
        if exact != 0xFFFFFFFF:
            raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_PORT, "packet-out without in_port")
    if not is_valid_port(in_port):
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_OUT_PORT, f"in_port {in_port:#x}")
    if in_port >= OfPort.MAX and in_port not in (
        OfPort.LOCAL, OfPort.ANY, OfPort.CONTROLLER,
    ):  # fmt: skip
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_PORT, f"in_port {in_port:#x}")
    _at_least(data, offset + length)
    actions = decode_action_list(data[offset : offset + length], context.version)
    return m.PacketOut(buffer_id, in_port, actions, data[offset + length :], match)


def _flow_mod(data: bytes, context: Context) -> Message:
    return decode_flow_mod(data, context)


def _port_mod(data: bytes, context: Context) -> Message:
    return decode_port_mod(data, context.version)


def _table_mod(data: bytes, context: Context) -> Message:
    return decode_table_mod(data, context.version)


def _group_mod(data: bytes, context: Context) -> Message:
    return decode_group_mod(data, 8, context.version)


def _meter_mod(data: bytes, context: Context) -> Message:
    return decode_meter_mod(data)


def _multipart(data: bytes, context: Context) -> Message:
    return decode_multipart(data, context.version)


def _barrier(data: bytes, context: Context) -> Message:
    _exactly(data, 8)
    return m.BarrierRequest()


def _queue_config(data: bytes, context: Context) -> Message:
    if context.version == Version.V10:
        _exactly(data, 12)
        port = port_from_16(unpack_from(">H", data, 8)[0])
    else:
        _exactly(data, 16)
        port = unpack_from(">I", data, 8)[0]
    is_any = port == OfPort.ANY and context.version > Version.V10
    if port >= _FIRST_NO_PORT and not is_any:
        raise OpenFlowError(ErrorCode.QUEUE_OP_FAILED_BAD_PORT, f"port {port:#x}")
    return m.QueueConfigRequest(port)


def _role(data: bytes, context: Context) -> Message:
    _exactly(data, 24)
    role, generation = unpack_from(">I4xQ", data, 8)
    if role > 3:
        raise OpenFlowError(ErrorCode.ROLE_REQUEST_FAILED_BAD_ROLE)
    return m.RoleRequest(role, generation if role >= 2 else None)


def _get_async(data: bytes, context: Context) -> Message:
    _exactly(data, 8)
    return m.GetAsyncRequest()


def _set_async(data: bytes, context: Context) -> Message:
    if context.version == Version.V13:
        return decode_masks(data[8:], context.version)
    return decode_properties(data[8:], context.version)


def _bundle_control(data: bytes, context: Context) -> Message:
    return decode_bundle_control(data, 8)


def _bundle_add(data: bytes, context: Context) -> Message:
    return decode_bundle_add(data, 8)


_Decoder = Callable[[bytes, Context], Message]
_COMMON: Final[dict[int, _Decoder]] = {
    0: _hello,
    1: _error,
    2: _echo_request,
    3: _echo_reply,
    4: _vendor,
    5: _features,
    7: _get_config,
    9: _set_config,
    13: _packet_out,
    14: _flow_mod,
}
_V10: Final[dict[int, _Decoder]] = _COMMON | {
    15: _port_mod,
    16: _multipart,
    18: _barrier,
    20: _queue_config,
}
_LATER: Final[dict[int, _Decoder]] = _COMMON | {
    15: _group_mod,
    16: _port_mod,
    17: _table_mod,
    18: _multipart,
    20: _barrier,
    22: _queue_config,
    24: _role,
    26: _get_async,
    28: _set_async,
    29: _meter_mod,
    33: _bundle_control,
    34: _bundle_add,
}
_SINCE: Final = {
    24: Version.V12,
    26: Version.V13,
    28: Version.V13,
    29: Version.V13,
    33: Version.V14,
    34: Version.V14,
}
_UNTIL: Final = {22: Version.V13}
"""From OpenFlow 1.4 on queues are described in a multipart message."""

__all__ = ["Context", "decode", "decode_flow_mod", "frame_length"]
