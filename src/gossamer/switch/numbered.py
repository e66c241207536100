"""Groups or meters of a bridge by number, and the changes the datapath has not seen yet.

The counterpart of FlowTables for what has a number: a change is made here at
once, `hand_over()` and `finish()` tell the datapath in the course of the same
transaction as the flows, `rollback()` takes back what was not handed over.
What is new must be there before flows that use it, what goes must outlast them;
hence the two halves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """A group or meter and when it was made, CLOCK_MONOTONIC."""

    value: T
    created_s: float


class Store(Protocol):
    """What a transaction needs to know of groups and meters."""

    @property
    def dirty(self) -> bool: ...
    def hand_over(self) -> None: ...
    def finish(self) -> None: ...
    def take_back(self) -> None: ...
    def rollback(self) -> None: ...
    def settle(self) -> None: ...


class Numbered(Generic[T]):
    """What has a number.

    `put` tells the datapath of one that is new or different, `drop` of one
    that went; both raise DatapathError.
    """

    def __init__(self, put: Callable[[T], None], drop: Callable[[int], None]) -> None:
        self._put = put
        self._drop = drop
        self._entries: dict[int, Entry[T]] = {}
        self.values: dict[int, T] = {}
        """All, by number; to be read only."""
        self._before: dict[int, Entry[T] | None] = {}
        """What was changed since the last commit, as the datapath has it."""
        self._handed_over: list[int] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[int]:
        return iter(self._entries)

    def __contains__(self, number: object) -> bool:
        return number in self._entries

    def get(self, number: int) -> T | None:
        """The one of that number."""
        return self.values.get(number)

    def entries(self) -> list[Entry[T]]:
        """All, by number in rising order."""
        return [self._entries[number] for number in sorted(self._entries)]

    def entry(self, number: int) -> Entry[T] | None:
        """The one of that number, with its age."""
        return self._entries.get(number)

    def set(self, number: int, value: T, now: float) -> None:
        """Add one, or give it another value; it stays as old as it was."""
        before = self._entries.get(number)
        self._before.setdefault(number, before)
        self._entries[number] = Entry(value, before.created_s if before else now)
        self.values[number] = value

    def remove(self, number: int) -> None:
        """Take out one that is there."""
        self._before.setdefault(number, self._entries[number])
        del self._entries[number], self.values[number]

    @property
    def dirty(self) -> bool:
        """Something waits to be handed over."""
        return bool(self._before)

    def hand_over(self) -> None:
        """Tell the datapath what is new or different."""
        for number, before in self._before.items():
            entry = self._entries.get(number)
            if entry is not None and entry != before:
                # Before the attempt: one that failed half-way is taken back too.
                self._handed_over.append(number)
                self._put(entry.value)

    def finish(self) -> None:
        """Tell the datapath what went."""
        for number, before in self._before.items():
            if before is not None and number not in self._entries:
                self._handed_over.append(number)
                self._drop(number)

    def take_back(self) -> None:
        """Undo all since the last commit, here and in the datapath."""
        handed_over = list(self._handed_over)
        self.rollback()
        for number in reversed(handed_over):
            entry = self._entries.get(number)
            if entry is not None:
                self._put(entry.value)
            else:
                self._drop(number)

    def rollback(self) -> None:
        """Undo all since the last commit; the datapath has heard of none of it."""
        for number, before in self._before.items():
            if before is None:
                self._entries.pop(number, None)
                self.values.pop(number, None)
            else:
                self._entries[number] = before
                self.values[number] = before.value
        self.settle()

    def settle(self) -> None:
        """All is handed over."""
        self._before.clear()
        self._handed_over.clear()
