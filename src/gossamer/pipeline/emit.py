"""Where a packet goes: written down while it is translated, as effects, to be performed later."""

from __future__ import annotations

from gossamer.pipeline import action as act
from gossamer.pipeline.action_ct import Ct
from gossamer.pipeline.change import apply_change
from gossamer.pipeline.conntrack.asking import request_of
from gossamer.pipeline.conntrack.crossing import untracked
from gossamer.pipeline.fields import get_slot
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.format_field import format_port
from gossamer.pipeline.frozen import Freezing, Frozen
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.result import Reason
from gossamer.pipeline.state import At, Effect, State
from gossamer.pipeline.steps import Drop, Step, StepKind


def emit(
    state: State,
    action: act.Output | act.OutputTrunc | act.Controller | act.Meter | act.Sample,
    at: At,
    reason: int = 0,
) -> None:
    """Write down what is to be performed with the packet as it is now."""
    state.effects.append(
        Effect(
            action,
            state.key,
            state.buffer,
            at.step,
            state.copies,
            state.written,
            reason,
            at.table_id,
            at.flow,
        )
    )


def output(state: State, port: int, max_len: int, at: At) -> None:
    """To a port; OFPP_TABLE is none."""
    if port == OfPort.CONTROLLER:
        send_up(state, act.Controller(max_len=max_len or 0xFFFF), at)
    elif port == get_slot(state.key, "in_port"):
        at.step.warn("skipping output to input port")
    elif port not in (OfPort.ANY, OfPort.TABLE):
        emit(state, act.Output(port), at)


def output_reg(state: State, action: act.OutputReg, at: At) -> None:
    """To the port whose number a field holds."""
    source = action.source
    port = (state.key >> source.shift) & ((1 << source.n_bits) - 1)
    if port > 0xFFFF:
        at.step.warn(f"output port {port} is out of range", Drop.NO_PORT)
        return
    # Registers hold port numbers as OpenFlow 1.0 writes them: 16 bits.
    at.step.detail(f"output port is {port}")
    output(state, port | 0xFFFF0000 if port >= 0xFF00 else port, action.max_len, at)


def output_trunc(state: State, action: act.OutputTrunc, at: At) -> None:
    """The first bytes of it, to a port with a device."""
    port = state.bridge.ports.get(action.port)
    if action.port == get_slot(state.key, "in_port"):
        at.step.warn("skipping output to input port")
    elif port is None or port.peer is not None:
        name = format_port(action.port)
        at.step.error(f"output_trunc does not support patch port {name}", Drop.NO_PORT)
    else:
        emit(state, action, at)


def send_up(state: State, action: act.Controller, at: At) -> None:
    """To the controllers."""
    reason = action.reason
    if action.as_output:
        if state.packet_out and at.flow is None and not state.in_action_set:
            reason = Reason.PACKET_OUT
        elif state.in_bucket:
            reason = Reason.GROUP
        elif state.in_action_set:
            reason = Reason.ACTION_SET
    if action.pause:
        pause(state, action, at.step)
    else:
        emit(state, action, at, reason)


def pause(state: State, action: act.Controller, step: Step) -> None:
    """Stop here: the packet waits, with all that is left to do, until it comes back."""
    state.freezing = Freezing(action, step)
    state.exited = True


def freeze(state: State, flow: Flow | None) -> None:
    """Send up a packet that was stopped below `flow`.  It tells of that rule, and of no table, as
    Open vSwitch does; what is left to do names the pausing one."""
    freezing, state.freezing = state.freezing, None
    if freezing is None or state.failure is not None:
        return
    frozen = Frozen(
        tuple(freezing.remaining),
        state.action_set.written(),
        tuple(state.stack),
        bool(get_slot(state.key, "ct_state")),
    )
    state.effects.append(
        Effect(
            freezing.action,
            state.key,
            state.buffer,
            freezing.step,
            state.copies,
            state.written,
            freezing.action.reason,
            flow=flow,
            frozen=frozen,
        )
    )


def track(state: State, action: Ct, step: Step) -> None:
    """Write down a ct(); what goes on here is a packet that was never tracked."""
    step.before = state.key
    state.effects.append(
        Effect(
            action,
            state.key,
            state.buffer,
            step,
            state.copies,
            state.written,
            request=request_of(action, state.key, step),
            action_set=state.action_set.copy(),
        )
    )
    inside = (action.nat, *action.actions) if action.nat is not None else action.actions
    for below in inside:
        step.add(Step(StepKind.ACTION, action=below, key=apply_change(state.key, below, step)))
    if action.table is not None:
        step.detail(
            "A clone of the packet is forked to recirculate. The forked pipeline will be "
            f"resumed at table {action.table}."
        )
    step.detail("Sets the packet to an untracked state, and clears all the conntrack fields.")
    state.key = untracked(state.key)
    state.written = (*state.written, 0)
