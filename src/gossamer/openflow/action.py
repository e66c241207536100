"""Actions on the wire: OpenFlow 1.0 to 1.5, and the Nicira extensions.

OpenFlow 1.0.0 section 5.2.4, 1.1.0 A.2.5, 1.3.5 section 7.2.5, 1.5.1 section
7.2.6; ovs-actions(7).  What a peer sent comes back in the same spelling:
reg_load stays reg_load, set_field stays set_field.
"""

from __future__ import annotations

from struct import unpack_from
from typing import Final

from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.match import (
    XREGS,
    decode_header,
    encode_header,
    port_from_16,
    port_to_16,
    wire_name,
)
from gossamer.openflow.message import Version
from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, Actions, OfPort, SubField
from gossamer.pipeline.fields import BY_NAME, NX_VENDOR, ONF_VENDOR, Field

_VENDOR: Final = 0xFFFF
_ETH_DST, _ETH_SRC = BY_NAME["eth_dst"], BY_NAME["eth_src"]
_IP_SRC, _IP_DST = BY_NAME["ip_src"], BY_NAME["ip_dst"]
_NW_TOS, _NW_ECN, _NW_TTL = BY_NAME["nw_tos"], BY_NAME["ip_ecn"], BY_NAME["nw_ttl"]
_DSCP, _TUN_ID = BY_NAME["ip_dscp"], BY_NAME["tun_id"]
_TP_SRC, _TP_DST = BY_NAME["tcp_src"], BY_NAME["tcp_dst"]
_MPLS_LABEL, _MPLS_TC = BY_NAME["mpls_label"], BY_NAME["mpls_tc"]
_SETTABLE_XREGS: Final = {f.name: f for f in XREGS}

_interned: dict[tuple[int, bytes], Actions] = {}
_MAX_INTERNED: Final = 1 << 17


def decode_actions(data: bytes, version: int) -> Actions:
    """A list of actions; equal bytes give the same tuple object.

    Raises OpenFlowError with the bad-action code the specification gives.
    """
    if not data:
        return act.DROP
    known = _interned.get((version, data))
    if known is not None:
        return known
    actions: list[Action] = []
    offset, end = 0, len(data)
    while offset < end:
        if end - offset < 8:
            raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_LEN)
        kind, length = unpack_from(">HH", data, offset)
        if length < 8 or length % 8 or offset + length > end:
            raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_LEN)
        body = data[offset : offset + length]
        if kind == _VENDOR:
            actions.append(_decode_vendor(body, version))
        elif version == Version.V10:
            actions.append(_decode10(kind, body))
        else:
            actions.append(_decode11(kind, body, version))
        offset += length
    result = tuple(actions)
    if len(_interned) >= _MAX_INTERNED:
        _interned.clear()
    _interned[version, data] = result
    return result


def _need(body: bytes, length: int) -> None:
    if len(body) != length:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_LEN)


def _set(field: Field, value: int) -> act.SetField:
    return act.SetField(field, value, (1 << field.n_bits) - 1)


def output(port: int, max_len: int) -> Action:
    """The action of an output to a port of 32 bits.

    Raises OpenFlowError(BAD_OUT_PORT) for numbers that are no port.
    """
    if port == OfPort.CONTROLLER:
        return act.Controller(max_len)
    if port == 0 or port == OfPort.ANY or OfPort.MAX <= port < OfPort.IN_PORT:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_OUT_PORT, f"port {port:#x}")
    return act.Output(port, max_len)


