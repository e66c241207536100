"""Changes take effect: what a bridge's next version brings is written unseen, then its version."""

from __future__ import annotations

from types import TracebackType

from gossamer.datapath.grace import Key
from gossamer.datapath.outlook import Outlooks
from gossamer.datapath.parts import Parts
from gossamer.errors import DatapathError


class Publisher:
    """The bridges that have changed, until that counts.

    `with publisher:` is a transaction: changes within take effect together at its end, also where
    the block raises.  One within another belongs to that.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._outlooks = Outlooks(parts.bridges, parts.flows, parts.groups, parts.meters)
        self.takeover = parts.loaded.taken_over
        """Whether what an earlier daemon left counts still, all of it."""
        self._changed: set[int] = set()
        self._unlisted: set[int] = set()
        """Bridges whose members changed in the transaction."""
        self._depth = 0
        """Of the transactions around what runs now."""

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if not self._depth:
            self._end()

    def _end(self) -> None:
        unlisted, self._unlisted = self._unlisted, set()
        if unlisted:
            for bridge_id in unlisted.intersection(self._parts.bridges.ids()):
                self.list_members(bridge_id)
        self._publish()

    def touch(self, bridge_id: int) -> None:
        """A bridge has changed; counts at once where no transaction is open."""
        self._changed.add(bridge_id)
        if not self._depth:
            self._publish()

    def touch_all(self) -> None:
        """All bridges have changed."""
        self._changed.update(self._parts.bridges.ids())
        self._publish()

    def forget(self, bridge_id: int) -> None:
        """A bridge is gone, and before it all that was in it."""
        self._changed.discard(bridge_id)
        self._outlooks.forget(bridge_id)

    def list_members(self, bridge_id: int) -> None:
        """The ports that a bridge floods to are others now."""
        if self._depth:
            self._unlisted.add(bridge_id)
            return
        if self.takeover:
            return  # not all are added again yet: the list as it was is the better one
        self._parts.bridges.set_members(bridge_id, self._parts.ports.of_bridge(bridge_id))

    def follow_ports(self, bridge_id: int) -> None:
        """Groups follow the ports they watch at once, also while a commit is being prepared."""
        if self._parts.groups.follow(bridge_id, self._parts.ports.is_live):
            self._parts.bridges.outdate_paths(bridge_id)

    def _publish(self) -> None:
        """Make all changes count, those of each bridge with one store of its version; cached
        paths of it are stale then.

        During a take-over everything waits for `converge()`: until then the
        kernel goes on with what it has, which is whole.
        """
        if self.takeover:
            return
        # What changes while this breathes comes next.
        self._depth += 1
        try:
            self._commit()
        finally:
            self._depth -= 1
        if not self._depth and (self._changed or self._unlisted):
            self._end()

    def _commit(self) -> None:
        parts = self._parts
        keys: list[Key] = [*parts.flows.keys(), *parts.groups.keys(), *parts.meters.keys()]
        if keys and parts.grace.covers(keys):
            parts.grace.settle()
        try:
            regrouped = self._write()
        except DatapathError:
            if not parts.grace.settle():
                raise
            # What was gone took the room.
            regrouped = self._write()
        due, self._changed = self._changed | regrouped, set()
        self._outlooks.deepen(due)
        for bridge_id in due:
            self._outlooks.renew(bridge_id)
            parts.bridges.bump(bridge_id)
        self._keep(keys)
        for bridge_id in regrouped:
            self.follow_ports(bridge_id)
        self._outlooks.flatten()

    def _write(self) -> set[int]:
        """Write what the next versions of bridges bring; returns those whose groups or meters are
        others then."""
        parts = self._parts
        parts.programs.flush()
        bridges = parts.groups.write(parts.ports.is_live) | parts.meters.write()
        parts.flows.write()
        return bridges

    def _keep(self, keys: list[Key]) -> None:
        """What was before goes when no packet is on its way through it any more."""
        parts = self._parts
        deleting, duties = parts.flows.published()
        deleting = [*deleting, *parts.groups.published(), *parts.meters.published()]
        if len(keys) <= 1:
            # No packet can see a half of one change: no need to keep what was before.  And what is
            # not deleted now must not be later, since nothing keeps the key from coming again.
            for delete in deleting:
                delete()
            keys = []
        else:
            duties = deleting + duties
        if keys or duties:
            parts.grace.keep(keys, duties)
