"""A trace as values for JSON: the steps of a packet as a tree, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gossamer.pipeline.fields import get_slot
from gossamer.pipeline.format import format_action, format_match
from gossamer.pipeline.header_changes import header_changes
from gossamer.pipeline.result import Result
from gossamer.pipeline.steps import Step, StepKind
from gossamer.pipeline.steps_text import learned_as_text
from gossamer.pipeline.world import World


def trace_as_data(world: World, result: Result) -> dict[str, Any]:
    """Steps as a tree, outputs, packet-ins, reasons of drops."""
    return {
        "outputs": [
            {
                "bridge": o.bridge,
                "port": world.bridges[o.bridge].port_name(o.ofport),
                "ofport": o.ofport,
                "packet": o.packet.hex(),
            }
            for o in result.outputs
        ],
        "packet_ins": [
            {"bridge": p.bridge, "reason": p.reason, "table": p.table_id, "packet": p.packet.hex()}
            for p in result.punts
        ],
        "drops": [str(d) for d in result.drops],
        "steps": _step_as_data(result.steps, result.steps.key),
    }


_MAX_NESTING: Final = 150
"""Steps within steps, as deep as JSON is written for them; loops go deeper."""


def _step_as_data(step: Step, before: int, depth: int = 0) -> Mapping[str, Any]:
    out: dict[str, Any] = {"kind": str(step.kind)}
    if step.text:
        out["text"] = step.text
    if step.drop:
        out["drop"] = str(step.drop)
    match step.kind:
        case StepKind.BRIDGE:
            out |= {"bridge": step.bridge, "in_port": step.port}
        case StepKind.RESUME:
            out |= {"bridge": step.bridge, "in_port": step.port, "table": step.table_id}
            out["ct_state"] = get_slot(step.key, "ct_state")
        case StepKind.TABLE:
            out["table"] = step.table_id
            out["flow"] = (
                {
                    "priority": step.flow.priority,
                    "match": format_match(step.flow.match),
                    "cookie": step.flow.cookie,
                }
                if step.flow
                else None
            )
        case StepKind.LEARNED if step.flow is not None:
            out["flow"] = learned_as_text(step.flow)
        case StepKind.ACTION_SET_IS | StepKind.ACTION_SET_WAS:
            out["actions"] = [format_action(a) for a in step.actions]
        case StepKind.ACTION if step.action is not None:
            out["action"] = format_action(step.action)
            if step.key and step.key != before:
                out["changes"] = header_changes(before, step.key)
        case StepKind.WARNING if step.port:
            out["ofport"] = step.port
        case StepKind.OUTPUT | StepKind.PUNT:
            out |= {"bridge": step.bridge, "ofport": step.port, "packet": step.packet.hex()}
            if tun_id := get_slot(step.key, "tun_id"):
                out["tun_id"] = tun_id
    key = before if step.kind is StepKind.ACTION else step.key or before
    if step.steps and depth >= _MAX_NESTING:
        return out | {"text": "steps within are left out"}
    below = []
    for s in step.steps:
        below.append(_step_as_data(s, key, depth + 1))
        key = s.key or key
    if below:
        out["steps"] = below
    return out
