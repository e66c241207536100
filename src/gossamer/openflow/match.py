"""Matches on the wire: OXM and NXM (OpenFlow 1.3.5, 7.2.3; ovs-fields(7)), and OpenFlow 1.0's struct.

Flow tables are filled by the hundred thousand with matches of the same few
shapes, so what can be known from a shape (its fields, masks, ethertype and
protocol) is worked out once and kept as a `Shape`; a match of a known shape
costs one comparison and a shift for each field.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Final

from gossamer.errors import FieldError
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.message import Version
from gossamer.pipeline.action import OfPort
from gossamer.pipeline.fields import (
    BY_NAME,
    FIELDS,
    NX_VENDOR,
    NXM_0,
    NXM_1,
    ONF_VENDOR,
    OXM_BASIC,
    OXM_EXPERIMENTER,
    OXM_PACKET_REGS,
    Field,
    slot_shift,
)
from gossamer.pipeline.match import ANY, FieldMatch, Match

_IN_PORT: Final = BY_NAME["in_port"]
_VLAN_VID: Final = BY_NAME["vlan_vid"]
_VLAN_TCI: Final = BY_NAME["vlan_tci"]
_METADATA: Final = BY_NAME["metadata"]
_NXM_IN_PORT: Final = (NXM_0, 0)
_NXM_VLAN_TCI: Final = (NXM_0, 4)
_XREG_BITS: Final = {f"xreg{i}": (f"reg{2 * i + 1}", 64) for i in range(8)} | {
    f"xxreg{i}": (f"reg{4 * i + 3}", 128) for i in range(4)
}


def _registers(name: str, bits: int, low: str, oxm: tuple[int, int] | None, nxm: tuple[int, int] | None) -> Field:
    """A view over neighbouring registers; the last of them holds its lowest bits."""
    from gossamer.pipeline.fields import NONE

    return Field(name, low, bits, bits // 8, oxm, nxm, True, True, NONE)


XREGS: Final = tuple(
    _registers(f"xreg{i}", 64, f"reg{2 * i + 1}", (OXM_PACKET_REGS, i), None) for i in range(8)
) + tuple(_registers(f"xxreg{i}", 128, f"reg{4 * i + 3}", None, (NXM_1, 111 + i)) for i in range(4))

_BY_WIRE: Final[dict[tuple[int, int], Field]] = (
    {f.oxm: f for f in FIELDS if f.oxm}
    | {f.nxm: f for f in FIELDS if f.nxm}
    | {f.oxm: f for f in XREGS if f.oxm}
    | {f.nxm: f for f in XREGS if f.nxm}
    | {_NXM_IN_PORT: _IN_PORT, (NXM_1, 36): BY_NAME["tcp_flags"]}
)
_TCP_FLAGS: Final = BY_NAME["tcp_flags"]
_DSCP_NXM: Final = BY_NAME["nw_tos"]


def port_from_16(port: int) -> int:
    """A port number of OpenFlow 1.0 in its 32-bit form."""
    return port | 0xFFFF0000 if port >= 0xFF00 else port


def port_to_16(port: int) -> int:
    """A port number in OpenFlow 1.0's 16 bits; OFPP_NONE where it does not fit."""
    if port >= OfPort.MAX:
        return port & 0xFFFF
    return port if port < 0xFF00 else 0xFFFF


# -- one field --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WireField:
    """A field as a header names it.  `wire_bytes` is the length of the value alone."""

    field: Field
    wire_bytes: int
    header_bytes: int
    masked: bool
    nxm_port: bool = False
    """NXM_OF_IN_PORT: 16 bits, OpenFlow 1.0 numbers."""


