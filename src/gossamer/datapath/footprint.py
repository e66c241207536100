"""What rules look at and change, counted by what it is.

A commit must know all bits that the rules of a bridge read and write.  There
may be a hundred thousand programs, but few kinds of them: most differ in a
value, not in the bits they look at.  So each kind is counted, and the sum goes
over the kinds, when one came or went.
"""

from __future__ import annotations

from collections.abc import Iterable

_Kind = tuple[int, int, frozenset[int]]
_NO_LENGTHS: frozenset[int] = frozenset()


class Footprint:
    """The sum over what was added and not discarded."""

    def __init__(self) -> None:
        self._kinds: dict[_Kind, int] = {}
        self._sum: tuple[int, int, frozenset[int]] | None = (0, 0, _NO_LENGTHS)
        """None: to be made again."""
        self.revision = 0
        """Another one whenever the sum may be."""

    def add(self, reads: int, writes: int, lengths: Iterable[int] = ()) -> None:
        """One more that reads and writes these bits, and asks about these lengths of packets."""
        kind = (reads, writes, frozenset(lengths))
        n = self._kinds.get(kind, 0)
        self._kinds[kind] = n + 1
        if not n:
            self._forget_sum()

    def discard(self, reads: int, writes: int, lengths: Iterable[int] = ()) -> None:
        """One less."""
        kind = (reads, writes, frozenset(lengths))
        left = self._kinds[kind] - 1
        if left:
            self._kinds[kind] = left
        else:
            del self._kinds[kind]
            self._forget_sum()

    def _forget_sum(self) -> None:
        self._sum = None
        self.revision += 1

    def _summed(self) -> tuple[int, int, frozenset[int]]:
        if self._sum is None:
            reads = writes = 0
            asked = _NO_LENGTHS
            for kind_reads, kind_writes, lengths in self._kinds:
                reads |= kind_reads
                writes |= kind_writes
                asked |= lengths
            self._sum = (reads, writes, asked)
        return self._sum

    @property
    def reads(self) -> int:
        """Bits that something reads."""
        return self._summed()[0]

    @property
    def writes(self) -> int:
        """Bits that something writes."""
        return self._summed()[1]

    @property
    def lengths(self) -> frozenset[int]:
        """Lengths that something asks about."""
        return self._summed()[2]
