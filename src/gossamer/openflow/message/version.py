"""What every message speaks of: versions, and numbers that mean "any"."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Version(IntEnum):
    """Wire versions."""

    V10 = 1
    V11 = 2
    V12 = 3
    V13 = 4
    V14 = 5
    V15 = 6


ANY_GROUP: Final = 0xFFFFFFFF
ALL_TABLES: Final = 0xFF
NO_BUFFER: Final = 0xFFFFFFFF
NO_COOKIE: Final = 0xFFFFFFFFFFFFFFFF
"""The cookie of what no flow caused."""
