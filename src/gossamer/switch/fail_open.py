"""What a standalone bridge does when none of its controllers can be reached.

It forwards by itself, as any switch would, until one is back
(ovs-vswitchd.conf.db(5), Bridge.fail_mode).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from gossamer.switch.config import FailMode

if TYPE_CHECKING:
    from gossamer.switch.bridge import Bridge

log = logging.getLogger(__name__)

FAIL_OPEN_PROBES: Final = 3
"""Probe intervals without any controller after which a standalone bridge forwards by itself."""
_DEFAULT_PROBE_S: Final = 5.0


class FailOpen:
    """The watch over the controllers of one bridge."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._open = False
        self._alone_since_s = time.monotonic()

    def begin(self, now: float) -> None:
        """The first controllers were configured: they have their time from now on."""
        self._alone_since_s = now

    def run(self, now: float, mode: FailMode, *, connected: bool, probes_s: Iterable[float]) -> None:
        """See whether it is time to begin or to end; `probes_s` are the probe intervals."""
        if connected:
            self._alone_since_s = now
        if connected or mode == FailMode.SECURE:
            self.end()
        elif not self._open and now >= self.next_s(probes_s):
            log.warning(
                "bridge=%s: could not connect to controller for %d seconds, failing open",
                self._bridge.name,
                now - self._alone_since_s,
            )
            self._open = True
            self._bridge.enter_fail_open()

    def end(self) -> None:
        """Leave forwarding to controllers, or to what the bridge does without any configured."""
        if self._open:
            self._open = False
            self._bridge.leave_fail_open()

    @property
    def is_open(self) -> bool:
        """The bridge forwards by itself."""
        return self._open

    def next_s(self, probes_s: Iterable[float]) -> float:
        """When it would begin, CLOCK_MONOTONIC."""
        probe_s = max(probes_s, default=0.0) or _DEFAULT_PROBE_S
        return self._alone_since_s + FAIL_OPEN_PROBES * probe_s
