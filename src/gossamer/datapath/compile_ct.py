"""ct() in a program: what it does, what exec() changes, and the range that nat() takes from."""

from __future__ import annotations

from typing import Final, Protocol

from gossamer.datapath.cache_mask import RESUMES
from gossamer.datapath.conntrack.nat_rules import image_of
from gossamer.datapath.exec_changes import unfolded
from gossamer.datapath.field_change import change_fields
from gossamer.datapath.key_words import SCRATCH_WORD, word_at, words_of
from gossamer.datapath.moves import gather, steps
from gossamer.datapath.operations import CT_ZONE_IN_WORD, CtDo, RuleOp
from gossamer.datapath.program import Program
from gossamer.errors import UnsupportedActionError
from gossamer.pipeline import action as act
from gossamer.pipeline.action_ct import CT_ALG_FTP, CT_ALG_TFTP, Ct
from gossamer.pipeline.fields import BY_NAME, SLOTS, slot_shift

_CT_MARK_WORD: Final = SLOTS["ct_mark"].offset // 4
"""The label's words follow."""
_TRACKED: Final = sum(
    ((1 << 8 * SLOTS[name].length) - 1) << slot_shift(name)
    for name in ("nw_src", "nw_dst", "ipv6_src", "ipv6_dst", "tp_src", "tp_dst")
)
"""What nat() may write, and how deep the parser must look for tracking."""


class NatRuleNumbers(Protocol):
    """Numbers of the ranges that connections are translated to."""

    def nat_rule(self, image: bytes) -> int:
        """The number of a `struct ct_nat_rule`."""


def compile_ct(program: Program, action: Ct, nat_rules: NatRuleNumbers) -> None:
    """Raises UnsupportedActionError for one that changes something else."""
    program.reads |= RESUMES
    program.writes |= _TRACKED
    for change in unfolded(action.actions):
        _exec(change, program)
    wanted = CtDo.COMMIT if action.commit else CtDo(0)
    if action.force:
        wanted |= CtDo.FORCE
    if action.table is not None:
        wanted |= CtDo.TABLE
    wanted |= {CT_ALG_FTP: CtDo.FTP, CT_ALG_TFTP: CtDo.TFTP}.get(action.alg, CtDo(0))
    nat = 0
    if action.nat is not None:
        wanted |= CtDo.NAT
        if action.nat.src or action.nat.dst:
            nat = nat_rules.nat_rule(image_of(action.nat))
    where, bits, zone = 0, 0, action.zone
    if action.zone_field is not None:
        word, shift = gather(program, 0, action.zone_field)
        where, bits, zone = CT_ZONE_IN_WORD, action.zone_field.n_bits, word | shift << 8
    program.emit(int(wanted) | where, RuleOp.CT, zone, nat, (action.table or 0) | bits << 8)


def _exec(change: act.Action, program: Program) -> None:
    """A change of ct_mark or ct_label in exec()."""
    match change:
        case act.SetField(field=f, value=value, mask=mask):
            value, mask = value << f.shift, mask << f.shift
        case act.RegLoad(dst=dst, value=value):
            mask = ((1 << dst.n_bits) - 1) << dst.shift
            value = value << dst.shift & mask
        case act.RegMove(src=src, dst=dst):
            moving = Program()
            moving.read(src)
            for s, d, take in steps(dst.n_bits, src.shift, dst.shift):
                moving.move_step(0, word_at(s), s % 32, SCRATCH_WORD, d % 32, take)
                bits = words_of(((1 << take) - 1) << d)[word_at(d)]
                index = word_at(d) - _CT_MARK_WORD
                moving.emit(0, RuleOp.CT_SET, index, 0, bits, SCRATCH_WORD + 1)
            change_fields(program, 0, (BY_NAME["ct_mark"], src.field), moving)
            return
        case _:
            raise UnsupportedActionError(
                f"{type(change).__name__} within ct(exec(...))",
                remedy="set ct_mark or ct_label there, and nothing else",
            )
    for word, (v, m) in enumerate(zip(words_of(value), words_of(mask), strict=True)):
        if m:
            program.emit(0, RuleOp.CT_SET, word - _CT_MARK_WORD, v, m)
