"""Headers rewritten to say what a key says.

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

from typing import Final

from gossamer.pipeline.crc32c import crc32c
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
    SLOTS,
    VLAN_CFI,
    get_slot,
)
from gossamer.pipeline.labels import entries_of
from gossamer.pipeline.packet import (
    ND_SLL,
    ND_TLL,
    NSH_MD_CONTEXT,
    Headers,
)

_CHECKSUM_AT: Final = {IP_TCP: 16, IP_UDP: 6, IP_ICMPV6: 2, IP_ICMP: 2}


def tags_of(key: int) -> list[tuple[int, int]]:
    """(tpid, tci) of the tags a key has, outermost first; tci with its CFI bit."""
    tags = []
    for tpid, tci in (("vlan_tpid", "vlan_tci"), ("vlan1_tpid", "vlan1_tci")):
        if not get_slot(key, tci) & VLAN_CFI:
            break
        tags.append((get_slot(key, tpid), get_slot(key, tci)))
    return tags


def kept_of(old: list[tuple[int, int]], new: list[tuple[int, int]]) -> int:
    """How many tags stay where they are, the innermost ones."""
    kept = 0
    while kept < min(len(old), len(new)) and old[-1 - kept] == new[-1 - kept]:
        kept += 1
    return kept


class Rewrite:
    """One packet, whose `headers` `old_key` describes, on its way to `new_key`.

    Layers 3 and 4 first, then layer 2, which hands back the packet.
    """

    def __init__(self, packet: bytes, headers: Headers, old_key: int, new_key: int) -> None:
        self.packet = bytearray(packet)
        self.at = headers
        self.old_key, self.new_key = old_key, new_key
        self.old = old_key.to_bytes(KEY_LEN, "big")
        self.new = new_key.to_bytes(KEY_LEN, "big")

    def layer3_and_4(self) -> None:
        """Write what is behind the ethertype, with its checksums."""
        eth_type = get_slot(self.old_key, "eth_type")
        if eth_type == ETH_NSH and self.at.nsh:
            self._nsh()
        if not self.at.l3:
            return
        if eth_type == ETH_IPV4:
            self._ipv4()
        elif eth_type == ETH_IPV6:
            self._ipv6()
        elif eth_type in (ETH_ARP, ETH_RARP):
            self._arp()
        if self.at.l4:
            self._layer4()
            if self.at.l4_proto == IP_ICMPV6:
                self._neighbour_discovery()

    def _change(self, *slots: str) -> tuple[bytes, bytes] | None:
        """Old and new bytes of neighbouring slots, None where they are the same."""
        start = SLOTS[slots[0]].offset
        end = SLOTS[slots[-1]].offset + SLOTS[slots[-1]].length
        old, new = self.old[start:end], self.new[start:end]
        return (old, new) if old != new else None

    def _write(self, offset: int, data: bytes) -> None:
        self.packet[offset : offset + len(data)] = data

    def _adjust(self, offset: int, old: bytes, new: bytes) -> None:
        """Adjust the checksum at `offset` for bytes of even length at an even place."""
        total = ~int.from_bytes(self.packet[offset : offset + 2], "big") & 0xFFFFFFFF
        for i in range(0, len(old), 2):
            total += ~int.from_bytes(old[i : i + 2], "big") & 0xFFFFFFFF
            total += int.from_bytes(new[i : i + 2], "big")
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        self._write(offset, (~total & 0xFFFF).to_bytes(2, "big"))

    def _adjust_l4(self, old: bytes, new: bytes) -> None:
        """Adjust the layer 4 checksum, where the header was found and has one."""
        place = _CHECKSUM_AT.get(self.at.l4_proto) if self.at.l4 else None
        if place is None:
            return
        offset = self.at.l4 + place
        if self.at.l4_proto == IP_UDP:
            if self.packet[offset : offset + 2] == b"\0\0":
                return
            self._adjust(offset, old, new)
            if self.packet[offset : offset + 2] == b"\0\0":
                self._write(offset, b"\xff\xff")
            return
        self._adjust(offset, old, new)

    def _ipv4(self) -> None:
        l3 = self.at.l3
        for slot, place in (("nw_src", 12), ("nw_dst", 16)):
            if changed := self._change(slot):
                self._adjust(l3 + 10, *changed)
                if self.at.l4_proto != IP_ICMP:
                    self._adjust_l4(*changed)
                self._write(l3 + place, changed[1])
        if changed := self._change("nw_tos"):
            self._adjust(l3 + 10, b"\0" + changed[0], b"\0" + changed[1])
            self._write(l3 + 1, changed[1])
        if changed := self._change("nw_ttl"):
            self._adjust(l3 + 10, changed[0] + b"\0", changed[1] + b"\0")
            self._write(l3 + 8, changed[1])

    def _ipv6(self) -> None:
        l3 = self.at.l3
        if changed := self._change("ipv6_src", "ipv6_dst"):
            self._adjust_l4(*changed)
            self._write(l3 + 8, changed[1])
        if self._change("nw_tos") or self._change("ipv6_label"):
            tos, label = get_slot(self.new_key, "nw_tos"), get_slot(self.new_key, "ipv6_label")
            self._write(l3, (6 << 28 | tos << 20 | label & 0xFFFFF).to_bytes(4, "big"))
        if changed := self._change("nw_ttl"):
            self._write(l3 + 7, changed[1])

    def _nsh(self) -> None:
        """A network service header, which stands where IPv6 addresses do in the key."""
        l3 = self.at.nsh
        if changed := self._change("ipv6_src"):
            _, new = changed
            length = self.packet[l3 + 1] & 0x3F
            first = (new[0] & 3) << 12 | (new[1] & 0x3F) << 6 | length
            self._write(l3, first.to_bytes(2, "big") + new[2:8])
        if (changed := self._change("ipv6_dst")) and self.packet[l3 + 2] == NSH_MD_CONTEXT:
            self._write(l3 + 8, changed[1])

    def _arp(self) -> None:
        l3 = self.at.l3
        if changed := self._change("nw_proto"):
            self._write(l3 + 6, b"\0" + changed[1])
        for slot, place in (("arp_sha", 8), ("nw_src", 14), ("arp_tha", 18), ("nw_dst", 24)):
            if changed := self._change(slot):
                self._write(l3 + place, changed[1])

    def _layer4(self) -> None:
        changed = self._change("tp_src", "tp_dst")
        if not changed:
            return
        old, new = changed
        l4 = self.at.l4
        if self.at.l4_proto in (IP_ICMP, IP_ICMPV6):
            old, new = old[1::2], new[1::2]
        if self.at.l4_proto == IP_SCTP:
            self._sctp_ports(new)
            return
        # One at a time, as an adjustment that comes to 0 is written 0xffff in UDP.
        for i in range(0, len(old), 2):
            if old[i : i + 2] != new[i : i + 2]:
                self._adjust_l4(old[i : i + 2], new[i : i + 2])
        self._write(l4, new)

    def _sctp_ports(self, ports: bytes) -> None:
        l4, end = self.at.l4, self.at.l4_end
        was = int.from_bytes(self.packet[l4 + 8 : l4 + 12], "little")
        self._write(l4 + 8, bytes(4))
        right_before = crc32c(self.packet[l4:end])
        self._write(l4, ports)
        right_after = crc32c(self.packet[l4:end])
        self._write(l4 + 8, (was ^ right_before ^ right_after).to_bytes(4, "little"))

    def _neighbour_discovery(self) -> None:
        if changed := self._change("pbb_isid"):
            self._adjust_l4(*changed)
            self._write(self.at.l4 + 4, changed[1])
        if self.at.l4_end - self.at.l4 >= 24 and (changed := self._change("nd_target")):
            self._adjust_l4(*changed)
            self._write(self.at.l4 + 8, changed[1])
        if self.at.nd_option:
            self._nd_option(self.at.nd_option)

    def _nd_option(self, at: int) -> None:
        """The first option with an address: its type, then the address there is for that type."""
        old = bytes(self.packet[at : at + 8])
        kind = self._change("tcp_flags")
        new = kind[1][1:] + old[1:] if kind else old
        address = {ND_SLL: "arp_sha", ND_TLL: "arp_tha"}.get(new[0])
        if address and (changed := self._change(address)):
            new = new[:2] + changed[1]
        if new != old:
            self._adjust_l4(old, new)
            self._write(at, new)

    def layer2(self) -> bytes:
        """The packet with its new Ethernet addresses, tags, ethertype and labels."""
        old, new = tags_of(self.old_key), tags_of(self.new_key)
        kept = kept_of(old, new)
        addresses = (
            self.new[SLOTS["eth_dst"].offset : SLOTS["eth_dst"].offset + 12]
            if self._change("eth_dst", "eth_src")
            else bytes(self.packet[:12])
        )
        pushed = b"".join(
            tpid.to_bytes(2, "big") + (tci & ~VLAN_CFI).to_bytes(2, "big")
            for tpid, tci in new[: len(new) - kept]
        )
        if self._change("pbb_isid") and get_slot(self.old_key, "eth_type") == ETH_PBB:
            self._write(self.at.network, self.new[SLOTS["pbb_isid"].offset :][:4])
        stay = 12 + 4 * (len(old) - kept)
        if not self._change("eth_type") and not self._change("mpls_lse0", "mpls_lse2"):
            return addresses + pushed + bytes(self.packet[stay:])
        network = self.at.network
        eth_type = (
            self.new[SLOTS["eth_type"].offset : SLOTS["eth_type"].offset + 2]
            if self._change("eth_type")
            else bytes(self.packet[network - 2 : network])
        )
        labels = b"".join(entry.to_bytes(4, "big") for entry in entries_of(self.new_key))
        payload = bytes(self.packet[network + 4 * len(entries_of(self.old_key)) :])
        between = bytes(self.packet[stay : network - 2])
        return addresses + pushed + between + eth_type + labels + payload
