"""Warnings where connections could not begin for want of something that a person can give.

The kernel drops their packets and counts them; the daemon looks at the counts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

log = logging.getLogger(__name__)

INTERVAL_S: Final = 60.0
"""One warning of a kind in this time, however many packets are dropped."""
_TEXTS: Final = {
    "nat_full": "found no free address and port, and were dropped (drop_ct_nat_full): "
    "give nat() more addresses, or a wider range of ports",
    "full": "found no room, and were dropped (drop_ct_full): "
    "raise dpctl/ct-set-maxconns, or have idle ones end sooner (ovs-vsctl add-zone-tp)",
}
"""By the names of layout.CT_COUNTS."""


class Shortages:
    """What was told of it; `read` gives totals since the maps were made."""

    def __init__(self, read: Callable[[], Mapping[str, int]]) -> None:
        self._read = read
        # What happened under another daemon is no news.
        self._told = dict(read())
        self._next_s = dict.fromkeys(_TEXTS, 0.0)

    def run(self, now_s: float) -> None:
        """Warn of what is new, where that is due."""
        totals = self._read()
        for name, text in _TEXTS.items():
            more = totals[name] - self._told[name]
            if more > 0 and now_s >= self._next_s[name]:
                log.warning("%d packets of new connections %s", more, text)
                self._told[name] = totals[name]
                self._next_s[name] = now_s + INTERVAL_S
