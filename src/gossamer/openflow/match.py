"""Matches on the wire: OXM and NXM (OpenFlow 1.3.5, 7.2.3; ovs-fields(7)).

Flow tables are filled by the hundred thousand with matches of the same few
shapes, so what can be known from a shape (its fields, masks, ethertype and
protocol) is worked out once and kept as a `Shape`; a match of a known shape
costs one lookup and a shift for each field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.interned import same_mask
from gossamer.openflow.match10 import decode_match10, encode_match10
from gossamer.openflow.match11 import MATCH11_LEN, decode_match11, encode_match11, fits_match11
from gossamer.openflow.match_encode import encode_match
from gossamer.openflow.message import Version
from gossamer.openflow.oxm import (
    DSCP_MASK,
    IN_PORT,
    NW_TOS,
    allowed_bits,
    decode_entry,
    is_nxm_port,
    is_valid_port,
    is_valid_value,
    port_from_16,
)
from gossamer.pipeline.field_views import IN_PHY_PORT
from gossamer.pipeline.fields import (
    BY_NAME,
    FRAG_LATER,
    IP_SCTP,
    IP_TCP,
    IP_UDP,
    PACKET_OFFSET,
    SLOTS,
    Field,
)
from gossamer.pipeline.match import ANY, Match

__all__ = ["decode_match", "decode_ofp_match", "encode_match", "encode_ofp_match"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What all matches with these headers and masks (and ethertype, protocol) have in common."""

    forbidden: int
    """Bits of the wire form that must be zero: values outside their mask or their field."""
    moves: tuple[tuple[int, int, int], ...]
    """(right shift in the wire form, mask, left shift in the key)."""
    base: int
    """Key bits the shape itself says."""
    mask: int
    nxm_port: int
    """Where a 16-bit in_port stands (right shift), -1 none."""
    ports_at: tuple[int, ...]
    """Where ports of 32 bits stand: not all numbers are ports."""


_shapes: dict[int, dict[int, dict[int, Shape]]] = {}
"""By length, by the bits of the wire form that say the shape, by their value."""
_MAX_SHAPES: Final = 4096
_MAX_GROUPS: Final = 32
"""Sets of shape-saying bits of one length, each of which costs a lookup."""
_n_shapes = 0


def decode_match(data: bytes) -> Match:
    """An OXM or NXM match without its padding (OpenFlow 1.3.5, 7.2.3.2).

    Raises OpenFlowError with BAD_FIELD, BAD_LEN, BAD_VALUE, BAD_MASK,
    BAD_WILDCARDS, BAD_PREREQ or DUP_FIELD of the match errors.
    """
    if not data:
        return ANY
    raw = int.from_bytes(data, "big")
    groups = _shapes.get(len(data))
    if groups is not None:
        for fixed, shapes in groups.items():
            shape = shapes.get(raw & fixed)
            if shape is not None and not raw & shape.forbidden:
                if shape.ports_at and not _are_ports(raw, shape.ports_at):
                    break
                value = shape.base
                for right, mask, left in shape.moves:
                    value |= ((raw >> right) & mask) << left
                if shape.nxm_port >= 0:
                    port = port_from_16((raw >> shape.nxm_port) & 0xFFFF)
                    value |= port << IN_PORT.shift
                return Match(value, shape.mask)
    return _decode_long(data, raw)


def _are_ports(raw: int, places: tuple[int, ...]) -> bool:
    return all(is_valid_port((raw >> right) & 0xFFFFFFFF) for right in places)


_ACTSET_OUTPUT: Final = BY_NAME["actset_output"]
_FIXED_VALUES: Final = frozenset(
    (
        "eth_type",
        "nw_proto",
        "icmpv6_type",
        "icmpv6_code",
        "ip_frag",
        "packet_type",
        "vlan_vid",
        "vlan_tci",
        "ct_state",
        "nsh_mdtype",
        "nsh_ttl",
    )
)
"""Fields others depend on, or of which few values are valid: these belong to the shape."""


_RECIRC_ID: Final = bytes.fromhex("00014804")
"""Header of NXM_NX_RECIRC_ID, which cannot be masked."""


