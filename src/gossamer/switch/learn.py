"""Flows that packets teach, and what a FIN does to a flow (ovs-actions(7), learn, fin_timeout)."""

from __future__ import annotations

from gossamer.pipeline.action import FinTimeout
from gossamer.pipeline.action_learn import Learn
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.learning import has_room, learned_flow
from gossamer.switch.flow_event import RemovedReason
from gossamer.switch.table import N_TABLES
from gossamer.switch.tables import FlowTables


def teach(
    tables: FlowTables, action: Learn, key: int, now: float, evicted: list[Flow]
) -> Flow | None:
    """Add or change the flow that a packet with this key teaches; the caller commits.

    Where the flow is there already its hard timeout begins anew.  Returns the
    flow where it is new or different; None too where there is no room for it,
    or there are as many as the action allows.  Flows that had to make room are
    added to `evicted`.
    """
    if action.table_id >= N_TABLES:
        return None
    flow = learned_flow(action, key)
    table = tables.tables[action.table_id]
    known = table.find_strict(flow.match, flow.priority)
    if known is not None:
        if known.actions == flow.actions and known.cookie == flow.cookie:
            known.modified_s = now
            if known.hard_timeout_s:
                tables.timeouts.add(known)
            return None
        tables.modify(known, flow.actions, flow.cookie, now)
        return known
    if not has_room(action, flow, table):
        return None
    if table.max_flows is not None and table.n_flows >= table.max_flows:
        victim = table.give_up() if table.evicts else None
        if victim is None:
            return None
        tables.remove(victim, RemovedReason.EVICTION)
        evicted.append(victim)
    flow.created_s = flow.modified_s = flow.used_s = now
    tables.add(flow)
    return flow


def shorten(tables: FlowTables, flow: Flow, action: FinTimeout) -> bool:
    """A FIN or RST passed a flow with fin_timeout; True where that made its timeouts shorter."""
    idle = _shorter(flow.idle_timeout_s, action.idle_timeout)
    hard = _shorter(flow.hard_timeout_s, action.hard_timeout)
    if (idle, hard) == (flow.idle_timeout_s, flow.hard_timeout_s):
        return False
    flow.idle_timeout_s, flow.hard_timeout_s = idle, hard
    tables.timeouts.add(flow)
    return True


def _shorter(timeout: int, limit: int) -> int:
    return limit if limit and (not timeout or timeout > limit) else timeout
