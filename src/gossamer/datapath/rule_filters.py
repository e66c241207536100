"""Filters before the rules: which keys a subtable surely does not hold (bpf/classify.h).

A subtable's filter is a power of two of 64-bit words; each key that the kernel
holds has two bits set in one of them.  A key's bits are there before the key
and may stay after it: a bit too many costs a packet some time, one too few
would hide a rule.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from gossamer.datapath import layout
from gossamer.datapath.index import IndexArray
from gossamer.datapath.maps import MappedArray
from gossamer.errors import DatapathError

_PRIME: Final = 0xFF51AFD7ED558CCD
"""FILTER_PRIME."""
_KEYS_A_WORD: Final = 4
"""At most; 3 in 200 other keys then seem to be there."""
_PART: Final = 4096
"""Keys that are dealt with in some milliseconds."""
_U64: Final = (1 << 64) - 1
_WORDS: Final = tuple(Struct(f"=4x{words}I") for words in layout.KEY_CLASSES)
_REF_AT: Final = 1
"""Where a subtable has the reference to its filter, in 64-bit words."""


def key_hash(words: Iterable[int]) -> int:
    """The hash of a key's words, without the subtable's number."""
    h = 0
    for word in words:
        h = (h ^ word) * _PRIME & _U64
    return h


def place_of(ref: int, key: int) -> tuple[int, int]:
    """Which word of a filter has the bits of a key, by its hash, and which these are."""
    at = (ref >> 32) + (key >> 32 & (ref & 0xFFFFFFFF) - 1)
    return at, 1 << (key >> 58) | 1 << (key >> 52 & 63)


@dataclass(slots=True)
class _Filter:
    words: Struct
    ref: int = 0
    present: array[int] = field(default_factory=lambda: array("Q"))
    """Hashes of keys that have their bits."""
    gone: array[int] = field(default_factory=lambda: array("Q"))
    """Of them, those that the kernel does not hold any more."""

    def hash(self, key: bytes) -> int:
        return key_hash(self.words.unpack(key))


class RuleFilters:
    """The filters of all subtables, by the number that begins their keys."""

    def __init__(self, words: MappedArray, subtables: MappedArray) -> None:
        self._words = words.words64
        self._index = IndexArray(words)
        self._subtables = subtables
        self._filters: dict[bytes, _Filter] = {}
        self.breathe: Callable[[], object] = lambda: None
        """Called now and then in long work."""

    def begin(self, number: bytes, key_class: int) -> None:
        """Filter a subtable that holds nothing yet."""
        self._filters[number] = _Filter(_WORDS[key_class])

    def adopt(self, number: bytes, key_class: int) -> None:
        """Go on with the filter that an earlier daemon has left of a subtable."""
        ref = self._subtables.words64[self._at(number)]
        self._index.adopt(ref)
        self._filters[number] = _Filter(_WORDS[key_class], ref)

    def end(self, number: bytes) -> None:
        """A subtable is gone, and no packet reads it."""
        filter_ = self._filters.pop(number, None)
        if filter_ is not None:
            self._index.retire(filter_.ref)

    def know(self, keys: Iterable[bytes]) -> None:
        """Keys that the kernel holds already, their bits set by an earlier daemon."""
        for key in keys:
            filter_ = self._filters.get(key[:4])
            if filter_ is not None:
                filter_.present.append(filter_.hash(key))

    def add(self, keys: Iterable[bytes]) -> None:
        """Set the bits of keys that the kernel is about to get."""
        full: set[bytes] = set()
        for key in keys:
            number = key[:4]
            filter_ = self._filters.get(number)
            if filter_ is None:
                continue
            hashed = filter_.hash(key)
            filter_.present.append(hashed)
            if len(filter_.present) > (filter_.ref & 0xFFFFFFFF) * _KEYS_A_WORD:
                full.add(number)
            else:
                at, bits = place_of(filter_.ref, hashed)
                self._words[at] |= bits
        for number in full:
            self._renew(number)

    def forget(self, keys: Iterable[bytes]) -> None:
        """The kernel does not hold these any more."""
        for key in keys:
            filter_ = self._filters.get(key[:4])
            if filter_ is not None:
                filter_.gone.append(filter_.hash(key))

    def _renew(self, number: bytes) -> None:
        """Write a filter anew: a larger one, or without the keys that are gone, if they are many."""
        filter_ = self._filters[number]
        if 2 * len(filter_.gone) > len(filter_.present):
            left = Counter(filter_.present)
            left.subtract(filter_.gone)
            filter_.present = array("Q", left.elements())
            filter_.gone = array("Q")
        length = 1
        while length * _KEYS_A_WORD < len(filter_.present):
            length *= 2
        words = [0] * length
        for start in range(0, len(filter_.present), _PART):
            for hashed in filter_.present[start : start + _PART]:
                at, bits = place_of(length, hashed)
                words[at] |= bits
            self.breathe()
        try:
            filter_.ref = self._index.write(filter_.ref, words)
        except DatapathError:
            # Without one each look-up asks the rules themselves, which is slower and as right.
            filter_.ref = 0
            del self._filters[number]
        self._subtables.words64[self._at(number)] = filter_.ref

    def _at(self, number: bytes) -> int:
        slot = int.from_bytes(number, "little")
        return self._subtables.offset(slot) // 8 + _REF_AT
