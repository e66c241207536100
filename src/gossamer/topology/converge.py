"""Bring the host to what a topology says, changing only what differs.

What we made is written down in the run directory as it is made, so that
`down` removes exactly that, also after a crash; a failed `up` takes back what
it did.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gossamer.errors import TopologyError
from gossamer.topology.command import Tools
from gossamer.topology.model import Topology
from gossamer.topology.resources import Spec, kind_of, resources


class Verb(StrEnum):
    """What happens to a resource."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Step:
    """One change.  `old` is None for a creation, `new` for a deletion."""

    verb: Verb
    key: str
    old: Spec | None
    new: Spec | None


Progress = Callable[[Step, int, int], None]


class State:
    """The resources that one topology has on this host, kept in a file."""

    def __init__(self, rundir: Path, name: str) -> None:
        self.name = name
        self.path = rundir / "topologies" / f"{name}.json"
        self.resources: dict[str, Spec] = {}
        self.source = ""
        if self.path.exists():
            try:
                data = json.loads(self.path.read_text())
                self.resources, self.source = data["resources"], data["source"]
            except (ValueError, KeyError, TypeError):
                raise TopologyError(
                    "the record of what was made is damaged",
                    place=str(self.path),
                    remedy="remove the namespaces and bridges by hand, then this file",
                ) from None

    def save(self) -> None:
        """Write it down, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".new")
        partial.write_text(json.dumps({"source": self.source, "resources": self.resources}))
        os.replace(partial, self.path)

    def forget(self) -> None:
        """Nothing is left."""
        self.path.unlink(missing_ok=True)


def known(rundir: Path) -> list[State]:
    """The topologies that are up."""
    return [State(rundir, path.stem) for path in sorted((rundir / "topologies").glob("*.json"))]


def plan(state: State, wanted: dict[str, Spec], tools: Tools) -> list[Step]:
    """The steps from what is there to what is wanted; none where both are the same."""
    steps = [
        Step(Verb.DELETE, key, spec, None)
        for key, spec in reversed(state.resources.items())
        if key not in wanted
    ]
    renewed: set[str] = set()
    for key, spec in wanted.items():
        have = state.resources.get(key)
        if have is not None and not kind_of(key).exists(tools, have):
            have = None  # somebody removed it: make it again
        instance = key.split("/")[1]
        if have is None or f"instance/{instance}" in renewed:
            renewed.add(key)
            steps.append(Step(Verb.CREATE, key, None, spec))
        elif have != spec:
            steps.append(Step(Verb.UPDATE, key, have, spec))
    return steps


def up(topology: Topology, source: Path, tools: Tools, progress: Progress | None = None) -> list[Step]:
    """Realise a topology; returns what was done.

    Raises TopologyError; then everything is as it was before.
    """
    state = State(tools.rundir, topology.name)
    steps = plan(state, resources(topology), tools)
    _refuse_foreign(state, steps, tools)
    state.source = str(source.resolve())
    done: list[Step] = []
    for i, step in enumerate(steps):
        if progress:
            progress(step, i, len(steps))
        done.append(step)
        try:
            _perform(step, state, tools)
        except TopologyError as e:
            _take_back(done, state, tools)
            raise TopologyError(
                f"{step.verb} {step.key}: {e.message}",
                place=e.place,
                remedy=e.remedy or "everything is as it was before",
            ) from None
    state.save()
    return steps


def down(state: State, tools: Tools, progress: Progress | None = None) -> list[Step]:
    """Remove all that a topology has here."""
    steps = [
        Step(Verb.DELETE, key, spec, None) for key, spec in reversed(state.resources.items())
    ]
    for i, step in enumerate(steps):
        if progress:
            progress(step, i, len(steps))
        _perform(step, state, tools)
    state.forget()
    return steps


def _refuse_foreign(state: State, steps: list[Step], tools: Tools) -> None:
    """What is there already and is not ours is never taken over."""
    for step in steps:
        if step.verb is Verb.CREATE and step.key not in state.resources and step.new is not None:
            kind = step.key.split("/")[0]
            if kind in ("bridge", "instance") and kind_of(step.key).exists(tools, step.new):
                raise TopologyError(
                    f"{step.key} exists already and is not part of {state.name}",
                    place=step.key,
                    remedy="choose another name, or remove it",
                )


def _perform(step: Step, state: State, tools: Tools) -> None:
    kind = kind_of(step.key)
    if step.verb is Verb.DELETE:
        assert step.old is not None
        kind.delete(tools, step.old)
        state.resources.pop(step.key, None)
        state.save()
        return
    assert step.new is not None
    # Written down before it is made: a crash in between leaves too much in the record, never too little.
    if step.verb is Verb.CREATE:
        state.resources[step.key] = step.new
        state.save()
        kind.create(tools, step.new)
    else:
        assert step.old is not None
        kind.update(tools, step.old, step.new)
        state.resources[step.key] = step.new
        state.save()


def _take_back(done: list[Step], state: State, tools: Tools) -> None:
    for step in reversed(done):
        kind = kind_of(step.key)
        if step.verb is Verb.CREATE and step.new is not None:
            kind.delete(tools, step.new)
            state.resources.pop(step.key, None)
        elif step.verb is Verb.UPDATE and step.old is not None and step.new is not None:
            kind.update(tools, step.new, step.old)
            state.resources[step.key] = step.old
        elif step.old is not None and not kind.exists(tools, step.old):
            kind.create(tools, step.old)
            state.resources[step.key] = step.old
    if state.resources:
        state.save()
    else:
        state.forget()
