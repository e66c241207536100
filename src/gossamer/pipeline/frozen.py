"""A packet that waits: all that is needed to go on where controller(pause) stopped it.

What is left to do is that of every rule under way, innermost first: the rest of
the pausing rule's actions, then what each rule that resubmitted to it would have
done afterwards.  All of it is written as actions, since a controller carries it
(ovs-actions(7), controller; NXT_RESUME): goto_table as a resubmit, write_metadata
as a set_field.  The action set cannot be written to by an action, so what rules
would still have written into it is there at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, Actions
from gossamer.pipeline.action_encap import DecNshTtl
from gossamer.pipeline.action_set import ActionSet
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.steps import Step

SAME_TABLE: Final = 0xFF
"""Table of a resubmit that goes where its rule is."""
_TELL_OF_RULE: Final = (
    act.Output, act.OutputReg, act.OutputTrunc, act.Group, act.Controller,
    act.DecTtl, act.DecMplsTtl, DecNshTtl,
)  # fmt: skip
"""Actions that may send a packet up, which tells of the rule's table and cookie."""


@dataclass(frozen=True, slots=True)
class Remaining:
    """Actions still to be run, and the table and cookie of the rule they tell of."""

    table_id: int
    cookie: int
    actions: Actions


@dataclass(frozen=True, slots=True)
class Frozen:
    """Where a packet stood; `stack` has what was pushed, oldest first."""

    remaining: tuple[Remaining, ...] = ()
    action_set: Actions = ()
    stack: tuple[bytes, ...] = ()
    conntracked: bool = False
    """It is in the table of a ct(), whose fields tell of its connection."""


class Freezing:
    """A packet on its way out of the rules under way to where it waits."""

    def __init__(self, action: act.Controller, step: Step) -> None:
        self.action = action
        self.step = step
        self.remaining: list[Remaining] = []
        self._rule: tuple[int, int] | None = None

    def leave(
        self, actions: Actions, table_id: int, flow: Flow | None, action_set: ActionSet
    ) -> None:
        """Keep what a rule would still have done; `action_set` gets what it would have written."""
        rule = (table_id, flow.cookie if flow is not None else 0)
        for action in actions:
            match action:
                case act.Note() | act.Conjunction():
                    pass
                case act.ClearActions():
                    action_set.clear()
                case act.WriteActions(actions=written):
                    action_set.write(written)
                case act.GotoTable(table_id=to):
                    self._add(act.Resubmit(table_id=to))
                case act.WriteMetadata(value=value, mask=mask):
                    if mask:
                        self._add(act.SetField(BY_NAME["metadata"], value & mask, mask))
                case _:
                    if _tells_of_rule(action):
                        self._begin(rule)
                    self._add(action)

    def resume_with(self, remaining: tuple[Remaining, ...]) -> None:
        """What was left to do when the packet waited before."""
        self.remaining += remaining

    def _begin(self, rule: tuple[int, int]) -> None:
        if rule != self._rule:
            self._rule = rule
            self.remaining.append(Remaining(*rule, ()))

    def _add(self, action: Action) -> None:
        if not self.remaining:
            self.remaining.append(Remaining(0, 0, ()))
        last = self.remaining[-1]
        self.remaining[-1] = replace(last, actions=(*last.actions, action))


def _tells_of_rule(action: Action) -> bool:
    if isinstance(action, act.Resubmit):
        return action.table_id == SAME_TABLE
    return isinstance(action, _TELL_OF_RULE)
