"""Actions on the wire: OpenFlow 1.0 to 1.5, and the Nicira extensions.

OpenFlow 1.0.0 section 5.2.4, 1.1.0 A.2.5, 1.3.5 section 7.2.5, 1.5.1 section
7.2.6; ovs-actions(7).  What a peer sent comes back in the same spelling:
reg_load stays reg_load, set_field stays set_field.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import unpack_from
from typing import Final

from gossamer.openflow.action_encode import encode_actions
from gossamer.openflow.action_field import decode_set, field_at, move
from gossamer.openflow.action_mpls import push_mpls, set_label, set_tc, set_ttl
from gossamer.openflow.action_order import check_list
from gossamer.openflow.action_vendor import decode_vendor
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.interned import Interned
from gossamer.openflow.message import Version
from gossamer.openflow.oxm import check_port, port_from_16
from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, Actions
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.of_port import OfPort

__all__ = ["decode_action_list", "decode_actions", "encode_actions"]

_VENDOR: Final = 0xFFFF
_MAX_PORT: Final = 0xFF00
"""Port numbers of switches are below this one, so that OpenFlow 1.0 can name them."""
_ETH_DST, _ETH_SRC = BY_NAME["eth_dst"], BY_NAME["eth_src"]
_IP_SRC, _IP_DST = BY_NAME["ip_src"], BY_NAME["ip_dst"]
_IP_DSCP, _IP_ECN, _NW_TTL = BY_NAME["ip_dscp"], BY_NAME["ip_ecn"], BY_NAME["nw_ttl"]
_TP_SRC, _TP_DST = BY_NAME["tcp_src"], BY_NAME["tcp_dst"]
_MAX_NESTED: Final = 32
"""Lists inside lists (clone): as deep as a peer may go."""
_PBB: Final = 0x88E7

_interned: Interned[tuple[int, bytes], Actions] = Interned()


def decode_actions(data: bytes, version: int) -> Actions:
    """A list of actions; equal bytes mostly give the same tuple object.

    Raises OpenFlowError with the bad-action code the specification gives.
    """
    if not data:
        return act.DROP
    known = _interned.get((version, data))
    if known is not None:
        return known
    actions = _decode_list(data, version, 0)
    return _interned.remember((version, data), actions, 16 * len(data))


def decode_action_list(data: bytes, version: int) -> Actions:
    """A list that stands by itself, in a packet-out or a bucket: instructions are not allowed.

    Raises OpenFlowError as `decode_actions()`, and UNSUP_INST.
    """
    actions = decode_actions(data, version)
    check_list(actions, version, alone=True)
    return actions


def _decode_list(data: bytes, version: int, depth: int, in_ct: bool = False) -> Actions:
    if depth > _MAX_NESTED:
        raise OpenFlowError(ErrorCode.BAD_ACTION_TOO_MANY, "actions nested too deeply")
    actions = tuple(_decode_each(data, version, depth))
    check_list(actions, version, alone=depth > 0, in_ct=in_ct)
    return actions


def _decode_each(data: bytes, version: int, depth: int) -> Iterator[Action]:
    """The actions one by one.  What they are is looked at before how long they are."""
    kinds = _LENGTHS10 if version == Version.V10 else _LENGTHS11
    offset, end = 0, len(data)
    if end % 8:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN, "actions fill multiples of 8 bytes")
    while offset < end:
        kind, length = unpack_from(">HH", data, offset)
        if kind == _VENDOR:
            yield decode_vendor(
                data,
                offset,
                version,
                lambda inner, in_ct: _decode_list(inner, version, depth + 1, in_ct),
            )
        else:
            wanted = kinds.get(kind)
            if wanted is None or version < _SINCE.get(kind, 0):
                raise OpenFlowError(
                    ErrorCode.BAD_ACTION_BAD_TYPE, f"action {kind} is not supported"
                )
            right = length == wanted if wanted else length >= 8
            if not right or length % 8 or offset + length > end:
                raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_LEN)
            body = data[offset : offset + length]
            if version == Version.V10:
                yield _decode10(kind, body)
            else:
                yield _decode11(kind, body, version)
        offset += length


_LENGTHS10: Final = {kind: 16 if kind in (4, 5, 11) else 8 for kind in range(12)}
_SET_FIELD, _COPY_FIELD, _METER, _PUSH_PBB, _POP_PBB = 25, 28, 29, 26, 27
_LENGTHS11: Final = {
    **dict.fromkeys(range(1, 25), 8), 0: 16, 3: 16, 4: 16, _SET_FIELD: 0, _PUSH_PBB: 8, _POP_PBB: 8,
    _COPY_FIELD: 0, _METER: 8,
}  # fmt: skip
"""Lengths of the actions known, by their type; 0: it varies.

