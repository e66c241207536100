"""encap() and decap() on the wire (NXAST_ENCAP, NXAST_DECAP; EXT-382 of ONF's packet types)."""

from __future__ import annotations

from struct import pack, unpack_from
from typing import Final

from gossamer.openflow.action_frame import nicira
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.pipeline import action as act
from gossamer.pipeline.action_encap import Decap, Encap, NshMdType, NshTlv, PacketType

_ENCAP: Final = 46
_HEADERS: Final = (PacketType.ETHERNET, PacketType.NSH, PacketType.MPLS, PacketType.MPLS_MC)
_NSH_CLASS: Final = 4
_MD_TYPE, _TLV = 1, 2
_HEAD: Final = 4
_TLV_HEAD: Final = 8


def decode_encap(body: bytes) -> act.Action:
    """NXAST_ENCAP.  Raises OpenFlowError(BAD_HEADER_TYPE, BAD_LEN, *_ED_PROP)."""
    hdr_size, packet_type = unpack_from(">HI", body, 10)
    if packet_type not in _HEADERS:
        raise OpenFlowError(
            ErrorCode.BAD_ACTION_BAD_HEADER_TYPE, f"packet type {packet_type:#x} cannot be put on"
        )
    properties = []
    at = 16
    while at < len(body):
        found, at = _property(body, at)
        properties.append(found)
    return Encap(packet_type, tuple(properties), hdr_size)


def _property(body: bytes, at: int) -> tuple[NshMdType | NshTlv, int]:
    if len(body) - at < _HEAD:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_LEN)
    prop_class, kind, length = unpack_from(">HBB", body, at)
    end = at + (length + 7) // 8 * 8
    if length < _HEAD or end > len(body):
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_LEN)
    if prop_class != _NSH_CLASS or kind not in (_MD_TYPE, _TLV):
        raise OpenFlowError(
            ErrorCode.BAD_ACTION_UNKNOWN_ED_PROP, f"property {kind} of class {prop_class}"
        )
    if kind == _MD_TYPE:
        if length > _HEAD + 4:
            raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ED_PROP)
        return NshMdType(body[at + _HEAD]), end
    tlv_class, tlv_type, n_bytes = unpack_from(">HBB", body, at + _HEAD)
    if length != _TLV_HEAD + (n_bytes + 7) // 8 * 8:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ED_PROP)
    start = at + _TLV_HEAD
    return NshTlv(tlv_class, tlv_type, body[start : start + n_bytes]), end


def decode_decap(body: bytes) -> act.Action:
    """NXAST_DECAP.  Raises OpenFlowError(UNKNOWN_ED_PROP): it has no properties."""
    if len(body) > 16:
        raise OpenFlowError(ErrorCode.BAD_ACTION_UNKNOWN_ED_PROP, "decap has no properties")
    return Decap(unpack_from(">I", body, 12)[0])


def encode_encap(a: Encap) -> bytes:
    """NXAST_ENCAP."""
    body = pack(">HI", a.hdr_size, a.packet_type)
    for found in a.properties:
        if isinstance(found, NshMdType):
            body += pack(">HBBB3x", _NSH_CLASS, _MD_TYPE, _HEAD + 1, found.md_type)
            continue
        padded = found.data + bytes(-len(found.data) % 8)
        body += pack(">HBB", _NSH_CLASS, _TLV, _TLV_HEAD + len(padded))
        body += pack(">HBB", found.tlv_class, found.tlv_type, len(found.data)) + padded
    return nicira(_ENCAP, body)
