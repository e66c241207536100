"""Tables of what was worked out before, bounded by what they hold.

Keys come from peers, so a table that grew with every new key would hand a
hostile peer our memory.  A full table is emptied rather than trimmed: the few
shapes in use are back after one message each, and a hit costs no bookkeeping.
"""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

from gossamer.pipeline import tlv

K = TypeVar("K")
V = TypeVar("V")
MAX_ENTRIES: Final = 1 << 16
MAX_WEIGHT: Final = 16 << 20


_tables: list[Interned[Any, Any]] = []


class Interned(dict[K, V], Generic[K, V]):
    """A dictionary to be read with `get()` and added to with `remember()`.

    `max_weight` bounds the sum of the weights given, in bytes where the
    entries' size is a peer's to choose.
    """

    def __init__(self, max_entries: int = MAX_ENTRIES, max_weight: int = MAX_WEIGHT) -> None:
        super().__init__()
        _tables.append(self)
        self._max_entries = max_entries
        self._max_weight = max_weight
        self._weight = 0

    def remember(self, key: K, value: V, weight: int = 0) -> V:
        """Add an entry and give its value back; what is too heavy to keep is not kept."""
        if weight > self._max_weight // 16:
            return value
        if len(self) >= self._max_entries or self._weight + weight > self._max_weight:
            self.clear()
            self._weight = 0
        self[key] = value
        self._weight += weight
        return value


_masks: Final[Interned[int, int]] = Interned()


def forget_all() -> None:
    """Empty all tables: what bytes and bits mean is another thing from now on."""
    for table in _tables:
        table.clear()


tlv.LAYOUT.on_change(forget_all)


def same_mask(mask: int) -> int:
    """One object for each mask in use, so that comparing masks is mostly comparing identities."""
    known = _masks.get(mask)
    return known if known is not None else _masks.remember(mask, mask)
