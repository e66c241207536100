"""FLOW_MOD: add, modify, delete (OpenFlow 1.3.5, 6.4 and 7.3.4.1).

What differs between versions has one cause each:

- OpenFlow 1.0 and NXM change cookies with a modify and can match on them;
  1.1 and later match only.
- Up to 1.1 a modify that finds nothing adds, unless it looks for a cookie.
- An add that replaces a flow begins its timeouts anew, and its counters too in
  OpenFlow 1.0 or where OFPFF_RESET_COUNTS asks for it; otherwise they go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.message import ALL_TABLES, ANY_GROUP, FlowMod
from gossamer.pipeline.action import Actions, Controller, Enqueue, Output, OutputTrunc
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import Match
from gossamer.pipeline.of_port import OfPort
from gossamer.switch.flow_event import RemovedReason
from gossamer.switch.references import flatten, references_of
from gossamer.switch.table import N_TABLES, Table
from gossamer.switch.tables import FlowTables

ADD: Final = 0
MODIFY: Final = 1
MODIFY_STRICT: Final = 2
DELETE: Final = 3
DELETE_STRICT: Final = 4

_INTERNAL: Final = BY_NAME["dp_hash"].full_mask
"""What only flows of the switch itself may look at, as in Open vSwitch."""

SEND_FLOW_REM: Final = 1 << 0
CHECK_OVERLAP: Final = 1 << 1
RESET_COUNTS: Final = 1 << 2
"""OpenFlow 1.2 and later; in 1.0 the bit asks for an emergency flow, which the codec refuses."""
NO_PACKET_COUNTS: Final = 1 << 3
NO_BYTE_COUNTS: Final = 1 << 4
KEPT_FLAGS: Final = SEND_FLOW_REM | CHECK_OVERLAP | RESET_COUNTS | NO_PACKET_COUNTS | NO_BYTE_COUNTS
"""What a flow shows in its statistics, as Open vSwitch lets it."""


@lru_cache(maxsize=4096)
def output_ports(actions: Actions) -> frozenset[int]:
    """The ports that actions send to, for out_port filters."""
    ports: set[int] = set()
    for action in flatten(actions):
        if isinstance(action, (Output, Enqueue, OutputTrunc)):
            ports.add(action.port)
        elif isinstance(action, Controller):
            ports.add(int(OfPort.CONTROLLER))
    return frozenset(ports)


def select(
    tables: FlowTables,
    table_id: int,
    match: Match,
    *,
    cookie: int = 0,
    cookie_mask: int = 0,
    out_port: int = OfPort.ANY,
    out_group: int = ANY_GROUP,
) -> list[Flow]:
    """Flows that a loose request means; table 0xff is all tables.

    Raises OpenFlowError(BAD_TABLE_ID) for a table that does not exist.
    """
    found: list[Flow] = []
    for table in tables_of(tables, table_id):
        if table.n_flows:
            found += table if match.mask == 0 else table.find_loose(match)
    return keep(found, cookie, cookie_mask, out_port, out_group)


def tables_of(tables: FlowTables, table_id: int) -> Iterable[Table]:
    """The tables a request names; 0xff: all that belong to controllers."""
    if table_id == ALL_TABLES:
        return tables.tables[:N_TABLES]
    return tables.tables[table_id : table_id + 1]


def keep(
    flows: list[Flow], cookie: int, cookie_mask: int, out_port: int, out_group: int
) -> list[Flow]:
    """Those of `flows` that the filters of a request let through."""
    if cookie_mask:
        wanted = cookie & cookie_mask
        flows = [f for f in flows if f.cookie & cookie_mask == wanted]
    if out_port != OfPort.ANY or out_group != ANY_GROUP:
        flows = [f for f in flows if sends_to(f, out_port, out_group)]
    return flows


def sends_to(flow: Flow, out_port: int, out_group: int) -> bool:
    """Whether a flow passes the filters for what it sends to."""
    if out_port != OfPort.ANY and out_port not in output_ports(flow.actions):
        return False
    return out_group == ANY_GROUP or out_group in references_of(flow.actions).groups


class FlowMods:
    """Carries out FLOW_MODs on the tables of one bridge; the caller commits.

    `check_actions` raises OpenFlowError for actions that refer to something that is not there.
    """

    def __init__(self, tables: FlowTables, check_actions: Callable[[Actions], None]) -> None:
        self._tables = tables
        self._check_actions = check_actions
        self._lenient = False
        self.evicted: list[Flow] = []
        """Flows that had to go to make room; the journal must know of them."""

    def take_evicted(self) -> list[Flow]:
        """`evicted`, which is empty then."""
        evicted, self.evicted = self.evicted, []
        return evicted

    def replay(self, message: FlowMod, now: float) -> None:
        """Carry out again what took effect before a restart; limits were obeyed then."""
        self._lenient = True
        try:
            self.apply(message, now, None)
        finally:
            self._lenient = False

    def apply(self, message: FlowMod, now: float, source: object) -> None:
        """Carry out one FLOW_MOD at CLOCK_MONOTONIC `now`.

        Raises OpenFlowError with the code the specification gives; then
        nothing was changed.
        """
        command = message.command
        if message.match.mask & _INTERNAL and not self._lenient and command < DELETE:
            raise OpenFlowError(ErrorCode.BAD_REQUEST_EPERM, "only a switch's own flows see dp_hash")
        if command == ADD:
            self._add(message, now, source)
        elif command == MODIFY:
            self._modify(message, self._loose(message), now, source)
        elif command == MODIFY_STRICT:
            self._modify(message, self._strict(message), now, source)
        elif command == DELETE:
            self._delete(message, source)
        elif command == DELETE_STRICT:
            for flow in self._strict(message):
                self._tables.remove(flow, RemovedReason.DELETE, source, message.xid)
        else:
            raise OpenFlowError(ErrorCode.FLOW_MOD_FAILED_BAD_COMMAND)

    def _add(self, message: FlowMod, now: float, source: object) -> None:
        table_id = message.table_id
        if table_id >= N_TABLES:
            table_id = self._writable(table_id)
        flags = message.flags
        if message.version == 1:
            flags |= RESET_COUNTS  # in OpenFlow 1.0 an add always counts anew
        if not self._lenient:
            self._check_actions(message.actions)
        tables = self._tables
        table = tables.tables[table_id]
        if flags & CHECK_OVERLAP or table.max_flows is not None:
            self._check(table, message, source)
        flow = Flow(
            table_id,
            message.priority,
            message.match,
            message.actions,
            message.cookie,
            message.idle_timeout,
            message.hard_timeout,
            message.importance,
            flags & KEPT_FLAGS,
            False,
            now,
            now,
            now,
        )
        tables.add(flow, source, message.xid, keep_counters=not flags & RESET_COUNTS)

    def _writable(self, table_id: int) -> int:
        """An add to 'all tables' goes to the first; the switch's own table is not for others."""
        if table_id == ALL_TABLES:
            return 0
        raise OpenFlowError(ErrorCode.BAD_REQUEST_EPERM)

    def _check(self, table: Table, message: FlowMod, source: object) -> None:
        if table.find_strict(message.match, message.priority) is not None:
            return
        if message.flags & CHECK_OVERLAP and overlaps(table, message.match, message.priority):
            raise OpenFlowError(ErrorCode.FLOW_MOD_FAILED_OVERLAP)
        limit = table.max_flows
        if limit is not None and table.n_flows >= limit and not self._lenient:
            victim = table.give_up() if table.evicts else None
            if victim is None:
                raise OpenFlowError(ErrorCode.FLOW_MOD_FAILED_TABLE_FULL)
            self._tables.remove(victim, RemovedReason.EVICTION, source, message.xid)
            self.evicted.append(victim)

    def _modify(self, message: FlowMod, flows: list[Flow], now: float, source: object) -> None:
        if not flows:
            if message.adds_when_nothing_matches:
                self._add(message, now, source)
            return
        if not self._lenient:
            self._check_actions(message.actions)
        tables = self._tables
        for flow in flows:
            # From OpenFlow 1.1 on a modify leaves cookies alone, even one that might have added.
            changes_cookie = message.modifies_cookie and message.version == 1
            cookie = message.cookie if changes_cookie else flow.cookie
            if message.flags & RESET_COUNTS and message.version > 1:
                tables.add(
                    Flow(
                        flow.table_id, flow.priority, flow.match, message.actions, cookie,
                        flow.idle_timeout_s, flow.hard_timeout_s, flow.importance, flow.flags,
                        False, flow.created_s, now, now,
                    ),
                    source,
                    message.xid,
                )  # fmt: skip
            else:
                tables.modify(flow, message.actions, cookie, now, source, message.xid)

    def _delete(self, message: FlowMod, source: object) -> None:
        tables = self._tables
        unfiltered = (
            message.match.mask == 0
            and not message.cookie_mask
            and message.out_port == OfPort.ANY
            and message.out_group == ANY_GROUP
        )
        if unfiltered:
            self._refuse_own_table(message.table_id)
            for table in tables_of(tables, message.table_id):
                if table.n_flows:
                    tables.clear_table(table, RemovedReason.DELETE, source, message.xid)
            return
        for flow in self._loose(message):
            tables.remove(flow, RemovedReason.DELETE, source, message.xid)

    def _refuse_own_table(self, table_id: int) -> None:
        if table_id == N_TABLES:
            raise OpenFlowError(ErrorCode.BAD_REQUEST_EPERM)

    def _loose(self, message: FlowMod) -> list[Flow]:
        self._refuse_own_table(message.table_id)
        deleting = message.command == DELETE
        return select(
            self._tables,
            message.table_id,
            message.match,
            cookie=message.match_cookie,
            cookie_mask=message.cookie_mask,
            out_port=message.out_port if deleting else OfPort.ANY,
            out_group=message.out_group if deleting else ANY_GROUP,
        )

    def _strict(self, message: FlowMod) -> list[Flow]:
        self._refuse_own_table(message.table_id)
        found: list[Flow] = []
        for table in tables_of(self._tables, message.table_id):
            flow = table.find_strict(message.match, message.priority) if table.n_flows else None
            if flow is not None:
                found.append(flow)
        deleting = message.command == DELETE_STRICT
        return keep(
            found,
            message.match_cookie,
            message.cookie_mask,
            message.out_port if deleting else OfPort.ANY,
            message.out_group if deleting else ANY_GROUP,
        )


def overlaps(table: Table, match: Match, priority: int) -> bool:
    """Whether a packet could match `match` and a flow of that priority (OFPFF_CHECK_OVERLAP)."""
    for subtable in table.subtables.values():
        if priority not in subtable.priorities:
            continue
        common = subtable.mask & match.mask
        wanted = match.value & common
        for value, flows in subtable.flows.items():
            if value & common == wanted and any(f.priority == priority for f in flows):
                return True
    return False
