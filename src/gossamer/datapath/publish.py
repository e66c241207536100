"""Changes take effect: what a bridge's next version brings is written unseen, then its version."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from gossamer.datapath.cache_mask import cache_bits, parse_depth
from gossamer.datapath.grace import Key
from gossamer.datapath.layout import ParseDepth
from gossamer.datapath.parts import Parts
from gossamer.errors import DatapathError


class Publisher:
    """The bridges that have changed, until that counts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.takeover = parts.loaded.taken_over
        """Whether what an earlier daemon left counts still, all of it."""
        self.changed: set[int] = set()
        self._in_transaction = 0
        self._unlisted: set[int] = set()
        """Bridges whose members changed in the transaction."""

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Changes within take effect together at the end, also where the block raises."""
        self._in_transaction += 1
        try:
            yield
        finally:
            self._in_transaction -= 1
            if not self._in_transaction:
                unlisted, self._unlisted = self._unlisted, set()
                for bridge_id in unlisted & set(self._parts.bridges.ids()):
                    self.list_members(bridge_id)
                self.publish()

    def touch(self, bridge_id: int) -> None:
        """A bridge has changed; counts at once where no transaction is open."""
        self.changed.add(bridge_id)
        if not self._in_transaction:
            self.publish()

    def touch_all(self) -> None:
        """All bridges have changed."""
        self.changed.update(self._parts.bridges.ids())
        self.publish()

    def list_members(self, bridge_id: int) -> None:
        """The ports that a bridge floods to are others now."""
        if self._in_transaction:
            self._unlisted.add(bridge_id)
            return
        if self.takeover:
            return  # not all are added again yet: the list as it was is the better one
        self._parts.bridges.set_members(bridge_id, self._parts.ports.of_bridge(bridge_id))

    def follow_ports(self, bridge_id: int) -> None:
        """Groups follow the ports they watch at once, also while a commit is being prepared."""
        if self._parts.groups.follow(bridge_id, self._parts.ports.is_live):
            self._parts.bridges.outdate_paths(bridge_id)

    def publish(self) -> None:
        """Make all changes count, those of each bridge with one store of its version; cached
        paths of it are stale then.

        During a take-over everything waits for `converge()`: until then the
        kernel goes on with what it has, which is whole.
        """
        if self.takeover:
            return
        # What changes while this breathes comes next.
        self._in_transaction += 1
        try:
            self._commit()
        finally:
            self._in_transaction -= 1
        if self.changed and not self._in_transaction:
            self.publish()

    def _commit(self) -> None:
        parts = self._parts
        keys: list[Key] = [*parts.flows.keys(), *parts.groups.keys(), *parts.meters.keys()]
        if parts.grace.covers(keys):
            parts.grace.settle()
        try:
            regrouped = self._write()
        except DatapathError:
            if not parts.grace.settle():
                raise
            # What was gone took the room.
            regrouped = self._write()
        due, self.changed = self.changed | regrouped, set()
        depth = self._depth()
        for bridge_id in parts.bridges.ids():
            if depth > parts.bridges.depth(bridge_id):
                parts.bridges.set_depth(bridge_id, depth)
        for bridge_id in due:
            self._bump(bridge_id)
        self._keep(keys)
        for bridge_id in regrouped:
            self.follow_ports(bridge_id)
        if depth is ParseDepth.L2:
            for bridge_id in parts.bridges.ids():
                parts.bridges.set_depth(bridge_id, depth)

    def _write(self) -> set[int]:
        """Write what the next versions of bridges bring; returns those whose groups or meters are
        others then."""
        parts = self._parts
        parts.programs.flush()
        bridges = parts.groups.write(parts.ports.is_live) | parts.meters.write()
        parts.flows.write()
        return bridges

    def _depth(self) -> ParseDepth:
        """How deep packets must be parsed, for all bridges: patch ports lead from one to another."""
        parts = self._parts
        reach = parts.meters.writes()
        for bridge_id, flows in parts.flows.bridges.items():
            reads = flows.reach() | parts.groups.reads(bridge_id)
            reach |= reads | parts.groups.writes(bridge_id)
            reach |= parts.bridges.tells_fragments(bridge_id, reads)
        return parse_depth(reach)

    def _bump(self, bridge_id: int) -> None:
        """The next version of a bridge, with the cache mask that it needs, counts."""
        parts = self._parts
        flows = parts.flows.bridge(bridge_id)
        reads = flows.look() | parts.groups.reads(bridge_id)
        reads |= parts.bridges.tells_fragments(bridge_id, reads)
        look = cache_bits(reads, flows.footprint.writes | parts.groups.writes(bridge_id))
        parts.bridges.set_lengths(bridge_id, flows.lengths() | parts.groups.lengths(bridge_id))
        parts.bridges.set_look(bridge_id, look)
        parts.bridges.bump(bridge_id)

    def _keep(self, keys: list[Key]) -> None:
        """What was before goes when no packet is on its way through it any more."""
        parts = self._parts
        delete, *duties = parts.flows.published()
        duties += parts.groups.published() + parts.meters.published()
        if len(keys) <= 1:
            # No packet can see a half of one change: no need to keep what was before.
            delete()
            keys = []
        else:
            duties.insert(0, delete)
        if keys or duties:
            parts.grace.keep(keys, duties)
