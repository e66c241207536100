"""Actions of extensions: Nicira's (ovs-actions(7)) and ONF's copy-field for OpenFlow 1.3."""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack_from
from typing import Final, NamedTuple

from gossamer.openflow.action_field import (
    decode_set,
    field_at,
    load,
    move,
    short_field_at,
    source,
)
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.message import Version
from gossamer.openflow.oxm import port_from_16
from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action
from gossamer.pipeline.fields import BY_NAME, NX_VENDOR, ONF_VENDOR

_TUN_ID: Final = BY_NAME["tun_id"]
_ALL64: Final = 0xFFFFFFFFFFFFFFFF


def decode_vendor(data: bytes, offset: int, version: int) -> Action:
    """The action of type OFPAT_VENDOR at `offset`.

    Raises OpenFlowError(BAD_VENDOR, BAD_VENDOR_TYPE) for what is unknown or not
    supported, whatever its length.
    """
    vendor = int.from_bytes(data[offset + 4 : offset + 8], "big")
    if vendor not in (NX_VENDOR, ONF_VENDOR):
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_VENDOR, f"vendor {vendor:#010x}")
    if len(data) - offset < 16:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_LEN)
    length, subtype = unpack_from(">2xH4xH", data, offset)
    known = (_NICIRA if vendor == NX_VENDOR else _ONF).get(subtype)
    if known is None or not known.since <= version <= known.until:
        raise OpenFlowError(
            ErrorCode.BAD_ACTION_BAD_VENDOR_TYPE, f"Nicira action {subtype} is not supported"
        )
    right = length == known.length if known.length else length >= known.at_least
    if not right or length % 8 or offset + length > len(data):
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_LEN)
    return known.decode(data[offset : offset + length])


def _zero(padding: bytes) -> None:
    if any(padding):
        raise OpenFlowError(ErrorCode.BAD_REQUEST_MUST_BE_ZERO)


def _copy_field(body: bytes) -> Action:
    n_bits, src_low, dst_low = unpack_from(">HHH", body, 10)
    src, at = field_at(body, 18)
    dst, at = field_at(body, at)
    _zero(body[at:])
    return move(src, src_low, dst, dst_low, n_bits)


def _resubmit(body: bytes) -> Action:
    return act.Resubmit(port_from_16(unpack_from(">H", body, 10)[0]), 0xFF)


def _resubmit_table(body: bytes) -> Action:
    port, table_id = unpack_from(">HB", body, 10)
    if any(body[13:]):
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT)
    return act.Resubmit(port_from_16(port), table_id)


def _set_tunnel(body: bytes) -> Action:
    return act.NamedSet(_TUN_ID, unpack_from(">I", body, 12)[0], _ALL64, "set_tunnel")


def _set_tunnel64(body: bytes) -> Action:
    return act.NamedSet(_TUN_ID, unpack_from(">Q", body, 16)[0], _ALL64, "set_tunnel64")


def _set_queue(body: bytes) -> Action:
    return act.SetQueue(unpack_from(">I", body, 12)[0])


def _pop_queue(body: bytes) -> Action:
    return act.PopQueue()


def _reg_move(body: bytes) -> Action:
    n_bits, src_low, dst_low = unpack_from(">HHH", body, 10)
    src, at = field_at(body, 16)
    dst, at = field_at(body, at)
    _zero(body[at:])
    return move(src, src_low, dst, dst_low, n_bits)


def _reg_load(body: bytes) -> Action:
    packed, value = unpack_from(">H4xQ", body, 10)
    field = short_field_at(body, 12)
    return load(field, packed >> 6, (packed & 63) + 1, value)


def _reg_load2(body: bytes) -> Action:
    return decode_set(body, 10, may_mask=True, standard=False)


def _note(body: bytes) -> Action:
    return act.Note(body[10:])


def _output_reg(body: bytes) -> Action:
    packed, max_len = unpack_from(">H4xH", body, 10)
    if any(body[18:]):
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT)
    field = short_field_at(body, 12)
    return act.OutputReg(source(field, packed >> 6, (packed & 63) + 1), max_len)


