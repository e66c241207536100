"""The key's layout in C is the one of the field table."""

from __future__ import annotations

from pathlib import Path

from gossamer.pipeline.fields import FIELDS, KEY_LEN, SLOTS
from gossamer.pipeline.layout import c_header

HEADER = Path(__file__).parents[3] / "bpf" / "flow_key.h"


def test_the_c_header_is_the_one_generated_from_the_table() -> None:
    assert HEADER.read_text() == c_header()


def test_slots_fill_the_key_and_fields_lie_within_their_slots() -> None:
    assert sum(slot.length for slot in SLOTS.values()) == KEY_LEN
    for f in FIELDS:
        assert f.low_bit + f.n_bits <= SLOTS[f.slot].length * 8, f.name
