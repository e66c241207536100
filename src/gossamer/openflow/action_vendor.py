"""Actions of extensions: Nicira's (ovs-actions(7)) and ONF's copy-field for OpenFlow 1.3."""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack_from
from typing import Final, NamedTuple

from gossamer.openflow.action_choice import decode_bundle, decode_multipath
from gossamer.openflow.action_ct import decode_ct, decode_nat
from gossamer.openflow.action_encap import decode_decap, decode_encap
from gossamer.openflow.action_field import (
    decode_set,
    field_at,
    load,
    move,
    pushed,
    short_field_at,
    target,
)
from gossamer.openflow.action_learn import decode_learn
from gossamer.openflow.action_mpls import push_mpls, set_label, set_tc, set_ttl
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.message import Version
from gossamer.openflow.oxm import check_port, port_from_16
from gossamer.openflow.properties import properties, unknown
from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action
from gossamer.pipeline.action_ct import CtClear
from gossamer.pipeline.action_encap import DecNshTtl
from gossamer.pipeline.fields import BY_NAME, NX_VENDOR, ONF_VENDOR, Field
from gossamer.pipeline.of_port import OfPort

_TUN_ID: Final = BY_NAME["tun_id"]
_ALL64: Final = 0xFFFFFFFFFFFFFFFF
_CT: Final = 35
_CLONE: Final = 42
_MAX_CLAUSES: Final = 64
_EGRESS: Final = 2
_ETH_HEADER: Final = 14


Nested = Callable[[bytes, bool], act.Actions]
"""Reads the action list inside another action; True: which is a ct."""


