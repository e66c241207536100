"""Sequence numbers of connections whose text a helper changed: how they move."""

from __future__ import annotations

from gossamer.datapath import layout
from gossamer.datapath.conntrack.connection import Connection
from gossamer.datapath.maps import HashMap
from gossamer.pipeline.conntrack.sequences import SequenceShift


class Sequences:
    """The `ct_sequences` map."""

    def __init__(self, sequences: HashMap) -> None:
        self._map = sequences

    def shifts(self, connection: Connection) -> tuple[SequenceShift, SequenceShift]:
        """How sequence numbers move: those of the originator, those of the answers."""
        raw = self._map.get(connection.key)
        if raw is None:
            return SequenceShift(), SequenceShift()
        until, before, after, until_back, before_back, after_back = layout.CT_SEQUENCES.unpack(raw)
        return (
            SequenceShift(until, before, after),
            SequenceShift(until_back, before_back, after_back),
        )

    def set_shifts(
        self, connection: Connection, original: SequenceShift, reply: SequenceShift
    ) -> None:
        """Have the kernel move sequence numbers; acknowledgements of the other side move back."""
        self._map.put(
            connection.key,
            layout.CT_SEQUENCES.pack(
                *(original.until, original.before, original.after),
                *(reply.until, reply.before, reply.after),
            ),
        )

    def forget(self, key: bytes) -> None:
        """The connection of that key is gone."""
        self._map.delete(key)
