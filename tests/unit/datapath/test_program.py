"""Programs as they are written."""

from __future__ import annotations

from gossamer.datapath import layout
from gossamer.datapath.program import split


def test_a_long_program_is_cut_so_that_each_piece_can_name_the_next() -> None:
    ops = [bytes(16)] * 200
    pieces = split(ops)
    assert sum(map(len, pieces)) == 200
    assert all(len(p) < layout.LARGE_OPS for p in pieces)
