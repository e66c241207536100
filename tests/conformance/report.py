"""Who passed what, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.conformance.cases import Case


@dataclass(frozen=True)
class Result:
    """A case's failures by switch: None where it passed."""

    case: Case
    failures: dict[str, str | None]

    def passed(self, switch: str) -> bool:
        """Whether a switch passed."""
        return self.failures[switch] is None


def table(results: Sequence[Result], switches: Sequence[str]) -> str:
    """Cases passed of each category, and the sum."""
    head = ["category", "cases", *switches]
    rows = [head]
    for category in [*sorted({r.case.category for r in results}), None]:
        mine = [r for r in results if category in (None, r.case.category)]
        passed = [str(sum(r.passed(switch) for r in mine)) for switch in switches]
        rows.append([category or "all", str(len(mine)), *passed])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))])
        for row in rows
    )


def behind(results: Iterable[Result], mine: str, theirs: str) -> list[str]:
    """Categories in which one switch passes fewer cases than another."""
    lead: dict[str, int] = {}
    for result in results:
        ahead = result.passed(mine) - result.passed(theirs)
        lead[result.case.category] = lead.get(result.case.category, 0) + ahead
    return sorted(category for category, ahead in lead.items() if ahead < 0)


def as_json(results: Iterable[Result]) -> list[dict[str, object]]:
    """One object a case."""
    return [
        {
            "case": result.case.name,
            "category": result.case.category,
            "description": result.case.description,
            "failures": result.failures,
        }
        for result in results
    ]
