"""The operations of rules' programs, as bpf/program.h numbers them."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final


class RuleOp(IntEnum):
    """bpf/program.h, enum rule_op."""

    END = 0
    OUTPUT = 1
    OUTPUT_REG = 2
    SET = 3
    MOVE = 4
    PUSH_VLAN = 5
    POP_VLAN = 6
    SET_VLAN = 7
    DEC_TTL = 8
    CONTROLLER = 9
    RESUBMIT = 10
    GOTO = 11
    CLEAR_ACTIONS = 12
    EXIT = 13
    CHAIN = 14
    SKIP = 15
    FIX_TAG = 16
    GROUP = 17
    CLONE = 18
    PUSH = 19
    POP = 20
    METER = 21
    TRUNCATE = 22
    LEARN = 23
    FIN = 24
    MULTIPATH = 25
    PUSH_MPLS = 26
    POP_MPLS = 27
    DEC_MPLS_TTL = 28
    COPY_TTL_OUT = 29
    COPY_TTL_IN = 30
    CONJUNCTION = 31
    BUNDLE = 32
    MEMBER = 33
    SEND = 34
    LARGER = 35
    SLOW = 36
    CT_SET = 37
    CT = 38
    CT_CLEAR = 39
    SAMPLE = 40
    DEC_NSH_TTL = 41
    WROTE = 42


class Need(IntFlag):
    """bpf/program.h, NEEDS_*: what a packet must have for the operations after a SKIP."""

    L4 = 1 << 0
    TAG = 1 << 1
    ND = 1 << 2
    ND_SOLICIT = 1 << 3
    ND_ADVERT = 1 << 4
    IPV4 = 1 << 5
    IPV6 = 1 << 6
    ARP = 1 << 7
    MPLS = 1 << 8
    PROTO = 1 << 9
    """The protocol is in bits 16 to 23."""
    NSH = 1 << 10


class PopMpls(IntEnum):
    """bpf/program.h, POP_*."""

    NOWHERE = 0
    BELOW_LABELS = 1
    BARE = 2


class CtDo(IntFlag):
    """What a ct() asks for: flags of OP_CT (bpf/ct_work.h)."""

    COMMIT = 1 << 0
    FORCE = 1 << 1
    TABLE = 1 << 2
    NAT = 1 << 3
    FTP = 1 << 4
    TFTP = 1 << 5


class Group(IntFlag):
    """Header groups an operation writes (bpf/state.h)."""

    ETH = 1 << 0
    VLAN = 1 << 1
    L3 = 1 << 2
    L4 = 1 << 3
    ARP_ND = 1 << 4
    MPLS = 1 << 5


class SetSlot(IntEnum):
    """bpf/action_set.h, enum set_slot: where an operation stands in the action set."""

    COPY_TTL_IN = 0
    POP_VLAN = 1
    POP_MPLS = 2
    PUSH_MPLS = 3
    PUSH_VLAN = 4
    COPY_TTL_OUT = 5
    DEC_TTL = 6
    DEC_MPLS_TTL = 7
    GROUP = 8
    OUTPUT = 9
    RESUBMIT = 10
    CT_CLEAR = 11
    CT = 12
    CHANGES = 15


SLOT_OF: Final = {
    RuleOp.COPY_TTL_IN: SetSlot.COPY_TTL_IN,
    RuleOp.POP_VLAN: SetSlot.POP_VLAN,
    RuleOp.POP_MPLS: SetSlot.POP_MPLS,
    RuleOp.PUSH_MPLS: SetSlot.PUSH_MPLS,
    RuleOp.PUSH_VLAN: SetSlot.PUSH_VLAN,
    RuleOp.COPY_TTL_OUT: SetSlot.COPY_TTL_OUT,
    RuleOp.DEC_TTL: SetSlot.DEC_TTL,
    RuleOp.DEC_MPLS_TTL: SetSlot.DEC_MPLS_TTL,
    RuleOp.GROUP: SetSlot.GROUP,
    RuleOp.OUTPUT: SetSlot.OUTPUT,
    RuleOp.OUTPUT_REG: SetSlot.OUTPUT,
    RuleOp.CONTROLLER: SetSlot.OUTPUT,
    RuleOp.RESUBMIT: SetSlot.RESUBMIT,
    RuleOp.CT_CLEAR: SetSlot.CT_CLEAR,
    RuleOp.CHAIN: SetSlot.CT,
    RuleOp.SET: SetSlot.CHANGES,
    RuleOp.MOVE: SetSlot.CHANGES,
    RuleOp.SET_VLAN: SetSlot.CHANGES,
    RuleOp.SKIP: SetSlot.CHANGES,
    RuleOp.FIX_TAG: SetSlot.CHANGES,
}
"""Operations that can be in an action set; others are no part of it."""

OP_WRITE: Final = 0x80
OP_WRITES: Final = 0x20
OP_SLOT_SHIFT: Final = 1
"""bpf/program.h, OP_SLOT()."""
CT_ZONE_IN_WORD: Final = 1 << 6
"""bpf/program.h: flag of OP_CT; the others are CtDo."""