class _Reader:
    """The fields of one match, read one by one, and the shape they make."""

    def __init__(self, data: bytes) -> None:
        self.end = len(data)
        self.data = data
        self.match = ANY
        self.fixed = self.forbidden = self.base = 0
        self.moves: list[tuple[int, int, int]] = []
        self.nxm_port = -1
        self.ports_at: tuple[int, ...] = ()
        self.keeps_shape = True

    def read(self, offset: int) -> int:
        """Take the field at `offset`; where the next one begins."""
        if self.data.startswith(_RECIRC_ID, offset):
            return self._read_recirculation(offset + len(_RECIRC_ID))
        entry = decode_entry(self.data, offset, in_action=False)
        f, value, mask = entry.field, entry.value, entry.mask
        whole = (1 << (f.wire_bytes * 8)) - 1
        if not f.maskable and mask not in (0, whole):
            raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_MASK, f"{f.name} cannot be masked")
        if not is_valid_value(f, value):
            raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_VALUE, f"{f.name}: {value:#x}")
        if f is IN_PHY_PORT:
            self._read_physical_port(value)
            return entry.end
        if f.marks:
            self._read_option(f, value, mask)
            return entry.end
        self._check_prerequisite(f)
        right = (self.end - entry.value_at - f.wire_bytes) * 8
        self._fix((entry.value_at - offset) * 8, (self.end - entry.value_at) * 8)
        if entry.masked:
            self._fix(f.wire_bytes * 8, (self.end - entry.end) * 8)
        if is_nxm_port(f):
            value, mask = port_from_16(value), 0xFFFFFFFF if mask else 0
            self.nxm_port = right if mask else -1
        else:
            mask &= allowed_bits(f)
            if f.name in _FIXED_VALUES:
                self._fix(f.wire_bytes * 8, right)
                self.base |= value << f.shift
            else:
                if f is IN_PORT or f is _ACTSET_OUTPUT:
                    self.ports_at += (right,)
                self.forbidden |= (whole & ~mask) << right
                self.moves.append((right, mask, f.shift))
        known = self.match
        if known.mask & f.full_mask and not _adds_to(f, known.mask):
            raise OpenFlowError(ErrorCode.BAD_MATCH_DUP_FIELD, place=f.name)
        self.match = Match(known.value | value << f.shift, known.mask | mask << f.shift)
        return entry.end

    def _read_recirculation(self, offset: int) -> int:
        """recirc_id is 0 wherever controllers' flows see a packet: other values are a switch's own."""
        if any(self.data[offset : offset + 4]):
            raise OpenFlowError(ErrorCode.BAD_REQUEST_EPERM, "only a switch's own flows see recirc_id")
        self.keeps_shape = False
        return offset + 4

    def _read_option(self, f: Field, value: int, mask: int) -> None:
        """Geneve's options have the place and the length that the TLV table gives them."""
        if self.match.mask & f.marks:
            raise OpenFlowError(ErrorCode.BAD_MATCH_DUP_FIELD, place=f.name)
        self.match = self.match.with_field(f, value, mask)
        self.keeps_shape = False

    def _read_physical_port(self, port: int) -> None:
        """in_phy_port says nothing new: no port of ours stands on another one."""
        in_port, mask = self.match.field(IN_PORT)
        if not mask:
            raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_PREREQ, "in_phy_port needs in_port")
        if port != in_port:
            raise OpenFlowError(
                ErrorCode.BAD_MATCH_BAD_VALUE, f"port {in_port} is not on a port {port}"
            )
        self.keeps_shape = False

    def _fix(self, bits: int, right: int) -> None:
        self.fixed |= ((1 << bits) - 1) << right

    def _check_prerequisite(self, f: Field) -> None:
        valid = has_prerequisite(self.match, f)
        if f.name in OF_CONNECTION:
            valid = valid and says_tracked(self.match)
        if not valid:
            raise OpenFlowError(
                ErrorCode.BAD_MATCH_BAD_PREREQ,
                f"{f.name} needs {f.prerequisite.name} to be matched before it",
            )


def has_prerequisite(match: Match, field: Field) -> bool:
    """Whether packets that match have a field (ovs-fields(7)).

    Beside what the field asks for: packets are Ethernet frames, fragments but
    the first have no ports, and neighbour discovery has code 0.
    """
    packet_type = match.field(_PACKET_TYPE)[0]
    if packet_type and PACKET_OFFSET <= SLOTS[field.slot].offset < _LAYER_3:
        # Labels are above layer 2, wherever they stand in the key.
        return field.slot == "mpls_lse0" and match.satisfies(field.prerequisite)
    if packet_type and packet_type >> 16 != 1 and SLOTS[field.slot].offset >= PACKET_OFFSET:
        return False
    p = field.prerequisite
    if p.nw_proto in _WITH_PORTS and match.field(_IP_FRAG)[0] & FRAG_LATER:
        return False
    if p.icmpv6_types and match.field(_ICMPV6_CODE)[0]:
        return False
    return match.satisfies(p)


