"""What a learn action makes of a packet (ovs-actions(7), learn; NXAST_LEARN, NXAST_LEARN2)."""

from __future__ import annotations

from typing import Final, NamedTuple

from gossamer.openflow.oxm import port_from_16
from gossamer.pipeline.action import (
    Action,
    Actions,
    FinTimeout,
    Learn,
    LearnSpec,
    LearnTo,
    OfPort,
    Output,
    RegLoad,
    SetField,
    SubField,
)
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import Match
from gossamer.switch.tables import N_TABLES, FlowTables

SEND_FLOW_REM: Final = 1
"""NX_LEARN_F_SEND_FLOW_REM; the same bit of a flow asks for flow-removed."""
_PORT_BITS: Final = 16
_REG_LOAD_BITS: Final = 64
_OUTPUT_PORTS: Final = (OfPort.IN_PORT, OfPort.FLOOD, OfPort.LOCAL, OfPort.ALL)
"""Reserved ports that a learned flow may output to, as Open vSwitch has it."""


class Lesson(NamedTuple):
    """The match and actions of a learned flow."""

    match: Match
    actions: Actions


def lesson(action: Learn, key: int) -> Lesson:
    """What is to be learned from a packet with this flow key."""
    value = mask = 0
    actions: list[Action] = []
    if action.fin_idle_timeout or action.fin_hard_timeout:
        actions.append(FinTimeout(action.fin_idle_timeout, action.fin_hard_timeout))
    for spec in action.specs:
        content = _content(spec, key)
        if spec.to is LearnTo.MATCH:
            bits, place = _matched(spec, content)
            value, mask = (value & ~place) | bits, mask | place
        elif spec.to is LearnTo.LOAD:
            actions.append(_load(spec, content))
        else:
            actions += _output(spec, content)
    return Lesson(Match(value, mask), tuple(actions))


def _content(spec: LearnSpec, key: int) -> int:
    bits = (1 << spec.n_bits) - 1
    if isinstance(spec.source, SubField):
        return key >> spec.source.shift & bits
    return spec.source & bits


def _matched(spec: LearnSpec, content: int) -> tuple[int, int]:
    """The bits of the match, and which of it they are."""
    dst = _destination(spec)
    if dst.field.name == "in_port" and spec.n_bits == _PORT_BITS and not dst.low:
        # NXM_OF_IN_PORT: OpenFlow 1.0's number for what the key has in 32 bits.
        return port_from_16(content) << dst.field.shift, dst.field.full_mask
    return content << dst.shift, ((1 << spec.n_bits) - 1) << dst.shift


def _load(spec: LearnSpec, content: int) -> Action:
    dst = _destination(spec)
    if spec.n_bits <= _REG_LOAD_BITS:
        return RegLoad(SubField(dst.field, dst.low, spec.n_bits), content)
    return SetField(dst.field, content << dst.low, ((1 << spec.n_bits) - 1) << dst.low)


def _output(spec: LearnSpec, content: int) -> list[Action]:
    port = content if content > 0xFFFF else port_from_16(content)
    if port < OfPort.MAX or port in _OUTPUT_PORTS:
        return [Output(port)]
    return []


def _destination(spec: LearnSpec) -> SubField:
    assert spec.dst is not None
    return spec.dst


def teach(tables: FlowTables, action: Learn, key: int, now: float) -> Flow | None:
    """Add or change the flow that a packet with this key teaches; the caller commits.

    Where the flow is there already its hard timeout begins anew.  Returns the
    flow where it is new or different; None too where there is no room for it,
    or there are as many as the action allows.
    """
    if action.table_id >= N_TABLES:
        return None
    match, actions = lesson(action, key)
    table = tables.tables[action.table_id]
    known = table.find_strict(match, action.priority)
    if known is not None:
        if known.actions == actions and known.cookie == action.cookie:
            known.modified_s = now
            if known.hard_timeout_s:
                tables.timeouts.add(known)
            return None
        tables.modify(known, actions, action.cookie, now)
        return known
    if action.limit and sum(f.cookie == action.cookie for f in table) >= action.limit:
        return None
    if table.max_flows is not None and table.n_flows >= table.max_flows:
        return None
    flow = Flow(
        action.table_id,
        action.priority,
        match,
        actions,
        action.cookie,
        action.idle_timeout,
        action.hard_timeout,
        flags=action.flags & SEND_FLOW_REM,
        created_s=now,
        modified_s=now,
        used_s=now,
    )
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
