"""Cells: a map's values before and after a commit, side by side (bpf/classify.h, struct rule).

A value holds what counts now, what counted before, and the version of the
bridge at which the one gave way to the other.  All that a commit changes is
written while the bridge still has its old version, and counts at once when
the version is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from gossamer.breath import parts
from gossamer.datapath import layout
from gossamer.datapath.grace import Duty, Key
from gossamer.datapath.maps import HashMap

_BRIDGE = 4
"""Bytes of the key that name the bridge, at its beginning."""


class Cells:
    """A map by (bridge, number) whose values change with the version of their bridge.

    `reserve(bridge)` is the version that its next commit gets.
    """

    def __init__(self, cells: HashMap, reserve: Callable[[int], int]) -> None:
        self._map = cells
        self._reserve = reserve
        self._size = (cells.value_size - layout.SINCE.size) // 2
        self._nothing = bytes(self._size)
        self._states: dict[bytes, bytes] = {}
        """What counts, by key."""
        self._wanted: dict[bytes, bytes] = {}
        """What is to count from the next commit on; `_nothing`: no more."""
        self._written: set[bytes] = set()
        """Written for a commit that is not published yet."""

    def inherit(self, version: Callable[[int], int]) -> dict[bytes, bytes]:
        """Learn what counts under the versions that bridges have; what an earlier daemon did not
        come to publish is taken back."""
        for key, cell in self._map.items():
            (since,) = layout.SINCE.unpack_from(cell)
            at = layout.SINCE.size
            published = since <= version(_bridge_of(key))
            state = cell[at : at + self._size] if published else cell[at + self._size :]
            if state == self._nothing:
                self._map.delete(key)
                continue
            if not published:
                self._map.put(key, layout.SINCE.pack(0) + state + self._nothing)
            self._states[key] = state
        return dict(self._states)

    def put(self, key: bytes, state: bytes | None) -> None:
        """What is to count from the next commit on."""
        self._wanted[key] = self._nothing if state is None else state

    def get(self, key: bytes) -> bytes | None:
        """What will count after the next commit."""
        state = self._wanted.get(key, self._states.get(key, self._nothing))
        return None if state == self._nothing else state

    @property
    def dirty(self) -> bool:
        """Something waits for the next commit."""
        return bool(self._wanted)

    def keys(self, name: str) -> list[Key]:
        """What the next commit changes."""
        return [(name, key) for key, state in self._changes()]

    def _changes(self) -> Iterator[tuple[bytes, bytes]]:
        for key, state in self._wanted.items():
            if key in self._written or state != self._states.get(key, self._nothing):
                yield key, state

    def write(self) -> set[int]:
        """Write what is to count; returns the bridges whose commit it takes.

        Raises DatapathError where the map is full.
        """
        if not self._wanted:
            return set()
        changes = list(self._changes())
        self._written.update(key for key, _ in changes)
        since = {b: self._reserve(b) for b in {_bridge_of(key) for key, _ in changes}}
        self._map.put_all(
            [key for key, _ in changes],
            [
                layout.SINCE.pack(since[_bridge_of(key)])
                + state
                + self._states.get(key, self._nothing)
                for key, state in changes
            ],
        )
        return set(since)

    def published(self) -> list[Duty]:
        """It counts; what remains to be done when no packet looks at what was before."""
        if not self._wanted:
            return []
        gone: list[bytes] = []
        for key, state in self._wanted.items():
            if state == self._nothing:
                if self._states.pop(key, None) is not None or key in self._written:
                    gone.append(key)
            else:
                self._states[key] = state
        self._wanted.clear()
        self._written.clear()
        return [partial(self._map.delete_all, part) for part in parts(gone)]


def _bridge_of(key: bytes) -> int:
    return int.from_bytes(key[:_BRIDGE], "little")
