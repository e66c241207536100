"""Warnings of what stays wrong: once, and not again with every look at it."""

from __future__ import annotations

import logging


class Complaints:
    """What was said last of each subject, such as ``bridge=br0 port=p1``."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._said: dict[str, str] = {}

    def say(self, subject: str, text: str) -> None:
        """Warn, unless that is what was said of the subject last."""
        if self._said.get(subject) != text:
            self._said[subject] = text
            self._log.warning("%s: %s", subject, text)

    def settled(self, subject: str) -> None:
        """It is well, or gone: what comes up again is to be said again."""
        self._said.pop(subject, None)