Of OpenFlow 1.1's own actions, later versions keep the types; Open vSwitch
takes them there as well."""
_SINCE: Final = {
    _SET_FIELD: Version.V12,
    _PUSH_PBB: Version.V13,
    _POP_PBB: Version.V13,
    _COPY_FIELD: Version.V15,
    _METER: Version.V15,
}


def output(port: int, max_len: int) -> Action:
    """The action of an output to a port of 32 bits.

    Raises OpenFlowError(BAD_OUT_PORT) for numbers that are no port.
    """
    if port == OfPort.CONTROLLER:
        return act.Controller(max_len)
    check_port(port)
    return act.Output(port, max_len)


def _set_address(is_source: bool, address: int) -> act.NamedSet:
    field, spelling = (_ETH_SRC, "set_dl_src") if is_source else (_ETH_DST, "set_dl_dst")
    return act.NamedSet(field, address, (1 << 48) - 1, spelling)


def _set_ip(is_source: bool, address: int) -> act.NamedSet:
    field, spelling = (_IP_SRC, "set_nw_src") if is_source else (_IP_DST, "set_nw_dst")
    return act.NamedSet(field, address, 0xFFFFFFFF, spelling)


def _set_port(kind: int, port: int) -> act.NamedSet:
    """Of which protocol the port is, the match says (validate.py)."""
    if kind == 9:
        return act.NamedSet(_TP_SRC, port, 0xFFFF, "set_tp_src")
    return act.NamedSet(_TP_DST, port, 0xFFFF, "set_tp_dst")


def _decode10(kind: int, body: bytes) -> Action:
    match kind:
        case 0:
            port, max_len = unpack_from(">HH", body, 4)
            return output(port_from_16(port), max_len)
        case 1:
            return act.SetVlanVid(_fit(unpack_from(">H", body, 4)[0], 0xFFF))
        case 2:
            return act.SetVlanPcp(_fit(body[4], 7))
        case 3:
            return act.StripVlan()
        case 4 | 5:
            address = int.from_bytes(body[4:10], "big")
            return _set_address(kind == 4, address)
        case 6 | 7:
            return _set_ip(kind == 6, unpack_from(">I", body, 4)[0])
        case 8:
            return act.NamedSet(_IP_DSCP, _fit(body[4], 0xFC) >> 2, 0x3F, "set_nw_tos")
        case 11:
            port, queue = unpack_from(">H6xI", body, 4)
            return _enqueue(port_from_16(port), queue)
        case _:
            return _set_port(kind, unpack_from(">H", body, 4)[0])


def _enqueue(port: int, queue: int) -> act.Enqueue:
    if port >= _MAX_PORT and port not in (OfPort.IN_PORT, OfPort.LOCAL):
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_OUT_PORT, f"port {port:#x}")
    return act.Enqueue(port, queue)


def _fit(value: int, allowed: int) -> int:
    if value & ~allowed:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT, f"{value:#x}")
    return value


def _decode11(kind: int, body: bytes, version: int) -> Action:
    match kind:
        case 0:
            port, max_len = unpack_from(">IH", body, 4)
            return output(port, max_len)
        case 3 | 4:
            address = int.from_bytes(body[4:10], "big")
            return _set_address(kind == 3, address)
        case 25:
            return decode_set(body, 4, may_mask=version >= Version.V15, standard=True)
        case 28:
            return _copy_field(body)
        case 29:
            return act.Meter(unpack_from(">I", body, 4)[0])
        case _:
            return _decode_short(kind, body)


def _decode_short(kind: int, body: bytes) -> Action:
    short, word = unpack_from(">H", body, 4)[0], unpack_from(">I", body, 4)[0]
    match kind:
        case 1:
            return act.SetVlanVid(_fit(short, 0xFFF), push=False)
        case 2:
            return act.SetVlanPcp(_fit(body[4], 7), push=False)
        case 5 | 6:
            return _set_ip(kind == 5, word)
        case 7:
            return act.NamedSet(_IP_DSCP, _fit(body[4], 0xFC) >> 2, 0x3F, "set_nw_tos")
        case 8:
            return act.NamedSet(_IP_ECN, _fit(body[4], 3), 3, "set_nw_ecn")
        case 9 | 10:
            return _set_port(kind, short)
        case 11:
            return act.CopyTtlOut()
        case 12:
            return act.CopyTtlIn()
        case 13:
            return set_label(word)
        case 14:
            return set_tc(body[4])
        case 15:
            return set_ttl(body[4])
        case 16:
            return act.DecMplsTtl()
        case 17:
            if short not in (0x8100, 0x88A8):
                raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT, f"tag {short:#06x}")
            return act.PushVlan(short)
        case 18:
            return act.PopVlan()
        case 19:
            return push_mpls(short)
        case 20:
            return act.PopMpls(short)
        case 21:
            return act.SetQueue(word)
        case 22:
            return act.Group(word)
        case 23:
            return act.NamedSet(_NW_TTL, body[4], 0xFF, "set_nw_ttl")
        case 26:
            if short != _PBB:
                raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT, f"tag {short:#06x}")
            return act.PushPbb(short)
        case 27:
            return act.PopPbb()
        case _:
            return act.DecTtl()


def _copy_field(body: bytes) -> Action:
    if len(body) < 16:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_LEN)
    n_bits, src_low, dst_low = unpack_from(">HHH", body, 4)
    src, at = field_at(body, 12)
    dst, at = field_at(body, at)
    if any(body[at:]):
        raise OpenFlowError(ErrorCode.BAD_REQUEST_MUST_BE_ZERO)
    return move(src, src_low, dst, dst_low, n_bits)
