"""Which flows refer to a group, a meter, or a cookie that their learn actions give.

A group or meter that goes takes its flows along (OpenFlow 1.3.5, 6.5 and 6.7),
and flows learned with delete_learned go with the last flow that teaches them
(ovs-actions(7)).  Both must find those flows among a million others that refer
to nothing, which therefore cost one dictionary access each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from gossamer.openflow.interned import Interned
from gossamer.pipeline.action import Action, Actions, Clone, Group, Meter, WriteActions
from gossamer.pipeline.action_learn import Learn
from gossamer.pipeline.flow import Flow

_DELETE_LEARNED: Final = 2
"""NX_LEARN_F_DELETE_LEARNED."""


class Lesson(NamedTuple):
    """Where learned flows go: all of a lesson go when nothing teaches it any more."""

    table_id: int
    cookie: int


class References(NamedTuple):
    """What a list of actions refers to."""

    groups: frozenset[int]
    meters: frozenset[int]
    lessons: frozenset[Lesson]


_NOTHING: Final = References(frozenset(), frozenset(), frozenset())
_known: Interned[int, tuple[Actions, References]] = Interned()


def flatten(actions: Iterable[Action]) -> Iterator[Action]:
    """The actions, with those inside write_actions and clone."""
    for action in actions:
        yield action
        if isinstance(action, (WriteActions, Clone)):
            yield from flatten(action.actions)


def references_of(actions: Actions) -> References:
    """What these actions refer to."""
    # Equal actions of different flows mostly are one object, which is kept with its entry.
    known = _known.get(id(actions))
    if known is not None and known[0] is actions:
        return known[1]
    groups: set[int] = set()
    meters: set[int] = set()
    lessons: set[Lesson] = set()
    for action in flatten(actions):
        if isinstance(action, Group):
            groups.add(action.group_id)
        elif isinstance(action, Meter):
            meters.add(action.meter_id)
        elif isinstance(action, Learn) and action.flags & _DELETE_LEARNED:
            lessons.add(Lesson(action.table_id, action.cookie))
    found = _NOTHING
    if groups or meters or lessons:
        found = References(frozenset(groups), frozenset(meters), frozenset(lessons))
    return _known.remember(id(actions), (actions, found))[1]


class ReferenceIndex:
    """The flows of a bridge that refer to something, by what they refer to."""

    def __init__(self) -> None:
        self.by_group: dict[int, dict[Flow, None]] = {}
        self.by_meter: dict[int, dict[Flow, None]] = {}
        self.by_lesson: dict[Lesson, dict[Flow, None]] = {}
        self.forgotten: set[Lesson] = set()
        """Lessons of which a teacher went; those without any other are over."""

    def __bool__(self) -> bool:
        return bool(self.by_group or self.by_meter or self.by_lesson)

    def add(self, flow: Flow) -> None:
        """A flow is in its table, or has other actions."""
        references = references_of(flow.actions)
        if references is _NOTHING:
            return
        for group_id in references.groups:
            self.by_group.setdefault(group_id, {})[flow] = None
        for meter_id in references.meters:
            self.by_meter.setdefault(meter_id, {})[flow] = None
        for lesson in references.lessons:
            self.by_lesson.setdefault(lesson, {})[flow] = None

    def discard(self, flow: Flow) -> None:
        """A flow went, or is about to have other actions."""
        references = references_of(flow.actions)
        if references is _NOTHING:
            return
        for group_id in references.groups:
            _discard(self.by_group, group_id, flow)
        for meter_id in references.meters:
            _discard(self.by_meter, meter_id, flow)
        for lesson in references.lessons:
            _discard(self.by_lesson, lesson, flow)
            self.forgotten.add(lesson)

    def take_finished(self) -> list[Lesson]:
        """Lessons that nothing teaches any more; each is told once."""
        over = [lesson for lesson in self.forgotten if lesson not in self.by_lesson]
        self.forgotten.clear()
        return over


def _discard(index: dict[Any, dict[Flow, None]], key: int | Lesson, flow: Flow) -> None:
    flows = index.get(key)
    if flows is not None:
        flows.pop(flow, None)
        if not flows:
            del index[key]
