"""GROUP_MOD: the group table of a bridge (OpenFlow 1.3.5, 6.5 and 7.3.4.2; buckets of 1.5.1).

Where the specification leaves a choice, it is made as Open vSwitch makes it: a
bucket may name a port or group that is not there (it is not live, and what is
sent there is lost until it comes), and a group may go although another one
sends to it.  Loops, which Open vSwitch lets in and cuts off packet by packet,
are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.message import (
    BUCKET_ALL,
    BUCKET_FIRST,
    BUCKET_LAST,
    GroupCommand,
    GroupMod,
)
from gossamer.pipeline.group import (
    GROUP_ALL,
    GROUP_ANY,
    GROUP_MAX,
    MAX_BUCKETS,
    Bucket,
    Group,
    GroupType,
)
from gossamer.switch.flow_event import RemovedReason
from gossamer.switch.numbered import Numbered
from gossamer.switch.references import references_of
from gossamer.switch.tables import FlowTables

_NOTHING_WATCHED: Final = Bucket(())


class GroupMods:
    """Carries out GROUP_MODs on the groups of one bridge; the caller commits."""

    def __init__(self, tables: FlowTables, groups: Numbered[Group]) -> None:
        self._tables = tables
        self.groups = groups

    def apply(self, message: GroupMod, now: float, source: object, xid: int = 0) -> None:
        """Carry out one GROUP_MOD at CLOCK_MONOTONIC `now`.

        Raises OpenFlowError with the code the specification gives; then
        nothing was changed.
        """
        group, command = message.group, message.command
        match command:
            case GroupCommand.DELETE:
                self._delete(group.group_id, source, xid)
            case GroupCommand.ADD:
                if group.group_id in self.groups:
                    raise OpenFlowError(ErrorCode.GROUP_MOD_FAILED_GROUP_EXISTS)
                self._set(group, now)
            case GroupCommand.MODIFY:
                self._existing(group.group_id)
                self._set(group, now)
            case GroupCommand.ADD_OR_MODIFY:
                self._set(group, now)
            case GroupCommand.INSERT_BUCKET:
                old = self._existing(group.group_id)
                buckets = _with_inserted(old.buckets, group.buckets, message.command_bucket_id)
                self._set(replace(old, buckets=buckets), now)
            case GroupCommand.REMOVE_BUCKET:
                old = self._existing(group.group_id)
                buckets = _without(old.buckets, message.command_bucket_id)
                self._set(replace(old, buckets=buckets), now)
            case _:
                raise OpenFlowError(ErrorCode.GROUP_MOD_FAILED_BAD_COMMAND)

    def _existing(self, group_id: int) -> Group:
        group = self.groups.get(group_id)
        if group is None:
            raise OpenFlowError(ErrorCode.GROUP_MOD_FAILED_UNKNOWN_GROUP)
        return group

    def _set(self, group: Group, now: float) -> None:
        check(group)
        if self._loops(group):
            raise OpenFlowError(
                ErrorCode.GROUP_MOD_FAILED_LOOP, f"group {group.group_id} would reach itself"
            )
        self.groups.set(group.group_id, group, now)

    def _loops(self, group: Group) -> bool:
        """Whether packets sent to `group` would come back to it."""
        seen: set[int] = set()
        waiting = list(chained(group))
        while waiting:
            group_id = waiting.pop()
            if group_id == group.group_id:
                return True
            next_one = self.groups.get(group_id)
            if next_one is not None and group_id not in seen:
                seen.add(group_id)
                waiting += chained(next_one)
        return False

    def _delete(self, group_id: int, source: object, xid: int) -> None:
        """Delete a group, or all, with the flows that send to them; one that is not there is no
        error (OpenFlow 1.3.5, 6.5)."""
        if group_id == GROUP_ALL:
            gone = list(self.groups)
        elif group_id == GROUP_ANY or group_id > GROUP_MAX:
            raise OpenFlowError(ErrorCode.GROUP_MOD_FAILED_INVALID_GROUP)
        else:
            gone = [group_id] if group_id in self.groups else []
        by_group = self._tables.references.by_group
        for number in gone:
            for flow in list(by_group.get(number, ())):
                self._tables.remove(flow, RemovedReason.GROUP_DELETE, source, xid)
            self.groups.remove(number)

    def n_references(self) -> Counter[int]:
        """Flows and groups that send directly to each group (OpenFlow 1.3.5, 7.3.5.6)."""
        by_group = self._tables.references.by_group
        counts = Counter({group_id: len(flows) for group_id, flows in by_group.items()})
        for group in self.groups.values.values():
            counts.update(chained(group))
        return counts


def chained(group: Group) -> frozenset[int]:
    """The groups that the buckets of a group send to."""
    out: frozenset[int] = frozenset()
    for bucket in group.buckets:
        out |= references_of(bucket.actions).groups
    return out


def check(group: Group) -> None:
    """Raises OpenFlowError for a group that cannot be (OpenFlow 1.3.5, 7.4.4.7)."""
    if group.group_id > GROUP_MAX:
        raise OpenFlowError(ErrorCode.GROUP_MOD_FAILED_INVALID_GROUP)
    if group.type not in tuple(GroupType):
        raise OpenFlowError(ErrorCode.GROUP_MOD_FAILED_BAD_TYPE)
    if len(group.buckets) > MAX_BUCKETS:
        raise OpenFlowError(ErrorCode.GROUP_MOD_FAILED_OUT_OF_BUCKETS)
    if group.type is GroupType.INDIRECT and len(group.buckets) != 1:
        raise OpenFlowError(
            ErrorCode.GROUP_MOD_FAILED_INVALID_GROUP, "an indirect group has one bucket"
        )
    if len({bucket.bucket_id for bucket in group.buckets}) < len(group.buckets):
        raise OpenFlowError(ErrorCode.GROUP_MOD_FAILED_BUCKET_EXISTS)
    for bucket in group.buckets:
        _check_bucket(group.type, bucket)


def _check_bucket(kind: GroupType, bucket: Bucket) -> None:
    watches = (
        bucket.watch_port != _NOTHING_WATCHED.watch_port
        or bucket.watch_group != _NOTHING_WATCHED.watch_group
    )
    if kind in (GroupType.ALL, GroupType.INDIRECT) and watches:
        raise OpenFlowError(ErrorCode.GROUP_MOD_FAILED_WATCH_UNSUPPORTED)
    if kind is GroupType.FAST_FAILOVER and not watches:
        raise OpenFlowError(
            ErrorCode.GROUP_MOD_FAILED_INVALID_GROUP, "a fast failover bucket watches something"
        )


def _with_inserted(
    buckets: tuple[Bucket, ...], new: Iterable[Bucket], where: int
) -> tuple[Bucket, ...]:
    if where == BUCKET_FIRST:
        at = 0
    elif where == BUCKET_LAST:
        at = len(buckets)
    else:
        at = _index(buckets, where) + 1
    return (*buckets[:at], *new, *buckets[at:])


def _without(buckets: tuple[Bucket, ...], which: int) -> tuple[Bucket, ...]:
    if which == BUCKET_ALL:
        return ()
    if which == BUCKET_FIRST:
        return buckets[1:]
    if which == BUCKET_LAST:
        return buckets[:-1]
    at = _index(buckets, which)
    return buckets[:at] + buckets[at + 1 :]


def _index(buckets: tuple[Bucket, ...], bucket_id: int) -> int:
    for at, bucket in enumerate(buckets):
        if bucket.bucket_id == bucket_id:
            return at
    raise OpenFlowError(ErrorCode.GROUP_MOD_FAILED_UNKNOWN_BUCKET)


