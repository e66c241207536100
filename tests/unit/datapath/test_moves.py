"""Bits are moved word by word."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gossamer.datapath.moves import move, steps
from gossamer.datapath.program import Program
from gossamer.pipeline.action import SubField
from gossamer.pipeline.fields import BY_NAME


@given(n_bits=st.integers(1, 128), src=st.integers(0, 300), dst=st.integers(0, 300))
def test_steps_cover_all_bits_and_none_crosses_a_word(n_bits: int, src: int, dst: int) -> None:
    done = 0
    for s, d, take in steps(n_bits, src, dst):
        assert (s, d) == (src + done, dst + done)
        assert 0 < take <= 32 - max(s % 32, d % 32)
        done += take
    assert done == n_bits


def test_a_move_within_a_word_is_one_operation() -> None:
    program = Program()
    move(program, 0, SubField(BY_NAME["reg1"], 0, 8), SubField(BY_NAME["reg2"], 8, 8))
    assert len(program.ops) == 1


def test_overlapping_bits_go_through_scratch_words() -> None:
    program = Program()
    move(program, 0, SubField(BY_NAME["ct_label"], 0, 96), SubField(BY_NAME["ct_label"], 32, 96))
    assert len(program.ops) == 2 * 3
