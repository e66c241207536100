"""The flow that a learn action makes of a packet (ovs-actions(7), learn)."""

from __future__ import annotations

from itertools import islice
from typing import Final

from gossamer.pipeline.action import Action, FinTimeout, Output, RegLoad, SetField, SubField
from gossamer.pipeline.action_learn import Learn, LearnSpec, LearnTo
from gossamer.pipeline.flow import Flow, FlowTable
from gossamer.pipeline.match import Match
from gossamer.pipeline.of_port import OfPort

SEND_FLOW_REM: Final = 1
"""Bit of Learn.flags (NX_LEARN_F_SEND_FLOW_REM), and of Flow.flags (OFPFF_SEND_FLOW_REM)."""
_OUTPUTS: Final = frozenset((OfPort.IN_PORT, OfPort.FLOOD, OfPort.ALL, OfPort.LOCAL))
"""Reserved ports that a learned flow may output to."""
_PORT_BITS: Final = 16
_REG_LOAD_BITS: Final = 64
"""What a RegLoad can hold."""


def learned_flow(action: Learn, key: int) -> Flow:
    """What `action` learns of a packet with this key."""
    match = Match()
    actions: list[Action] = []
    if action.fin_idle_timeout or action.fin_hard_timeout:
        actions.append(FinTimeout(action.fin_idle_timeout, action.fin_hard_timeout))
    for spec in action.specs:
        value = _value(spec, key)
        if spec.to is LearnTo.OUTPUT or spec.dst is None:
            actions += _output(value)
        elif spec.to is LearnTo.LOAD:
            actions.append(_load(spec.dst, spec.n_bits, value))
        else:
            match = _narrowed(match, spec.dst, spec.n_bits, value)
    return Flow(
        action.table_id,
        action.priority,
        match,
        tuple(actions),
        cookie=action.cookie,
        idle_timeout_s=action.idle_timeout,
        hard_timeout_s=action.hard_timeout,
        flags=action.flags & SEND_FLOW_REM,
    )


def has_room(action: Learn, flow: Flow, table: FlowTable | None) -> bool:
    """Whether `flow` may be added to what `action` has learned already."""
    if not action.limit or table is None or table.find_strict(flow.match, flow.priority):
        return True
    learned = (other for other in table if other.cookie == action.cookie)
    return sum(1 for _ in islice(learned, action.limit)) < action.limit


def _value(spec: LearnSpec, key: int) -> int:
    source = spec.source
    value = source if isinstance(source, int) else key >> source.shift
    return value & ((1 << spec.n_bits) - 1)


def _narrowed(match: Match, dst: SubField, n_bits: int, value: int) -> Match:
    mask = ((1 << n_bits) - 1) << dst.shift
    if dst.field.name == "in_port" and n_bits == _PORT_BITS:
        mask, value = dst.field.full_mask, _wide(value)
    return Match(match.value & ~mask | value << dst.shift, match.mask | mask)


def _load(dst: SubField, n_bits: int, value: int) -> Action:
    if n_bits <= _REG_LOAD_BITS:
        return RegLoad(SubField(dst.field, dst.low, n_bits), value)
    return SetField(dst.field, value << dst.low, ((1 << n_bits) - 1) << dst.low)


def _output(port: int) -> list[Action]:
    wide = _wide(port)
    return [Output(wide)] if wide < OfPort.MAX or wide in _OUTPUTS else []


def _wide(port: int) -> int:
    """OpenFlow 1.0's 16 bits of a port number, as 32."""
    return port | 0xFFFF0000 if 0xFF00 <= port <= 0xFFFF else port
