"""What was decided while a packet was performed, and holds for what follows in the same copy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from gossamer.pipeline.conntrack.crossing import Rewritten
from gossamer.pipeline.fields import ETH_IPV4, ETH_IPV6, get_slot, put_slot
from gossamer.pipeline.meter import Band, BandType, remark
from gossamer.pipeline.state import Effect

_TOS: Final = 0xFF


@dataclass(frozen=True, slots=True)
class _Applied:
    """A band of a meter, in a copy; a raised drop precedence makes `tos` of the type of service that
    actions had come to there, `translated`."""

    copies: tuple[int, ...]
    band: Band
    translated: int
    tos: int

    def of(self, tos: int) -> int:
        """What holds where actions have come to `tos` later: the bits that they changed since."""
        changed = tos ^ self.translated
        return self.tos & ~changed & _TOS | tos & changed


class Decided:
    """By meters, and by what ct() and NAT did, for the copy they stand in and copies of it."""

    def __init__(self) -> None:
        self._bands: list[_Applied] = []
        self._ended: list[tuple[int, ...]] = []
        self._rewritten: list[tuple[tuple[int, ...], int, Rewritten]] = []
        """In which copy, by which of its ct()."""

    def ended(self, effect: Effect) -> None:
        """The packet was dropped at `effect`."""
        self._ended.append(effect.copies)

    def rewritten(self, effect: Effect, what: Rewritten) -> None:
        """NAT wrote into the packet at `effect`."""
        if what != Rewritten():
            self._rewritten.append((effect.copies, len(effect.written), what))

    def exceeded(self, effect: Effect, band: Band) -> None:
        """A band of a meter applied to the packet at `effect`."""
        translated = get_slot(effect.key, "nw_tos")
        tos = get_slot(self.changed(effect).key, "nw_tos")
        if band.type is BandType.DSCP_REMARK:
            tos = remark(tos, band.precedence)
        self._bands.append(_Applied(effect.copies, band, translated, tos))

    def _of(self, effect: Effect) -> list[_Applied]:
        return [a for a in self._bands if effect.copies[: len(a.copies)] == a.copies]

    def dropped(self, effect: Effect) -> bool:
        """Whether the packet of `effect` was dropped before."""
        return any(a.band.type is BandType.DROP for a in self._of(effect)) or any(
            effect.copies[: len(copy)] == copy for copy in self._ended
        )

    def changed(self, effect: Effect) -> Effect:
        """The effect as translation by address and raised drop precedence leave its packet."""
        key, buffer = effect.key, effect.buffer
        for copy, nth, what in self._rewritten:
            if effect.copies[: len(copy)] == copy:
                key, buffer = what.behind(key, buffer, effect.written, nth)
        applied = self._of(effect)
        if applied and get_slot(key, "eth_type") in (ETH_IPV4, ETH_IPV6):
            # The last one knows what those before came to.
            key = put_slot(key, "nw_tos", applied[-1].of(get_slot(key, "nw_tos")))
        return replace(effect, key=key, buffer=buffer)
