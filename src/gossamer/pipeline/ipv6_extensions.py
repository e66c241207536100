"""IPv6 extension headers: which there are, and whether they come as RFC 8200 wants them."""

from __future__ import annotations

from typing import Final

IP6_FRAGMENT: Final = 44
IP6_AUTHENTICATION: Final = 51
IP6_ESP: Final = 50
IP6_NO_NEXT: Final = 59
WALKED: Final = frozenset((0, 43, 44, 51, 60))
"""Those that the parser looks behind; see packet.py."""

# ofp_ipv6exthdr_flags (OpenFlow 1.3.5, 7.2.3.7), and when RFC 8200 wants each.
_UNREP: Final = 1 << 7
_UNSEQ: Final = 1 << 8
_DESTINATION: Final = 60
_EXTENSION_BITS: Final = {
    IP6_NO_NEXT: 1 << 0,
    IP6_ESP: 1 << 1,
    IP6_AUTHENTICATION: 1 << 2,
    _DESTINATION: 1 << 3,
    IP6_FRAGMENT: 1 << 4,
    43: 1 << 5,
    0: 1 << 6,
}
_EXTENSION_RANKS: Final = {0: 0, 43: 2, IP6_FRAGMENT: 3, IP6_AUTHENTICATION: 4, IP6_ESP: 5}
_BEFORE_ROUTING: Final = 1
_LAST_RANK: Final = 6


class Extensions:
    """IPv6 extension headers met, as OFPIEH_* flags."""

    def __init__(self) -> None:
        self.flags = 0
        self.rank = -1
        self.n_destination = 0

    def meet(self, header: int) -> None:
        """The next header is of this kind; upper layers count for nothing."""
        bit = _EXTENSION_BITS.get(header, 0)
        if header == _DESTINATION:
            self.n_destination += 1
            rank = _BEFORE_ROUTING if self.rank < _BEFORE_ROUTING else _LAST_RANK
            again = self.n_destination > 2
        else:
            rank, again = _EXTENSION_RANKS.get(header, _LAST_RANK), bool(self.flags & bit)
        if again:
            self.flags |= _UNREP
        elif bit and rank < self.rank:
            self.flags |= _UNSEQ
        self.flags |= bit
        self.rank = max(self.rank, rank if bit else -1)
