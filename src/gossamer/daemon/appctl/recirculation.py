"""What a recirc_id stands for: where a copy of a packet went on after a ct(), and what it knew.

Open vSwitch keeps, by a number of its own, all that a packet had when it was
recirculated.  Here the number is that of the table, plus one, and a cached path
has what else its rules look at: registers, metadata, the connection.  So a
number is known as long as there is a path of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gossamer.daemon.appctl.odp_match import recirc_id
from gossamer.daemon.appctl.paths import CachedPath
from gossamer.pipeline.fields import KEY_LEN, PACKET_OFFSET
from gossamer.pipeline.match import Match

HEADERS: Final = (1 << (KEY_LEN - PACKET_OFFSET) * 8) - 1
"""Bits of a key that a packet has in its headers."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a packet does not go on by its number: in the trace, and at its end."""

    steps: tuple[str, ...]
    end: str


CONFLICT: Final = Failure(
    ("thaw", "     >>>> Recirculation conflict (actions)! <<<<"), "Recirculation conflict"
)
"""It is to go on, and to have a packet-out's actions."""


def unknown(number: int) -> Failure:
    """Nobody knows the number."""
    step = f"     >>>> Recirculation context not found for ID {number:x} <<<<"
    return Failure((step,), "No recirculation context")


def brought_along(
    paths: Iterable[CachedPath], bridge_id: int, number: int, flow: Match
) -> Match | None:
    """A flow with what its packets have brought from before their ct(), as the path says that such
    packets take; what the flow itself says of that counts.

    None where no path of the bridge goes on by that number, with such packets.
    """
    for path in paths:
        if (
            path.bridge_id == bridge_id
            and recirc_id(path.match) == number
            and path.match.overlaps(flow)
        ):
            new = path.match.mask & ~HEADERS & ~flow.mask
            return Match(flow.value | path.match.value & new, flow.mask | new)
    return None