def decode_header(data: bytes, offset: int) -> WireField:
    """The header of an OXM or NXM TLV.

    Raises OpenFlowError(BAD_FIELD or BAD_LEN of the match) for what is unknown.
    """
    if len(data) < offset + 4:
        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_LEN)
    oxm_class = data[offset] << 8 | data[offset + 1]
    number, masked = data[offset + 2] >> 1, bool(data[offset + 2] & 1)
    length = data[offset + 3]
    header_bytes = 4
    if oxm_class == OXM_EXPERIMENTER:
        if len(data) < offset + 8 or length < 4:
            raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_LEN)
        vendor = int.from_bytes(data[offset + 4 : offset + 8], "big")
        header_bytes, length = 8, length - 4
        if vendor == ONF_VENDOR and number == 42:
            wire = (OXM_BASIC, 42)
        elif vendor == NX_VENDOR:
            wire = (NXM_1, number)
        else:
            raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_FIELD)
    else:
        wire = (oxm_class, number)
    field = _BY_WIRE.get(wire)
    if field is None:
        raise OpenFlowError(
            ErrorCode.BAD_MATCH_BAD_FIELD, f"field {number} of class {oxm_class:#06x} is unknown"
        )
    wire_bytes = 2 if wire == _NXM_IN_PORT else field.wire_bytes
    if length != wire_bytes * (2 if masked else 1):
        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_LEN, place=field.name)
    return WireField(field, wire_bytes, header_bytes, masked, wire == _NXM_IN_PORT)


@lru_cache(maxsize=1024)
def encode_header(field: Field, version: int, masked: bool) -> bytes:
    """The header under which Open vSwitch sends a field in a version."""
    wire, wire_bytes = wire_name(field, version)
    length = wire_bytes * (2 if masked else 1)
    if field is _TCP_FLAGS and version in (Version.V13, Version.V14):
        head = OXM_EXPERIMENTER << 16 | 42 << 9 | int(masked) << 8 | (length + 4)
        return head.to_bytes(4, "big") + ONF_VENDOR.to_bytes(4, "big")
    return (wire[0] << 16 | wire[1] << 9 | int(masked) << 8 | length).to_bytes(4, "big")


def wire_name(field: Field, version: int) -> tuple[tuple[int, int], int]:
    """(class, number) and value length of a field: NXM below OpenFlow 1.2, OXM from there on."""
    if version < Version.V12:
        if field is _IN_PORT:
            return _NXM_IN_PORT, 2
        if field.nxm is not None:
            return field.nxm, field.wire_bytes
        if field is _VLAN_VID or field.name == "vlan_pcp":
            return _NXM_VLAN_TCI, 2
    if field is _TCP_FLAGS and version < Version.V15:
        assert field.nxm is not None
        return field.nxm, field.wire_bytes
    wire = field.oxm or field.nxm
    assert wire is not None, field.name
    return wire, field.wire_bytes


# -- OXM and NXM matches ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shape:
    """What all matches with these headers and masks (and ethertype, protocol) have in common."""

    fixed: int
    """Bits of the wire form that say the shape."""
    fixed_value: int
    forbidden: int
    """Bits that must be zero: values outside their mask or their field."""
    moves: tuple[tuple[int, int, int], ...]
    """(right shift in the wire form, mask, left shift in the key)."""
    base: int
    """Key bits the shape itself says."""
    mask: int
    nxm_port: int
    """Where a 16-bit in_port stands (right shift), -1 none."""


_shapes: dict[int, list[Shape]] = {}
_MAX_SHAPES: Final = 64
"""Of one length; more are decoded the long way."""
_masks: dict[int, int] = {}
"""One object for each mask, so that comparing masks is comparing identities."""


def decode_match(data: bytes) -> Match:
    """An OXM or NXM match without its padding (OpenFlow 1.3.5, 7.2.3.2).

    Raises OpenFlowError with BAD_FIELD, BAD_LEN, BAD_VALUE, BAD_MASK,
    BAD_WILDCARDS, BAD_PREREQ or DUP_FIELD of the match errors.
    """
    if not data:
        return ANY
    raw = int.from_bytes(data, "big")
    shapes = _shapes.get(len(data))
    if shapes is not None:
        for shape in shapes:
            if raw & shape.fixed == shape.fixed_value and not raw & shape.forbidden:
                value = shape.base
                for right, mask, left in shape.moves:
                    value |= ((raw >> right) & mask) << left
                if shape.nxm_port >= 0:
                    port = port_from_16((raw >> shape.nxm_port) & 0xFFFF)
                    value |= port << _IN_PORT.shift
                return Match(value, shape.mask)
    return _decode_long(data, raw)