def decode_vendor(data: bytes, offset: int, version: int, nested: Nested) -> Action:
    """The action of type OFPAT_VENDOR at `offset`; `nested` reads the lists inside of it.

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
    body = data[offset : offset + length]
    if vendor == NX_VENDOR and subtype == _CLONE:
        return act.Clone(nested(body[16:], False))
    if vendor == NX_VENDOR and subtype == _CT:
        return decode_ct(body, lambda inner: nested(inner, True))
    return known.decode(body)


def _zero(padding: bytes) -> None:
    if any(padding):
        raise OpenFlowError(ErrorCode.BAD_REQUEST_MUST_BE_ZERO)


def _copy_field(body: bytes) -> Action:
    n_bits, src_low, dst_low = unpack_from(">HHH", body, 12)
    src, at = field_at(body, 20)
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
    return act.OutputReg(pushed(field, packed >> 6, (packed & 63) + 1), max_len)


def _output_reg2(body: bytes) -> Action:
    packed, max_len = unpack_from(">HH", body, 10)
    field, at = field_at(body, 14)
    _zero(body[at:])
    return act.OutputReg(pushed(field, packed >> 6, (packed & 63) + 1), max_len)


def _resubmit_table_ct(body: bytes) -> Action:
    port, table_id = unpack_from(">HB", body, 10)
    if any(body[13:]):
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT)
    return act.Resubmit(port_from_16(port), table_id, with_ct=True)


def _group(body: bytes) -> Action:
    return act.Group(unpack_from(">I", body, 12)[0])


def _push_mpls(body: bytes) -> Action:
    return push_mpls(unpack_from(">H", body, 10)[0])


def _pop_mpls(body: bytes) -> Action:
    return act.PopMpls(unpack_from(">H", body, 10)[0])


def _set_mpls_label(body: bytes) -> Action:
    return set_label(unpack_from(">I", body, 12)[0])


def _set_mpls_tc(body: bytes) -> Action:
    return set_tc(body[10])


def _set_mpls_ttl(body: bytes) -> Action:
    return set_ttl(body[10])


def _dec_mpls_ttl(body: bytes) -> Action:
    return act.DecMplsTtl()


def _stack_push(body: bytes) -> Action:
    return act.StackPush(pushed(*_stack_field(body)))


def _stack_pop(body: bytes) -> Action:
    return act.StackPop(target(*_stack_field(body)))


def _stack_field(body: bytes) -> tuple[Field, int, int]:
    low = unpack_from(">H", body, 10)[0]
    field, at = field_at(body, 12)
    _zero(body[at + 2 :])
    return field, low, unpack_from(">H", body, at)[0]


def _delete_field(body: bytes) -> Action:
    return act.DeleteField(field_at(body, 10)[0])


def _fin_timeout(body: bytes) -> Action:
    return act.FinTimeout(*unpack_from(">HH", body, 10))


def _conjunction(body: bytes) -> Action:
    clause, n_clauses, conj_id = unpack_from(">BBI", body, 10)
    if not 2 <= n_clauses <= _MAX_CLAUSES or clause >= n_clauses:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_CONJUNCTION)
    return act.Conjunction(conj_id, clause, n_clauses)


def _sample(body: bytes) -> Action:
    return _sampling(body, OfPort.ANY, 0)


def _sample2(body: bytes) -> Action:
    return _sampling(body, port_from_16(unpack_from(">H", body, 24)[0]), 0)


def _sample3(body: bytes) -> Action:
    port, direction = unpack_from(">HB", body, 24)
    _zero(body[27:])
    if direction > _EGRESS:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT, f"direction {direction}")
    return _sampling(body, port_from_16(port), direction)


def _sampling(body: bytes, port: int, direction: int) -> act.Sample:
    probability, collector_set, domain, point = unpack_from(">HIII", body, 10)
    if not probability:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT, "probability 0")
    return act.Sample(probability, collector_set, domain, point, port, direction)


def _output_trunc(body: bytes) -> Action:
    port, max_len = unpack_from(">HI", body, 10)
    if max_len < _ETH_HEADER:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT, f"max_len {max_len}")
    port = port_from_16(port)
    check_port(port)
    return act.OutputTrunc(port, max_len)


def _check_pkt_larger(body: bytes) -> Action:
    length, low = unpack_from(">HH", body, 10)
    field, at = field_at(body, 14)
    _zero(body[at:])
    return act.CheckPktLarger(target(field, low, 1), length)


def _nesting(body: bytes) -> Action:
    raise AssertionError("decode_vendor() reads actions that have others inside")


def _ct_clear(body: bytes) -> Action:
    return CtClear()


def _dec_nsh_ttl(body: bytes) -> Action:
    return DecNshTtl()


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
    return act.WriteMetadata(value, mask)


_MAX_LEN, _CONTROLLER_ID, _REASON, _USERDATA, _PAUSE, _METER_ID = range(6)
_PROPERTY_BYTES: Final = {_MAX_LEN: 2, _CONTROLLER_ID: 2, _REASON: 1, _METER_ID: 4}


def _controller2(body: bytes) -> Action:
    _zero(body[10:16])
    numbers = {_MAX_LEN: act.CONTROLLER_MAX_LEN, _CONTROLLER_ID: 0, _REASON: 1, _METER_ID: 0}
    userdata, pause = b"", False
    for p in properties(body[16:]):
        if p.vendor or p.type > _METER_ID:
            raise unknown("controller", p)
        if p.type == _USERDATA:
            userdata = p.payload
        elif p.type == _PAUSE:
            pause = True
        else:
            numbers[p.type] = p.number(_PROPERTY_BYTES[p.type])
    return act.Controller(
        numbers[_MAX_LEN],
        numbers[_CONTROLLER_ID],
        numbers[_REASON],
        userdata,
        pause,
        numbers[_METER_ID],
        as_output=False,
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
    10: _Known(32, decode_multipath),
    12: _Known(0, decode_bundle, at_least=32),
    13: _Known(0, decode_bundle, at_least=32),
    14: _Known(16, _resubmit_table),
    15: _Known(24, _output_reg),
    16: _Known(0, decode_learn, at_least=32),
    17: _Known(16, _exit),
    18: _Known(16, _dec_ttl, until=_V10),
    19: _Known(16, _fin_timeout),
    20: _Known(16, _controller),
    21: _Known(0, _dec_ttl_cnt_ids),
    22: _Known(32, _write_metadata),
    23: _Known(16, _push_mpls, until=_V10),
    24: _Known(16, _pop_mpls, until=_V10),
    25: _Known(16, _set_mpls_ttl, until=_V10),
    26: _Known(16, _dec_mpls_ttl, until=_V10),
    27: _Known(24, _stack_push),
    28: _Known(24, _stack_pop),
    29: _Known(24, _sample),
    30: _Known(16, _set_mpls_label, until=_V10),
    31: _Known(16, _set_mpls_tc, until=_V10),
    32: _Known(24, _output_reg2),
    33: _Known(0, _reg_load2, until=_V14),
    34: _Known(16, _conjunction),
    _CT: _Known(0, _nesting, at_least=24),
    36: _Known(0, decode_nat),
    37: _Known(0, _controller2),
    38: _Known(32, _sample2),
    39: _Known(16, _output_trunc),
    40: _Known(16, _group, until=_V10),
    41: _Known(32, _sample3),
    _CLONE: _Known(0, _nesting),
    43: _Known(16, _ct_clear),
    44: _Known(16, _resubmit_table_ct),
    45: _Known(0, decode_learn, at_least=40),
    46: _Known(0, decode_encap, since=Version.V13),
    47: _Known(0, decode_decap, since=Version.V13),
    48: _Known(16, _dec_nsh_ttl, since=Version.V13),
    49: _Known(24, _check_pkt_larger),
    50: _Known(24, _delete_field),
}
_ONF: Final = {3200: _Known(0, _copy_field, since=Version.V13, until=_V14, at_least=24)}
