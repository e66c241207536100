"""A program being written: its operations, and the bits of the key that they read and write.

The counterpart in the kernel is bpf/program.h.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from gossamer.datapath.key_words import GROUPS, words_of
from gossamer.datapath.layout import LARGE_OPS, OP
from gossamer.datapath.operations import OP_SLOT_SHIFT, OP_WRITE, OP_WRITES, SLOT_OF, RuleOp
from gossamer.pipeline.action import SubField
from gossamer.pipeline.fields import slot_shift

_LABEL: Final = 0xFF << slot_shift("mpls_lse0")
"""Enough for the parser to look for labels."""


@dataclass(slots=True)
class Program:
    """Compiled actions: the operations, and the bits they read or write."""

    ops: list[bytes] = field(default_factory=list)
    reads: int = 0
    """Key bits the outcome depends on: they belong in the cache mask."""
    writes: int = 0
    lengths: set[int] = field(default_factory=set)
    """Lengths of packets that it asks about."""
    groups: set[int] = field(default_factory=set)
    """Groups it passes packets to."""

    def emit(
        self, flags: int, code: RuleOp, a: int = 0, b: int = 0, c: int = 0, d: int = 0
    ) -> None:
        """Write an operation down; with OP_WRITE, where it is one that an action set can have."""
        if flags & OP_WRITE:
            slot = SLOT_OF.get(code)
            if slot is None:
                return
            flags |= slot << OP_SLOT_SHIFT
        self.ops.append(OP.pack(code, flags, a, b, c, d))

    def mark_writing(self, began: int) -> None:
        """What was emitted since there were `began` operations is what a rule writes into the action set."""
        if len(self.ops) > began:
            code, flags, *values = OP.unpack(self.ops[began])
            self.ops[began] = OP.pack(code, flags | OP_WRITES, *values)

    def slow(self) -> None:
        """What the kernel cannot do: packets that come this far go on in the reference pipeline, with the
        labels that the key has: the parser must look for them."""
        self.writes |= _LABEL
        self.emit(0, RuleOp.SLOW)

    def read(self, source: SubField) -> None:
        """The outcome depends on these bits."""
        self.reads |= ((1 << source.n_bits) - 1) << source.shift

    def write(self, target: SubField) -> None:
        """These bits are changed."""
        self.writes |= ((1 << target.n_bits) - 1) << target.shift

    def add(self, other: Program) -> None:
        """All that another one does."""
        self.ops += other.ops
        self.reads |= other.reads
        self.writes |= other.writes

    def set_bits(self, flags: int, value: int, mask: int) -> None:
        """Operations that set the masked bits of the key, word by word."""
        self.writes |= mask
        for word, (v, m) in enumerate(zip(words_of(value), words_of(mask), strict=True)):
            if m:
                self.emit(flags, RuleOp.SET, word, v, m, GROUPS[word])

    def move_step(
        self, flags: int, src: int, src_shift: int, dst: int, dst_shift: int, n_bits: int
    ) -> None:
        """Copy at most 32 bits from one word to another, or to a scratch word."""
        bits = src_shift | dst_shift << 8 | n_bits << 16
        self.emit(flags, RuleOp.MOVE, src | dst << 8, bits, 0, GROUPS[dst])


def split(ops: list[bytes]) -> list[list[bytes]]:
    """Cut a long program into pieces that each leave room for the chaining operation."""
    if len(ops) <= LARGE_OPS:
        return [ops]
    size = LARGE_OPS - 1
    return [ops[i : i + size] for i in range(0, len(ops), size)]