def _decode10(kind: int, body: bytes) -> Action:
    if kind == 0:
        _need(body, 8)
        port, max_len = unpack_from(">HH", body, 4)
        return output(port_from_16(port), max_len)
    if kind == 11:
        _need(body, 16)
        port, queue = unpack_from(">H6xI", body, 4)
        return act.Enqueue(port_from_16(port), queue)
    if kind in (4, 5):
        _need(body, 16)
        address = int.from_bytes(body[4:10], "big")
        return _set(_ETH_SRC if kind == 4 else _ETH_DST, address)
    if kind > 11:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_TYPE, f"action {kind}")
    _need(body, 8)
    match kind:
        case 1:
            return act.SetVlanVid(_fit(unpack_from(">H", body, 4)[0], 0xFFF))
        case 2:
            return act.SetVlanPcp(_fit(body[4], 7))
        case 3:
            return act.PopVlan()
        case 6 | 7:
            return _set(_IP_SRC if kind == 6 else _IP_DST, unpack_from(">I", body, 4)[0])
        case 8:
            return act.SetField(_NW_TOS, _fit(body[4], 0xFC), 0xFC)
        case _:
            return _set(_TP_SRC if kind == 9 else _TP_DST, unpack_from(">H", body, 4)[0])


def _fit(value: int, allowed: int) -> int:
    if value & ~allowed:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT, f"{value:#x}")
    return value


_V11_ONLY: Final = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14))


def _decode11(kind: int, body: bytes, version: int) -> Action:
    if kind == 0:
        _need(body, 16)
        port, max_len = unpack_from(">IH", body, 4)
        return output(port, max_len)
    if kind in _V11_ONLY and version > Version.V11:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_TYPE, f"action {kind}")
    if kind == 25 and version >= Version.V12:
        return _decode_set_field(body)
    if kind == 28 and version >= Version.V15:
        return _decode_copy_field(body, 4)
    if kind in (3, 4):
        _need(body, 16)
        return _set(_ETH_SRC if kind == 3 else _ETH_DST, int.from_bytes(body[4:10], "big"))
    if kind not in (1, 2, 5, 6, 7, 8, 9, 10, 13, 14, 17, 18, 21, 23, 24):
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_TYPE, f"action {kind} is not supported")
    _need(body, 8)
    short, word = unpack_from(">H", body, 4)[0], unpack_from(">I", body, 4)[0]
    match kind:
        case 1:
            return act.SetVlanVid(_fit(short, 0xFFF), push=False)
        case 2:
            return act.SetVlanPcp(_fit(body[4], 7), push=False)
        case 5 | 6:
            return _set(_IP_SRC if kind == 5 else _IP_DST, word)
        case 7:
            return act.SetField(_NW_TOS, _fit(body[4], 0xFC), 0xFC)
        case 8:
            return _set(_NW_ECN, _fit(body[4], 3))
        case 9 | 10:
            return _set(_TP_SRC if kind == 9 else _TP_DST, short)
        case 13:
            return _set(_MPLS_LABEL, _fit(word, 0xFFFFF))
        case 14:
            return _set(_MPLS_TC, _fit(body[4], 7))
        case 17:
            if short not in (0x8100, 0x88A8):
                raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT, f"tag {short:#06x}")
            return act.PushVlan(short)
        case 18:
            return act.PopVlan()
        case 21:
            return act.SetQueue(word)
        case 23:
            return _set(_NW_TTL, body[4])
        case _:
            return act.DecTtl()


def _decode_set_field(body: bytes) -> Action:
    try:
        wire = decode_header(body, 4)
    except OpenFlowError as e:
        raise _of_set(e) from None
    f, n = wire.field, wire.wire_bytes
    at = 4 + wire.header_bytes
    size = n * (2 if wire.masked else 1)
    if len(body) != (at + size + 7) // 8 * 8:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_SET_LEN)
    if any(body[at + size :]):
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT, "padding is not zero")
    return _checked_set(f, body[at : at + n], body[at + n : at + size], wire.nxm_port)


