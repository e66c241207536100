"""The action set: actions gathered on the way and run at its end, or those of a bucket.

Sources: OpenFlow 1.3.5, 5.10, for the order; ovs-actions(7), "write_actions",
for what it leaves open: changes of fields are all run, in the order written,
and nothing is run at all where nothing says where the packet goes.  One action
says so and comes last: a group, else an output, else a resubmit, else ct_clear,
else ct().
"""

from __future__ import annotations

from typing import Final

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, Actions
from gossamer.pipeline.action_ct import Ct, CtClear
from gossamer.pipeline.of_port import OfPort

OFPP_UNSET: Final = 0xFFFFFFF7
"""What actset_output is while no output is in the action set (OpenFlow 1.5.1, 7.2.1)."""

_ORDER: Final[tuple[type[Action], ...]] = (
    act.CopyTtlIn,
    act.PopVlan,
    act.PopPbb,
    act.PopMpls,
    act.PushMpls,
    act.PushPbb,
    act.PushVlan,
    act.CopyTtlOut,
    act.DecTtl,
    act.DecMplsTtl,
)


_LAST: Final[tuple[tuple[type[Action], ...], ...]] = (
    (act.Group,),
    (act.Output, act.OutputReg, act.Controller, act.Enqueue),
    (act.Resubmit,),
    (CtClear,),
    (Ct,),
)
"""Kinds of which one comes last, the first there is; the others are not run then."""


class ActionSet:
    """Actions gathered for the end."""

    def __init__(self, actions: Actions = ()) -> None:
        self.clear()
        self.write(actions)

    def clear(self) -> None:
        """Forget all that was written."""
        self._single: dict[type[Action], Action] = {}
        self._sets: list[Action] = []
        self._last: dict[tuple[type[Action], ...], Action] = {}
        self.output_port = OFPP_UNSET
        """What the field actset_output says: the port of the output, where no group overrules."""

    def __bool__(self) -> bool:
        return bool(self._single or self._sets or self._last)

    def copy(self) -> ActionSet:
        """What was gathered so far, to go on from there apart."""
        other = ActionSet()
        other._single, other._sets = dict(self._single), list(self._sets)
        other._last = dict(self._last)
        other.output_port = self.output_port
        return other

    def write(self, actions: Actions) -> bool:
        """Merge: one of a kind, the last one counts; changes of fields all, in order.

        True where they have a say in the field actset_output.
        """
        tells = False
        for action in actions:
            kinds = next((kinds for kinds in _LAST if isinstance(action, kinds)), None)
            if kinds is not None:
                self._last[kinds] = action
                tells |= self._note_port(action)
            elif not isinstance(action, act.Note):
                self._write_change(action)
        return tells

    def _write_change(self, action: Action) -> None:
        for kind in _ORDER:
            if isinstance(action, kind):
                self._single[kind] = action
                return
        self._sets.append(action)

    def _note_port(self, action: Action) -> bool:
        if isinstance(action, act.Group):
            self.output_port = OFPP_UNSET
        elif _LAST[0] in self._last:
            return False
        elif isinstance(action, act.Output):
            self.output_port = action.port
        elif isinstance(action, act.Controller) and action.as_output:
            self.output_port = OfPort.CONTROLLER
        else:
            return False
        return True

    def ordered(self) -> Actions:
        """As a list, in the order of execution; empty where nothing says where to send."""
        last = next((self._last[kinds] for kinds in _LAST if kinds in self._last), None)
        return (*self._changes(), last) if last is not None else ()

    def written(self) -> Actions:
        """All that was written and counts: what makes the same action set again."""
        return (*self._changes(), *self._last.values())

    def _changes(self) -> Actions:
        singles = [self._single[kind] for kind in _ORDER if kind in self._single]
        return (*singles, *self._sets)