_FIXED_VALUES: Final = frozenset({"eth_type", "nw_proto", "icmpv6_type", "vlan_vid", "vlan_tci"})
"""Fields others depend on: their values belong to the shape."""


def _decode_long(data: bytes, raw: int) -> Match:
    match = ANY
    fixed = forbidden = 0
    moves: list[tuple[int, int, int]] = []
    base = 0
    nxm_port = -1
    offset, end = 0, len(data)
    while offset < end:
        wire = decode_header(data, offset)
        f, n = wire.field, wire.wire_bytes
        at = offset + wire.header_bytes
        size = n * (2 if wire.masked else 1)
        if at + size > end:
            raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_LEN, place=f.name)
        value = int.from_bytes(data[at : at + n], "big")
        full = (1 << f.n_bits) - 1
        mask = int.from_bytes(data[at + n : at + size], "big") if wire.masked else full
        right = (end - at - n) * 8
        header_bits = ((1 << (wire.header_bytes * 8)) - 1) << ((end - at) * 8)
        fixed |= header_bits
        if wire.masked:
            fixed |= ((1 << (n * 8)) - 1) << (right - n * 8)
        if wire.nxm_port:
            value, mask = port_from_16(value), full
            nxm_port = right
        else:
            match_value, mask = _check_value(f, value, mask, wire.masked, n)
            value = match_value
            whole = (1 << (n * 8)) - 1
            if f.name in _FIXED_VALUES:
                fixed |= whole << right
                base |= value << f.shift
            else:
                forbidden |= (whole & ~mask) << right
                moves.append((right, mask, f.shift))
        if match.mask & (mask << f.shift) and match.field(f)[1] & mask:
            raise OpenFlowError(ErrorCode.BAD_MATCH_DUP_FIELD, place=f.name)
        if not match.satisfies(f.prerequisite):
            raise OpenFlowError(
                ErrorCode.BAD_MATCH_BAD_PREREQ,
                f"{f.name} needs {f.prerequisite.name} to be matched before it",
            )
        try:
            match = match.with_field(f, value & mask, mask)
        except FieldError as e:
            raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_VALUE, str(e)) from None
        offset = at + size
    mask = _masks.setdefault(match.mask, match.mask)
    match = Match(match.value, mask)
    shapes = _shapes.setdefault(len(data), [])
    if len(shapes) < _MAX_SHAPES:
        shapes.append(
            Shape(fixed, raw & fixed, forbidden, tuple(moves), base, mask, nxm_port)
        )
    return match


def _check_value(f: Field, value: int, mask: int, masked: bool, wire_bytes: int) -> tuple[int, int]:
    full = (1 << f.n_bits) - 1
    if f is _TCP_FLAGS:
        mask &= full
    if masked:
        if not f.maskable and mask & full != full and mask:
            raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_MASK, f"{f.name} cannot be masked")
        mask &= full
        if value & ~mask & ((1 << (wire_bytes * 8)) - 1):
            raise OpenFlowError(
                ErrorCode.BAD_MATCH_BAD_WILDCARDS, f"{f.name}: value has bits outside the mask"
            )
    elif value > full:
        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_VALUE, f"{f.name}: {value:#x} is too large")
    if f is _VLAN_VID and not masked and not value & 0x1000 and value:
        raise OpenFlowError(
            ErrorCode.BAD_MATCH_BAD_VALUE, "vlan_vid without OFPVID_PRESENT must be 0"
        )
    return value, mask


def encode_match(match: Match, version: int) -> bytes:
    """A match as OXM or NXM TLVs, in Open vSwitch's order, without padding."""
    return b"".join(
        _encode_field(item, version) for item in _ordered(match, version)
    )


def _ordered(match: Match, version: int) -> list[FieldMatch]:
    items = list(match.fields())
    if version < Version.V12:
        # NXM speaks of the VLAN as one 16-bit TCI.
        tci_value, tci_mask = match.field(_VLAN_TCI)
        kept = [i for i in items if i.field.slot != "vlan_tci"]
        if tci_mask:
            place = next((n for n, i in enumerate(items) if i.field.slot == "vlan_tci"), 0)
            kept.insert(min(place, len(kept)), FieldMatch(_VLAN_TCI, tci_value, tci_mask))
        items = kept
    return items


