"""Packets on their way: their bytes, and the key that these say.

Actions change only the key; headers follow when the packet is output
(rewrite.py; bpf/commit.h does the same in the kernel).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from gossamer.pipeline.fields import (
    ETH_IPV4,
    ETH_IPV6,
    ETH_PBB,
    KEY_LEN,
    PACKET_OFFSET,
    SLOTS,
    get_slot,
)
from gossamer.pipeline.labels import BOTTOM, labels_of, pop
from gossamer.pipeline.packet import (
    ALL_IN_SIGHT,
    PBB_HEADER,
    Headers,
    InSight,
    dissect,
)
from gossamer.pipeline.rewrite import Rewrite, kept_of, tags_of

PACKET_MASK: Final = (1 << ((KEY_LEN - PACKET_OFFSET) * 8)) - 1
"""The part of a key that describes headers."""
_LAYER_2: Final = ~((1 << ((KEY_LEN - SLOTS["nw_proto"].offset) * 8)) - 1)
_DEI: Final = 0x10
"""In the first byte of a tag's control information."""


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
    def received(packet: bytes, in_port: int, in_sight: InSight = ALL_IN_SIGHT) -> Frame:
        """A packet that enters by OpenFlow port `in_port`; `in_sight` as in dissect().

        Raises PacketError for a frame without Ethernet header.
        """
        headers = dissect(packet, in_port, in_sight)
        return Frame(packet, headers, headers.key)

    def commit(self, key: int) -> Frame:
        """The packet rewritten to say what `key` says."""
        if not (self.key ^ key) & PACKET_MASK:
            return self
        rewrite = Rewrite(self.packet, self.headers, self.key, key)
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
        has no complete one, or no frame with a type in it."""
        at = self.headers.network
        if get_slot(self.key, "eth_type") != ETH_PBB or len(self.packet) < at + PBB_HEADER + 2:
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
class Origin:
    """What a buffer was made of: another one, the key that described it, and what was done to both.

    `written` is that of the State then.
    """

    key: int
    buffer: Buffer
    written: tuple[int, ...]
    change: HeaderChange


class Tags:
    """The tags of a packet as the last output left them, for their DEI bits (IEEE 802.1Q, 9.6).

    A key has no place for those.  So a tag keeps its bit while it stays where it is, and one that was
    off for a copy is put back without, by whichever way the next copy came to its bytes.
    """

    def __init__(self, frame: Frame) -> None:
        self._tags = tags_of(frame.key)
        at = (14 + 4 * i for i in range(len(self._tags)))
        self._eligible = [bool(frame.packet[byte] & _DEI) for byte in at]

    def leave(self, packet: bytes, key: int) -> bytes:
        """`packet`, which `key` describes, with the bits that its tags have by now."""
        tags = tags_of(key)
        kept = kept_of(self._tags, tags)
        new = len(tags) - kept
        self._eligible = [False] * new + self._eligible[len(self._eligible) - kept :]
        self._tags = tags
        out = bytearray(packet)
        for i, eligible in enumerate(self._eligible):
            byte = 14 + 4 * i
            out[byte] = out[byte] & ~_DEI | (_DEI if eligible else 0)
        return bytes(out)


class Buffer:
    """The bytes of a packet, as the last output left them.

    Outputs commit to it one after the other, so that what a copy did to a
    packet is undone by the next commit, as in the kernel.  `tags` are those of
    the packet that these bytes came of, where they are the same; `origin` tells of
    that packet, where a header was put on or taken off on its way.
    """

    __slots__ = ("frame", "origin", "tags")

    def __init__(self, frame: Frame, tags: Tags | None = None) -> None:
        self.frame = frame
        self.origin: Origin | None = None
        self.tags = Tags(frame) if tags is None else tags

    def packet(self, key: int) -> bytes:
        """The bytes that say what `key` says."""
        self.frame = self.frame.commit(key)
        return self.tags.leave(self.frame.packet, key)

    def shown(self, key: int) -> int:
        """What `key` says that a collector is to hear: nothing of IP where there is no whole header,
        whatever was written."""
        is_ip = get_slot(key, "eth_type") in (ETH_IPV4, ETH_IPV6)
        return key if self.frame.headers.l3 or not is_ip else key & _LAYER_2


HeaderChange = Callable[[int, Buffer], tuple[int, Buffer] | None]
"""Puts a header on, or takes one off; None where that cannot be."""


def with_origin(
    key: int, buffer: Buffer, written: tuple[int, ...], change: HeaderChange
) -> tuple[int, Buffer] | None:
    """What `change` makes of a key and buffer.  The new buffer knows of that: what NAT will have
    written by then may be out of sight."""
    after = change(key, buffer)
    if after is not None and after[1] is not buffer:
        after[1].origin = Origin(key, buffer, written, change)
    return after


def commit(packet: bytes, old_key: int, new_key: int) -> bytes:
    """`packet`, whose headers `old_key` describes, rewritten to say what `new_key` says.

    Only the packet part of the keys counts; `old_key` is what parse() gave.
    Raises PacketError for a frame without Ethernet header.
    """
    return Frame(packet, dissect(packet, 0), old_key).commit(new_key).packet
