"""Packets without Ethernet header, and headers that go around packets: encap() and decap().

A packet of another type than Ethernet (its packet_type is not 0) has an Ethernet header of zeros in
front here, with the type it says, so that all parts that look for an ethertype find one.  Nobody
else sees it: such a packet leaves only by tunnels that carry packets, without it, and goes to
controllers without it.

Sources: OpenFlow 1.5.1, 7.2.3.11; RFC 8300 (NSH); RFC 3032 and RFC 4448 (what labels carry);
ovs-actions(7).
"""

from __future__ import annotations

from struct import pack
from typing import Final

from gossamer.pipeline import labels
from gossamer.pipeline.action_encap import Encap, NshMdType, NshTlv, PacketType
from gossamer.pipeline.commit import PACKET_MASK, Buffer, Frame
from gossamer.pipeline.fields import ETH_IPV6, ETH_NSH, get_slot, put_slot
from gossamer.pipeline.packet import ETH_HEADER

ETHERTYPE: Final = 1
"""The namespace of packet types that are ethertypes."""
_ADDRESSES: Final = bytes(12)
_NSH_PROTOCOLS: Final = {
    PacketType.IPV4: 1,
    PacketType.IPV6: 2,
    PacketType.ETHERNET: 3,
    PacketType.NSH: 4,
}
_NSH_TYPES: Final = {number: kind for kind, number in _NSH_PROTOCOLS.items()}
_NSH_TTL: Final = 63
_NSH_LAST_INDEX: Final = 255
_NSH_BASE: Final = 8
_NSH_MAX_OPTIONS: Final = 248
_CONTEXT: Final = bytes(16)
_BOTTOM: Final = 0x100
_LABEL_TTL: Final = 64
_IPV6_NULL: Final = 2

Changed = tuple[int, Buffer]


class WrongType(Exception):
    """A packet of this type cannot have that done to it; it is dropped, as in Open vSwitch."""


class TooManyLabels(Exception):
    """A fourth label."""


def is_frame(key: int) -> bool:
    """Whether a packet has an Ethernet header."""
    return get_slot(key, "packet_type") == PacketType.ETHERNET


def payload(packet: bytes, key: int) -> bytes:
    """A packet's own bytes: without the header of zeros, where it has no Ethernet header."""
    return packet if is_frame(key) else packet[ETH_HEADER:]


def encapsulated(key: int, buffer: Buffer, action: Encap) -> Changed:
    """With one more header.  Raises WrongType and TooManyLabels."""
    match action.packet_type:
        case PacketType.ETHERNET:
            if get_slot(key, "packet_type") >> 16 != ETHERTYPE:
                raise WrongType("encap(ethernet) is not supported for packet type ethernet")
            return put_slot(key, "packet_type", PacketType.ETHERNET), buffer
        case PacketType.NSH:
            return _with_nsh(key, buffer, action)
        case _:
            return _with_label(key, buffer, action.packet_type & 0xFFFF)


def decapsulated(key: int, buffer: Buffer, following: int) -> Changed:
    """Without its outermost header; `following` is the type of what follows a label.

    Raises WrongType.
    """
    packet_type = get_slot(key, "packet_type")
    if packet_type == PacketType.ETHERNET:
        if get_slot(key, "vlan_tci"):
            raise WrongType("cannot decap Ethernet if VLAN is present")
        for address in ("eth_dst", "eth_src"):
            key = put_slot(key, address, 0)
        return put_slot(key, "packet_type", ETHERTYPE << 16 | get_slot(key, "eth_type")), buffer
    packet = buffer.packet(key)
    if packet_type == PacketType.NSH:
        following = _following_nsh(packet)
        length = (packet[ETH_HEADER + 1] & 0x3F) * 4
        return _uncovered(key, packet[ETH_HEADER + length :], following)
    if packet_type in (PacketType.MPLS, PacketType.MPLS_MC):
        return _without_label(key, packet, following)
    raise WrongType(f"decap() does not support packet type {_said(packet_type)}")