def _encode_field(item: FieldMatch, version: int) -> bytes:
    field, value, mask = item
    n = wire_name(field, version)[1]
    full = (1 << field.n_bits) - 1
    if field is _IN_PORT and version < Version.V12:
        value = port_to_16(value)
    masked = mask != full
    head = encode_header(field, version, masked)
    body = value.to_bytes(n, "big")
    return head + body + (mask.to_bytes(n, "big") if masked else b"")


# -- OpenFlow 1.0 and 1.1 structures ---------------------------------------------------------------

MATCH10: Final = Struct(">IH6s6sHBxHBBxxIIHH")
_WILDCARDS_ALL: Final = (1 << 22) - 1
(
    _W_IN_PORT, _W_DL_VLAN, _W_DL_SRC, _W_DL_DST, _W_DL_TYPE, _W_NW_PROTO, _W_TP_SRC, _W_TP_DST
) = (1 << i for i in range(8))  # fmt: skip
_W_DL_VLAN_PCP: Final = 1 << 20
_W_NW_TOS: Final = 1 << 21

_S_IN_PORT = slot_shift("in_port")
_S_DL_DST = slot_shift("eth_dst")
_S_DL_SRC = slot_shift("eth_src")
_S_DL_TYPE = slot_shift("eth_type")
_S_TCI = slot_shift("vlan_tci")
_S_PROTO = slot_shift("nw_proto")
_S_TOS = slot_shift("nw_tos")
_S_NW_SRC = slot_shift("nw_src")
_S_NW_DST = slot_shift("nw_dst")
_S_TP_SRC = slot_shift("tp_src")
_S_TP_DST = slot_shift("tp_dst")


@lru_cache(maxsize=4096)
def _mask10(wildcards: int, dl_type: int, nw_proto: int, no_vlan: bool) -> tuple[int, bool]:
    """(key mask, whether tp_* are an ICMP type and code) of an OpenFlow 1.0 match.

    Fields whose prerequisite is not matched are ignored, as the specification says.
    """
    mask = 0
    if not wildcards & _W_IN_PORT:
        mask |= 0xFFFFFFFF << _S_IN_PORT
    if not wildcards & _W_DL_SRC:
        mask |= 0xFFFFFFFFFFFF << _S_DL_SRC
    if not wildcards & _W_DL_DST:
        mask |= 0xFFFFFFFFFFFF << _S_DL_DST
    tci = 0
    if not wildcards & _W_DL_VLAN:
        tci |= 0xFFFF if no_vlan else 0x1FFF
    if not wildcards & _W_DL_VLAN_PCP and not (not wildcards & _W_DL_VLAN and no_vlan):
        tci |= 0xF000
    mask |= tci << _S_TCI
    icmp = False
    if not wildcards & _W_DL_TYPE:
        mask |= 0xFFFF << _S_DL_TYPE
        ip = dl_type == 0x0800
        arp = dl_type in (0x0806, 0x8035)
        if ip or arp:
            for low, slot in ((8, _S_NW_SRC), (14, _S_NW_DST)):
                ignored = min((wildcards >> low) & 0x3F, 32)
                mask |= (0xFFFFFFFF << ignored & 0xFFFFFFFF) << slot
            if not wildcards & _W_NW_PROTO:
                mask |= 0xFF << _S_PROTO
        if ip or dl_type == 0x86DD:
            if not wildcards & _W_NW_TOS:
                mask |= 0xFC << _S_TOS
            if dl_type == 0x86DD and not wildcards & _W_NW_PROTO:
                mask |= 0xFF << _S_PROTO
            if not wildcards & _W_NW_PROTO:
                icmp = (ip and nw_proto == 1) or (not ip and nw_proto == 58)
                if icmp or nw_proto in (6, 17, 132):
                    width = 0xFF if icmp else 0xFFFF
                    if not wildcards & _W_TP_SRC:
                        mask |= width << _S_TP_SRC
                    if not wildcards & _W_TP_DST:
                        mask |= width << _S_TP_DST
    return _masks.setdefault(mask, mask), icmp


