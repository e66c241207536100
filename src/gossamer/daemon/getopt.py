"""Words of a command line as getopt_long(3) of the GNU C library reads them.

Scripts written for the peer rely on all of it: options and arguments in any
order, ``--option=VALUE`` and ``--option VALUE``, values that may be left out,
names cut short, and short options written together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from gossamer.errors import GossamerError


class UsageError(GossamerError):
    """A command line that cannot be understood; the text is getopt_long(3)'s."""


class Value(Enum):
    """Whether an option has a value."""

    NONE = auto()
    NEEDED = auto()
    """``--option=VALUE``, ``--option VALUE``, ``-oVALUE`` or ``-o VALUE``."""
    OPTIONAL = auto()
    """``--option=VALUE`` or ``-oVALUE``: a word that follows is no value of it."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its long name, whether it has a value, and its letter if it has one."""

    name: str
    value: Value = Value.NONE
    letter: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """An option as it was given; `name` is the whole long name, None stands for an argument."""

    name: str | None
    value: str | None = None


def read(options: Sequence[Option], words: Sequence[str]) -> Iterator[Given]:
    """The options in their order, then the arguments.  Raises UsageError at the first mistake."""
    arguments: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            arguments += rest
            break
        if word.startswith("--"):
            yield _long(options, word[2:], rest)
        elif word.startswith("-") and word != "-":
            yield from _short(options, word[1:], rest)
        else:
            arguments.append(word)
    yield from (Given(None, argument) for argument in arguments)


def _long(options: Sequence[Option], word: str, rest: list[str]) -> Given:
    name, equals, text = word.partition("=")
    found = [o for o in options if o.name == name] or [o for o in options if o.name.startswith(name)]
    if not found:
        raise UsageError(f"unrecognized option '--{name}'")
    if len(found) > 1:
        names = "".join(f" '--{o.name}'" for o in found)
        raise UsageError(f"option '--{name}' is ambiguous; possibilities:{names}")
    option = found[0]
    if equals and option.value is Value.NONE:
        raise UsageError(f"option '--{option.name}' doesn't allow an argument")
    if equals:
        return Given(option.name, text)
    if option.value is not Value.NEEDED:
        return Given(option.name)
    if not rest:
        raise UsageError(f"option '--{option.name}' requires an argument")
    return Given(option.name, rest.pop(0))


def _short(options: Sequence[Option], letters: str, rest: list[str]) -> Iterator[Given]:
    while letters:
        letter, letters = letters[0], letters[1:]
        option = next((o for o in options if o.letter == letter), None)
        if option is None:
            raise UsageError(f"invalid option -- '{letter}'")
        if option.value is Value.NONE:
            yield Given(option.name)
            continue
        if not letters and option.value is Value.NEEDED:
            if not rest:
                raise UsageError(f"option requires an argument -- '{letter}'")
            letters = rest.pop(0)
        yield Given(option.name, letters or None)
        return
