"""The action set: actions gathered on the way and run at its end, or those of a bucket.

Sources: OpenFlow 1.3.5, 5.10, for the order; ovs-actions(7), "write_actions",
for what it leaves open: changes of fields are all run, in the order written,
and nothing is run at all where nothing says where the packet goes.
"""

from __future__ import annotations

from typing import Final

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, Actions, OfPort

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


class ActionSet:
    """Actions gathered for the end."""

    def __init__(self, actions: Actions = ()) -> None:
        self.clear()
        self.write(actions)

    def clear(self) -> None:
        """Forget all that was written."""
        self._single: dict[type[Action], Action] = {}
        self._sets: list[Action] = []
        self._group: Action | None = None
        self._output: Action | None = None
        self._resubmit: Action | None = None
        self.output_port = OFPP_UNSET
        """What the field actset_output says: the port of the output, where no group overrules."""

    def __bool__(self) -> bool:
        return bool(self._single or self._sets or self._group or self._output or self._resubmit)

    def copy(self) -> ActionSet:
        """What was gathered so far, to go on from there apart."""
        other = ActionSet()
        other._single, other._sets = dict(self._single), list(self._sets)
        other._group, other._output, other._resubmit = self._group, self._output, self._resubmit
        other.output_port = self.output_port
        return other

    def write(self, actions: Actions) -> bool:
        """Merge: one of a kind, the last one counts; changes of fields all, in order.

        True where they have a say in the field actset_output.
        """
        tells = False
        for action in actions:
            match action:
                case act.Output() | act.OutputReg() | act.Controller() | act.Enqueue():
                    self._output = action
                    tells |= self._note_port(action)
                case act.Group():
                    self._group = action
                    self.output_port = OFPP_UNSET
                    tells = True
                case act.Resubmit():
                    self._resubmit = action
                case act.Note():
                    pass
                case _:
                    self._write_change(action)
        return tells

    def _write_change(self, action: Action) -> None:
        for kind in _ORDER:
            if isinstance(action, kind):
                self._single[kind] = action
                return
        self._sets.append(action)

    def _note_port(self, action: Action) -> bool:
        if self._group is not None:
            return False
        if isinstance(action, act.Output):
            self.output_port = action.port
        elif isinstance(action, act.Controller) and action.as_output:
            self.output_port = OfPort.CONTROLLER
        else:
            return False
        return True

    def ordered(self) -> Actions:
        """As a list, in the order of execution; empty where nothing says where to send."""
        last = self._group or self._output or self._resubmit
        return (*self._changes(), last) if last is not None else ()

    def written(self) -> Actions:
        """All that was written and counts: what makes the same action set again."""
        ends = (self._output, self._group, self._resubmit)
        return (*self._changes(), *(end for end in ends if end is not None))

    def _changes(self) -> Actions:
        singles = [self._single[kind] for kind in _ORDER if kind in self._single]
        return (*singles, *self._sets)
