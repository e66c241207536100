"""What packets of each bridge are told apart by, and how deep they are parsed for it.

That follows from what a bridge's flows and groups, and all meters, read and
write.  Few commits change it, so it is worked out again only where one did.
"""

from __future__ import annotations

from collections.abc import Iterable

from gossamer.datapath.bridges import Bridges
from gossamer.datapath.cache_mask import IN_PORT_MASK, cache_bits, parse_depth
from gossamer.datapath.flows import FlowWriter
from gossamer.datapath.groups import Groups
from gossamer.datapath.layout import ParseDepth
from gossamer.datapath.meters import Meters

_Cause = tuple[int, int, int]
"""What an outlook was worked out from: another one when that has changed."""


class Outlooks:
    """The outlooks of all bridges, as the kernel has them."""

    def __init__(
        self, bridges: Bridges, flows: FlowWriter, groups: Groups, meters: Meters
    ) -> None:
        self._bridges = bridges
        self._flows = flows
        self._groups = groups
        self._meters = meters
        self._causes: dict[int, _Cause] = {}
        self._depths: dict[int, ParseDepth] = {}
        """What each bridge asks for by itself; frames may go from any to any, by patch ports."""
        self._meters_depth = ParseDepth.L2
        self._stale: set[int] = set()
        """Bridges whose outlook is to be renewed."""
        self._may_flatten = False

    def forget(self, bridge_id: int) -> None:
        """A bridge is gone."""
        self._causes.pop(bridge_id, None)
        self._depths.pop(bridge_id, None)
        self._stale.discard(bridge_id)

    def lengths(self, bridge_id: int) -> frozenset[int]:
        """Lengths that flows or groups of a bridge ask about."""
        flows, groups = self._flows.bridge(bridge_id), self._groups.footprint(bridge_id)
        return flows.footprint.lengths | groups.lengths

    def deepen(self, due: Iterable[int]) -> None:
        """See what the next versions of the bridges `due` want; parse as deep as that from now
        on."""
        self._stale.update(b for b in due if self._causes.get(b) != self._cause(b))
        meters_depth = parse_depth(self._meters.writes())
        if not self._stale and meters_depth is self._meters_depth:
            return
        self._may_flatten = True
        self._meters_depth = meters_depth
        for bridge_id in self._stale:
            seen = self._reads(bridge_id) | self._writes(bridge_id)
            self._depths[bridge_id] = parse_depth(seen)
        depth = self._depth()
        for bridge_id in self._bridges.ids():
            if depth > self._bridges.depth(bridge_id):
                self._bridges.set_depth(bridge_id, depth)

    def renew(self, bridge_id: int) -> None:
        """Write what the next version of a bridge tells packets apart by."""
        if bridge_id not in self._stale:
            return
        cause = self._cause(bridge_id)
        self._bridges.set_lengths(bridge_id, self.lengths(bridge_id))
        look = cache_bits(self._reads(bridge_id), self._writes(bridge_id))
        self._bridges.set_look(bridge_id, look)
        self._causes[bridge_id] = cause
        self._stale.discard(bridge_id)

    def flatten(self) -> None:
        """The versions count: parse no deeper than they want it."""
        if self._may_flatten:
            self._may_flatten = False
            if self._depth() is ParseDepth.L2:
                for bridge_id in self._bridges.ids():
                    self._bridges.set_depth(bridge_id, ParseDepth.L2)

    def _depth(self) -> ParseDepth:
        return max((self._meters_depth, *self._depths.values()))

    def _cause(self, bridge_id: int) -> _Cause:
        return (
            self._flows.bridge(bridge_id).footprint.revision,
            self._groups.footprint(bridge_id).revision,
            self._bridges.hides_fragments(bridge_id),
        )

    def _reads(self, bridge_id: int) -> int:
        """The bits that decide what becomes of a packet, registers included."""
        reads = self._flows.bridge(bridge_id).footprint.reads | IN_PORT_MASK
        reads |= self._groups.footprint(bridge_id).reads
        return reads | self._bridges.tells_fragments(bridge_id, reads)

    def _writes(self, bridge_id: int) -> int:
        """The bits that flows or groups change."""
        flows, groups = self._flows.bridge(bridge_id), self._groups.footprint(bridge_id)
        return flows.footprint.writes | groups.writes
