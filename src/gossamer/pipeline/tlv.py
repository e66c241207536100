"""Geneve's options in the flow key: fields tun_metadata0 to 63, as far as they are mapped.

A bridge's TLV table says which option each is (ovs-ofctl(8), add-tlv-map).
Where it stands in the key is the same in all bridges, so that a match means the
same everywhere: an index that one bridge has mapped has that length in the
others too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gossamer.pipeline.fields import NONE, NXM_1, TUN_METADATA_LEN, Field, slot_shift

FIRST_NUMBER: Final = 40
"""NXM's number of tun_metadata0."""
N_FIELDS: Final = 64
MAX_OPTION: Final = 124
"""Bytes of one option (RFC 8926, section 3.5)."""


@dataclass(frozen=True, slots=True)
class OptionMap:
    """A row of a TLV table: tun_metadata`index` is the option of this class and type, whose data
    has `length` bytes."""

    option_class: int
    option_type: int
    length: int
    index: int


def option_field(index: int, length: int, offset: int) -> Field:
    """tun_metadata`index`, `length` bytes from byte `offset` of the key's tun_metadata on."""
    return Field(
        f"tun_metadata{index}",
        "tun_metadata",
        length * 8,
        length,
        None,
        (NXM_1, FIRST_NUMBER + index),
        maskable=True,
        writable=True,
        prerequisite=NONE,
        low_bit=(TUN_METADATA_LEN - offset - length) * 8,
        marks=1 << (slot_shift("tun_present") + offset // 4),
    )


def offset_of(field: Field) -> int:
    """Where an option stands in the key's tun_metadata, in bytes."""
    return TUN_METADATA_LEN - field.low_bit // 8 - field.wire_bytes


class OptionLayout:
    """Where options stand in the key."""

    def __init__(self) -> None:
        self.fields: dict[int, Field] = {}
        """Those that are mapped, by index."""
        self._users: dict[int, int] = {}
        self._on_change: list[Callable[[], None]] = []

    def on_change(self, forget: Callable[[], None]) -> None:
        """Have something called whenever a field comes or goes: what was worked out before is
        void then."""
        self._on_change.append(forget)

    def claim(self, index: int, length: int, offset: int | None = None) -> Field | None:
        """The field of an index, at `offset` where that is given and free.

        None where there is no room, or another bridge has it in another length.
        """
        known = self.fields.get(index)
        if known is not None:
            if known.wire_bytes != length:
                return None
            self._users[index] += 1
            return known
        place = self._place(length, offset)
        if place is None:
            return None
        found = self.fields[index] = option_field(index, length, place)
        self._users[index] = 1
        self._tell()
        return found

    def release(self, index: int) -> None:
        """One bridge less has it mapped."""
        self._users[index] -= 1
        if not self._users[index]:
            del self.fields[index], self._users[index]
            self._tell()

    def _place(self, length: int, wanted: int | None) -> int | None:
        free = set(range(TUN_METADATA_LEN // 4))
        for field in self.fields.values():
            first = offset_of(field) // 4
            free -= set(range(first, first + field.wire_bytes // 4))
        words = length // 4
        starts = range(TUN_METADATA_LEN // 4 - words + 1)
        if wanted is not None:
            starts = range(wanted // 4, wanted // 4 + 1)
        return next((4 * s for s in starts if free.issuperset(range(s, s + words))), None)

    def _tell(self) -> None:
        for forget in self._on_change:
            forget()


LAYOUT: Final = OptionLayout()
"""The one of this process: there is one key."""


def named(name: str) -> Field | None:
    """A mapped field by its name, or NXM's (NXM_NX_TUN_METADATA0)."""
    text = name.lower().removeprefix("nxm_nx_").removeprefix("tun_metadata")
    return LAYOUT.fields.get(int(text)) if text.isdigit() else None
