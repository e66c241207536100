"""What was decided while a packet was performed, and holds for what follows in the same copy."""

from __future__ import annotations

from dataclasses import replace

from gossamer.pipeline.conntrack.crossing import Rewritten
from gossamer.pipeline.fields import ETH_IPV4, ETH_IPV6, get_slot, put_slot
from gossamer.pipeline.meter import Band, BandType, remark
from gossamer.pipeline.state import Effect


class Decided:
    """By meters, and by what ct() and NAT did, for the copy they stand in and copies of it."""

    def __init__(self) -> None:
        self._bands: list[tuple[tuple[int, ...], Band]] = []
        self._ended: list[tuple[int, ...]] = []
        self._rewritten: list[tuple[tuple[int, ...], Rewritten]] = []

    def ended(self, effect: Effect) -> None:
        """The packet was dropped at `effect`."""
        self._ended.append(effect.copies)

    def rewritten(self, effect: Effect, what: Rewritten) -> None:
        """NAT wrote into the packet at `effect`."""
        if what != Rewritten():
            self._rewritten.append((effect.copies, what))

    def exceeded(self, effect: Effect, band: Band) -> None:
        """A band of a meter applied to the packet at `effect`."""
        self._bands.append((effect.copies, band))

    def _of(self, effect: Effect) -> list[Band]:
        return [band for copy, band in self._bands if effect.copies[: len(copy)] == copy]

    def dropped(self, effect: Effect) -> bool:
        """Whether the packet of `effect` was dropped before."""
        return any(band.type is BandType.DROP for band in self._of(effect)) or any(
            effect.copies[: len(copy)] == copy for copy in self._ended
        )

    def changed(self, effect: Effect) -> Effect:
        """The effect as translation by address and raised drop precedence leave its packet."""
        key, buffer = effect.key, effect.buffer
        for copy, what in self._rewritten:
            if effect.copies[: len(copy)] == copy:
                key, buffer = what.of(key, buffer)
        for band in self._of(effect):
            if get_slot(key, "eth_type") in (ETH_IPV4, ETH_IPV6):
                key = put_slot(key, "nw_tos", remark(get_slot(key, "nw_tos"), band.precedence))
        return replace(effect, key=key, buffer=buffer)
