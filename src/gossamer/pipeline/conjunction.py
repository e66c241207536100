"""Conjunctive matches: one flow in the place of all combinations (ovs-actions(7), conjunction).

A flow with a conjunction action never decides itself.  It is one alternative
of one *clause* of a numbered conjunction.  Where a packet matches, at one
priority, an alternative of every clause, it is looked up again with the field
conj_id set to that number; where no flow is found so, and where a clause lacks
a match, lower priorities get their turn.  A flow without conjunction decides
before conjunctions of its own priority.
"""

from __future__ import annotations

from collections.abc import Iterable

from gossamer.pipeline.action import Actions, Conjunction


def complete(parts: Iterable[Actions]) -> int | None:
    """The conjunction of which every clause is among `parts`, the actions of flows of one
    priority that match; the lowest number where several are (which one it is, is undefined)."""
    met: dict[tuple[int, int], set[int]] = {}
    for actions in parts:
        for part in actions:
            if isinstance(part, Conjunction):
                met.setdefault((part.conj_id, part.n_clauses), set()).add(part.clause)
    return min(
        (conj_id for (conj_id, n), clauses in met.items() if len(clauses) == n), default=None
    )
