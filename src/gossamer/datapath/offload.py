"""Packets as a wire would carry them: what senders leave to hardware, done by hand.

A veth or TAP device hands over packets whose checksum is only begun (it holds
the sum of the pseudo header) and trains of TCP segments in one frame.  In the
kernel they stay so, which is what makes it fast; whoever gets such a packet by
itself, a controller say, must see what a wire would carry.
"""

from __future__ import annotations

from typing import Final

from gossamer.pipeline.checksum import checksum, internet_sum
from gossamer.pipeline.fields import IP_TCP, IP_UDP
from gossamer.pipeline.packet import Headers, dissect

_CHECKSUM_AT: Final = {IP_TCP: 16, IP_UDP: 6}
"""Where in the layer 4 header the checksum is."""
_FIN, _PSH, _CWR = 0x01, 0x08, 0x80


def on_the_wire(frame: bytes, segment_size: int = 0) -> list[bytes]:
    """The frames that hardware would make of a whole frame from a virtual device.

    `segment_size` is the payload of each TCP segment, 0 where the frame is no
    train.  A frame that needs nothing comes back as it is.
    """
    if len(frame) < 14:
        return [frame]
    h = dissect(frame, 0)
    if h.l4_proto not in _CHECKSUM_AT:
        return [frame]
    if h.l4_proto == IP_TCP and segment_size:
        return [_summed(part, h) for part in _segments(frame, h, segment_size)]
    return [_summed(frame, h) if _is_begun(frame, h) else frame]


def with_payload(frame: bytes, payload: bytes) -> bytes:
    """The frame with another payload of TCP or UDP: lengths and checksums as they must be then."""
    h = dissect(frame, 0)
    tcp = h.l4_proto == IP_TCP
    at = h.l4 + ((frame[h.l4 + 12] >> 4) * 4 if tcp else 8)
    out = bytearray(frame[:at]) + payload
    if not tcp:
        out[h.l4 + 4 : h.l4 + 6] = (len(out) - h.l4).to_bytes(2, "big")
    _set_length(out, h, len(out), 0)
    whole = bytes(out)
    return _summed(whole, dissect(whole, 0))


def _pseudo_sum(frame: bytes, h: Headers, end: int) -> int:
    """Sum of the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1), folded to 16 bits."""
    if frame[h.l3] >> 4 == 6:
        addresses = frame[h.l3 + 8 : h.l3 + 40]
    else:
        addresses = frame[h.l3 + 12 : h.l3 + 20]
    return internet_sum(addresses + h.l4_proto.to_bytes(2, "big") + (end - h.l4).to_bytes(2, "big"))


def _is_begun(frame: bytes, h: Headers) -> bool:
    """The checksum holds just the pseudo header's sum."""
    at = h.l4 + _CHECKSUM_AT[h.l4_proto]
    return int.from_bytes(frame[at : at + 2], "big") == _pseudo_sum(frame, h, h.l4_end)


def _summed(frame: bytes, h: Headers) -> bytes:
    """The frame with its layer 4 checksum done; its IP payload ends with the frame or at l4_end."""
    end = min(h.l4_end, len(frame))
    at = h.l4 + _CHECKSUM_AT[h.l4_proto]
    out = bytearray(frame)
    out[at : at + 2] = b"\0\0"
    total = _pseudo_sum(frame, h, end) + internet_sum(bytes(out[h.l4 : end]))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    # A UDP checksum of zero would say that there is none (RFC 768).
    out[at : at + 2] = (checksum or (0xFFFF if h.l4_proto == IP_UDP else 0)).to_bytes(2, "big")
    return bytes(out)


def _segments(frame: bytes, h: Headers, size: int) -> list[bytes]:
    """The segments of a train, checksums of layer 4 not done (RFC 9293, 3.8)."""
    payload_at = h.l4 + (frame[h.l4 + 12] >> 4) * 4
    payload = frame[payload_at : h.l4_end]
    if len(payload) <= size:
        return [frame]
    sequence = int.from_bytes(frame[h.l4 + 4 : h.l4 + 8], "big")
    flags = frame[h.l4 + 13]
    out = []
    for n, at in enumerate(range(0, len(payload), size)):
        part = payload[at : at + size]
        head = bytearray(frame[:payload_at])
        head[h.l4 + 4 : h.l4 + 8] = (sequence + at & 0xFFFFFFFF).to_bytes(4, "big")
        if at + size < len(payload):
            head[h.l4 + 13] = flags & ~(_FIN | _PSH)
        if n:
            head[h.l4 + 13] &= ~_CWR
        _set_length(head, h, len(head) + len(part), n)
        out.append(bytes(head) + part)
    return out


def _set_length(head: bytearray, h: Headers, end: int, n: int) -> None:
    """IP's length, and IPv4's identification and checksum, of the n-th segment that ends there."""
    if head[h.l3] >> 4 == 6:
        head[h.l3 + 4 : h.l3 + 6] = (end - h.l3 - 40).to_bytes(2, "big")
        return
    head[h.l3 + 2 : h.l3 + 4] = (end - h.l3).to_bytes(2, "big")
    identification = int.from_bytes(head[h.l3 + 4 : h.l3 + 6], "big") + n
    head[h.l3 + 4 : h.l3 + 6] = (identification & 0xFFFF).to_bytes(2, "big")
    head[h.l3 + 10 : h.l3 + 12] = b"\0\0"
    header = bytes(head[h.l3 : h.l3 + (head[h.l3] & 15) * 4])
    head[h.l3 + 10 : h.l3 + 12] = checksum(header).to_bytes(2, "big")