def _checked_set(f: Field, value_bytes: bytes, mask_bytes: bytes, nxm_port: bool) -> act.SetField:
    full = (1 << f.n_bits) - 1
    value = int.from_bytes(value_bytes, "big")
    mask = int.from_bytes(mask_bytes, "big") if mask_bytes else full
    if not f.writable:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_SET_ARGUMENT, f"{f.name} is read only")
    if nxm_port:
        value = port_from_16(value)
    if value & ~full or value & ~mask & full:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_SET_ARGUMENT, f"{f.name}: {value:#x}")
    if f.name == "vlan_vid" and not mask_bytes and not value & 0x1000:
        raise OpenFlowError(
            ErrorCode.BAD_ACTION_BAD_SET_ARGUMENT, "vlan_vid without OFPVID_PRESENT"
        )
    return act.SetField(f, value, mask & full)


def _of_set(e: OpenFlowError) -> OpenFlowError:
    """An error of a field, as an action reports it."""
    code = {
        ErrorCode.BAD_MATCH_BAD_FIELD: ErrorCode.BAD_ACTION_BAD_SET_TYPE,
        ErrorCode.BAD_MATCH_BAD_LEN: ErrorCode.BAD_ACTION_BAD_SET_LEN,
    }.get(e.code, ErrorCode.BAD_ACTION_BAD_ARGUMENT)
    return OpenFlowError(code, e.message)


def _field_at(body: bytes, offset: int) -> tuple[Field, int]:
    """(field, offset behind its header) of a header without value in an action."""
    try:
        wire = decode_header(body, offset)
    except OpenFlowError as e:
        raise _of_set(e) from None
    if wire.masked:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_SET_TYPE, "a masked header names no field")
    return wire.field, offset + wire.header_bytes


def _subfield(field: Field, low: int, n_bits: int) -> SubField:
    if n_bits == 0 or low + n_bits > field.n_bits:
        raise OpenFlowError(
            ErrorCode.BAD_ACTION_BAD_ARGUMENT,
            f"{field.name} has {field.n_bits} bits, not {low}..{low + n_bits - 1}",
        )
    return SubField(field, low, n_bits)


def _decode_copy_field(body: bytes, offset: int) -> Action:
    n_bits, src_low, dst_low = unpack_from(">HHH", body, offset)
    src, at = _field_at(body, offset + 8)
    dst, _ = _field_at(body, at)
    return _move(src, src_low, dst, dst_low, n_bits)


def _move(src: Field, src_low: int, dst: Field, dst_low: int, n_bits: int) -> act.RegMove:
    if not dst.writable:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT, f"{dst.name} is read only")
    return act.RegMove(_subfield(src, src_low, n_bits), _subfield(dst, dst_low, n_bits))


def _decode_vendor(body: bytes, version: int) -> Action:
    if len(body) < 16:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_LEN)
    vendor, subtype = unpack_from(">IH", body, 4)
    if vendor == ONF_VENDOR and subtype == 3200 and version >= Version.V13:
        return _decode_copy_field(body, 12)
    if vendor != NX_VENDOR:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_VENDOR, f"vendor {vendor:#010x}")
    match subtype:
        case 1:
            _need(body, 16)
            return act.Resubmit(port_from_16(unpack_from(">H", body, 10)[0]), 0xFF)
        case 2:
            _need(body, 16)
            return _set(_TUN_ID, unpack_from(">I", body, 12)[0])
        case 4:
            _need(body, 16)
            return act.SetQueue(unpack_from(">I", body, 12)[0])
        case 6:
            _need(body, 24)
            n_bits, src_low, dst_low = unpack_from(">HHH", body, 10)
            src, _ = _field_at(body, 16)
            dst, _ = _field_at(body, 20)
            return _move(src, src_low, dst, dst_low, n_bits)
        case 7:
            _need(body, 24)
            packed, value = unpack_from(">H4xQ", body, 10)
            field, _ = _field_at(body, 12)
            return _load(field, packed >> 6, (packed & 63) + 1, value)
        case 8:
            return act.Note(body[10:])
        case 9:
            _need(body, 24)
            return _set(_TUN_ID, unpack_from(">Q", body, 16)[0])
        case 14:
            _need(body, 16)
            port, table_id = unpack_from(">HB", body, 10)
            return act.Resubmit(port_from_16(port), table_id)
        case 15:
            _need(body, 24)
            packed, max_len = unpack_from(">H4xH", body, 10)
            field, _ = _field_at(body, 12)
            source = _subfield(field, packed >> 6, (packed & 63) + 1)
            return act.OutputReg(source, max_len)
        case 17:
            _need(body, 16)
            return act.Exit()
        case 18:
            _need(body, 16)
            return act.DecTtl()
        case 20:
            _need(body, 16)
            max_len, controller_id, reason = unpack_from(">HHB", body, 10)
            return act.Controller(max_len, controller_id, reason, as_output=False)
        case 21:
            count = unpack_from(">H", body, 10)[0]
            if 16 + 2 * count > len(body):
                raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_LEN)
            return act.DecTtl(unpack_from(f">{count}H", body, 16))
        case 32:
            packed, max_len = unpack_from(">HH", body, 10)
            field, _ = _field_at(body, 14)
            source = _subfield(field, packed >> 6, (packed & 63) + 1)
            return act.OutputReg(source, max_len)
        case 33:
            return _decode_reg_load2(body)
        case 37:
            return _decode_controller2(body)
        case _:
            raise OpenFlowError(
                ErrorCode.BAD_ACTION_BAD_VENDOR_TYPE, f"Nicira action {subtype} is not supported"
            )


