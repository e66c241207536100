"""A match: which bits of the flow key must have which value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from gossamer.errors import FieldError
from gossamer.pipeline.fields import BY_NAME, FIELDS, Field, Prerequisite, get_slot, slot_shift
from gossamer.pipeline.tlv import LAYOUT


class FieldMatch(NamedTuple):
    """One field of a match, its value and mask right-aligned."""

    field: Field
    value: int
    mask: int


@dataclass(frozen=True, slots=True)
class Match:
    """``key & mask == value``; bits of `value` outside `mask` are zero."""

    value: int = 0
    mask: int = 0

    def matches(self, key: int) -> bool:
        """True when a packet with this key is matched."""
        return key & self.mask == self.value

    def covers(self, other: Match) -> bool:
        """True when every packet `other` matches is matched by self (OpenFlow 1.3.5, 6.4: loose)."""
        return other.mask & self.mask == self.mask and other.value & self.mask == self.value

    def overlaps(self, other: Match) -> bool:
        """True when some packet could match both (OFPFF_CHECK_OVERLAP)."""
        common = self.mask & other.mask
        return self.value & common == other.value & common

    def with_field(self, field: Field, value: int, mask: int | None = None) -> Match:
        """Self narrowed by one more field.

        Raises FieldError where the value does not fit the field or has bits outside the mask.
        """
        full = (1 << field.n_bits) - 1
        mask = full if mask is None else mask
        if value & ~full or mask & ~full:
            raise FieldError(f"{field.name}: {value:#x}/{mask:#x} does not fit {field.n_bits} bits")
        if value & ~mask:
            raise FieldError(f"{field.name}: value {value:#x} has bits outside its mask {mask:#x}")
        placed_mask = mask << field.shift | field.marks
        placed = value << field.shift | field.marks
        return Match((self.value & ~placed_mask) | placed, self.mask | placed_mask)

    def field(self, field: Field) -> tuple[int, int]:
        """(value, mask) of one field, right-aligned."""
        full = (1 << field.n_bits) - 1
        return (self.value >> field.shift) & full, (self.mask >> field.shift) & full

    def satisfies(self, prerequisite: Prerequisite) -> bool:
        """True when this match already pins what the prerequisite asks for."""
        p = prerequisite
        if p.vlan and not self._slot_exact_bit("vlan_tci", 0x1000):
            return False
        if p.eth_types and self._exact("eth_type") not in p.eth_types:
            return False
        if p.nw_proto is not None and self._exact("nw_proto") != p.nw_proto:
            return False
        return not p.icmpv6_types or self._exact("tp_src") in p.icmpv6_types

    def fields(self) -> Iterator[FieldMatch]:
        """The fields this match names, in table order, each bit of the mask once.

        Where fields share a slot (TCP and UDP ports), the one whose
        prerequisite holds is meant.  A partial vlan_tci that vlan_vid and
        vlan_pcp cannot express comes out as vlan_tci.
        """
        left = self.mask
        for f in FIELDS:
            mask = (left >> f.shift) & ((1 << f.n_bits) - 1)
            if not mask or not self.satisfies(f.prerequisite):
                continue
            if f.name == "vlan_tci":
                if not self._vlan_needs_tci():
                    continue
            elif not f.maskable and mask != (1 << f.n_bits) - 1:
                continue
            yield FieldMatch(f, (self.value >> f.shift) & mask, mask)
            left &= ~f.full_mask
        yield from self.options()

    def options(self) -> Iterator[FieldMatch]:
        """The options of Geneve this match names, by index; a mask of 0 asks only for presence."""
        for _, f in sorted(LAYOUT.fields.items()):
            if self.mask & f.marks:
                yield FieldMatch(f, *self.field(f))

    def _vlan_needs_tci(self) -> bool:
        """True when vlan_vid (13 bits incl. present) and vlan_pcp (exact) do not suffice."""
        mask = get_slot(self.mask, "vlan_tci")
        pcp, vid = mask >> 13, mask & 0x1FFF
        present = get_slot(self.value, "vlan_tci") & mask & 0x1000
        return (pcp not in (0, 7)) or (pcp == 7 and not present) or (bool(vid) and not vid & 0x1000)

    def _exact(self, slot: str) -> int | None:
        if slot == "eth_type" and get_slot(self.value, "packet_type") >> 16 == _ETHERTYPE:
            return get_slot(self.value, "packet_type") & 0xFFFF
        width = (1 << {"eth_type": 16, "nw_proto": 8, "tp_src": 16}[slot]) - 1
        mask = get_slot(self.mask, slot)
        wanted = 0xFF if slot == "tp_src" else width
        return get_slot(self.value, slot) if mask & wanted == wanted else None

    def _slot_exact_bit(self, slot: str, bit: int) -> bool:
        return bool(get_slot(self.mask, slot) & bit and get_slot(self.value, slot) & bit)


_ETHERTYPE = 1
"""The namespace of packet types of packets without Ethernet header (OFPHTN_ETHERTYPE)."""


ANY: Match = Match()
"""Matches every packet."""


def match(**fields: int | tuple[int, int]) -> Match:
    """A match from keyword arguments: ``match(eth_type=0x800, ip_src=(0x0a000000, 0xff000000))``.

    Raises FieldError for an unknown name or an ill-fitting value.
    """
    out = ANY
    for name, spec in fields.items():
        try:
            f = BY_NAME[name]
        except KeyError:
            raise FieldError(
                f"unknown field {name!r}", remedy="see gossamer.pipeline.fields"
            ) from None
        out = out.with_field(f, *spec) if isinstance(spec, tuple) else out.with_field(f, spec)
    return out


def slot_mask(name: str, bits: int) -> int:
    """`bits` of slot `name`, placed in a key."""
    return bits << slot_shift(name)
