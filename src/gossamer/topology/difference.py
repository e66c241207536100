"""Where what is differs from what the file says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Difference:
    """One attribute that is not as the file says.

    `attribute` is a path below the resource's own place in the file ("" for
    the whole resource); `text` says it for people.
    """

    attribute: str
    text: str


def compare(attribute: str, wanted: Any, found: Any, name: str = "") -> Iterable[Difference]:
    """One difference where the two are unequal, none otherwise."""
    if wanted != found:
        yield Difference(
            attribute, f"{name or attribute} is {_said(found)} instead of {_said(wanted)}"
        )


def missing(what: str, attribute: str = "") -> Difference:
    """Something is not there at all."""
    return Difference(attribute, f"{what} is missing")


def _said(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(str(v) for v in sorted(value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{k}={v}" for k, v in sorted(value.items())) or "none"
    return str(value)
