"""Long work in the middle of which something else gets its turn, such as following links.

What works long takes a breath now and then: it calls `breathe`, which returns
at once where nothing else is due.  Between two breaths should be a few
milliseconds at most, also where it is only memory that is freed: 100,000 flows
take 40 ms to go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

_PART: Final = 1024

T = TypeVar("T")
Breathe = Callable[[], object]


def in_parts(things: Iterable[T], breathe: Breathe) -> Iterator[T]:
    """The things, with a breath now and then between them."""
    for i, thing in enumerate(things, 1):
        yield thing
        if not i % _PART:
            breathe()


def parts(things: list[T]) -> Iterator[list[T]]:
    """The things in turn, as many at a time as take a few milliseconds."""
    for start in range(0, len(things), _PART):
        yield things[start : start + _PART]


def let_go(things: list[Any], breathe: Breathe) -> None:
    """Empty a list that may be the last to know what is in it."""
    while things:
        del things[-_PART:]
        if things:
            breathe()
