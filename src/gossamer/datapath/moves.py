"""Bits moved from one place of the key to another, 32 or fewer at a time.

Places are given by their distance from the key's lowest bit; a step stays within one word on
either side.
"""

from __future__ import annotations

from collections.abc import Iterator

from gossamer.datapath.field_change import change_fields
from gossamer.datapath.key_words import SCRATCH_WORD, STACK_WORD, word_at
from gossamer.datapath.operations import RuleOp
from gossamer.datapath.program import Program
from gossamer.errors import UnsupportedActionError
from gossamer.pipeline.action import SubField

_MAX_STEPS = 15
"""As many as there are scratch words."""


def steps(n_bits: int, src_bit: int, dst_bit: int) -> Iterator[tuple[int, int, int]]:
    """(source bit, destination bit, bits) of each step of a move."""
    done = 0
    while done < n_bits:
        src, dst = src_bit + done, dst_bit + done
        take = min(n_bits - done, 32 - src % 32, 32 - dst % 32)
        yield src, dst, take
        done += take


def move(program: Program, flags: int, src: SubField, dst: SubField) -> None:
    """Copy the bits of one field to another as wide.

    Goes through scratch words where more than one step is needed, so that no
    step reads what another wrote.
    """
    program.read(src)
    program.write(dst)
    plan = list(steps(dst.n_bits, src.shift, dst.shift))
    if len(plan) == 1:
        s, d, take = plan[0]
        program.move_step(flags, word_at(s), s % 32, word_at(d), d % 32, take)
        return
    if len(plan) > _MAX_STEPS:
        raise UnsupportedActionError(f"a move of {dst.n_bits} bits takes too many steps")
    for i, (s, _, take) in enumerate(plan):
        program.move_step(flags, word_at(s), s % 32, SCRATCH_WORD + 1 + i, 0, take)
    for i, (_, d, take) in enumerate(plan):
        program.move_step(flags, SCRATCH_WORD + 1 + i, 0, word_at(d), d % 32, take)


def gather(program: Program, flags: int, source: SubField) -> tuple[int, int]:
    """The word and shift at which 32 or fewer bits are found; they are brought together in
    `SCRATCH_WORD` where they lie across two words of the key."""
    program.read(source)
    if source.shift % 32 + source.n_bits <= 32:
        return word_at(source.shift), source.shift % 32
    for src, at, take in steps(source.n_bits, source.shift, 0):
        program.move_step(flags, word_at(src), src % 32, SCRATCH_WORD, at, take)
    return SCRATCH_WORD, 0


def push_bits(program: Program, flags: int, source: SubField) -> None:
    """Gather the bits in the stack's scratch words, right-aligned, then push these."""
    for word in range(STACK_WORD, STACK_WORD + 4):
        program.emit(flags, RuleOp.SET, word, 0, 0xFFFFFFFF)
    program.read(source)
    for src, at, take in steps(source.n_bits, source.shift, 0):
        program.move_step(flags, word_at(src), src % 32, _stack_word(at), at % 32, take)
    program.emit(flags, RuleOp.PUSH)


def pop_bits(program: Program, flags: int, dst: SubField) -> None:
    """Pop into the scratch words, and from there to the field, where the stack was not empty."""
    setting = Program()
    store(setting, flags, dst)
    if dst.field.marks:
        setting.set_bits(flags, dst.field.marks, dst.field.marks)
    program.emit(flags, RuleOp.POP, len(setting.ops))
    program.add(setting)


def store(program: Program, flags: int, dst: SubField, n_bits: int = 128) -> None:
    """What is in the stack's scratch words, right-aligned and `n_bits` of it, to a field; zeros
    above."""
    change = Program()
    change.write(dst)
    there = min(n_bits, dst.n_bits)
    for at, d, take in steps(there, 0, dst.shift):
        change.move_step(flags, _stack_word(at), at % 32, word_at(d), d % 32, take)
    for _, d, take in steps(dst.n_bits - there, there, dst.shift + there):
        change.set_bits(flags, 0, ((1 << take) - 1) << d)
    change_fields(program, flags, (dst.field,), change)


def _stack_word(bit: int) -> int:
    return STACK_WORD + 3 - bit // 32
