"""Multipath and bundle in a program: a link or a member is chosen by a hash of the packet."""

from __future__ import annotations

from typing import Final

from gossamer.datapath.moves import store
from gossamer.datapath.operations import RuleOp
from gossamer.datapath.program import Program
from gossamer.pipeline.action_choice import Bundle, BundleAlgorithm, Multipath, MultipathAlgorithm
from gossamer.pipeline.links import looks_at
from gossamer.pipeline.of_port import OfPort

_HRW_LINKS: Final = 64


def compile_multipath(program: Program, flags: int, action: Multipath) -> None:
    """The number of a link into a field."""
    program.reads |= looks_at(action.fields)
    how = action.fields | _algorithm(action) << 8
    n_links = action.n_links
    modulo = _modulo(n_links, action.arg if _iterates(action) else 0)
    program.emit(flags, RuleOp.MULTIPATH, how, action.basis, n_links, modulo)
    store(program, flags, action.dst)


def compile_bundle(program: Program, flags: int, action: Bundle) -> None:
    """Out of a member that is live, or its number into a field."""
    program.reads |= looks_at(action.fields)
    program.emit(flags, RuleOp.BUNDLE, action.fields, action.basis)
    by_weight = action.algorithm is BundleAlgorithm.HRW
    for number, port in enumerate(action.members):
        if port != OfPort.CONTROLLER:
            program.emit(flags, RuleOp.MEMBER, number, port, by_weight)
    if action.dst is None:
        program.emit(flags, RuleOp.SEND)
    else:
        store(program, flags, action.dst, 16)


def _iterates(action: Multipath) -> bool:
    return action.algorithm is MultipathAlgorithm.ITER_HASH


def _algorithm(action: Multipath) -> MultipathAlgorithm:
    """As links.link() has it: more links than these are too many to weigh each."""
    if action.algorithm is MultipathAlgorithm.HRW and action.n_links > _HRW_LINKS:
        return MultipathAlgorithm.ITER_HASH
    return action.algorithm


def _modulo(n_links: int, wanted: int) -> int:
    fits = wanted >= n_links and wanted // 2 <= n_links
    return wanted if fits else 1 << (n_links - 1).bit_length()
