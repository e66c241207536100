"""Zones: how many connections each may have and has, and by which timeouts these live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gossamer.datapath import layout
from gossamer.datapath.conntrack.config import Config
from gossamer.datapath.maps import MappedArray
from gossamer.pipeline.conntrack.timeouts import DEFAULTS

_LIMIT, _COUNT = 0, 1
"""32-bit words of struct ct_zone; between them, 16 bits each, policy and flags."""
_WORDS: Final = layout.CT_ZONE.size // 4


@dataclass(frozen=True, slots=True)
class ZoneLimit:
    """Connections a zone may have (0: any number) and has; `own` where the limit is not the
    default one."""

    limit: int
    count: int
    own: bool


class Zones:
    """The maps `ct_zones` and `ct_timeouts`."""

    def __init__(self, zones: MappedArray, timeouts: MappedArray, config: Config) -> None:
        self._array = zones
        self._timeouts = timeouts
        self._config = config
        if config.is_new:
            for policy in range(layout.CT_POLICIES):
                self.set_timeouts(policy, {})

    def close(self) -> None:
        """Let go of the maps."""
        self._array.close()
        self._timeouts.close()

    def limit(self, zone: int) -> ZoneLimit:
        """The limit of a zone, and how many it has."""
        words = self._array.words32
        at = zone * _WORDS
        own = bool(words[at + 2] >> 16 & layout.CT_ZONE_LIMITED)
        return ZoneLimit(
            int(words[at + _LIMIT]) if own else self._config.default_limit,
            int(words[at + _COUNT]),
            own,
        )

    def set_limit(self, zone: int, limit: int | None) -> None:
        """Give a zone a limit of its own (0: any number), or the default one again (None)."""
        words = self._array.words32
        at = zone * _WORDS
        words[at + _LIMIT] = limit or 0
        own = layout.CT_ZONE_LIMITED << 16 if limit is not None else 0
        words[at + 2] = words[at + 2] & 0xFFFF | own

    def limited(self) -> dict[int, ZoneLimit]:
        """Zones with a limit of their own."""
        words = self._array.words32
        return {
            zone: self.limit(zone)
            for zone in range(layout.CT_ZONES)
            if words[zone * _WORDS + 2] >> 16 & layout.CT_ZONE_LIMITED
        }

    def set_timeouts(self, policy: int, timeouts_s: dict[str, int]) -> None:
        """The timeouts of a policy, by the names of layout.CT_TIMEOUTS; others are the default
        ones.  Policy 0 is that of zones without one."""
        seconds = {**DEFAULTS, **timeouts_s}
        values = [seconds[name] for name in layout.CT_TIMEOUTS]
        self._timeouts.write(policy, layout.CT_POLICY.pack(*values, 0))

    def timeouts(self, policy: int) -> dict[str, int]:
        """The timeouts of a policy in seconds, by the names of layout.CT_TIMEOUTS."""
        seconds = layout.CT_POLICY.unpack(self._timeouts.read(policy)[: layout.CT_POLICY.size])
        return dict(zip(layout.CT_TIMEOUTS, seconds, strict=False))

    def policies(self) -> dict[int, int]:
        """Zones whose policy is not the default one, with its number."""
        words = self._array.words32
        found = ((zone, words[zone * _WORDS + 2] & 0xFFFF) for zone in range(layout.CT_ZONES))
        return {zone: policy for zone, policy in found if policy}

    def set_policy(self, zone: int, policy: int) -> None:
        """The policy that connections of a zone get from now on; 0: the default one."""
        words = self._array.words32
        at = zone * _WORDS
        words[at + 2] = words[at + 2] & 0xFFFF0000 | policy