def _following_nsh(packet: bytes) -> int:
    if len(packet) < ETH_HEADER + _NSH_BASE:
        raise WrongType("the NSH header is cut short")
    following = _NSH_TYPES.get(packet[ETH_HEADER + 3])
    if following is None:
        raise WrongType(f"NSH next protocol {packet[ETH_HEADER + 3]} is not supported")
    return int(following)


def _without_label(key: int, packet: bytes, following: int) -> Changed:
    entries = labels.labels_of(key)
    last = len(entries) == 1 and bool(entries[0] & _BOTTOM)
    is_label = following in (PacketType.MPLS, PacketType.MPLS_MC)
    if not entries or (len(entries) == labels.MAX_LABELS and not entries[-1] & _BOTTOM):
        raise WrongType("a label whose stack is not known to its end")
    if last is is_label or following == PacketType.NEXT_PROTOCOL:
        raise WrongType(f"what follows the label is not of packet type {_said(following)}")
    return _uncovered(key, packet[ETH_HEADER + 4 :], following)


def _uncovered(key: int, inner: bytes, packet_type: int) -> Changed:
    """What was inside of a header, as a packet of its type."""
    if packet_type == PacketType.ETHERNET:
        if len(inner) < ETH_HEADER:
            raise WrongType("the frame inside is cut short")
        return _as(inner, key, packet_type)
    if packet_type >> 16 != ETHERTYPE:
        raise WrongType(f"packet type {_said(packet_type)} is not known")
    return _as(_ADDRESSES + pack(">H", packet_type & 0xFFFF) + inner, key, packet_type)


def _as(packet: bytes, key: int, packet_type: int) -> Changed:
    frame = Frame.received(packet, 0)
    known = key & ~PACKET_MASK | frame.key & PACKET_MASK
    return put_slot(known, "packet_type", packet_type), Buffer(frame)


def _with_nsh(key: int, buffer: Buffer, action: Encap) -> Changed:
    packet_type = get_slot(key, "packet_type")
    protocol = {int(k): n for k, n in _NSH_PROTOCOLS.items()}.get(packet_type)
    if protocol is None:
        raise WrongType(f"encap(nsh) is not supported for packet type {_said(packet_type)}")
    inner = payload(buffer.packet(key), key)
    md_type = next((p.md_type for p in action.properties if isinstance(p, NshMdType)), 1)
    if md_type == 2:
        context = b"".join(_option(p) for p in action.properties if isinstance(p, NshTlv))
        context = context if len(context) <= _NSH_MAX_OPTIONS else b""
    else:
        md_type, context = 1, _CONTEXT
    words = (_NSH_BASE + len(context)) // 4
    head = pack(">HBBI", _NSH_TTL << 6 | words, md_type, protocol, _NSH_LAST_INDEX)
    packet = _ADDRESSES + pack(">H", ETH_NSH) + head + context + inner
    return _as(packet, key, PacketType.NSH)


def _option(tlv: NshTlv) -> bytes:
    """RFC 8300, section 2.5.1."""
    head = pack(">HBB", tlv.tlv_class, tlv.tlv_type, len(tlv.data))
    return head + tlv.data + bytes(-len(tlv.data) % 4)


def _with_label(key: int, buffer: Buffer, eth_type: int) -> Changed:
    packet = buffer.packet(key)
    entries = [] if is_frame(key) else labels.labels_of(key)
    if len(entries) >= labels.MAX_LABELS:
        raise TooManyLabels
    if entries:
        entry = entries[0] & ~_BOTTOM
    else:
        # Nothing of what is inside shows, as in Open vSwitch: another push_mpls() does that.
        null = _IPV6_NULL if get_slot(key, "eth_type") == ETH_IPV6 else 0
        entry = null << 12 | _BOTTOM | _LABEL_TTL
    inner = pack(">I", entry) + payload(packet, key)
    return _as(_ADDRESSES + pack(">H", eth_type) + inner, key, ETHERTYPE << 16 | eth_type)


def _said(packet_type: int) -> str:
    return f"({packet_type >> 16},{packet_type & 0xFFFF:#x})"