_WITH_PORTS: Final = (IP_TCP, IP_UDP, IP_SCTP)
_PACKET_TYPE: Final = BY_NAME["packet_type"]
_LAYER_3: Final = SLOTS["nw_proto"].offset
_IP_FRAG: Final = BY_NAME["ip_frag"]
_ICMPV6_CODE: Final = BY_NAME["icmpv6_code"]
OF_CONNECTION: Final = frozenset(
    ("ct_nw_proto", "ct_nw_src", "ct_nw_dst", "ct_ipv6_src", "ct_ipv6_dst", "ct_tp_src", "ct_tp_dst")
)
"""Fields of a packet's connection, which there is only when ct_state says so."""
_CT_STATE: Final = BY_NAME["ct_state"]
_CT_OF_CONNECTION: Final = 0x01 | 0x02 | 0x04 | 0x08 | 0x40 | 0x80
_CT_TRACKED, CT_INVALID = 0x20, 0x10


def says_tracked(match: Match) -> bool:
    """Whether only packets match whose connection is known (ovs-fields(7), ct_nw_proto)."""
    value, mask = match.field(_CT_STATE)
    return bool(
        value & _CT_OF_CONNECTION
        or (value & _CT_TRACKED and mask & CT_INVALID and not value & CT_INVALID)
    )


def _adds_to(field: Field, mask: int) -> bool:
    """Fields that share bits with another one: NXM's TOS with ECN, OXM's VID and PCP."""
    if field.slot not in ("nw_tos", "vlan_tci"):
        return False
    taken = (mask >> field.shift) & ((1 << field.n_bits) - 1)
    return not taken & (DSCP_MASK if field is NW_TOS else (1 << field.n_bits) - 1)


def _decode_long(data: bytes, raw: int) -> Match:
    reader = _Reader(data)
    offset = 0
    while offset < len(data):
        offset = reader.read(offset)
    mask = same_mask(reader.match.mask)
    if reader.keeps_shape:
        _remember(len(data), reader.fixed, raw, reader, mask)
    return Match(reader.match.value, mask)


def _remember(length: int, fixed: int, raw: int, reader: _Reader, mask: int) -> None:
    global _n_shapes
    groups = _shapes.setdefault(length, {})
    if _n_shapes >= _MAX_SHAPES or len(groups) >= _MAX_GROUPS:
        _shapes.clear()
        _n_shapes = 0
        groups = _shapes.setdefault(length, {})
    groups.setdefault(fixed, {})[raw & fixed] = Shape(
        reader.forbidden,
        tuple(reader.moves),
        reader.base,
        mask,
        reader.nxm_port,
        reader.ports_at,
    )
    _n_shapes += 1


# -- the match of a message ---------------------------------------------------------------------

MATCH10_LEN: Final = 40


def decode_ofp_match(data: bytes, offset: int, version: int) -> tuple[Match, int]:
    """(match, offset behind it and its padding) of a version's ofp_match."""
    if version == Version.V10:
        if len(data) < offset + MATCH10_LEN:
            raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
        return decode_match10(data, offset), offset + MATCH10_LEN
    if len(data) < offset + 4:
        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_LEN)
    kind = data[offset] << 8 | data[offset + 1]
    length = data[offset + 2] << 8 | data[offset + 3]
    if kind == 0:
        # Open vSwitch reads OpenFlow 1.1's structure in every later version.
        return decode_match11(data, offset), offset + MATCH11_LEN
    if kind != 1:
        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_TYPE)
    end = offset + (length + 7) // 8 * 8
    if length < 4 or end > len(data):
        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_LEN)
    return decode_match(data[offset + 4 : offset + length]), end


def encode_ofp_match(match: Match, version: int) -> bytes:
    """A version's ofp_match, padded.

    What OpenFlow 1.1's structure cannot say (registers, IPv6 addresses) goes
    as OXM there, which is what Open vSwitch does with every match it describes.
    """
    if version == Version.V10:
        return encode_match10(match)
    if version == Version.V11:
        if fits_match11(match):
            return encode_match11(match)
        version = Version.V12
    body = encode_match(match, version)
    length = 4 + len(body)
    return b"\0\1" + length.to_bytes(2, "big") + body + bytes(-length % 8)
