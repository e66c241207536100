"""The changes inside of ct(exec(...)), so that each reads the packet alone.

They run one after the other, and a move may read what an earlier one has
written; the kernel gathers what they write apart from the packet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, SubField
from gossamer.pipeline.fields import Field


@dataclass(frozen=True, slots=True)
class _Bit:
    """What a bit becomes: bit `at` of a packet's field, or without one the value `at`."""

    at: int
    field: Field | None = None

    def continues(self, before: _Bit, distance: int) -> bool:
        """Whether it follows another one, `distance` bits on, in the same place."""
        if self.field is None:
            return before.field is None
        return self.field is before.field and self.at == before.at + distance


def unfolded(changes: tuple[Action, ...]) -> tuple[Action, ...]:
    """Changes that do the same, of which none reads what another one wrote."""
    if not any(isinstance(change, act.RegMove) for change in changes[1:]):
        return changes
    written: dict[tuple[str, int], _Bit] = {}
    out: list[Action] = []
    for change in changes:
        field, bits = _bits(change, written)
        written |= {(field.name, at): bit for at, bit in bits.items()}
        out += _changes(field, bits)
    return tuple(out)


def _bits(change: Action, written: dict[tuple[str, int], _Bit]) -> tuple[Field, dict[int, _Bit]]:
    """The field a change writes, and what becomes of which of its bits."""
    match change:
        case act.SetField(field=field, value=value, mask=mask):
            return field, {i: _Bit(value >> i & 1) for i in range(field.n_bits) if mask >> i & 1}
        case act.RegLoad(dst=dst, value=value):
            return dst.field, {dst.low + i: _Bit(value >> i & 1) for i in range(dst.n_bits)}
        case act.RegMove(src=src, dst=dst):
            return dst.field, {
                dst.low + i: written.get(
                    (src.field.name, src.low + i), _Bit(src.low + i, src.field)
                )
                for i in range(dst.n_bits)
            }
        case _:
            raise AssertionError("exec(...) has changes of ct_mark and ct_label alone")


def _changes(field: Field, bits: dict[int, _Bit]) -> Iterator[Action]:
    """Changes that make bits of a field what they become."""
    places = sorted(bits)
    while places:
        low = places[0]
        n = 1
        while n < len(places) and places[n] == low + n and bits[low + n].continues(bits[low], n):
            n += 1
        first = bits[low]
        dst = SubField(field, low, n)
        if first.field is None:
            yield act.RegLoad(dst, sum(bits[low + i].at << i for i in range(n)))
        else:
            yield act.RegMove(SubField(first.field, first.at, n), dst)
        places = places[n:]
