"""Packet headers into the flow key: the rules, and the reference parser.

The rules below are the contract between this parser and bpf/parse.h, which
must agree on every byte.  "Present" means: wholly inside the frame, and where
an outer header gives a length, inside that too.  A header that is not present
leaves its own fields and all deeper ones zero.

Ethernet
    14 bytes, or the frame is no packet at all (PacketError).
VLAN
    Up to two tags, each of TPID 0x8100 or 0x88a8 and 4 bytes.  `vlan_tci` is
    the outer tag's TCI with bit 0x1000 (VLAN_CFI, "there is a tag") set in
    place of DEI, `vlan_tpid` its TPID; `vlan1_*` the inner one's.  A tag cut
    short stays the `eth_type`; so does the TPID of a third tag.
802.3
    A type below 0x0600 is a length.  LLC/SNAP with DSAP, SSAP 0xaa, control 3,
    OUI 0 and a type of at least 0x0600 gives that type, and layer 3 follows
    SNAP; anything else has `eth_type` 0x05ff (OFP_DL_TYPE_NOT_ETH_TYPE).
ARP, RARP (0x0806, 0x8035)
    28 bytes, htype 1, ptype 0x0800, hlen 6, plen 4.  `nw_proto` is the opcode
    where that is below 256, else 0.
IPv4
    20 bytes, version 4, IHL at least 5, IHL * 4 <= total length, and total
    length inside the frame.  Any offset or more-fragments bit makes
    `nw_frag` FRAG_ANY, a nonzero offset FRAG_ANY | FRAG_LATER; later fragments
    have no layer 4.
IPv6
    40 bytes, version 6, payload length inside the frame.  Extension headers
    hop-by-hop (0), routing (43), fragment (44), authentication (51) and
    destination options (60) are walked, at most 8.  Each must start at most
    0x600 bytes into the frame, have 8 bytes, and its whole length inside the
    payload; otherwise the chain is broken: `nw_proto` and `nw_frag` are 0 and
    there is no layer 4, but addresses, label, class and hop limit are known.
    A fragment header with offset 0 and no more-fragments bit changes nothing;
    one with a nonzero offset ends the walk with `nw_proto` 44, no layer 4.
    Layer 4 must begin at most 0x600 bytes into the frame.  `ipv6_exthdr` says
    which extension headers a next header field announced, up to where the walk
    ends (OFPIEH_*); ESP (50) and "no next header" (59) end it and count.  One
    that comes twice (destination options: three times) sets UNREP instead of
    being put in order; one that comes after another that RFC 8200, 4.1 wants
    behind it sets UNSEQ.
TCP
    20 bytes, data offset at least 5 and inside the IP payload; `tcp_flags` are
    12 bits.
UDP, SCTP
    8 and 12 bytes.
ICMP, ICMPv6
    8 bytes; `tp_src` is the type, `tp_dst` the code.  (ICMP in IPv4 only,
    ICMPv6 in IPv6 only.)
Neighbour discovery
    ICMPv6 types 135 and 136 of code 0: `nd_reserved`.  With 24 bytes:
    `nd_target`.  Options, at most 8, each 8 bytes or more and inside the
    payload: those of exactly 8 bytes and type 1 or 2 have addresses, `arp_sha`
    and `arp_tha`; the type of the first is `nd_options_type`.  Two of a type
    (an address of zeros does not count) leave target and addresses unknown.
PBB (0x88e7)
    16 bytes: the I-TAG (`pbb_isid`: its 32 bits, of which the field is the
    lowest 24), C-DA and C-SA.  What follows them is not looked at.
NSH (0x894f)
    8 bytes of version 0, and as long as it says, 24 bytes for MD type 1; what it carries is not looked
    at.  In `ipv6_src`: a byte each of flags (2 bits), TTL, MD type and next protocol, three of the
    service path, one of the index; in `ipv6_dst` the context of MD type 1.
MPLS (0x8847, 0x8848)
    Up to three label stack entries, until one has the bottom-of-stack bit.

Sources: IEEE 802.3, 802.1Q, RFC 826, 791, 8200, 9293, 768, 9260, 792, 4443,
4861, 3032; IEEE 802.1ah; OpenFlow 1.3.5, 7.2.3.7; ovs-fields(7) for what Open vSwitch shows of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gossamer.errors import PacketError
from gossamer.pipeline.fields import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_MPLS,
    ETH_MPLS_MC,
    ETH_NSH,
    ETH_PBB,
    ETH_QINQ,
    ETH_RARP,
    ETH_VLAN,
    FRAG_ANY,
    FRAG_LATER,
    IP_ICMP,
    IP_ICMPV6,
    IP_SCTP,
    IP_TCP,
    IP_UDP,
    KEY_LEN,
    SLOTS,
)
from gossamer.pipeline.ipv6_extensions import IP6_AUTHENTICATION, IP6_FRAGMENT, WALKED, Extensions
from gossamer.pipeline.labels import LABEL_SLOTS, MAX_LABELS

ETH_HEADER: Final = 14
ETH_TYPE_NONE: Final = 0x05FF
"""eth_type of a frame without one (OpenFlow 1.0's OFP_DL_TYPE_NOT_ETH_TYPE)."""
ETH_TYPE_MIN: Final = 0x0600
_MAX_EXTENSIONS: Final = 8
_MAX_ND_OPTIONS: Final = 8
MAX_L4_OFFSET: Final = 0x600
MAX_TAGS: Final = 2
"""Tags that a key has places for."""
PBB_HEADER: Final = 16
"""I-TAG and customer addresses."""

NSH_MD_CONTEXT: Final = 1
"""MD type of a network service header with four words of context."""
ND_SOLICIT: Final = 135
ND_ADVERT: Final = 136
ND_SLL: Final = 1
"""Type of the option with a sender's address (RFC 4861, 4.6.1)."""
ND_TLL: Final = 2
_TPIDS: Final = (ETH_VLAN, ETH_QINQ)
_TAG_SLOTS: Final = (("vlan_tci", "vlan_tpid"), ("vlan1_tci", "vlan1_tpid"))

_AT: Final = {name: slot.offset for name, slot in SLOTS.items()}
_LABELLED: Final = tuple(t.to_bytes(2, "big") for t in (ETH_MPLS, ETH_MPLS_MC))


@dataclass(frozen=True, slots=True)
class InSight:
    """How many tags and labels of a packet are looked at; those behind are out of sight, with all
    that they have inside."""

    tags: int = MAX_TAGS
    labels: int = MAX_LABELS


ALL_IN_SIGHT: Final = InSight()


@dataclass(frozen=True, slots=True)
class Headers:
    """A packet's key, and where its headers are (byte offsets, 0 for absent)."""

    key: int
    l3: int = 0
    l4: int = 0
    l4_proto: int = 0
    """IP protocol of the layer 4 header found whole at `l4`."""
    l4_end: int = 0
    """End of the IP payload."""
    nd_option: int = 0
    """Offset of the first ND option with a link-layer address."""
    ip_seen: bool = False
    """There is, or may be, an IP packet below: labels on anything else are not looked under."""
    nsh: int = 0
    """A network service header that is whole, and what it says of its length true."""
    network: int = 0
    """Where the network layer begins: what follows the ethertype, labels first, known or not."""


class _Dissection:
    """One packet being taken apart."""

    def __init__(self, packet: bytes, in_sight: InSight) -> None:
        self.packet = packet
        self.in_sight = in_sight
        self.key = bytearray(KEY_LEN)
        self.l3 = self.l4 = self.l4_proto = self.l4_end = 0
        self.nd_option = 0
        self.nsh_at = 0
        self.network = 0

    def put(self, slot: str, data: bytes) -> None:
        at = _AT[slot]
        self.key[at : at + len(data)] = data

    def short(self, offset: int) -> int:
        return (self.packet[offset] << 8) | self.packet[offset + 1]

    def ethernet(self) -> None:
        p = self.packet
        self.put("eth_dst", p[:12])
        eth_type, off = self.short(12), ETH_HEADER
        for tci, tpid in _TAG_SLOTS[: self.in_sight.tags]:
            if eth_type not in _TPIDS or len(p) < off + 4:
                break
            self.put(tpid, eth_type.to_bytes(2, "big"))
            self.put(tci, (self.short(off) | 0x1000).to_bytes(2, "big"))
            eth_type = self.short(off + 2)
            off += 4
        self.network = off
        if eth_type in _TPIDS:
            self.put("eth_type", eth_type.to_bytes(2, "big"))
            return
        if eth_type < ETH_TYPE_MIN:
            snap = p[off : off + 8]
            if (
                len(snap) < 8
                or snap[:6] != b"\xaa\xaa\x03\0\0\0"
                or ((snap[6] << 8) | snap[7]) < ETH_TYPE_MIN
            ):
                self.put("eth_type", ETH_TYPE_NONE.to_bytes(2, "big"))
                return
            eth_type = (snap[6] << 8) | snap[7]
            off += 8
            self.network = off
        self.put("eth_type", eth_type.to_bytes(2, "big"))
        if eth_type == ETH_IPV4:
            self.ipv4(off)
        elif eth_type == ETH_IPV6:
            self.ipv6(off)
        elif eth_type in (ETH_ARP, ETH_RARP):
            self.arp(off)
        elif eth_type in (ETH_MPLS, ETH_MPLS_MC):
            self.mpls(off)
        elif eth_type == ETH_NSH:
            self.nsh(off)
        elif eth_type == ETH_PBB and len(p) >= off + PBB_HEADER:
            self.put("pbb_isid", p[off : off + 4])

    def nsh(self, off: int) -> None:
        h = self.packet[off : off + 8]
        if len(h) < 8 or h[0] >> 6:
            return
        length = (h[1] & 0x3F) * 4
        context = self.packet[off + 8 : off + 24]
        whole = 8 <= length <= len(self.packet) - off
        if not whole or (h[2] == NSH_MD_CONTEXT and length != 24):
            return
        self.nsh_at = off
        flags, ttl = h[0] >> 4 & 3, (h[0] & 0xF) << 2 | h[1] >> 6
        self.put("ipv6_src", bytes((flags, ttl)) + h[2:8])
        if h[2] == NSH_MD_CONTEXT:
            self.put("ipv6_dst", context)

    def mpls(self, off: int) -> None:
        for slot in LABEL_SLOTS[: self.in_sight.labels]:
            lse = self.packet[off : off + 4]
            if len(lse) < 4:
                return
            self.put(slot, lse)
            if lse[2] & 1:
                return
            off += 4

    def arp(self, off: int) -> None:
        h = self.packet[off : off + 28]
        if len(h) < 28 or h[:6] != b"\0\x01\x08\0\x06\x04":
            return
        self.l3 = off
        if h[6] == 0:
            self.put("nw_proto", h[7:8])
        self.put("arp_sha", h[8:14])
        self.put("nw_src", h[14:18])
        self.put("arp_tha", h[18:24])
        self.put("nw_dst", h[24:28])

    def ipv4(self, off: int) -> None:
        h = self.packet[off : off + 20]
        if len(h) < 20 or h[0] >> 4 != 4:
            return
        header, total = (h[0] & 15) * 4, h[2] << 8 | h[3]
        if header < 20 or total < header or off + total > len(self.packet):
            return
        self.l3 = off
        self.put("nw_proto", h[9:10])
        self.put("nw_tos", h[1:2])
        self.put("nw_ttl", h[8:9])
        self.put("nw_src", h[12:20])
        fragment = h[6] << 8 | h[7]
        if fragment & 0x3FFF:
            later = fragment & 0x1FFF
            self.put("nw_frag", bytes((FRAG_ANY | FRAG_LATER if later else FRAG_ANY,)))
            if later:
                return
        self.layer4(h[9], off + header, off + total, ipv6=False)

    def ipv6(self, off: int) -> None:
        p = self.packet
        h = p[off : off + 40]
        if len(h) < 40 or h[0] >> 4 != 6:
            return
        end = off + 40 + (h[4] << 8 | h[5])
        if end > len(p):
            return
        self.l3 = off
        first = int.from_bytes(h[:4], "big")
        self.put("nw_tos", bytes((first >> 20 & 0xFF,)))
        self.put("ipv6_label", (first & 0xFFFFF).to_bytes(4, "big"))
        self.put("nw_ttl", h[7:8])
        self.put("ipv6_src", h[8:40])
        proto, at, frag = h[6], off + 40, 0
        seen = Extensions()
        for _ in range(_MAX_EXTENSIONS):
            seen.meet(proto)
            self.put("ipv6_exthdr", seen.flags.to_bytes(2, "big"))
            if proto not in WALKED:
                break
            if end - at < 8 or at > MAX_L4_OFFSET:
                return
            if proto == IP6_FRAGMENT:
                length = 8
                fragment = self.short(at + 2)
                if fragment & 0xFFF8:
                    frag = FRAG_ANY | FRAG_LATER
                    break
                if fragment & 1:
                    frag = FRAG_ANY
            elif proto == IP6_AUTHENTICATION:
                length = (p[at + 1] + 2) * 4
            else:
                length = (p[at + 1] + 1) * 8
            if at + length > end:
                return
            proto = p[at]
            at += length
        self.put("nw_proto", bytes((proto,)))
        self.put("nw_frag", bytes((frag,)))
        if not frag & FRAG_LATER and at <= MAX_L4_OFFSET:
            self.layer4(proto, at, end, ipv6=True)

    def layer4(self, proto: int, off: int, end: int, *, ipv6: bool) -> None:
        p, left = self.packet, end - off
        if proto == IP_TCP:
            if left < 20 or not 20 <= (p[off + 12] >> 4) * 4 <= left:
                return
            self.put("tp_src", p[off : off + 4])
            self.put("tcp_flags", bytes((p[off + 12] & 15, p[off + 13])))
        elif proto in (IP_UDP, IP_SCTP):
            if left < (8 if proto == IP_UDP else 12):
                return
            self.put("tp_src", p[off : off + 4])
        elif proto == (IP_ICMPV6 if ipv6 else IP_ICMP):
            if left < 8:
                return
            self.put("tp_src", bytes((0, p[off], 0, p[off + 1])))
            if ipv6 and p[off] in (ND_SOLICIT, ND_ADVERT) and p[off + 1] == 0:
                self.neighbour_discovery(off, end)
        else:
            return
        self.l4, self.l4_proto, self.l4_end = off, proto, end

    def neighbour_discovery(self, off: int, end: int) -> None:
        p = self.packet
        self.put("pbb_isid", p[off + 4 : off + 8])
        if end - off < 24:
            return
        self.put("nd_target", p[off + 8 : off + 24])
        at = off + 24
        found: dict[int, bytes] = {}
        for _ in range(_MAX_ND_OPTIONS):
            if end - at < 8:
                return
            length = p[at + 1] * 8
            if not length or length > end - at:
                return
            kind = p[at]
            if length == 8 and kind in (ND_SLL, ND_TLL):
                if any(found.get(kind, b"")):
                    for slot in ("nd_target", "arp_sha", "arp_tha"):
                        self.put(slot, bytes(SLOTS[slot].length))
                    return
                found[kind] = p[at + 2 : at + 8]
                self.put("arp_sha" if kind == ND_SLL else "arp_tha", found[kind])
                if not self.nd_option:
                    self.nd_option = at
                    self.put("tcp_flags", bytes((0, kind)))
            at += length


def dissect(packet: bytes, in_port: int, in_sight: InSight = ALL_IN_SIGHT) -> Headers:
    """The key of a packet that enters by OpenFlow port `in_port`, and where its headers are.

    Raises PacketError for a frame shorter than an Ethernet header.
    """
    if len(packet) < ETH_HEADER:
        raise PacketError(
            f"a frame of {len(packet)} bytes has no Ethernet header",
            remedy="a frame has at least 14 bytes",
        )
    d = _Dissection(packet, in_sight)
    d.ethernet()
    d.key[:4] = in_port.to_bytes(4, "big")
    return Headers(
        int.from_bytes(d.key, "big"),
        d.l3,
        d.l4,
        d.l4_proto,
        d.l4_end,
        d.nd_option,
        ip_seen=bool(d.l3) or bytes(d.key[_AT["eth_type"] :][:2]) in _LABELLED,
        nsh=d.nsh_at,
        network=d.network,
    )


def parse(packet: bytes, in_port: int) -> int:
    """The flow key of a packet that enters by OpenFlow port `in_port`; raises as dissect()."""
    return dissect(packet, in_port).key