def _load(field: Field, low: int, n_bits: int, value: int) -> act.RegLoad:
    if not field.writable:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT, f"{field.name} is read only")
    if value >> n_bits:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT, f"{value:#x} in {n_bits} bits")
    return act.RegLoad(_subfield(field, low, n_bits), value)


def _decode_reg_load2(body: bytes) -> Action:
    try:
        wire = decode_header(body, 10)
    except OpenFlowError as e:
        raise _of_set(e) from None
    at = 10 + wire.header_bytes
    size = wire.wire_bytes * (2 if wire.masked else 1)
    if at + size > len(body):
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_LEN)
    value_bytes, mask_bytes = body[at : at + wire.wire_bytes], body[at + wire.wire_bytes : at + size]
    return _checked_set(wire.field, value_bytes, mask_bytes, wire.nxm_port)


def _decode_controller2(body: bytes) -> Action:
    max_len, controller_id, reason, userdata, pause, meter = 0xFFFF, 0, 1, b"", False, 0
    offset = 16
    while offset + 4 <= len(body):
        kind, length = unpack_from(">HH", body, offset)
        if length < 4 or offset + length > len(body):
            raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_LEN)
        value = body[offset + 4 : offset + length]
        if kind == 3:
            userdata = value
        elif kind == 4:
            pause = True
        elif kind in (0, 1, 2, 5) and value:
            number = int.from_bytes(value[: {0: 2, 1: 2, 2: 1, 5: 4}[kind]], "big")
            if kind == 0:
                max_len = number
            elif kind == 1:
                controller_id = number
            elif kind == 2:
                reason = number
            else:
                meter = number
        else:
            raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT, f"controller property {kind}")
        offset += (length + 7) // 8 * 8
    if pause:
        raise OpenFlowError(
            ErrorCode.BAD_ACTION_BAD_ARGUMENT, "controller(pause) is not supported"
        )
    return act.Controller(max_len, controller_id, reason, userdata, pause, meter, as_output=False)


# -- encoding -----------------------------------------------------------------------------------

_encoded: dict[tuple[int, Actions], bytes] = {}


def encode_actions(actions: Actions, version: int) -> bytes:
    """A list of actions without instructions (those are `instruction.py`'s)."""
    key = (version, actions)
    known = _encoded.get(key)
    if known is None:
        known = b"".join(_encode(a, version) for a in actions)
        if len(_encoded) >= _MAX_INTERNED:
            _encoded.clear()
        _encoded[key] = known
    return known


def _nx(subtype: int, rest: bytes) -> bytes:
    length = (10 + len(rest) + 7) // 8 * 8
    head = b"\xff\xff" + length.to_bytes(2, "big") + NX_VENDOR.to_bytes(4, "big")
    return (head + subtype.to_bytes(2, "big") + rest).ljust(length, b"\0")


