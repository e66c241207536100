"""Lists as Open vSwitch writes them: ``key``, ``key=value``, ``key:value``, ``key(value)``."""

from __future__ import annotations

from gossamer.errors import FieldError

_BETWEEN = ", \t\r\n"
_OPEN, _CLOSE = "([", ")]"


def key_values(text: str) -> list[tuple[str, str]]:
    """The pairs of a list; commas inside of parentheses and brackets belong to the value.

    What follows a closing parenthesis up to the next comma belongs to the value too, with its
    parentheses (``check_pkt_larger(100)->reg0[0]``).  Raises FieldError for parentheses that do
    not close.
    """
    out: list[tuple[str, str]] = []
    at, end = 0, len(text)
    while at < end:
        if text[at] in _BETWEEN:
            at += 1
            continue
        start = at
        while at < end and text[at] not in _BETWEEN + ":=(":
            at += 1
        key = text[start:at]
        if at == end or text[at] in _BETWEEN:
            out.append((key, ""))
            continue
        behind = at + (text[at] != "(")
        at = _end_of_value(text, behind)
        value = text[behind:at]
        if value.startswith("(") and _closing(value, 0) == len(value) - 1:
            value = value[1:-1]
        out.append((key, value.strip()))
    return out


def _end_of_value(text: str, at: int) -> int:
    while at < len(text) and text[at] not in _BETWEEN:
        at = _closing(text, at) + 1 if text[at] in _OPEN else at + 1
    return at


def _closing(text: str, at: int) -> int:
    """Where what is opened at `at` closes."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] in _OPEN) - (text[i] in _CLOSE)
        if not depth:
            return i
    raise FieldError(f"{text[at:]!r} has a parenthesis that does not close")
