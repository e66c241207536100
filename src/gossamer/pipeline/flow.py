"""A flow (a rule in a table) and the flow table of the switch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gossamer.pipeline.action import Actions, Conjunction
from gossamer.pipeline.conjunction import complete
from gossamer.pipeline.fields import BY_NAME, KEY_LEN, PACKET_OFFSET, put_slot
from gossamer.pipeline.match import Match

_HEADERS = (1 << 8 * (KEY_LEN - PACKET_OFFSET)) - 1
_PACKET_TYPE = BY_NAME["packet_type"].full_mask


@dataclass(slots=True, eq=False)
class Flow:
    """A rule: what it matches, what it does, and its life (OpenFlow 1.3.5, 5.2).

    Times are CLOCK_MONOTONIC seconds; counters are what was last read from
    the datapath.  `flow_id` is the datapath's name for it, 0 where it has none.
    """

    table_id: int
    priority: int
    match: Match
    actions: Actions
    cookie: int = 0
    idle_timeout_s: int = 0
    hard_timeout_s: int = 0
    importance: int = 0
    flags: int = 0
    hidden: bool = False
    created_s: float = 0.0
    modified_s: float = 0.0
    used_s: float = 0.0
    n_packets: int = 0
    n_bytes: int = 0
    flow_id: int = 0
    own_packets: int = 0
    """Packets, and their bytes, that the daemon itself sent past the flow (packet-outs)."""
    own_bytes: int = 0

    @property
    def is_part(self) -> bool:
        """Whether this flow is but a part of conjunctions, and decides nothing itself."""
        return any(isinstance(action, Conjunction) for action in self.actions)


@dataclass(slots=True)
class Subtable:
    """The flows of one mask: a hash lookup finds all that can match."""

    mask: int
    flows: dict[int, list[Flow]] = field(default_factory=dict)
    """Masked key -> flows of that key, highest priority first."""
    priorities: dict[int, int] = field(default_factory=dict)
    """Priority -> number of flows that have it."""

    @property
    def max_priority(self) -> int:
        """Priority above which no flow here can win."""
        return max(self.priorities)


class FlowTable:
    """One table of a bridge: tuple-space search, as the datapath does it.

    A lookup costs one dictionary access a distinct mask, whatever the number
    of flows.  Where flows of the same priority overlap, which one wins is
    undefined (OpenFlow 1.3.5, 5.3).
    """

    def __init__(self, table_id: int) -> None:
        self.table_id = table_id
        self.subtables: dict[int, Subtable] = {}
        self.n_flows = 0

    def __len__(self) -> int:
        return self.n_flows

    def __iter__(self) -> Iterator[Flow]:
        for subtable in self.subtables.values():
            for flows in subtable.flows.values():
                yield from flows

    def masks(self) -> Iterable[int]:
        """The masks of its flows, each once: all that a lookup may depend on."""
        return self.subtables

    def lookup(self, key: int) -> Flow | None:
        """The flow of the highest priority that matches `key`, which may be by way of a
        conjunction."""
        best: Flow | None = None
        for subtable in self.subtables.values():
            flows = subtable.flows.get(key & subtable.mask)
            if flows and (best is None or flows[0].priority > best.priority):
                best = flows[0]
        if best is None or not best.is_part:
            return best
        return self._lookup_conjunctive(key)

    def lookup_packet(self, key: int) -> Flow | None:
        """The same for a packet without Ethernet header.

        A match on headers that names no packet type means frames (ovs-fields(7), packet_type).
        Conjunctions are not looked for.
        """
        best: Flow | None = None
        for subtable in self.subtables.values():
            if subtable.mask & _HEADERS and not subtable.mask & _PACKET_TYPE:
                continue
            for flow in subtable.flows.get(key & subtable.mask, ()):
                if not flow.is_part and (best is None or flow.priority > best.priority):
                    best = flow
        return best

    def _lookup_conjunctive(self, key: int) -> Flow | None:
        decisive = self._lookup_decisive(key)
        least = decisive.priority if decisive else -1
        parts = [
            flow
            for subtable in self.subtables.values()
            for flow in subtable.flows.get(key & subtable.mask, ())
            if flow.is_part and flow.priority > least
        ]
        for priority in sorted({flow.priority for flow in parts}, reverse=True):
            conj_id = complete(flow.actions for flow in parts if flow.priority == priority)
            if conj_id is not None:
                found = self._lookup_decisive(put_slot(key, "conj_id", conj_id))
                if found is not None:
                    return found
        return decisive

    def _lookup_decisive(self, key: int) -> Flow | None:
        """The flow of the highest priority that matches, among those without conjunction."""
        best: Flow | None = None
        for subtable in self.subtables.values():
            for flow in subtable.flows.get(key & subtable.mask, ()):
                if best is not None and flow.priority <= best.priority:
                    break
                if not flow.is_part:
                    best = flow
                    break
        return best

    def find_strict(self, match: Match, priority: int) -> Flow | None:
        """The flow with exactly this match and priority."""
        subtable = self.subtables.get(match.mask)
        for flow in subtable.flows.get(match.value, ()) if subtable else ():
            if flow.priority == priority:
                return flow
        return None

    def find_loose(self, match: Match) -> list[Flow]:
        """All flows that `match` covers (OpenFlow 1.3.5, 6.4)."""
        found: list[Flow] = []
        for subtable in self.subtables.values():
            if subtable.mask & match.mask != match.mask:
                continue
            if subtable.mask == match.mask:
                found += subtable.flows.get(match.value, ())
                continue
            for value, flows in subtable.flows.items():
                if value & match.mask == match.value:
                    found += flows
        return found

    def insert(self, flow: Flow) -> Flow | None:
        """Add a flow; the flow it replaces (same match, same priority) is returned."""
        subtable = self.subtables.get(flow.match.mask)
        if subtable is None:
            subtable = self.subtables[flow.match.mask] = Subtable(flow.match.mask)
        flows = subtable.flows.get(flow.match.value)
        if flows is None:
            subtable.flows[flow.match.value] = [flow]
        else:
            for i, other in enumerate(flows):
                if other.priority == flow.priority:
                    flows[i] = flow
                    return other
                if other.priority < flow.priority:
                    flows.insert(i, flow)
                    break
            else:
                flows.append(flow)
        subtable.priorities[flow.priority] = subtable.priorities.get(flow.priority, 0) + 1
        self.n_flows += 1
        return None

    def remove(self, flow: Flow) -> None:
        """Take out a flow that is in the table."""
        subtable = self.subtables[flow.match.mask]
        flows = subtable.flows[flow.match.value]
        flows.remove(flow)
        if not flows:
            del subtable.flows[flow.match.value]
        left = subtable.priorities[flow.priority] - 1
        if left:
            subtable.priorities[flow.priority] = left
        else:
            del subtable.priorities[flow.priority]
        if not subtable.flows:
            del self.subtables[flow.match.mask]
        self.n_flows -= 1