def decode_match10(data: bytes, offset: int = 0) -> Match:
    """struct ofp_match of OpenFlow 1.0 (40 bytes; 1.0.0, 5.2.3)."""
    (
        wildcards, in_port, dl_src, dl_dst, vlan, pcp, dl_type, tos, proto, src, dst, tp_src, tp_dst
    ) = MATCH10.unpack_from(data, offset)  # fmt: skip
    no_vlan = vlan == 0xFFFF
    mask, _ = _mask10(wildcards & _WILDCARDS_ALL, dl_type, proto, no_vlan)
    if in_port >= 0xFF00:
        in_port |= 0xFFFF0000
    tci = 0 if no_vlan else 0x1000 | (vlan & 0xFFF) | (pcp & 7) << 13
    value = (
        in_port << _S_IN_PORT
        | int.from_bytes(dl_dst, "big") << _S_DL_DST
        | int.from_bytes(dl_src, "big") << _S_DL_SRC
        | dl_type << _S_DL_TYPE
        | tci << _S_TCI
        | proto << _S_PROTO
        | tos << _S_TOS
        | src << _S_NW_SRC
        | dst << _S_NW_DST
        | tp_src << _S_TP_SRC
        | tp_dst << _S_TP_DST
    )
    return Match(value & mask, mask)


def encode_match10(match: Match) -> bytes:
    """The OpenFlow 1.0 structure; what it cannot say is wildcarded."""
    wildcards = _WILDCARDS_ALL
    v, m = match.value, match.mask
    out = dict.fromkeys(("in_port", "vlan", "pcp", "type", "tos", "proto", "tps", "tpd"), 0)
    if (m >> _S_IN_PORT) & 0xFFFFFFFF:
        wildcards &= ~_W_IN_PORT
        out["in_port"] = port_to_16((v >> _S_IN_PORT) & 0xFFFFFFFF)
    macs = []
    for shift, bit in ((_S_DL_SRC, _W_DL_SRC), (_S_DL_DST, _W_DL_DST)):
        whole = (m >> shift) & 0xFFFFFFFFFFFF == 0xFFFFFFFFFFFF
        if whole:
            wildcards &= ~bit
        macs.append(((v >> shift) & 0xFFFFFFFFFFFF if whole else 0).to_bytes(6, "big"))
    tci, tci_mask = (v >> _S_TCI) & 0xFFFF, (m >> _S_TCI) & 0xFFFF
    if tci_mask & 0x1FFF == 0x1FFF or (tci_mask & 0x1000 and not tci):
        wildcards &= ~_W_DL_VLAN
        out["vlan"] = tci & 0xFFF if tci & 0x1000 else 0xFFFF
    if tci_mask & 0xE000 == 0xE000 and tci & 0x1000:
        wildcards &= ~_W_DL_VLAN_PCP
        out["pcp"] = tci >> 13
    if (m >> _S_DL_TYPE) & 0xFFFF:
        wildcards &= ~_W_DL_TYPE
        out["type"] = (v >> _S_DL_TYPE) & 0xFFFF
    if (m >> _S_TOS) & 0xFC == 0xFC:
        wildcards &= ~_W_NW_TOS
        out["tos"] = (v >> _S_TOS) & 0xFC
    if (m >> _S_PROTO) & 0xFF:
        wildcards &= ~_W_NW_PROTO
        out["proto"] = (v >> _S_PROTO) & 0xFF
    addresses = []
    for shift, low in ((_S_NW_SRC, 8), (_S_NW_DST, 14)):
        address_mask = (m >> shift) & 0xFFFFFFFF
        ignored = 32 - address_mask.bit_count()
        if address_mask != 0xFFFFFFFF << ignored & 0xFFFFFFFF:
            ignored = 32
        wildcards = wildcards & ~(0x3F << low) | ignored << low
        addresses.append((v >> shift) & 0xFFFFFFFF if ignored < 32 else 0)
    for shift, bit, name in ((_S_TP_SRC, _W_TP_SRC, "tps"), (_S_TP_DST, _W_TP_DST, "tpd")):
        if (m >> shift) & 0xFF == 0xFF:
            wildcards &= ~bit
            out[name] = (v >> shift) & 0xFFFF
    return MATCH10.pack(
        wildcards, out["in_port"], *macs, out["vlan"], out["pcp"], out["type"], out["tos"],
        out["proto"], *addresses, out["tps"], out["tpd"],
    )  # fmt: skip


