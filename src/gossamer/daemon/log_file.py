"""The file that is logged to."""

from __future__ import annotations

import os
from typing import Final

_MODE: Final = 0o640
"""As the peer's: logs tell who talks to whom."""


def make(path: str) -> None:
    """Make the file where it is not there, readable for its group.  Raises OSError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _MODE))
