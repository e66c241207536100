"""What each version has a standard action for, as types and as a bitmap of types."""

from __future__ import annotations

from typing import Final

from gossamer.openflow.message.version import Version

_OF10: Final = tuple(range(12))
_OF11: Final = (*range(25),)
_OF12: Final = (0, 11, 12, *range(15, 26))
_PBB: Final = (26, 27)
_OF15: Final = (28, 29)
"""copy_field and meter."""


def action_types(version: int) -> tuple[int, ...]:
    """ofp_action_type of all standard actions that a version has and we carry out."""
    match version:
        case Version.V10:
            return _OF10
        case Version.V11:
            return _OF11
        case Version.V12:
            return _OF12
        case Version.V15:
            return _OF12 + _PBB + _OF15
        case _:
            return _OF12 + _PBB


def action_bitmap(version: int) -> int:
    """The same, as a set of bits."""
    return sum(1 << kind for kind in action_types(version))
