"""Sequence numbers of connections whose text a helper made longer or shorter: how they move.

The counterpart in the kernel is bpf/sequence.h, with commit_sequence() of bpf/commit_transport.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gossamer.pipeline.commit import Frame
from gossamer.pipeline.conntrack.quoted import Writer

_ACK: Final = 0x10
_END, _NOP, _SACK = 0, 1, 5
_HEADER: Final = 20
_NUMBERS: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class SequenceShift:
    """How sequence numbers of one direction of a connection move, where a helper made a text longer
    or shorter: numbers up to and including `until` by `before`, those after it by `after`."""

    until: int = 0
    before: int = 0
    after: int = 0

    def of(self, number: int) -> int:
        """By how much a number moves."""
        ahead = (number - self.until) % _NUMBERS
        return self.after if 0 < ahead < _NUMBERS // 2 else self.before


def moved(frame: Frame, own: SequenceShift, other: SequenceShift) -> Frame:
    """A segment with its numbers moved: by `own` its sequence number, back by `other` what it
    acknowledges of the other side, SACK's edges (RFC 2018) as that."""
    l4 = frame.headers.l4
    writer = Writer(frame, l4 + 16)
    sequence = writer.word(l4 + 4)
    writer.write_word(l4 + 4, sequence + own.of(sequence))
    if frame.packet[l4 + 13] & _ACK:
        acknowledged = writer.word(l4 + 8)
        back = -other.of((acknowledged - other.before) % _NUMBERS)
        writer.write_word(l4 + 8, acknowledged + back)
        for edge in _sack_edges(frame.packet, l4) if back else ():
            writer.write_word(edge, writer.word(edge) + back)
    return Frame(bytes(writer.packet), frame.headers, frame.key)


def _sack_edges(packet: bytes, l4: int) -> list[int]:
    """Where the edges are of the first SACK option."""
    at, end = l4 + _HEADER, l4 + (packet[l4 + 12] >> 4) * 4
    while at + 2 <= end and packet[at] != _END:
        kind, length = packet[at], packet[at + 1]
        if kind == _NOP:
            at += 1
            continue
        if length < 2:
            break
        if kind == _SACK:
            return [at + 2 + 4 * n for n in range((length - 2) // 4)] if at + length <= end else []
        at += length
    return []