def _output_reg2(body: bytes) -> Action:
    packed, max_len = unpack_from(">HH", body, 10)
    field, at = field_at(body, 14)
    _zero(body[at:])
    return act.OutputReg(source(field, packed >> 6, (packed & 63) + 1), max_len)


def _group(body: bytes) -> Action:
    # There are no groups yet, so no number is that of one.
    raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_OUT_GROUP)


def _exit(body: bytes) -> Action:
    return act.Exit()


def _dec_ttl(body: bytes) -> Action:
    return act.DecTtl()


def _dec_ttl_cnt_ids(body: bytes) -> Action:
    count = unpack_from(">H", body, 10)[0]
    _zero(body[12:16])
    if len(body) < 16 + 2 * count:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_LEN)
    return act.DecTtl(tuple(unpack_from(f">{count}H", body, 16)))


def _controller(body: bytes) -> Action:
    max_len, controller_id, reason = unpack_from(">HHB", body, 10)
    return act.Controller(max_len, controller_id, reason, as_output=False)


def _write_metadata(body: bytes) -> Action:
    _zero(body[10:16])
    value, mask = unpack_from(">QQ", body, 16)
    return act.WriteMetadata(value & mask, mask)


_PROPERTY_FORMATS: Final = {0: ">H", 1: ">H", 2: ">B", 5: ">I"}
"""Of max_len, controller_id, reason and meter_id; each fills four bytes."""
_USERDATA, _PAUSE = 3, 4


def _controller2(body: bytes) -> Action:
    _zero(body[10:16])
    numbers = {0: 0xFFFF, 1: 0, 2: 1, 5: 0}
    userdata = b""
    offset = 16
    while offset < len(body):
        if len(body) - offset < 4:
            raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_LEN)
        kind, length = unpack_from(">HH", body, offset)
        if length < 4 or offset + (length + 7) // 8 * 8 > len(body):
            raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_LEN)
        if kind == _USERDATA:
            userdata = body[offset + 4 : offset + length]
        elif kind == _PAUSE:
            raise OpenFlowError(
                ErrorCode.BAD_ACTION_BAD_ARGUMENT, "controller(pause) is not supported"
            )
        elif kind in _PROPERTY_FORMATS:
            if length != 8:
                raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_LEN)
            numbers[kind] = unpack_from(_PROPERTY_FORMATS[kind], body, offset + 4)[0]
        else:
            raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_TYPE, f"controller property {kind}")
        offset += (length + 7) // 8 * 8
    return act.Controller(
        numbers[0], numbers[1], numbers[2], userdata, False, numbers[5], as_output=False
    )


class _Known(NamedTuple):
    """How an action is read."""

    length: int
    """0: it varies."""
    decode: Callable[[bytes], Action]
    since: int = Version.V10
    until: int = Version.V15
    """The last version that has it; later ones have a standard action instead."""
    at_least: int = 16


_V10, _V14 = Version.V10, Version.V14
_NICIRA: Final = {
    1: _Known(16, _resubmit),
    2: _Known(16, _set_tunnel),
    4: _Known(16, _set_queue, until=_V10),
    5: _Known(16, _pop_queue),
    6: _Known(0, _reg_move, until=_V14, at_least=24),
    7: _Known(24, _reg_load, until=_V14),
    8: _Known(0, _note),
    9: _Known(24, _set_tunnel64),
    14: _Known(16, _resubmit_table),
    15: _Known(24, _output_reg),
    17: _Known(16, _exit),
    18: _Known(16, _dec_ttl, until=_V10),
    20: _Known(16, _controller),
    21: _Known(0, _dec_ttl_cnt_ids),
    22: _Known(32, _write_metadata),
    32: _Known(24, _output_reg2),
    33: _Known(0, _reg_load2, until=_V14),
    37: _Known(0, _controller2),
    40: _Known(16, _group, until=_V10),
}
_ONF: Final = {3200: _Known(0, _copy_field, since=Version.V13, until=_V14, at_least=24)}
