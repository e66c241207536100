"""Make a case on which the two sides disagree as small as it gets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from gossamer.pipeline.action import Clone, WriteActions
from tests.property.case import BridgeCase, Case


def shrink(case: Case, fails: Callable[[Case], bool], seconds: float = 20.0) -> Case:
    """The smallest case found that still fails, within a time."""
    end = time.monotonic() + seconds
    progress = True
    while progress and time.monotonic() < end:
        progress = False
        for smaller in _smaller(case):
            if time.monotonic() > end:
                break
            if fails(smaller):
                case, progress = smaller, True
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    n = len(case.packets)
    for size in (n // 2, n // 4, 1):
        for at in range(0, n if size else 0, max(1, size)):
            yield replace(case, packets=case.packets[:at] + case.packets[at + size :])
    for i, bridge in enumerate(case.bridges):
        yield from (
            replace(case, bridges=(*case.bridges[:i], smaller, *case.bridges[i + 1 :]))
            for smaller in _smaller_bridges(bridge)
        )
    for i, p in enumerate(case.packets):
        for data in _smaller_data(p.data):
            changed = replace(p, data=data)
            yield replace(case, packets=(*case.packets[:i], changed, *case.packets[i + 1 :]))


def _smaller_bridges(bridge: BridgeCase) -> Iterator[BridgeCase]:
    n = len(bridge.flows)
    for size in (n // 2, 1):
        for at in range(0, n if size else 0, max(1, size)):
            yield replace(bridge, flows=bridge.flows[:at] + bridge.flows[at + size :])
    for i, flow in enumerate(bridge.flows):
        for j, action in enumerate(flow.actions):
            fewer = replace(flow, actions=flow.actions[:j] + flow.actions[j + 1 :])
            yield replace(bridge, flows=(*bridge.flows[:i], fewer, *bridge.flows[i + 1 :]))
            if isinstance(action, WriteActions | Clone):
                for k in range(len(action.actions)):
                    inner = replace(action, actions=action.actions[:k] + action.actions[k + 1 :])
                    fewer = replace(
                        flow, actions=(*flow.actions[:j], inner, *flow.actions[j + 1 :])
                    )
                    yield replace(bridge, flows=(*bridge.flows[:i], fewer, *bridge.flows[i + 1 :]))
    for i, group in enumerate(bridge.groups):
        others = (*bridge.groups[:i], *bridge.groups[i + 1 :])
        yield replace(bridge, groups=others)
        for j, bucket in enumerate(group.buckets):
            rest = (group.buckets[:j], group.buckets[j + 1 :])
            fewer_buckets = replace(group, buckets=(*rest[0], *rest[1]))
            yield replace(bridge, groups=(*others, fewer_buckets))
            for k in range(len(bucket.actions)):
                less = replace(bucket, actions=bucket.actions[:k] + bucket.actions[k + 1 :])
                changed = replace(group, buckets=(*rest[0], less, *rest[1]))
                yield replace(bridge, groups=(*others, changed))
    for table_id in bridge.miss:
        yield replace(bridge, miss={t: m for t, m in bridge.miss.items() if t != table_id})
    for i in range(len(bridge.ports)):
        yield replace(bridge, ports=bridge.ports[:i] + bridge.ports[i + 1 :])


def _smaller_data(data: bytes) -> Iterator[bytes]:
    if len(data) > 60:
        yield data[:60]
    for at in range(14, len(data)):
        if data[at]:
            yield data[:at] + b"\0" + data[at + 1 :]
