"""Lists in an index array, replaced so that no packet sees half of one.

A list is written to a free stretch of the array and then made known by one
64-bit store of (offset, length) where its owner keeps it.  The old stretch is
used again only after no program can still be reading it.
"""

from __future__ import annotations

import time
from array import array
from bisect import insort
from collections import deque
from collections.abc import Sequence

from gossamer.datapath.maps import MappedArray
from gossamer.errors import DatapathError

GRACE_S = 1.0
"""A program runs for microseconds; a second is forever."""


class IndexArray:
    """Stretches of an array map, whose elements are `width` words of up to 64 bits."""

    def __init__(self, array: MappedArray, width: int = 1) -> None:
        self._array = array
        self._words = array.words64
        self._width = width
        self._free: list[tuple[int, int]] = [(0, array.entries)]
        self._retired: deque[tuple[float, int, int]] = deque()

    def adopt(self, ref: int) -> None:
        """Mark the stretch of a list that was there before as taken."""
        self._carve(ref >> 32, ref & 0xFFFFFFFF)

    def entries(self, ref: int) -> list[int]:
        """The words of a list's elements."""
        offset, length = ref >> 32, ref & 0xFFFFFFFF
        return list(self._words[offset * self._width : (offset + length) * self._width])

    def write(self, old: int, entries: Sequence[int]) -> int:
        """Write a list (the words of its elements) in place of `old`; returns the reference to
        store for it."""
        self.retire(old)
        if not entries:
            return 0
        length = len(entries) // self._width
        offset = self._allocate(length)
        start = offset * self._width
        # Nobody knows of this stretch yet: it may be written in any order.
        self._words[start : start + len(entries)] = memoryview(array("Q", entries))
        return offset << 32 | length

    def patch(self, ref: int, word: int, values: Sequence[int]) -> None:
        """Change one word of each element of a list, where it is; each is one store."""
        at = (ref >> 32) * self._width + word
        for i, value in enumerate(values):
            self._words[at + i * self._width] = value

    def retire(self, ref: int) -> None:
        """A list is no longer referred to, or soon will not be."""
        length = ref & 0xFFFFFFFF
        if length:
            self._retired.append((time.monotonic() + GRACE_S, ref >> 32, length))

    def _allocate(self, length: int) -> int:
        now = time.monotonic()
        while self._retired and self._retired[0][0] <= now:
            _, offset, size = self._retired.popleft()
            self._release(offset, size)
        for i, (offset, size) in enumerate(self._free):
            if size >= length:
                if size == length:
                    del self._free[i]
                else:
                    self._free[i] = (offset + length, size - length)
                return offset
        if self._retired:
            # Out of room only because of what was just replaced: wait for it.
            time.sleep(max(0.0, self._retired[0][0] - now))
            return self._allocate(length)
        raise DatapathError(
            f"no room for a list of {length}",
            place=f"map={self._array.name}",
            remedy="the datapath's limits are in bpf/limits.h",
        )

    def _release(self, offset: int, length: int) -> None:
        insort(self._free, (offset, length))
        merged: list[tuple[int, int]] = []
        for start, size in self._free:
            if merged and merged[-1][0] + merged[-1][1] == start:
                merged[-1] = (merged[-1][0], merged[-1][1] + size)
            else:
                merged.append((start, size))
        self._free = merged

    def _carve(self, offset: int, length: int) -> None:
        for i, (start, size) in enumerate(self._free):
            if start <= offset and offset + length <= start + size:
                rest = [(start, offset - start), (offset + length, start + size - offset - length)]
                self._free[i : i + 1] = [piece for piece in rest if piece[1]]
                return