def _plain(kind: int, rest: bytes, length: int = 8) -> bytes:
    return (kind.to_bytes(2, "big") + length.to_bytes(2, "big") + rest).ljust(length, b"\0")


def _be(value: int, length: int) -> bytes:
    return value.to_bytes(length, "big")


def _nxm(field: Field) -> bytes:
    """A field's header inside a Nicira action: the NXM one where there is one."""
    if field.nxm is not None:
        return _be(field.nxm[0] << 16 | field.nxm[1] << 9 | field.wire_bytes, 4)
    return encode_header(field, Version.V13 if field.oxm else Version.V10, False)


def _encode(action: Action, version: int) -> bytes:
    v10 = version == Version.V10
    match action:
        case act.Output(port=port, max_len=max_len):
            return _encode_output(port, max_len, version)
        case act.Controller():
            return _encode_controller(action, version)
        case act.OutputReg(source=s, max_len=max_len):
            packed = _be(s.low << 6 | (s.n_bits - 1), 2)
            if s.field.nxm is None:
                return _nx(32, packed + _be(max_len, 2) + _nxm(s.field))
            return _nx(15, packed + _nxm(s.field) + _be(max_len, 2) + bytes(6))
        case act.SetField():
            return _encode_set_field(action, version)
        case act.RegLoad(dst=d, value=value):
            return _nx(7, _be(d.low << 6 | (d.n_bits - 1), 2) + _nxm(d.field) + _be(value, 8))
        case act.RegMove(src=s, dst=d):
            bits = _be(s.n_bits, 2) + _be(s.low, 2) + _be(d.low, 2)
            if version >= Version.V15:
                headers = encode_header(s.field, version, False) + encode_header(d.field, version, False)
                length = (12 + len(headers) + 7) // 8 * 8
                return _plain(28, bits + bytes(2) + headers, length)
            return _nx(6, bits + _nxm(s.field) + _nxm(d.field))
        case act.PushVlan(ethertype=tag):
            return b"" if v10 else _plain(17, _be(tag, 2))
        case act.PopVlan():
            return _plain(3 if v10 else 18, b"")
        case act.SetVlanVid(vid=vid):
            if version <= Version.V11:
                return _plain(1, _be(vid, 2))
            pushed = _plain(17, _be(0x8100, 2)) if action.push else b""
            return pushed + _encode_set_field(_set(BY_NAME["vlan_vid"], vid | 0x1000), version)
        case act.SetVlanPcp(pcp=pcp):
            if version <= Version.V11:
                return _plain(2, _be(pcp, 1))
            pushed = _plain(17, _be(0x8100, 2)) if action.push else b""
            return pushed + _encode_set_field(_set(BY_NAME["vlan_pcp"], pcp), version)
        case act.DecTtl(controller_ids=ids):
            if ids != (0,):
                return _nx(21, _be(len(ids), 2) + bytes(4) + b"".join(_be(i, 2) for i in ids))
            return _nx(18, b"") if v10 else _plain(24, b"")
        case act.Resubmit(in_port=in_port, table_id=table_id):
            short = _be(port_to_16(in_port), 2)
            return _nx(1, short) if table_id == 0xFF else _nx(14, short + _be(table_id, 1))
        case act.Enqueue(port=port, queue_id=queue):
            if v10:
                return _plain(11, _be(port_to_16(port), 2) + bytes(6) + _be(queue, 4), 16)
            return _plain(21, _be(queue, 4)) + _encode_output(port, 0, version)
        case act.SetQueue(queue_id=queue):
            return _nx(4, bytes(2) + _be(queue, 4)) if v10 else _plain(21, _be(queue, 4))
        case act.Note(data=data):
            return _nx(8, data)
        case act.Exit():
            return _nx(17, b"")
        case act.WriteMetadata(value=value, mask=mask):
            return _nx(22, bytes(6) + _be(value, 8) + _be(mask, 8))
        case _:
            raise OpenFlowError(
                ErrorCode.BAD_ACTION_BAD_TYPE,
                f"{type(action).__name__} cannot be said in version {version}",
            )


