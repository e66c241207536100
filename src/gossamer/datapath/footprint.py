"""What programs look at and change, counted by what it is.

A commit must know all bits that the rules of a bridge read and write.  There
may be a hundred thousand programs, but few kinds of them: most differ in a
value, not in the bits they look at.  So each kind is counted, and the sum goes
over the kinds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_Kind = tuple[int, int, frozenset[int]]


class Footprint:
    """The sum over what was added and not discarded."""

    def __init__(self) -> None:
        self._kinds: Counter[_Kind] = Counter()

    def add(self, reads: int, writes: int, lengths: Iterable[int] = ()) -> None:
        """One more that reads and writes these bits, and asks about these lengths of packets."""
        self._kinds[reads, writes, frozenset(lengths)] += 1

    def discard(self, reads: int, writes: int, lengths: Iterable[int] = ()) -> None:
        """One less."""
        kind = (reads, writes, frozenset(lengths))
        self._kinds[kind] -= 1
        if not self._kinds[kind]:
            del self._kinds[kind]

    @property
    def reads(self) -> int:
        """Bits that something reads."""
        bits = 0
        for reads, _, _ in self._kinds:
            bits |= reads
        return bits

    @property
    def writes(self) -> int:
        """Bits that something writes."""
        bits = 0
        for _, writes, _ in self._kinds:
            bits |= writes
        return bits

    @property
    def lengths(self) -> set[int]:
        """Lengths that something asks about."""
        return {length for _, _, lengths in self._kinds for length in lengths}
