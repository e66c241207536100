"""What holds for all connections: how many there may be, what is checked, the time."""

from __future__ import annotations

import secrets
import time
from typing import Final

from gossamer.datapath import layout
from gossamer.datapath.layout import CtConfigFlag
from gossamer.datapath.maps import MappedArray
from gossamer.errors import DatapathError

_MAX, _DEFAULT_LIMIT, _FLAGS, _MAX_FRAGMENTS = 0, 1, 2, 3
"""32-bit words of struct ct_config."""
_MIN_FRAGMENT, _SLOTS, _ROOM_AT = 6, 8, 9
_SECRETS: Final = range(10, 20)
_TEST_NOW = 2
"""64-bit word of it."""
_NO_FRAGMENTS: Final = (CtConfigFlag.NO_IPV4_FRAGMENTS, CtConfigFlag.NO_IPV6_FRAGMENTS)


MAX_FRAGMENTS: Final = 50_000
"""What may be set at most, and holds from the start: ten times what Open vSwitch takes, as a datagram that
lacks one of its fragments counts for some seconds here as there, and nothing is kept."""


class Config:
    """The `ct_config` map."""

    def __init__(self, config: MappedArray) -> None:
        self._array = config
        self.is_new = not config.words32[_MAX]
        """Nobody had it before."""
        if self.is_new:
            config.words32[_MAX] = layout.MAX_CONNECTIONS
            config.words32[_MAX_FRAGMENTS] = MAX_FRAGMENTS
            for word in _SECRETS:
                config.words32[word] = secrets.randbits(32)

    def close(self) -> None:
        """Let go of the map."""
        self._array.close()

    def now_ns(self) -> int:
        """The clock that connections live by: monotonic, or what a test has set."""
        return int(self._array.words64[_TEST_NOW]) or time.monotonic_ns()

    def set_now_ns(self, now: int) -> None:
        """Set the clock (capturing programs only look there); 0: the kernel's again."""
        self._array.words64[_TEST_NOW] = now

    @property
    def maximum(self) -> int:
        """How many there may be."""
        return int(self._array.words32[_MAX])

    @maximum.setter
    def maximum(self, n: int) -> None:
        if not 0 < n <= layout.MAX_CONNECTIONS:
            raise DatapathError(
                f"{n} connections, {layout.MAX_CONNECTIONS} are possible",
                remedy="MAX_CONNECTIONS is in bpf/limits.h",
            )
        self._array.words32[_MAX] = n

    @property
    def index_secrets(self) -> tuple[int, ...]:
        """32 bits each: what decides where connections are in the index; stay as long as its map."""
        return tuple(int(self._array.words32[word]) for word in _SECRETS)

    @property
    def n_slots(self) -> int:
        """How many slots the kernel takes to be there."""
        return int(self._array.words32[_SLOTS])

    def set_slots(self, n: int, room_at: int) -> None:
        """How many slots there are; at so many connections the kernel asks for more (0: never)."""
        self._array.words32[_SLOTS] = n
        self._array.words32[_ROOM_AT] = room_at

    @property
    def default_limit(self) -> int:
        """Connections that zones without a limit of their own may have each; 0: any number."""
        return int(self._array.words32[_DEFAULT_LIMIT])

    @default_limit.setter
    def default_limit(self, n: int) -> None:
        self._array.words32[_DEFAULT_LIMIT] = n

    @property
    def sequence_check(self) -> bool:
        """Whether TCP packets outside the window are invalid (tcp-seq-chk)."""
        return not self._array.words32[_FLAGS] & CtConfigFlag.NO_SEQUENCE_CHECK

    @sequence_check.setter
    def sequence_check(self, check: bool) -> None:
        self.set_flag(CtConfigFlag.NO_SEQUENCE_CHECK, not check)

    def tracks_fragments(self, ipv6: bool) -> bool:
        """Whether fragments of IPv4, or of IPv6, are tracked; else they are invalid."""
        return not self._array.words32[_FLAGS] & _NO_FRAGMENTS[ipv6]

    def track_fragments(self, ipv6: bool, on: bool) -> None:
        """Set that."""
        self.set_flag(_NO_FRAGMENTS[ipv6], not on)

    def shortest_fragment(self, ipv6: bool) -> int:
        """Bytes of the IP packet that a fragment but the last must have; shorter ones are invalid."""
        return int(self._array.words32[_MIN_FRAGMENT + ipv6])

    def set_shortest_fragment(self, ipv6: bool, n_bytes: int) -> None:
        """Set that; 0: any length."""
        self._array.words32[_MIN_FRAGMENT + ipv6] = n_bytes

    @property
    def max_fragments(self) -> int:
        """Fragments there may be of datagrams that are not whole yet; what is beyond is invalid."""
        return int(self._array.words32[_MAX_FRAGMENTS])

    @max_fragments.setter
    def max_fragments(self, n: int) -> None:
        if not 0 <= n <= MAX_FRAGMENTS:
            raise DatapathError(f"{n} fragments", remedy=f"at most {MAX_FRAGMENTS} can be set")
        self._array.words32[_MAX_FRAGMENTS] = n

    def has_flag(self, flag: CtConfigFlag) -> bool:
        """Whether one is set."""
        return bool(self._array.words32[_FLAGS] & flag)

    def set_flags(self, flags: CtConfigFlag) -> None:
        """Set these, and clear all others."""
        self._array.words32[_FLAGS] = int(flags)

    def set_flag(self, flag: CtConfigFlag, on: bool) -> None:
        """Set one, or clear it."""
        flags = self._array.words32[_FLAGS] & ~int(flag)
        self._array.words32[_FLAGS] = flags | (int(flag) if on else 0)
