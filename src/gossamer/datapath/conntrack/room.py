"""Room for connections: slots for more of them than there are, and for where to look for what is over."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from threading import Thread
from typing import Final

from gossamer.datapath import layout
from gossamer.datapath.conntrack.config import Config
from gossamer.datapath.conntrack.store import SLOTS_AT_ONCE, Chunks
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

    A chunk takes the kernel 10 ms, and there may be twenty to make: a thread waits for them, as the
    interpreter is free meanwhile.
    """

    def __init__(self, chunks: Chunks, config: Config, shared: MappedArray) -> None:
        self._chunks = chunks
        self._config = config
        self._shared = shared
        self._wanted = False
        self._maximum = self._reached = 0
        self._walked = self._last_seen = 0
        self._growing = Thread(target=self._grow)
        self.make_for(int(shared.words32[_N]))

    def close(self) -> None:
        """Wait for what is being made."""
        if self._growing.is_alive():
            self._growing.join()

    def is_wanted(self, _record: bytes) -> None:
        """The kernel asks for more slots: the next `make()` looks."""
        self._wanted = True

    def make(self) -> None:
        """Begin what was asked for since the last time, by the kernel or by another maximum."""
        asked = self._wanted or self._config.maximum != self._maximum
        if asked and not self._growing.is_alive():
            self._wanted = False
            self._maximum = self._config.maximum
            self._growing = Thread(target=self._grow, name="ct_room")
            self._growing.start()

    def _grow(self) -> None:
        """Make room until there is enough for those too that came meanwhile: the kernel asks once."""
        while not self.make_for(int(self._shared.words32[_N])):
            pass

    def make_for(self, n: int) -> bool:
        """Have the slots that so many connections want.  False where there are more by now, for whom there
        could be some."""
        self._maximum = self._config.maximum
        chunks, most = self._chunks, -(-self._maximum // layout.CT_CHUNK)
        reserve = max(n // 3, _LEAST_RESERVE)
        wanted = min(most, -(-(n + reserve) // layout.CT_CHUNK))
        failed = False
        try:
            while len(chunks) < wanted:
                chunks.add()
                self._config.set_slots(len(chunks) * layout.CT_CHUNK, 0)
        except DatapathError as e:
            log.warning("connections=%d: %s", n, e)
            failed = True
        slots = len(chunks) * layout.CT_CHUNK
        left = max(slots // 6, _LEAST_RESERVE // 2)
        self._config.set_slots(slots, slots - left if len(chunks) < most else 0)
        return failed or len(chunks) >= most or self._shared.words32[_N] < slots - left

    def draw_together(self) -> None:
        """Where there are far fewer connections than there were, new ones lie closer together again."""
        words = self._shared.words32
        self._reached = max(self._reached, words[_REACH])
        if words[_REACH] > layout.CT_LEAST_REACH and 8 * words[_N] < words[_REACH]:
            words[_REACH] = words[_REACH] // 2

    @property
    def top(self) -> int:
        """All connections are in slots before this one."""
        return min(int(self._shared.words32[_TOP]), self._config.n_slots)

    def walk(self, parts: int) -> Iterator[range]:
        """The next slots that connections may be in, the n-th part of them and some at a time; where
        this ended it goes on the next time.  What is found there is to be told by `saw()`."""
        if not self._shared.words32[_N] and self.top <= layout.CT_LEAST_REACH:
            return
        left = max(layout.CT_LEAST_REACH, self.top // parts)
        while left > 0:
            if self._walked >= self.top:
                self._lower_top()
                return
            slots = range(self._walked, min(self._walked + SLOTS_AT_ONCE, self.top))
            self._walked = slots.stop
            left -= len(slots)
            yield slots

    def saw(self, behind: int) -> None:
        """Slots before this one are in use."""
        self._last_seen = max(self._last_seen, behind)

    def _lower_top(self) -> None:
        """All slots were looked at: those after the last one in use count no more.

        What the kernel took meanwhile is below what `reach` was, which may grow just now too.
        """
        words = self._shared.words32
        words[_TOP] = max(self._last_seen, self._reached, words[_REACH])
        words[_TOP] = max(words[_TOP], words[_REACH])
        self._reached = words[_REACH]
        self._walked = self._last_seen = 0
