"""Bring the host to what a topology says, changing only what differs.

What is compared is what *is*: the database, the switch's flows, the devices.
What somebody changed or removed by hand is therefore put right, and told.
A failed or interrupted `up` takes back what it did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Final

from gossamer.errors import TopologyError
from gossamer.topology.command import Refused, Tools
from gossamer.topology.difference import Difference, compare
from gossamer.topology.document import Document
from gossamer.topology.interrupt import interruptible, uninterrupted
from gossamer.topology.kind import kind_of
from gossamer.topology.model import Topology
from gossamer.topology.place import place_of
from gossamer.topology.resources import Spec, resources
from gossamer.topology.seen import Seen
from gossamer.topology.state import State, alone, known

__all__ = ["State", "Step", "Verb", "down", "drift", "known", "plan", "up"]

_HOSTS: Final = ("host/", "daemon/")
_ROUNDS: Final = 3
"""A change may undo another: the kernel drops the routes of an address that goes."""


class Verb(StrEnum):
    """What happens to a resource."""

    CREATE = "create"
    UPDATE = "update"
    REPAIR = "repair"
    """The file says what it said; somebody changed what is."""
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Step:
    """One change.  `old` is None for a creation, `new` for a deletion."""

    verb: Verb
    key: str
    old: Spec | None
    new: Spec | None
    differences: tuple[Difference, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """What differs, for people."""
        return tuple(d.text for d in self.differences)


Progress = Callable[[Step, int, int], None]


def plan(state: State, wanted: dict[str, Spec], tools: Tools) -> list[Step]:
    """The steps from what is there to what is wanted; none where both are the same."""
    return _plan(state, wanted, tools, Seen(tools))


def _plan(state: State, wanted: dict[str, Spec], tools: Tools, seen: Seen) -> list[Step]:
    steps = [
        Step(Verb.DELETE, key, spec, None)
        for key, spec in reversed(state.resources.items())
        if key not in wanted
    ]
    for key, spec in wanted.items():
        have = state.resources.get(key)
        if have is None:
            steps.append(Step(Verb.CREATE, key, None, spec))
            continue
        try:
            differences = tuple(kind_of(key).differences(tools, seen, spec))
        except Refused as e:
            raise _About(e, key) from None
        if have != spec:
            steps.append(Step(Verb.UPDATE, key, have, spec, differences or _edited(have, spec)))
        elif differences:
            steps.append(Step(Verb.REPAIR, key, have, spec, differences))
    # Nothing can be changed on a host whose daemon does not run.
    return sorted(steps, key=lambda s: not (s.verb is Verb.REPAIR and s.key.startswith(_HOSTS)))


def _edited(have: Spec, spec: Spec) -> tuple[Difference, ...]:
    """What the file says otherwise than before, where that is all that differs."""
    return tuple(
        d for name in spec for d in compare(name, spec[name], have.get(name), name.replace("_", " "))
    )


def drift(state: State, tools: Tools) -> list[Step]:
    """What somebody changed by hand since `up`: the repairs that the next one would make."""
    return plan(state, state.resources, tools)


def up(topology: Topology, source: Path, tools: Tools, progress: Progress | None = None) -> list[Step]:
    """Realise a topology; returns what was done.

    Raises TopologyError with file and line; then everything is as it was
    before, but for what was repaired.
    """
    with alone(tools.rundir), interruptible():
        tools.require_daemon()
        state = State(tools.rundir, topology.name)
        _refuse_other_file(state, source)
        try:
            return _up(topology, source, state, tools, progress)
        except _About as e:
            raise e.placed(topology, source) from None
        except TopologyError as e:
            if e.place.startswith(("instances.", "bridges.", "patches", "hosts.", "networks.")):
                place = Document.read(source).place(e.place)
                raise TopologyError(e.message, place=place, remedy=e.remedy) from None
            raise


def _up(
    topology: Topology, source: Path, state: State, tools: Tools, progress: Progress | None
) -> list[Step]:
    wanted = resources(topology)
    seen = Seen(tools)
    steps = _plan(state, wanted, tools, seen)
    _refuse_foreign(steps, seen, tools)
    before, source_before = dict(state.resources), state.source
    state.source = str(source.resolve())
    begun: list[Step] = []
    try:
        for at_once, group in groupby(enumerate(steps), lambda s: _may_go_at_once(s[1])):
            if at_once:
                _perform_at_once([step for _, step in group], begun, state, tools, seen)
                continue
            for i, step in group:
                if progress:
                    progress(step, i, len(steps))
                begun.append(step)
                _perform(step, state, tools, seen)
        if steps:
            _settle(state, wanted, tools)
    except BaseException as e:
        with uninterrupted():
            left = _take_back(begun, state, before, tools)
        state.source = source_before
        if state.resources:
            state.save()
        else:
            state.forget()
        if isinstance(e, _About):
            raise e.after(left, state.name) from None
        raise
    state.resources = {key: wanted[key] for key in wanted}
    state.save()
    return steps


def down(state: State, tools: Tools, progress: Progress | None = None) -> list[Step]:
    """Remove all that a topology has here."""
    with alone(tools.rundir), interruptible():
        tools.require_daemon()
        state = State(tools.rundir, state.name)
        steps = [
            Step(Verb.DELETE, key, spec, None) for key, spec in reversed(state.resources.items())
        ]
        seen = Seen(tools)
        for i, step in enumerate(steps):
            if progress:
                progress(step, i, len(steps))
            try:
                _perform(step, state, tools, seen)
            except _About as e:
                raise TopologyError(
                    f"{_named(e.key)}: {e.message}",
                    place=e.place or state.name,
                    remedy="; ".join(filter(None, (e.remedy, f"then gossamer down {state.name} again"))),
                ) from None
        state.forget()
        return steps


class _About(TopologyError):
    """An error that knows which resource it is about, and not yet where that is declared."""

    def __init__(self, e: TopologyError, key: str) -> None:
        super().__init__(e.message, place=e.place, remedy=e.remedy)
        self.key = key
        self.attribute = e.attribute if isinstance(e, Refused) else ""
        self.after_text = ""

    def placed(self, topology: Topology, source: Path) -> TopologyError:
        """The error as the user sees it."""
        message = f"{_named(self.key)}: {self.message}"
        if self.place:
            message += f" ({self.place})"
        place = place_of(topology, source, self.key, self.attribute)
        remedies = [self.remedy, self.after_text or "nothing was changed"]
        return TopologyError(message, place=place, remedy="; ".join(r for r in remedies if r))

    def after(self, left: list[str], name: str) -> _About:
        """Say what became of the rest."""
        if left:
            self.after_text = (
                f"could not be taken back: {', '.join(left)}: gossamer down {name} tries again"
            )
        else:
            self.after_text = "everything is as it was before"
        return self


def _named(key: str) -> str:
    """A resource as people call it."""
    kind, *names = key.split("/")
    match kind:
        case "port":
            return f"{names[0]} eth{names[1]}"
        case "patch":
            return f"patch {names[0]} to {names[1]}"
        case "flows":
            return f"flows of {names[0]}"
        case "daemon":
            return f"gossamerd of {names[0]}"
        case "routing":
            return f"routing of {names[0]}"
        case _:
            return f"{kind} {names[0]}"


def _refuse_other_file(state: State, source: Path) -> None:
    """Two files of one name in two folders are two networks, unless they say that they are one."""
    other = Path(state.source) if state.source else None
    if other is None or other == source.resolve() or not other.exists():
        return
    if "name" not in Document.read(source).data:
        raise TopologyError(
            f"a topology {state.name} is up already, from {other}",
            place=f"{source}:1",
            remedy=f"give this one a name: of its own, or gossamer down {state.name} first",
        )


def _refuse_foreign(steps: Iterable[Step], seen: Seen, tools: Tools) -> None:
    """What is there already and is not ours is never taken over."""
    for step in steps:
        if step.verb is not Verb.CREATE or step.new is None:
            continue
        conflict = kind_of(step.key).conflict(seen, step.new)
        if conflict is None:
            continue
        owner = next((s.name for s in known(tools.rundir) if step.key in s.resources), None)
        if owner is not None and step.key.startswith("bridge/"):
            conflict = Refused(
                f"topology {owner} has a bridge of that name",
                remedy=f"choose another name, or gossamer down {owner} first",
            )
        raise _About(conflict, step.key)


def _perform(step: Step, state: State, tools: Tools, seen: Seen) -> None:
    kind = kind_of(step.key)
    try:
        if step.new is None:
            assert step.old is not None
            kind.delete(tools, step.old)
            state.resources.pop(step.key, None)
        else:
            if step.old is None:
                # Written down before it is made: a crash leaves too much in the record, never too little.
                state.resources[step.key] = step.new
                state.save()
            kind.ensure(tools, seen, step.new, step.old)
            state.resources[step.key] = step.new
        state.save()
    except TopologyError as e:
        raise _About(e, step.key) from None


def _may_go_at_once(step: Step) -> bool:
    """Daemons know nothing of each other, and each takes seconds to start."""
    return step.key.startswith("daemon/") and step.new is not None


def _perform_at_once(
    steps: list[Step], begun: list[Step], state: State, tools: Tools, seen: Seen
) -> None:
    begun += steps
    for step in steps:
        if step.new is not None:
            state.resources.setdefault(step.key, step.new)
    state.save()

    def perform(step: Step) -> TopologyError | None:
        assert step.new is not None
        try:
            kind_of(step.key).ensure(tools, seen, step.new, step.old)
        except TopologyError as e:
            return _About(e, step.key)
        return None

    with ThreadPoolExecutor() as pool:
        for error in list(pool.map(perform, steps)):
            if error is not None:
                raise error
    state.resources |= {step.key: step.new for step in steps if step.new is not None}
    state.save()


def _settle(state: State, wanted: dict[str, Spec], tools: Tools) -> None:
    """Look at what became of it; put right what one change did to another.

    Raises _About where something does not become what it should.
    """
    for _ in range(_ROUNDS):
        seen = Seen(tools)
        left = _plan(state, wanted, tools, seen)
        if not left:
            return
        for step in left:
            _perform(replace(step, old=step.new), state, tools, seen)
    left = _plan(state, wanted, tools, Seen(tools))
    if left:
        step, difference = left[0], left[0].differences[0]
        raise _About(
            Refused(
                f"it was asked for, but {difference.text}",
                attribute=difference.attribute,
                remedy="does a field lack the one it depends on, such as tcp before tp_dst?"
                if step.key.startswith("flows/")
                else f"see {tools.rundir}/ovs-vswitchd.log, and whether something else changes it too",
            ),
            step.key,
        )


def _take_back(
    begun: list[Step], state: State, before: dict[str, Spec], tools: Tools
) -> list[str]:
    """Back to the resources of `before`; returns what could not be brought back.

    Repairs stay: what was there before them is what nobody declared.
    """
    left: list[str] = []
    for step in reversed(begun):
        if step.verb is not Verb.CREATE or step.new is None:
            continue
        try:
            kind_of(step.key).delete(tools, state.resources.get(step.key, step.new))
            state.resources.pop(step.key, None)
        except TopologyError as e:
            left.append(f"{_named(step.key)} ({e.message})")
    undone = {step.key for step in begun if step.verb in (Verb.UPDATE, Verb.DELETE)}
    for key, spec in before.items():
        if key not in undone:
            continue
        try:
            kind_of(key).ensure(tools, Seen(tools), spec, state.resources.get(key))
        except TopologyError as e:
            left.append(f"{_named(key)} ({e.message})")
    state.resources = {**{k: s for k, s in state.resources.items() if k not in before}, **before}
    return left
