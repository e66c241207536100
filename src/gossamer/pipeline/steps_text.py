"""The steps of a packet as lines of text, as ``ovs-appctl ofproto/trace`` writes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from gossamer.pipeline import action as act
from gossamer.pipeline.action_choice import Bundle, Multipath
from gossamer.pipeline.action_ct import Ct
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.format import (
    format_action,
    format_actions,
    format_hex,
    format_match,
    format_subfield,
    format_value,
)
from gossamer.pipeline.learning import SEND_FLOW_REM
from gossamer.pipeline.steps import Step, StepKind

_NESTING: Final = (StepKind.BRIDGE, StepKind.TABLE, StepKind.ACTION_SET)


def steps_as_text(first: Step) -> list[str]:
    """A bridge's steps, with the bridge."""
    lines: list[str] = []
    _Text(lines).steps([_as_open_vswitch_nests(first)], 0)
    return lines


def steps_below_as_text(first: Step) -> list[str]:
    """The same without the bridge."""
    lines: list[str] = []
    _Text(lines).steps(_as_open_vswitch_nests(first).steps, 0)
    return lines


class _Text:
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def steps(self, steps: list[Step], level: int) -> None:
        shown = list(_flat(steps))
        for i, step in enumerate(shown):
            # The last of a list stands under its parent, as nothing follows it there.
            terminal = step.kind not in _NESTING
            self.step(step, level, int(i + 1 < len(shown) or terminal))

    def step(self, step: Step, level: int, more: int) -> None:
        indent = "    " * (level + more)
        match step.kind:
            case StepKind.BRIDGE:
                title = f'bridge("{step.bridge}")'
                self.lines += ["", indent + title, indent + "-" * len(title)]
            case StepKind.TABLE:
                self.lines.append(indent + self.table(step))
            case StepKind.ACTION_SET:
                self.lines.append(indent + "--. Executing action set:")
            case StepKind.ACTION:
                self.lines.append(indent + (format_action(step.action) if step.action else "drop"))
                if isinstance(step.action, Ct) and not (step.action.nat or step.action.actions):
                    self.lines.append(f"{indent}drop")  # what Open vSwitch says of an empty list
                if step.action is not None:
                    self.lines += [f"{indent} -> {text}" for text in _changes(step)]
            case StepKind.ACTION_SET_IS | StepKind.ACTION_SET_WAS:
                verb = "is" if step.kind is StepKind.ACTION_SET_IS else "was"
                if step.actions:
                    text = f"action set {verb}: {format_actions(step.actions)}"
                else:
                    text = f"action set {verb} empty"
                self.lines.append(f"{indent} -> {text}")
            case StepKind.LEARNED if step.flow is not None:
                self.lines.append(f"{indent} -> {learned_as_text(step.flow)}")
            case StepKind.BUCKET:
                self.lines.append(indent + step.text)
            case StepKind.DETAIL:
                self.lines.append(f"{indent} -> {step.text}")
            case StepKind.WARNING:
                self.lines.append(f"{indent} >> {step.text}")
            case StepKind.ERROR:
                self.lines.append(f"{indent} >>>> {step.text} <<<<")
        if step.kind is not StepKind.ACTION:
            self.steps(step.steps, level + 2 * more)
        if step.kind is StepKind.TABLE and step.flow is None:
            punted = any(s.kind is StepKind.PUNT for s in step.steps)
            self.lines.append(
                "    " * (level + 2 * more + 1) + ("CONTROLLER:65535" if punted else "drop")
            )

    def table(self, step: Step) -> str:
        if step.flow is None:
            punted = any(s.kind is StepKind.PUNT for s in step.steps)
            called = 'No match, and a "packet-in" is called for.' if punted else "No match."
            return f"{step.table_id:2d}. {called}"
        text = format_match(step.flow.match)
        text += f"{', ' if text else ''}priority {step.flow.priority}"
        if step.flow.cookie:
            text += f", cookie {step.flow.cookie:#x}"
        return f"{step.table_id:2d}. {text}"


def _as_open_vswitch_nests(first: Step) -> Step:
    """The first bridge's steps with its action set below the last table, where Open vSwitch
    shows it."""
    *tables, last = first.steps or [Step(StepKind.TABLE)]
    if last.kind is not StepKind.ACTION_SET or not tables:
        return first
    table = replace(tables[-1], steps=[*tables[-1].steps, last])
    return replace(first, steps=[*tables[:-1], table])


def _flat(steps: list[Step]) -> Iterator[Step]:
    """Steps as lines: what an action led to follows it on its own level."""
    for step in steps:
        if step.kind in (StepKind.OUTPUT, StepKind.PUNT, StepKind.RESUME):
            continue
        yield step
        if step.kind is StepKind.ACTION:
            yield from _flat(step.steps)


def _changes(step: Step) -> list[str]:
    """What an action made of the bits it wrote, where its text does not say so itself."""
    if any(below.kind is StepKind.ERROR for below in step.steps):
        return []
    match step.action:
        case (
            act.RegMove(dst=dst)
            | act.StackPop(dst=dst)
            | Multipath(dst=dst)
            | Bundle(dst=act.SubField() as dst)
        ):
            value, full = (step.key >> dst.shift) & ((1 << dst.n_bits) - 1), dst.field.n_bits
            whole = dst.n_bits == full
            text = format_value(dst.field, value, (1 << full) - 1) if whole else format_hex(value)
            return [f"{format_subfield(dst)} is now {text}"]
        case _:
            return []


def learned_as_text(flow: Flow) -> str:
    parts = [f"table={flow.table_id}"]
    if text := format_match(flow.match):
        parts.append(text)
    parts.append(f"priority={flow.priority}")
    if flow.cookie:
        parts.append(f"cookie={flow.cookie:#x}")
    if flow.idle_timeout_s:
        parts.append(f"idle={flow.idle_timeout_s}")
    if flow.hard_timeout_s:
        parts.append(f"hard={flow.hard_timeout_s}")
    if flow.flags & SEND_FLOW_REM:
        parts.append("send_flow_rem")
    return f"{' '.join(parts)} actions={format_actions(flow.actions)}"
