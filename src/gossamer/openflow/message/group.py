"""Groups: changing them, and what is told of them (OpenFlow 1.3.5, 7.3.4.2 and 7.3.5.8 to 7.3.5.10)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from gossamer.pipeline.group import GROUP_ALL, GROUP_ANY, Group

BUCKET_MAX: Final = 0xFFFFFF00
BUCKET_FIRST: Final = 0xFFFFFFFD
BUCKET_LAST: Final = 0xFFFFFFFE
BUCKET_ALL: Final = 0xFFFFFFFF


class GroupCommand(IntEnum):
    """ofp_group_mod_command (OpenFlow 1.5.1, 7.3.4.3), and Open vSwitch's add-or-modify."""

    ADD = 0
    MODIFY = 1
    DELETE = 2
    INSERT_BUCKET = 3
    REMOVE_BUCKET = 5
    ADD_OR_MODIFY = 0x8000


@dataclass(frozen=True, slots=True)
class GroupMod:
    """OFPT_GROUP_MOD, or NXT_GROUP_MOD of OpenFlow 1.0.

    Of a deletion, `group` carries the number alone (`GROUP_ALL`: all of them).
    INSERT_BUCKET puts the buckets of `group` behind bucket `command_bucket_id`
    (or at `BUCKET_FIRST`, `BUCKET_LAST`); REMOVE_BUCKET takes that one out
    (`BUCKET_ALL`: all).  Before OpenFlow 1.5 buckets are numbered from 0.
    """

    command: GroupCommand
    group: Group
    command_bucket_id: int = BUCKET_ALL


@dataclass(frozen=True, slots=True)
class GroupStatsRequest:
    """OFPMP_GROUP; `GROUP_ALL`: of every group."""

    group_id: int = GROUP_ALL


@dataclass(frozen=True, slots=True)
class GroupDescRequest:
    """OFPMP_GROUP_DESC; before OpenFlow 1.5 always of every group."""

    group_id: int = GROUP_ALL


@dataclass(frozen=True, slots=True)
class GroupFeaturesRequest:
    """OFPMP_GROUP_FEATURES."""


@dataclass(frozen=True, slots=True)
class GroupStats:
    """Counters of a group; `buckets` has (packets, bytes) of each, in their order.

    `n_references`: flows and groups that send to it.
    """

    group_id: int
    n_references: int
    n_packets: int
    n_bytes: int
    duration_s: float
    buckets: tuple[tuple[int, int], ...] = ()


CAPABILITY_SELECT_WEIGHT: Final = 1 << 0
CAPABILITY_SELECT_LIVENESS: Final = 1 << 1
CAPABILITY_CHAINING: Final = 1 << 2
CAPABILITY_CHAINING_CHECKS: Final = 1 << 3


@dataclass(frozen=True, slots=True)
class GroupFeatures:
    """What groups can do; `types` has bit n set for group type n, `max_groups` one number a type."""

    max_groups: tuple[int, int, int, int]
    types: int = 0b1111
    capabilities: int = CAPABILITY_SELECT_WEIGHT | CAPABILITY_SELECT_LIVENESS | CAPABILITY_CHAINING


__all__ = [
    "BUCKET_ALL",
    "BUCKET_FIRST",
    "BUCKET_LAST",
    "BUCKET_MAX",
    "CAPABILITY_CHAINING",
    "CAPABILITY_CHAINING_CHECKS",
    "CAPABILITY_SELECT_LIVENESS",
    "CAPABILITY_SELECT_WEIGHT",
    "GROUP_ALL",
    "GROUP_ANY",
    "GroupCommand",
    "GroupDescRequest",
    "GroupFeatures",
    "GroupFeaturesRequest",
    "GroupMod",
    "GroupStats",
    "GroupStatsRequest",
]