def _encode_output(port: int, max_len: int, version: int) -> bytes:
    if version == Version.V10:
        return _plain(0, _be(port_to_16(port), 2) + _be(max_len, 2))
    return _plain(0, _be(port, 4) + _be(max_len, 2), 16)


def _encode_controller(a: act.Controller, version: int) -> bytes:
    if a.as_output and not a.controller_id and a.reason == 1 and not a.userdata:
        return _encode_output(OfPort.CONTROLLER, a.max_len, version)
    if not a.userdata and not a.pause and not a.meter_id:
        return _nx(20, _be(a.max_len, 2) + _be(a.controller_id, 2) + _be(a.reason, 1))

    def prop(kind: int, value: bytes) -> bytes:
        length = 4 + len(value)
        return (_be(kind, 2) + _be(length, 2) + value).ljust((length + 7) // 8 * 8, b"\0")

    props = b""
    if a.max_len != 0xFFFF:
        props += prop(0, _be(a.max_len, 2))
    if a.controller_id:
        props += prop(1, _be(a.controller_id, 2))
    if a.reason != 1:
        props += prop(2, _be(a.reason, 1))
    if a.userdata:
        props += prop(3, a.userdata)
    if a.meter_id:
        props += prop(5, _be(a.meter_id, 4))
    return _nx(37, bytes(6) + props)


_SET10: Final = {"eth_src": 4, "eth_dst": 5, "ip_src": 6, "ip_dst": 7}
_SET11: Final = {"eth_src": 3, "eth_dst": 4, "ip_src": 5, "ip_dst": 6}


def _encode_set_field(a: act.SetField, version: int) -> bytes:
    f, value, mask = a.field, a.value, a.mask
    full = (1 << f.n_bits) - 1
    if version <= Version.V11 and (mask == full or f.name == "nw_tos"):
        table = _SET10 if version == Version.V10 else _SET11
        if f.name in ("eth_src", "eth_dst"):
            return _plain(table[f.name], _be(value, 6), 16)
        if f.name in ("ip_src", "ip_dst"):
            return _plain(table[f.name], _be(value, 4))
        if f.name == "nw_tos" or f.name == "ip_dscp":
            tos = value << 2 if f.name == "ip_dscp" else value
            return _plain(8 if version == Version.V10 else 7, _be(tos & 0xFC, 1))
        if f.slot in ("tp_src", "tp_dst") and f.n_bits == 16:
            kind = (9 if f.slot == "tp_src" else 10)
            return _plain(kind, _be(value, 2))
        if f.name == "vlan_vid":
            return _plain(1, _be(value & 0xFFF, 2))
        if f.name == "vlan_pcp":
            return _plain(2, _be(value, 1))
    if f.name == "nw_ttl" and version >= Version.V11 and mask == full:
        return _plain(23, _be(value, 1))
    if f.name == "nw_tos" and version >= Version.V12:
        f, value, mask = _DSCP, value >> 2, 0x3F
        full = 0x3F
    masked = mask != full
    if version >= Version.V12 and (not masked or version >= Version.V15):
        return _set_field_body(25, f, value, mask, masked, version)
    return _nx(33, _tlv(f, value, mask, masked, version))


def _tlv(f: Field, value: int, mask: int, masked: bool, version: int) -> bytes:
    n = wire_name(f, version)[1]
    head = encode_header(f, version, masked)
    return head + _be(value, n) + (_be(mask, n) if masked else b"")


def _set_field_body(
    kind: int, f: Field, value: int, mask: int, masked: bool, version: int
) -> bytes:
    body = _tlv(f, value, mask, masked, version)
    return _plain(kind, body, (4 + len(body) + 7) // 8 * 8)