MATCH11_LEN: Final = 88
_MATCH11: Final = Struct(">HHII6s6s6s6sHBxHBBIIIIHHIB3xQQ")


def decode_match11(data: bytes, offset: int) -> Match:
    """struct ofp_match of OpenFlow 1.1 (88 bytes; 1.1.0, A.2.3)."""
    if len(data) < offset + MATCH11_LEN:
        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_LEN)
    (
        kind, length, in_port, wildcards, dl_src, src_mask, dl_dst, dst_mask, vlan, pcp, dl_type,
        tos, proto, nw_src, nw_src_mask, nw_dst, nw_dst_mask, tp_src, tp_dst, mpls_label, mpls_tc,
        metadata, metadata_mask,
    ) = _MATCH11.unpack_from(data, offset)  # fmt: skip
    if kind != 0 or length != MATCH11_LEN:
        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_TYPE)
    match = ANY

    def add(name: str, value: int, mask: int | None = None) -> None:
        nonlocal match
        f = BY_NAME[name]
        full = (1 << f.n_bits) - 1
        mask = full if mask is None else mask
        if value & ~full:
            raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_VALUE, place=name)
        match = match.with_field(f, value & mask, mask)

    if not wildcards & 1:
        add("in_port", in_port)
    for name, address, ignored in (("eth_src", dl_src, src_mask), ("eth_dst", dl_dst, dst_mask)):
        mask = 0xFFFFFFFFFFFF & ~int.from_bytes(ignored, "big")
        if mask:
            add(name, int.from_bytes(address, "big"), mask)
    if not wildcards & 2:
        if vlan == 0xFFFF:
            add("vlan_vid", 0)
        elif vlan == 0xFFFE:
            add("vlan_vid", 0x1000, 0x1000)
        else:
            add("vlan_vid", 0x1000 | (vlan & 0xFFF))
    if not wildcards & 4 and (wildcards & 2 or vlan != 0xFFFF):
        add("vlan_pcp", pcp)
        match = match.with_field(_VLAN_TCI, *_with_present(match))
    if not wildcards & 8:
        add("eth_type", dl_type)
        if dl_type in (0x0800, 0x86DD):
            if not wildcards & 16:
                add("ip_dscp", tos >> 2)
            if not wildcards & 32:
                add("nw_proto", proto)
                ports = {6: "tcp", 17: "udp", 132: "sctp"}.get(proto)
                names = (f"{ports}_src", f"{ports}_dst") if ports else ()
                if proto == 1 and dl_type == 0x0800:
                    names = ("icmp_type", "icmp_code")
                for name, value, bit in zip(names, (tp_src, tp_dst), (64, 128), strict=False):
                    if not wildcards & bit:
                        add(name, value)
        if dl_type == 0x0800:
            for name, value, ignored_bits in (
                ("ip_src", nw_src, nw_src_mask), ("ip_dst", nw_dst, nw_dst_mask)
            ):  # fmt: skip
                if ignored_bits != 0xFFFFFFFF:
                    add(name, value, 0xFFFFFFFF & ~ignored_bits)
        elif dl_type in (0x0806, 0x8035):
            if not wildcards & 32:
                add("arp_op", proto)
            for name, value, ignored_bits in (
                ("arp_spa", nw_src, nw_src_mask), ("arp_tpa", nw_dst, nw_dst_mask)
            ):  # fmt: skip
                if ignored_bits != 0xFFFFFFFF:
                    add(name, value, 0xFFFFFFFF & ~ignored_bits)
        elif dl_type in (0x8847, 0x8848):
            if not wildcards & 256:
                add("mpls_label", mpls_label)
            if not wildcards & 512:
                add("mpls_tc", mpls_tc)
    if metadata_mask != 0xFFFFFFFFFFFFFFFF:
        add("metadata", metadata, 0xFFFFFFFFFFFFFFFF & ~metadata_mask)
    return Match(match.value, _masks.setdefault(match.mask, match.mask))


