"""Fields inside actions: what is set, loaded, moved, and which bits of it."""

from __future__ import annotations

from typing import Final

from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.oxm import (
    IN_PORT,
    VLAN_VID,
    allowed_bits,
    decode_entry,
    decode_header,
    is_nxm_port,
    is_valid_value,
    port_from_16,
)
from gossamer.pipeline import action as act
from gossamer.pipeline.action import SubField
from gossamer.pipeline.field_views import named_bits
from gossamer.pipeline.fields import BY_NAME, VLAN_CFI, Field

ARP_OP: Final = BY_NAME["arp_op"]
"""16 bits on the wire, of which packets use (and the key keeps) the lower 8."""

NSH_TTL: Final = BY_NAME["nsh_ttl"]

CT_ONLY: Final = frozenset(("ct_mark", "ct_label"))
"""Writable, but by actions inside of ct() only (action_order.py)."""


def decode_set(body: bytes, offset: int, *, may_mask: bool, standard: bool) -> act.SetField:
    """OFPAT_SET_FIELD (`standard`) or NXAST_REG_LOAD2: a TLV at `offset` and zeros behind it.

    Raises OpenFlowError with the codes Open vSwitch gives: those of the match
    for the TLV, of bad actions for what it says.
    """
    entry = decode_entry(body, offset, in_action=True)
    f, value, mask = entry.field, entry.value, entry.mask
    if entry.masked and not may_mask:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_SET_MASK)
    if any(body[entry.end :]):
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_SET_ARGUMENT, "padding is not zero")
    if not f.writable or (standard and f is IN_PORT):
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_SET_ARGUMENT, f"{f.name} is read only")
    # Open vSwitch asks what NXAST_REG_LOAD2 writes of no field; of this one switches take six bits
    is_valid = is_valid_value(f, value) or (f is NSH_TTL and not standard)
    if not is_valid or (f is VLAN_VID and standard and not value & mask & VLAN_CFI):
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_SET_ARGUMENT, f"{f.name}: {value:#x}")
    if is_nxm_port(f):
        return act.SetField(f, port_from_16(value), 0xFFFFFFFF)
    allowed = allowed_bits(f)
    if entry.masked and mask == allowed and f.n_bits < 8 * f.wire_bytes and not f.marks:
        return act.NamedSet(f, value, mask, act.WITH_MASK)
    return act.SetField(f, value, mask & allowed)


def short_field_at(body: bytes, offset: int) -> Field:
    """The field of a header of four bytes.  Raises OpenFlowError(BAD_SET_TYPE)."""
    head = decode_header(body, offset)
    if head.field is None or head.header_bytes != 4:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_SET_TYPE)
    return head.field


def field_at(body: bytes, offset: int) -> tuple[Field, int]:
    """(field, offset behind its header) of a header without value.

    Raises OpenFlowError(BAD_FIELD, BAD_MASK) of the match errors.
    """
    head = decode_header(body, offset)
    if head.field is None:
        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_FIELD)
    if head.masked:
        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_MASK, "a masked header names no field")
    return head.field, offset + head.header_bytes


def check_bits(field: Field, low: int, n_bits: int) -> None:
    """Raises OpenFlowError(BAD_SET_LEN) for bits that a field does not have."""
    if n_bits == 0 or low + n_bits > named_bits(field):
        raise OpenFlowError(
            ErrorCode.BAD_ACTION_BAD_SET_LEN,
            f"{field.name} has {named_bits(field)} bits, not {low}..{low + n_bits - 1}",
        )


def source(field: Field, low: int, n_bits: int) -> SubField:
    """Bits to read.  Raises OpenFlowError for those a field does not have."""
    check_bits(field, low, n_bits)
    if field is ARP_OP and low + n_bits > ARP_OP.n_bits:
        raise OpenFlowError(
            ErrorCode.BAD_ACTION_BAD_ARGUMENT, "only the lower 8 bits of arp_op can be read"
        )
    return SubField(field, low, n_bits)


def pushed(field: Field, low: int, n_bits: int) -> SubField:
    """Bits to read as a number, where it does not matter how many zeros stand before it.

    Raises OpenFlowError for those a field does not have.
    """
    if field is ARP_OP and not low and n_bits == named_bits(ARP_OP):
        return SubField(ARP_OP, 0, ARP_OP.n_bits)
    return source(field, low, n_bits)


def _check_writable(field: Field) -> None:
    if not field.writable:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_SET_ARGUMENT, f"{field.name} is read only")


def target(field: Field, low: int, n_bits: int) -> SubField:
    """Bits to write.  Raises OpenFlowError for those a field does not have, and read-only ones."""
    check_bits(field, low, n_bits)
    _check_writable(field)
    if field.name in CT_ONLY:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_SET_ARGUMENT, f"{field.name} is for ct alone")
    if is_nxm_port(field) and n_bits == 16 and not low:
        n_bits = field.n_bits
    if field is ARP_OP and n_bits == 16:
        n_bits = ARP_OP.n_bits
    return SubField(field, low, n_bits)


def load(field: Field, low: int, n_bits: int, value: int) -> act.RegLoad:
    """NXAST_REG_LOAD.  Raises OpenFlowError."""
    check_bits(field, low, n_bits)
    _check_writable(field)
    if value >> n_bits:
        raise OpenFlowError(
            ErrorCode.BAD_ACTION_BAD_ARGUMENT, f"{value:#x} does not fit {n_bits} bits"
        )
    if is_nxm_port(field) and n_bits == 16:
        return act.RegLoad(SubField(field, 0, 32), port_from_16(value))
    if field is ARP_OP and n_bits == 16:
        return act.RegLoad(SubField(field, 0, 8), value & 0xFF)
    return act.RegLoad(SubField(field, low, n_bits), value)


def move(src: Field, src_low: int, dst: Field, dst_low: int, n_bits: int) -> act.RegMove:
    """NXAST_REG_MOVE, OFPAT_COPY_FIELD.  Raises OpenFlowError."""
    check_bits(src, src_low, n_bits)
    check_bits(dst, dst_low, n_bits)
    _check_writable(dst)
    if dst is ARP_OP and n_bits == 16:
        n_bits = 8
    return act.RegMove(source(src, src_low, n_bits), SubField(dst, dst_low, n_bits))


def said_bits(sub: SubField) -> int:
    """The width of a subfield as its peer named it: the inverse of what is narrowed above."""
    if (is_nxm_port(sub.field) and sub.n_bits == 32) or (sub.field is ARP_OP and sub.n_bits == 8):
        return 16
    return sub.n_bits
