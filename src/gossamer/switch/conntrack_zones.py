"""Zones of connection tracking as the database asks for them: timeouts and limits.

The kernel keeps a few policies of timeouts, and of each zone the number of
its one.  Connections remember that number, so what a policy says never
changes while a zone or a connection may use it: other timeouts get another
policy, and a new daemon finds its own again by what they say.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gossamer.datapath.layout import CT_POLICIES
from gossamer.pipeline.conntrack.timeouts import DEFAULTS
from gossamer.switch.config import CtZoneConfig

if TYPE_CHECKING:
    from gossamer.switch.contract import Datapath

log = logging.getLogger(__name__)

_Timeouts = tuple[tuple[str, int], ...]


def _whole(timeouts_s: Mapping[str, int]) -> _Timeouts:
    """All timeouts that the datapath knows; others are the kernel module's and mean nothing here."""
    return tuple((key, timeouts_s.get(key, default)) for key, default in DEFAULTS.items())


_DEFAULT = _whole({})


class ConntrackZones:
    """Brings zones to what the configuration says."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._applied: Mapping[int, CtZoneConfig] | None = None
        self._policies: dict[_Timeouts, int] = {}
        """What is in the kernel, by what it says."""
        self._limited: set[int] = set()
        self._default_limited = False

    def apply(self, zones: Mapping[int, CtZoneConfig], default_limit: int | None) -> None:
        """Set timeouts and limits.

        A limit that came from ``dpctl/ct-set-limits`` stays where the database
        says nothing of limits.
        """
        if default_limit is not None or self._default_limited:
            self._datapath.conntrack.config.default_limit = default_limit or 0
            self._default_limited = default_limit is not None
        if zones == self._applied or (self._applied is None and not zones and not self._used()):
            self._applied = zones
            return
        if self._applied is None:
            self._find_policies()
        self._apply_timeouts(zones)
        self._apply_limits(zones)
        self._applied = zones

    def _used(self) -> dict[int, int]:
        return self._datapath.conntrack.zones.policies()

    def _find_policies(self) -> None:
        for number in range(1, CT_POLICIES):
            timeouts = _whole(self._datapath.conntrack.zones.timeouts(number))
            if timeouts != _DEFAULT:
                self._policies.setdefault(timeouts, number)

    def _apply_timeouts(self, zones: Mapping[int, CtZoneConfig]) -> None:
        conntrack = self._datapath.conntrack
        there = self._used()
        for zone in there.keys() - zones.keys():
            conntrack.zones.set_policy(zone, 0)
        for zone, config in zones.items():
            timeouts = _whole(config.timeouts_s)
            number = 0 if timeouts == _DEFAULT else self._policy(timeouts)
            if number is None:
                log.error("zone=%d: more than %d different timeout policies", zone, CT_POLICIES - 1)
                continue
            if there.get(zone, 0) != number:
                conntrack.zones.set_policy(zone, number)

    def _policy(self, timeouts: _Timeouts) -> int | None:
        """The number of a policy, written where it is new; None where there is no room."""
        number = self._policies.get(timeouts)
        if number is not None:
            return number
        used = set(self._used().values())
        taken = set(self._policies.values())
        # One that nobody ever had, else the one that no zone has for the longest time.
        free = next((n for n in range(1, CT_POLICIES) if n not in taken), None)
        if free is None:
            old = next((t for t, n in self._policies.items() if n not in used), None)
            if old is None:
                return None
            free = self._policies.pop(old)
        self._datapath.conntrack.zones.set_timeouts(free, dict(timeouts))
        self._policies[timeouts] = free
        return free

    def _apply_limits(self, zones: Mapping[int, CtZoneConfig]) -> None:
        wanted = {zone: c.limit for zone, c in zones.items() if c.limit is not None}
        for zone in self._limited - wanted.keys():
            self._datapath.conntrack.zones.set_limit(zone, None)
        for zone, limit in wanted.items():
            self._datapath.conntrack.zones.set_limit(zone, limit)
        self._limited = set(wanted)