def _with_present(match: Match) -> tuple[int, int]:
    value, mask = match.field(_VLAN_TCI)
    return value | 0x1000, mask | 0x1000


def encode_match11(match: Match) -> bytes:
    """The OpenFlow 1.1 structure; what it cannot say is wildcarded."""
    wildcards = 0x3FF
    got = {i.field.name: i for i in match.fields()}

    def take(name: str, bit: int) -> int:
        nonlocal wildcards
        item = got.get(name)
        if item is None:
            return 0
        wildcards &= ~bit
        return item.value

    def masked(*names: str, bits: int) -> tuple[int, int]:
        for name in names:
            if name in got:
                return got[name].value, (1 << bits) - 1 & ~got[name].mask
        return 0, (1 << bits) - 1

    in_port = take("in_port", 1)
    macs: list[bytes] = []
    for name in ("eth_src", "eth_dst"):
        value, ignored = masked(name, bits=48)
        macs += [value.to_bytes(6, "big"), ignored.to_bytes(6, "big")]
    vlan = 0
    if "vlan_vid" in got:
        vid = got["vlan_vid"]
        wildcards &= ~2
        if not vid.value & 0x1000:
            vlan = 0xFFFF
        else:
            vlan = 0xFFFE if vid.mask == 0x1000 else vid.value & 0xFFF
    pcp = take("vlan_pcp", 4)
    dl_type = take("eth_type", 8)
    tos = take("ip_dscp", 16) << 2 if "ip_dscp" in got else take("nw_tos", 16) & 0xFC
    proto = take("nw_proto", 32) or take("arp_op", 32)
    src, src_mask = masked("ip_src", "arp_spa", bits=32)
    dst, dst_mask = masked("ip_dst", "arp_tpa", bits=32)
    tp = [0, 0]
    for names, bit, i in (
        (("tcp_src", "udp_src", "sctp_src", "icmp_type"), 64, 0),
        (("tcp_dst", "udp_dst", "sctp_dst", "icmp_code"), 128, 1),
    ):
        for name in names:
            if name in got:
                tp[i] = take(name, bit)
    label, tc = take("mpls_label", 256), take("mpls_tc", 512)
    metadata, metadata_mask = masked("metadata", bits=64)
    return _MATCH11.pack(
        0, MATCH11_LEN, in_port, wildcards, *macs, vlan, pcp, dl_type, tos, proto, src, src_mask,
        dst, dst_mask, *tp, label, tc, metadata, metadata_mask,
    )  # fmt: skip


# -- the match of a message ---------------------------------------------------------------------


def decode_ofp_match(data: bytes, offset: int, version: int) -> tuple[Match, int]:
    """(match, offset behind it and its padding) of a version's ofp_match."""
    if version == Version.V10:
        if len(data) < offset + 40:
            raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
        return decode_match10(data, offset), offset + 40
    if version == Version.V11:
        return decode_match11(data, offset), offset + MATCH11_LEN
    if len(data) < offset + 4:
        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_LEN)
    kind = data[offset] << 8 | data[offset + 1]
    length = data[offset + 2] << 8 | data[offset + 3]
    if kind != 1:
        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_TYPE)
    end = offset + (length + 7) // 8 * 8
    if length < 4 or end > len(data):
        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_LEN)
    return decode_match(data[offset + 4 : offset + length]), end


def encode_ofp_match(match: Match, version: int) -> bytes:
    """A version's ofp_match, padded."""
    if version == Version.V10:
        return encode_match10(match)
    if version == Version.V11:
        return encode_match11(match)
    body = encode_match(match, version)
    length = 4 + len(body)
    return b"\0\1" + length.to_bytes(2, "big") + body + bytes(-length % 8)
