"""Commit: make a packet's headers say what its key says.

Actions change only the key; headers follow when the packet is output
(bpf/commit.h does the same in the kernel).

- A header that the parser did not find whole is never written, whatever the
  key says of it.
- VLAN tags: the innermost tags that both keys share stay as they are in the
  packet, DEI bit included; those above are taken off and the new ones put on,
  with DEI 0.
- Labels: those the key knows are written over those it knew, and the two bytes
  before them say what it says of the ethertype.  What is below labels is not in
  the key and stays as it is.
- Checksums are adjusted by the difference (RFC 1624, eqn. 3), so that a wrong
  one stays wrong by as much.  IPv4's covers its header; TCP, UDP and ICMPv6
  cover addresses too (pseudo header), ICMP does not.  A UDP checksum of 0 means
  "none" and stays 0; one that would become 0 is written 0xffff (RFC 768).
- Later fragments have no layer 4 header: an address change there leaves the
  rest alone, as the checksum is in the first fragment.
- SCTP's CRC32c is adjusted the same way: by what the change does to it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from gossamer.pipeline.fields import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_NSH,
    ETH_PBB,
    ETH_RARP,
    IP_ICMP,
    IP_ICMPV6,
    IP_SCTP,
    IP_TCP,
    IP_UDP,
    KEY_LEN,
    PACKET_OFFSET,
    SLOTS,
    VLAN_CFI,
    get_slot,
)
from gossamer.pipeline.labels import BOTTOM, entries_of, labels_of, pop
from gossamer.pipeline.packet import ND_SLL, ND_TLL, NSH_MD_CONTEXT, PBB_HEADER, Headers, dissect

PACKET_MASK: Final = (1 << ((KEY_LEN - PACKET_OFFSET) * 8)) - 1
"""The part of a key that describes headers."""
_LAYER_2: Final = ~((1 << ((KEY_LEN - SLOTS["nw_proto"].offset) * 8)) - 1)
_CHECKSUM_AT: Final = {IP_TCP: 16, IP_UDP: 6, IP_ICMPV6: 2, IP_ICMP: 2}


@dataclass(frozen=True, slots=True)
class Frame:
    """A packet on its way: its bytes, where its headers are, and the key that describes it.

    Offsets are those of the first parse, moved with the tags; a header that
    changed its own type (an ICMPv6 type, say) stays where it was found.
    """

    packet: bytes
    headers: Headers
    key: int

    @staticmethod
    def received(packet: bytes, in_port: int) -> Frame:
        """A packet that enters by OpenFlow port `in_port`.

        Raises PacketError for a frame without Ethernet header.
        """
        headers = dissect(packet, in_port)
        return Frame(packet, headers, headers.key)

    def commit(self, key: int) -> Frame:
        """The packet rewritten to say what `key` says."""
        if not (self.key ^ key) & PACKET_MASK:
            return self
        rewrite = _Rewrite(self.packet, self.headers, self.key, key)
        rewrite.layer3_and_4()
        packet = rewrite.layer2()
        shift = 4 * (len(tags_of(key)) - len(tags_of(self.key)))
        h = self.headers
        moved = {
            name: getattr(h, name) + shift
            for name in ("l3", "l4", "l4_end", "nd_option", "nsh", "network")
            if getattr(h, name)
        }
        return Frame(packet, replace(h, key=key, **moved), key)

    def parsed_again(self, in_port: int) -> Frame:
        """The same bytes, with what their headers say now: after a label is gone, say."""
        again = Frame.received(self.packet, in_port)
        ip_seen = again.headers.ip_seen or self.headers.ip_seen
        return replace(again, headers=replace(again.headers, ip_seen=ip_seen))

    def labelled(self, key: int) -> Frame:
        """The frame with the first label that `key` has and it has not.

        What comes below is out of sight: no header above it is written any more.
        """
        bare = Headers(
            self.key & _LAYER_2, ip_seen=self.headers.ip_seen, network=self.headers.network
        )
        return Frame(self.packet, bare, self.key & _LAYER_2).commit(key)

    def encapsulated(self, eth_type: int, i_tag: int) -> Frame:
        """The frame behind a Provider Backbone header, with its addresses in both places."""
        p = self.packet
        header = eth_type.to_bytes(2, "big") + i_tag.to_bytes(4, "big")
        return Frame.received(p[:12] + header + p, 0)

    def decapsulated(self) -> Frame | None:
        """The frame without its Provider Backbone header, below the same tags; None where it
        has no complete one."""
        at = self.headers.network
        if get_slot(self.key, "eth_type") != ETH_PBB or len(self.packet) < at + PBB_HEADER:
            return None
        addresses = self.packet[at + 4 : at + PBB_HEADER]
        tags = self.packet[12 : at - 2]
        return Frame.received(addresses + tags + self.packet[at + PBB_HEADER :], 0)

    def below_labels(self) -> Frame | None:
        """The IP packet that a single label carries, as a frame without it; None for others."""
        labels = labels_of(self.key)
        at = self.headers.network + 4 * len(labels)
        if not self.headers.ip_seen or len(labels) != 1 or not labels[0] & BOTTOM or at >= len(self.packet):
            return None
        eth_type = {4: ETH_IPV4, 6: ETH_IPV6}.get(self.packet[at] >> 4)
        if eth_type is None:
            return None
        inner = self.commit(pop(self.key, eth_type)).parsed_again(0)
        return inner if inner.headers.l3 else None

    def with_below(self, inner: Frame) -> Frame:
        """The frame with the payload of below_labels(), changed, under its label."""
        at = self.headers.network + 4
        return replace(self, packet=self.packet[:at] + inner.packet[inner.headers.network :])


@dataclass(frozen=True, slots=True)
class Covered:
    """What a label hides: the key and bytes before it came, and the ethertype it came with."""

    key: int
    buffer: Buffer
    eth_type: int


@dataclass(slots=True)
class Buffer:
    """The bytes of a packet, as the last output left them.

    Outputs commit to it one after the other, so that what a copy did to a
    packet is undone by the next commit, as in the kernel.
    """

    frame: Frame
    covered: Covered | None = None
    """What its first label was put in front of, if that was done on its way."""

    def packet(self, key: int) -> bytes:
        """The bytes that say what `key` says."""
        self.frame = self.frame.commit(key)
        return self.frame.packet


def commit(packet: bytes, old_key: int, new_key: int) -> bytes:
    """`packet`, whose headers `old_key` describes, rewritten to say what `new_key` says.

    Only the packet part of the keys counts; `old_key` is what parse() gave.
    Raises PacketError for a frame without Ethernet header.
    """
    return Frame(packet, dissect(packet, 0), old_key).commit(new_key).packet


def tags_of(key: int) -> list[tuple[int, int]]:
    """(tpid, tci) of the tags a key has, outermost first; tci with its CFI bit."""
    tags = []
    for tpid, tci in (("vlan_tpid", "vlan_tci"), ("vlan1_tpid", "vlan1_tci")):
        if not get_slot(key, tci) & VLAN_CFI:
            break
        tags.append((get_slot(key, tpid), get_slot(key, tci)))
    return tags


class _Rewrite:
    def __init__(self, packet: bytes, headers: Headers, old_key: int, new_key: int) -> None:
        self.packet = bytearray(packet)
        self.at = headers
        self.old_key, self.new_key = old_key, new_key
        self.old = old_key.to_bytes(KEY_LEN, "big")
        self.new = new_key.to_bytes(KEY_LEN, "big")

    def layer3_and_4(self) -> None:
        eth_type = get_slot(self.old_key, "eth_type")
        if eth_type == ETH_NSH and self.at.nsh:
            self.nsh()
        if not self.at.l3:
            return
        if eth_type == ETH_IPV4:
            self.ipv4()
        elif eth_type == ETH_IPV6:
            self.ipv6()
        elif eth_type in (ETH_ARP, ETH_RARP):
            self.arp()
        if self.at.l4:
            self.layer4()
            if self.at.l4_proto == IP_ICMPV6:
                self.neighbour_discovery()

    def change(self, *slots: str) -> tuple[bytes, bytes] | None:
        """Old and new bytes of neighbouring slots, None where they are the same."""
        start = SLOTS[slots[0]].offset
        end = SLOTS[slots[-1]].offset + SLOTS[slots[-1]].length
        old, new = self.old[start:end], self.new[start:end]
        return (old, new) if old != new else None

    def write(self, offset: int, data: bytes) -> None:
        self.packet[offset : offset + len(data)] = data

    def adjust(self, offset: int, old: bytes, new: bytes) -> None:
        """Adjust the checksum at `offset` for bytes of even length at an even place."""
        total = ~int.from_bytes(self.packet[offset : offset + 2], "big") & 0xFFFFFFFF
        for i in range(0, len(old), 2):
            total += ~int.from_bytes(old[i : i + 2], "big") & 0xFFFFFFFF
            total += int.from_bytes(new[i : i + 2], "big")
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        self.write(offset, (~total & 0xFFFF).to_bytes(2, "big"))

    def adjust_l4(self, old: bytes, new: bytes) -> None:
        """Adjust the layer 4 checksum, where the header was found and has one."""
        place = _CHECKSUM_AT.get(self.at.l4_proto) if self.at.l4 else None
        if place is None:
            return
        offset = self.at.l4 + place
        if self.at.l4_proto == IP_UDP:
            if self.packet[offset : offset + 2] == b"\0\0":
                return
            self.adjust(offset, old, new)
            if self.packet[offset : offset + 2] == b"\0\0":
                self.write(offset, b"\xff\xff")
            return
        self.adjust(offset, old, new)

    def ipv4(self) -> None:
        l3 = self.at.l3
        for slot, place in (("nw_src", 12), ("nw_dst", 16)):
            if changed := self.change(slot):
                self.adjust(l3 + 10, *changed)
                if self.at.l4_proto != IP_ICMP:
                    self.adjust_l4(*changed)
                self.write(l3 + place, changed[1])
        if changed := self.change("nw_tos"):
            self.adjust(l3 + 10, b"\0" + changed[0], b"\0" + changed[1])
            self.write(l3 + 1, changed[1])
        if changed := self.change("nw_ttl"):
            self.adjust(l3 + 10, changed[0] + b"\0", changed[1] + b"\0")
            self.write(l3 + 8, changed[1])

    def ipv6(self) -> None:
        l3 = self.at.l3
        if changed := self.change("ipv6_src", "ipv6_dst"):
            self.adjust_l4(*changed)
            self.write(l3 + 8, changed[1])
        if self.change("nw_tos") or self.change("ipv6_label"):
            tos, label = get_slot(self.new_key, "nw_tos"), get_slot(self.new_key, "ipv6_label")
            self.write(l3, (6 << 28 | tos << 20 | label & 0xFFFFF).to_bytes(4, "big"))
        if changed := self.change("nw_ttl"):
            self.write(l3 + 7, changed[1])

    def nsh(self) -> None:
        """A network service header, which stands where IPv6 addresses do in the key."""
        l3 = self.at.nsh
        if changed := self.change("ipv6_src"):
            _, new = changed
            length = self.packet[l3 + 1] & 0x3F
            first = (new[0] & 3) << 12 | (new[1] & 0x3F) << 6 | length
            self.write(l3, first.to_bytes(2, "big") + new[2:8])
        if (changed := self.change("ipv6_dst")) and self.packet[l3 + 2] == NSH_MD_CONTEXT:
            self.write(l3 + 8, changed[1])

    def arp(self) -> None:
        l3 = self.at.l3
        if changed := self.change("nw_proto"):
            self.write(l3 + 6, b"\0" + changed[1])
        for slot, place in (("arp_sha", 8), ("nw_src", 14), ("arp_tha", 18), ("nw_dst", 24)):
            if changed := self.change(slot):
                self.write(l3 + place, changed[1])

    def layer4(self) -> None:
        changed = self.change("tp_src", "tp_dst")
        if not changed:
            return
        old, new = changed
        l4 = self.at.l4
        if self.at.l4_proto in (IP_ICMP, IP_ICMPV6):
            old, new = old[1::2], new[1::2]
        if self.at.l4_proto == IP_SCTP:
            self.sctp_ports(new)
            return
        # One at a time, as an adjustment that comes to 0 is written 0xffff in UDP.
        for i in range(0, len(old), 2):
            if old[i : i + 2] != new[i : i + 2]:
                self.adjust_l4(old[i : i + 2], new[i : i + 2])
        self.write(l4, new)

    def sctp_ports(self, ports: bytes) -> None:
        l4, end = self.at.l4, self.at.l4_end
        was = int.from_bytes(self.packet[l4 + 8 : l4 + 12], "little")
        self.write(l4 + 8, bytes(4))
        right_before = crc32c(self.packet[l4:end])
        self.write(l4, ports)
        right_after = crc32c(self.packet[l4:end])
        self.write(l4 + 8, (was ^ right_before ^ right_after).to_bytes(4, "little"))

    def neighbour_discovery(self) -> None:
        if changed := self.change("pbb_isid"):
            self.adjust_l4(*changed)
            self.write(self.at.l4 + 4, changed[1])
        if self.at.l4_end - self.at.l4 >= 24 and (changed := self.change("nd_target")):
            self.adjust_l4(*changed)
            self.write(self.at.l4 + 8, changed[1])
        if self.at.nd_option:
            self.nd_option(self.at.nd_option)

    def nd_option(self, at: int) -> None:
        """The first option with an address: its type, then the address there is for that type."""
        old = bytes(self.packet[at : at + 8])
        kind = self.change("tcp_flags")
        new = kind[1][1:] + old[1:] if kind else old
        address = {ND_SLL: "arp_sha", ND_TLL: "arp_tha"}.get(new[0])
        if address and (changed := self.change(address)):
            new = new[:2] + changed[1]
        if new != old:
            self.adjust_l4(old, new)
            self.write(at, new)

    def layer2(self) -> bytes:
        """The packet with its new Ethernet addresses, tags, ethertype and labels."""
        old, new = tags_of(self.old_key), tags_of(self.new_key)
        kept = 0
        while kept < min(len(old), len(new)) and old[-1 - kept] == new[-1 - kept]:
            kept += 1
        addresses = (
            self.new[SLOTS["eth_dst"].offset : SLOTS["eth_dst"].offset + 12]
            if self.change("eth_dst", "eth_src")
            else bytes(self.packet[:12])
        )
        pushed = b"".join(
            tpid.to_bytes(2, "big") + (tci & ~VLAN_CFI).to_bytes(2, "big")
            for tpid, tci in new[: len(new) - kept]
        )
        if self.change("pbb_isid") and get_slot(self.old_key, "eth_type") == ETH_PBB:
            self.write(self.at.network, self.new[SLOTS["pbb_isid"].offset :][:4])
        stay = 12 + 4 * (len(old) - kept)
        if not self.change("eth_type") and not self.change("mpls_lse0", "mpls_lse2"):
            return addresses + pushed + bytes(self.packet[stay:])
        network = self.at.network
        eth_type = (
            self.new[SLOTS["eth_type"].offset : SLOTS["eth_type"].offset + 2]
            if self.change("eth_type")
            else bytes(self.packet[network - 2 : network])
        )
        labels = b"".join(entry.to_bytes(4, "big") for entry in entries_of(self.new_key))
        payload = bytes(self.packet[network + 4 * len(entries_of(self.old_key)) :])
        between = bytes(self.packet[stay : network - 2])
        return addresses + pushed + between + eth_type + labels + payload


def _crc32c_table() -> list[int]:
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ 0x82F63B78 if n & 1 else n >> 1
        table.append(n)
    return table


_CRC32C: Final = _crc32c_table()


def crc32c(data: bytes | bytearray) -> int:
    """The CRC that SCTP carries in place of a checksum (RFC 9260, appendix A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC32C[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF
