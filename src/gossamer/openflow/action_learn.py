"""NXAST_LEARN and NXAST_LEARN2: a flow that adds flows (ovs-actions(7), "learn")."""

from __future__ import annotations

from struct import Struct, unpack_from
from typing import Final

from gossamer.openflow.action_field import field_at, said_bits, short_field_at, source, target
from gossamer.openflow.action_frame import be, nicira, nxm
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.oxm import is_nxm_port, port_from_16, port_to_16
from gossamer.pipeline.action import SubField
from gossamer.pipeline.action_learn import Learn, LearnSpec, LearnTo

_LEARN, _LEARN2 = 16, 45
_HEAD: Final = Struct(">HHHQHBBHH")
_SEND_FLOW_REM, _DELETE_LEARNED, WRITE_RESULT = 1, 2, 4
_SPEC_BITS, _SPEC_IMMEDIATE, _SPEC_TO = 0x03FF, 0x2000, 0x1800
_ALL_TABLES: Final = 0xFF


def _argument(why: str) -> OpenFlowError:
    return OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT, why)


def decode_learn(body: bytes) -> Learn:
    """NXAST_LEARN, NXAST_LEARN2.  Raises OpenFlowError."""
    is_2 = unpack_from(">H", body, 8)[0] == _LEARN2
    idle, hard, priority, cookie, flags, table_id, pad, fin_idle, fin_hard = _HEAD.unpack_from(
        body, 10
    )
    if is_2 and any(body[38:40]):
        raise OpenFlowError(ErrorCode.BAD_ACTION_MUST_BE_ZERO)
    if pad or table_id == _ALL_TABLES:
        raise _argument("table 255")
    allowed = _SEND_FLOW_REM | _DELETE_LEARNED | (WRITE_RESULT if is_2 else 0)
    if flags & ~allowed:
        raise _argument(f"flags {flags:#x}")
    limit, at, result = 0, 32, None
    if is_2:
        limit, low = unpack_from(">IH", body, 32)
        at = 40
        if flags & WRITE_RESULT:
            field, at = field_at(body, at)
            result = target(field, low, 1)
        elif low:
            raise _argument("a result needs its flag")
    return Learn(
        _specs(body, at), table_id, idle, hard, priority, cookie, flags, fin_idle, fin_hard,
        limit, result,
    )  # fmt: skip


def _specs(body: bytes, at: int) -> tuple[LearnSpec, ...]:
    out: list[LearnSpec] = []
    end = len(body)
    while end - at >= 2:
        head = body[at] << 8 | body[at + 1]
        at += 2
        if not head:
            break
        n_bits, immediate = head & _SPEC_BITS, bool(head & _SPEC_IMMEDIATE)
        to = (head & _SPEC_TO) >> 11
        if to not in tuple(LearnTo) or (to == LearnTo.OUTPUT and immediate):
            raise _argument(f"learn specification {head:#06x}")
        n_value = (n_bits + 15) // 16 * 2
        needed = (n_value if immediate else 6) + (0 if to == LearnTo.OUTPUT else 6)
        if end - at < needed:
            raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_LEN)
        value, src_at = 0, at
        at += n_value if immediate else 6
        if immediate:
            value = int.from_bytes(body[src_at:at], "big") & ((1 << n_bits) - 1)
        dst: SubField | None = None
        if to != LearnTo.OUTPUT:
            dst = _part(body, at, n_bits, written=to == LearnTo.LOAD)
            at += 6
        src = value if immediate else _part(body, src_at, n_bits, written=False)
        out.append(_spec(src, LearnTo(to), dst))
    if any(body[at:]):
        raise _argument("bytes behind the last specification")
    return tuple(out)


def _part(body: bytes, at: int, n_bits: int, *, written: bool) -> SubField:
    field, low = short_field_at(body, at), unpack_from(">H", body, at + 4)[0]
    return target(field, low, n_bits) if written else source(field, low, n_bits)


def _is_port(sub: SubField | None) -> bool:
    return sub is not None and is_nxm_port(sub.field) and not sub.low and sub.n_bits >= 16


def _spec(src: SubField | int, to: LearnTo, dst: SubField | None) -> LearnSpec:
    """Port numbers of 16 bits become those of 32 where a whole port is meant."""
    if dst is not None and _is_port(dst):
        dst = SubField(dst.field, 0, dst.field.n_bits)
        if isinstance(src, int):
            src = port_from_16(src)
        elif _is_port(src):
            src = SubField(src.field, 0, src.field.n_bits)
    width = dst or src
    assert isinstance(width, SubField)
    return LearnSpec(src, width.n_bits, to, dst)


def encode_learn(a: Learn) -> bytes:
    """NXAST_LEARN; NXAST_LEARN2 where there is a limit or a result."""
    body = _HEAD.pack(
        a.idle_timeout, a.hard_timeout, a.priority, a.cookie, a.flags, a.table_id, 0,
        a.fin_idle_timeout, a.fin_hard_timeout,
    )  # fmt: skip
    is_2 = a.limit or a.result is not None
    if is_2:
        body += be(a.limit, 4) + be(a.result.low if a.result else 0, 2) + bytes(2)
        body += nxm(a.result.field) if a.result else b""
    for spec in a.specs:
        body += _encode_spec(spec)
    return nicira(_LEARN2 if is_2 else _LEARN, body)


def _encode_spec(spec: LearnSpec) -> bytes:
    src, dst = spec.source, spec.dst
    width = dst or src
    assert isinstance(width, SubField)
    n_bits = said_bits(width)
    immediate = isinstance(src, int)
    out = be(n_bits | spec.to << 11 | (_SPEC_IMMEDIATE if immediate else 0), 2)
    if isinstance(src, int):
        value = port_to_16(src) if _is_port(dst) else src
        out += be(value, (n_bits + 15) // 16 * 2)
    else:
        out += nxm(src.field) + be(src.low, 2)
    if dst is not None:
        out += nxm(dst.field) + be(dst.low, 2)
    return out
