"""Room for connections: slots for more of them than there are, and for where to look for what is over."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from gossamer.datapath import layout
from gossamer.datapath.conntrack.config import Config
from gossamer.datapath.conntrack.store import Chunks, families
from gossamer.datapath.maps import MappedArray
from gossamer.errors import DatapathError

log = logging.getLogger(__name__)

_LEAST_RESERVE: Final = 4 * layout.CT_CHUNK
"""A quarter of a million connections, 50 MB."""
_N, _REACH, _TOP = 0, 17, 18
"""32-bit words of struct ct_shared."""


class Room:
    """Keeps slots for a third more connections than there are, and a quarter of a million at least, up to
    the maximum.

    Memory grows with use so; what is there stays.  Where the kernel has none,
    new connections push out others.
    """

    def __init__(self, chunks: Chunks, config: Config, shared: MappedArray) -> None:
        self._chunks = chunks
        self._config = config
        self._shared = shared
        self._wanted = False
        self._maximum = self._reached = 0
        self._walk = chunks.windows(self.top)
        self._walked = self._last_seen = 0
        self.make_for(int(shared.words32[_N]))

    def is_wanted(self, _record: bytes) -> None:
        """The kernel asks for more slots: the next `make()` looks."""
        self._wanted = True

    def make(self) -> None:
        """Do what was asked for since the last time, by the kernel or by another maximum."""
        if self._wanted or self._config.maximum != self._maximum:
            self._wanted = False
            self.make_for(int(self._shared.words32[_N]))

    def make_for(self, n: int) -> None:
        """Have the slots that so many connections want."""
        self._maximum = self._config.maximum
        chunks, most = self._chunks, -(-self._maximum // layout.CT_CHUNK)
        reserve = max(n // 3, _LEAST_RESERVE)
        wanted = min(most, -(-(n + reserve) // layout.CT_CHUNK))
        try:
            while len(chunks) < wanted:
                chunks.add()
                self._config.set_slots(len(chunks) * layout.CT_CHUNK, 0)
        except DatapathError as e:
            log.warning("connections=%d: %s", n, e)
        slots = len(chunks) * layout.CT_CHUNK
        left = max(slots // 6, _LEAST_RESERVE // 2)
        self._config.set_slots(slots, slots - left if len(chunks) < most else 0)

    def draw_together(self) -> None:
        """Where there are far fewer connections than there were, new ones lie closer together again."""
        words = self._shared.words32
        self._reached = max(self._reached, words[_REACH])
        if words[_REACH] > layout.CT_LEAST_REACH and 8 * words[_N] < words[_REACH]:
            words[_REACH] = words[_REACH] // 2

    @property
    def top(self) -> int:
        """All connections are in slots before this one."""
        return int(self._shared.words32[_TOP])

    def walk(self, parts: int) -> Iterator[bytes]:
        """Records of the next slots that connections may be in, the n-th part of them; where this
        ended it goes on the next time."""
        if not self._shared.words32[_N] and self.top <= layout.CT_LEAST_REACH:
            return
        seen, limit = 0, max(layout.CT_LEAST_REACH, self.top // parts)
        while seen < limit:
            records = next(self._walk, None)
            if records is None:
                self._lower_top()
                return
            there = families(records)
            seen += len(there)
            self._walked += len(there)
            if any(there):
                self._last_seen = self._walked
                yield records

    def _lower_top(self) -> None:
        """All slots were looked at: those after the last one in use count no more.

        What the kernel took meanwhile is below what `reach` was, which may grow just now too.
        """
        words = self._shared.words32
        if self._walked >= words[_TOP]:
            words[_TOP] = max(self._last_seen, self._reached, words[_REACH])
            words[_TOP] = max(words[_TOP], words[_REACH])
        self._reached = words[_REACH]
        self._walk = self._chunks.windows(self.top)
        self._walked = self._last_seen = 0
