"""Which buckets of a group a packet goes to, as things stand (OpenFlow 1.3.5, 5.6.1 and 6.5)."""

from __future__ import annotations

from typing import Final

from gossamer.pipeline.group import (
    GROUP_ANY,
    Bucket,
    Group,
    GroupType,
    bucket_is_live,
    choose,
    flow_hash,
)
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.steps import Step
from gossamer.pipeline.world import Bridge

MAX_WATCHED: Final = 128
"""Groups that may watch each other in a row; beyond that, nothing counts as live."""


def group_is_live(bridge: Bridge, group_id: int, depth: int = 0) -> bool:
    """Whether some bucket of a group is live."""
    group = bridge.groups.get(group_id)
    if group is None or depth >= MAX_WATCHED:
        return False
    return any(is_live(bridge, group, bucket, depth) for bucket in group.buckets)


def is_live(bridge: Bridge, group: Group, bucket: Bucket, depth: int = 0) -> bool:
    """Whether packets may go to a bucket; one that weighs nothing gets none of a select group."""
    if group.type is GroupType.SELECT and not bucket.weight:
        return False
    return bucket_is_live(
        bucket,
        bridge.port_is_live,
        lambda group_id: group_is_live(bridge, group_id, depth + 1),
    )


def chosen(bridge: Bridge, group: Group, key: int, step: Step) -> tuple[int, ...]:
    """The indexes of the buckets that a packet with this key goes to; `step` hears why."""
    if group.type in (GroupType.ALL, GroupType.INDIRECT):
        return tuple(range(len(group.buckets)))
    live = []
    for index, bucket in enumerate(group.buckets):
        if is_live(bridge, group, bucket):
            live.append((index, bucket))
            if group.type is GroupType.FAST_FAILOVER:
                break
        else:
            step.detail(f"bucket {bucket.bucket_id}: not live due to {_watched(bucket)}")
    if group.type is GroupType.FAST_FAILOVER:
        best = live[0][0] if live else None
    else:
        best = choose(live, flow_hash(key, group.hashed, group.selection_param))
    if best is None:
        step.detail("no live bucket")
        return ()
    step.detail(f"using bucket {group.buckets[best].bucket_id}")
    return (best,)


def _watched(bucket: Bucket) -> str:
    parts = []
    if bucket.watch_port != OfPort.ANY:
        parts.append(f"port {bucket.watch_port}")
    if bucket.watch_group != GROUP_ANY:
        parts.append(f"group {bucket.watch_group}")
    return " and ".join(parts) or "its weight of 0"
