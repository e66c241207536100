"""The action that makes flows of packets: learn."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from gossamer.pipeline.action import Action, SubField


class LearnTo(IntEnum):
    """What a learn specification makes of its source (ovs-actions(7), learn)."""

    MATCH = 0
    LOAD = 1
    OUTPUT = 2


@dataclass(frozen=True, slots=True)
class LearnSpec:
    """One part of a learned flow: `n_bits` from a subfield, or a value, become a match, a load
    or an output (`dst` is None there)."""

    source: SubField | int
    n_bits: int
    to: LearnTo
    dst: SubField | None = None


@dataclass(frozen=True, slots=True)
class Learn(Action):
    """Add or modify a flow made from the packet (NXAST_LEARN, NXAST_LEARN2).

    `flags`: enum nx_learn_flags (1 send_flow_rem, 2 delete_learned, 4 write_result); `limit`: at
    most so many learned flows of this cookie and table, 0 any number; `result`: gets 1 where the
    flow could be learned, 0 at the limit.
    """

    specs: tuple[LearnSpec, ...]
    table_id: int
    idle_timeout: int = 0
    hard_timeout: int = 0
    priority: int = 0x8000
    cookie: int = 0
    flags: int = 0
    fin_idle_timeout: int = 0
    fin_hard_timeout: int = 0
    limit: int = 0
    result: SubField | None = None
