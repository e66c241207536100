"""Which actions may stand together, and in which order (as `ofpacts_verify` of Open vSwitch).

OpenFlow 1.1 split the actions of a flow into instructions, which have an
order.  Actions that are instructions elsewhere (write_metadata of OpenFlow 1.0)
must stand where these would; a meter of OpenFlow 1.5 may stand anywhere.
"""

from __future__ import annotations

from typing import Final

from gossamer.openflow.action_field import CT_ONLY
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.message.version import Version
from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, Actions
from gossamer.pipeline.action_ct import Nat
from gossamer.pipeline.fields import Field

_METER, _APPLY = 0, 1
_RANKS: Final[dict[type[Action], int]] = {
    act.Meter: _METER,
    act.ClearActions: 2,
    act.WriteActions: 3,
    act.WriteMetadata: 4,
    act.GotoTable: 5,
}
"""Where an instruction stands; all other actions are apply-actions."""


def is_instruction(action: Action) -> bool:
    """Whether OpenFlow 1.3 has an instruction for it."""
    return type(action) in _RANKS


def check_list(actions: Actions, version: int, *, alone: bool = False, in_ct: bool = False) -> None:
    """Raises OpenFlowError(UNSUPPORTED_ORDER, BAD_CONJUNCTION, ...) for a list that cannot be run.

    `alone`: the list stands by itself, in a packet-out, a bucket or another action, where
    there are no instructions; `in_ct`: that other action is a ct.
    """
    before = -1
    for action in actions:
        if isinstance(action, act.Conjunction):
            _check_conjunctions(actions)
            return
        _check_place(action, in_ct=in_ct)
        rank = _RANKS.get(type(action), _APPLY)
        if rank == _METER and version >= Version.V15:
            rank = _APPLY
        if rank < before or (rank == before and rank != _APPLY):
            raise OpenFlowError(
                ErrorCode.BAD_ACTION_UNSUPPORTED_ORDER, f"{type(action).__name__} is out of order"
            )
        if alone and rank != _APPLY:
            raise OpenFlowError(ErrorCode.BAD_INSTRUCTION_UNSUP_INST, type(action).__name__)
        before = rank


def _written(action: Action) -> Field | None:
    """The field that a set or a move changes."""
    match action:
        case act.SetField(field=f):
            return f
        case act.RegLoad(dst=dst) | act.RegMove(dst=dst):
            return dst.field
        case _:
            return None


def _check_place(action: Action, *, in_ct: bool) -> None:
    """ct runs its NAT and changes of ct_mark and ct_label, which run nowhere else."""
    field = _written(action)
    belongs = isinstance(action, Nat) or (field is not None and field.name in CT_ONLY)
    if belongs and not in_ct:
        raise OpenFlowError(
            ErrorCode.BAD_ACTION_BAD_SET_ARGUMENT, f"{type(action).__name__} outside of ct"
        )
    if in_ct and not belongs:
        raise OpenFlowError(
            ErrorCode.BAD_ACTION_BAD_ARGUMENT, f"ct does not run {type(action).__name__}"
        )


def _check_conjunctions(actions: Actions) -> None:
    for action in actions:
        if not isinstance(action, (act.Conjunction, act.Note)):
            raise OpenFlowError(
                ErrorCode.BAD_ACTION_BAD_CONJUNCTION,
                f"conjunction beside {type(action).__name__}",
            )
