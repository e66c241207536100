"""The rules maps: a key's rule as it counts, and as it counted before (bpf/classify.h, struct rule).

What a commit changes is gathered by `change()`, written by `write()` while no
packet sees it, and counts when the bridge gets its next version.  Then
`published()` says which keys are left without a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from gossamer.breath import in_parts, let_go, parts
from gossamer.datapath import layout
from gossamer.datapath.maps import HashMap
from gossamer.datapath.rule_filters import RuleFilters
from gossamer.errors import DatapathError

NOTHING: Final = bytes(layout.RULE_STATE.size)
"""`struct rule_state` where there is no rule."""
_HEAD: Final = layout.SINCE.size
_BEFORE: Final = _HEAD + layout.RULE_STATE.size
"""Where in a cell what counted before begins."""
_PART: Final = 1024
Gone = tuple[int, list[bytes]]
"""Keys without a rule, of one class; few enough to be deleted at once."""


class RuleCells:
    """The rules of all bridges by key, in a map for each class of keys."""

    def __init__(self, maps: Sequence[HashMap], filters: RuleFilters) -> None:
        self._maps = maps
        self._filters = filters
        self.breathe: Callable[[], object] = lambda: None
        """Called now and then in long work."""
        filters.breathe = lambda: self.breathe()
        self._pending: list[dict[bytes, bytes]] = [{} for _ in maps]
        """What the next commit writes: a key's cell, before and after."""
        self._written: list[set[bytes]] = [set() for _ in maps]
        """Keys written for a commit that the kernel then had no room for."""
        self._void: list[set[bytes]] = [set() for _ in maps]
        """Of them, those that have no rule after all."""
        self._inherited: list[dict[bytes, bytes]] = [{} for _ in maps]
        """Key -> what counts, as an earlier daemon left it."""

    # -- take-over ---------------------------------------------------------------

    def inherit(
        self, bridges: Mapping[bytes, int], versions: Mapping[int, int]
    ) -> Iterator[int]:
        """Read what an earlier daemon left; yields the id of each flow.

        `bridges` tells whose a subtable is by its number, as in keys.  What did not come to count
        under the `versions` of bridges is taken back; what is in no table's list is deleted.
        """
        for rules, inherited in zip(self._maps, self._inherited, strict=True):
            dead: list[bytes] = []
            taken_back: dict[bytes, bytes] = {}
            for key, cell in rules.items():
                bridge_id = bridges.get(key[:4])
                (since,) = layout.SINCE.unpack_from(cell)
                published = bridge_id is not None and since <= versions[bridge_id]
                state = cell[_HEAD:_BEFORE] if published else cell[_BEFORE:]
                if bridge_id is None or state == NOTHING:
                    dead.append(key)
                    continue
                if not published:
                    taken_back[key] = layout.SINCE.pack(0) + state + NOTHING
                inherited[key] = state
                yield layout.RULE_STATE.unpack(state)[0]
            rules.delete_all(dead)
            self._filters.know(inherited)
            rules.put_all(list(taken_back), list(taken_back.values()))

    def inherited(self, key_class: int, key: bytes) -> bytes | None:
        """The state of a rule that was there before the daemon, and is not set again yet."""
        return self._inherited[key_class].get(key)

    def disinherit(self, since: Callable[[bytes], int]) -> Iterator[int]:
        """What was inherited and not set again goes with the next commit, which counts from
        `since(subtable)` on; yields the id of each flow."""
        for pending, inherited in zip(self._pending, self._inherited, strict=True):
            for key, state in inherited.items():
                pending[key] = layout.SINCE.pack(since(key[:4])) + NOTHING + state
                yield layout.RULE_STATE.unpack(state)[0]
            inherited.clear()

    # -- changes -----------------------------------------------------------------

    def change(self, key_class: int, key: bytes, since: bytes, was: bytes, state: bytes) -> None:
        """What counts at a key gives way to `state` with the next commit."""
        pending, inherited = self._pending[key_class], self._inherited[key_class]
        cell = pending.get(key)
        if cell is not None:
            was = cell[_BEFORE:]
        elif inherited:
            was = inherited.pop(key, was)
        if was != state:
            pending[key] = since + state + was
        elif key not in self._written[key_class]:
            pending.pop(key, None)
        elif was != NOTHING:
            pending[key] = since + was + was
        else:
            pending.pop(key, None)
            self._void[key_class].add(key)
            return
        if self._void[key_class]:
            self._void[key_class].discard(key)

    def keys(self) -> list[bytes]:
        """The keys that the next commit changes."""
        return [key for pending in self._pending for key in pending]

    def write(self) -> None:
        """Write all that the next commit changes; no packet sees it yet.

        Raises DatapathError where a map is full; then it may be amended and written again.
        """
        for key_class, pending in enumerate(self._pending):
            void = self._void[key_class]
            if void:
                self._maps[key_class].delete_all(list(void))
                self._filters.forget(void)
                void.clear()
            if not pending:
                continue
            try:
                self._put(self._maps[key_class], pending)
            except DatapathError:
                self._written[key_class].update(pending)
                raise

    def _put(self, rules: HashMap, pending: dict[bytes, bytes]) -> None:
        """Write cells, the bits of those that are new into the filters first."""
        if len(pending) == 1:
            key, cell = next(iter(pending.items()))
            if cell[_BEFORE:] == NOTHING:
                self._filters.add((key,))
            rules.put(key, cell)
            return
        keys, cells = list(pending), list(pending.values())
        for start in range(0, len(keys), _PART):
            part = slice(start, start + _PART)
            pairs = zip(keys[part], cells[part], strict=True)
            self._filters.add(key for key, cell in pairs if cell[_BEFORE:] == NOTHING)
            rules.put_all(keys[part], cells[part])
            self.breathe()

    def published(self) -> list[Gone]:
        """It counts; the keys that have no rule any more: for `delete()`, when no packet looks at
        what was before."""
        gone: list[Gone] = []
        for key_class, pending in enumerate(self._pending):
            if pending:
                keys, cells = list(pending), list(pending.values())
                pairs = in_parts(zip(keys, cells, strict=True), self.breathe)
                keys = [k for k, v in pairs if v[_HEAD:_BEFORE] == NOTHING]
                gone += ((key_class, part) for part in parts(keys))
                pending.clear()
                let_go(cells, self.breathe)
            self._written[key_class].clear()
        return gone

    def delete(self, gone: Gone) -> None:
        """Take keys out of their map."""
        key_class, keys = gone
        self._maps[key_class].delete_all(keys)
        self._filters.forget(keys)
