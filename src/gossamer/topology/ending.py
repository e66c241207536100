"""What became of a traced packet, in a line a copy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

_LOCAL: Final = 0xFFFFFFFE
"""OFPP_LOCAL (OpenFlow 1.3.5, 7.2.1): the bridge's own device."""
_BY_TABLES: Final = {
    "by_rule": "dropped",
    "no_rule": "dropped, since no rule matches",
    "no_group": "dropped, since the group is not there",
    "no_bucket": "dropped, since no bucket of the group is live",
    "fragment": "dropped as an IP fragment",
}
"""Drops that no step tells of, being of all of them together."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Where a copy of a packet ended."""

    text: str
    instance: str = ""
    """Who got it, if one did."""


def drops(trace: Any) -> Iterator[Ending]:
    """The copies that end within the bridges of a trace (gossamer/trace), and why."""
    told: set[str] = set()
    for place, step in _walk(trace["steps"], ""):
        reason = step.get("drop")
        if reason is None:
            continue
        told.add(reason)
        # A bridge's own device is often down, and floods do not mean it.
        if step.get("ofport") != _LOCAL:
            yield Ending(f"{place}: {step['text']}")
    for reason in trace["drops"]:
        if reason not in told:
            told.add(reason)
            yield Ending(f"{_last_place(trace['steps'])}: {_BY_TABLES.get(reason, reason)}")
    for packet_in in trace["packet_ins"]:
        yield Ending(f"{packet_in['bridge']}, table {packet_in['table']}: goes to the controllers")


def outputs(step: Any) -> Iterator[Any]:
    """The copies that leave by a port, in order."""
    if step["kind"] == "output":
        yield step
    for below in step.get("steps", ()):
        yield from outputs(below)


def _walk(step: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Each step with where it is: bridge, table and rule."""
    if step["kind"] in ("bridge", "resume"):
        place = step["bridge"]
    elif step["kind"] == "table":
        place = f"{place.partition(',')[0]}, {_rule(step)}"
    yield place, step
    for below in step.get("steps", ()):
        yield from _walk(below, place)


def _last_place(steps: Any) -> str:
    """Of the last rule that was met."""
    places = [place for place, step in _walk(steps, "") if step["kind"] == "table"]
    return places[-1] if places else str(steps["bridge"])


def _rule(table: Any) -> str:
    if table["flow"] is None:
        return f"table {table['table']}"
    match = table["flow"]["match"]
    words = f"priority={table['flow']['priority']}" + (f",{match}" if match else "")
    return f"table {table['table']}, {words}"
