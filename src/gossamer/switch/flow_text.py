"""Flows as `ovs-appctl bridge/dump-flows` shows them (ovs-vswitchd(8))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.pipeline.format import format_actions, format_match

if TYPE_CHECKING:
    from gossamer.pipeline.flow import Flow


def flow_line(flow: Flow, now: float, *, offload: bool) -> str:
    """One flow on one line, at CLOCK_MONOTONIC `now`.

    With `offload` it says how much hardware took over, which is nothing.
    """
    parts = [f"table_id={flow.table_id}"] if flow.table_id else []
    parts.append(f"duration={int(now - flow.created_s)}s")
    n_packets, n_bytes = flow.n_packets + flow.own_packets, flow.n_bytes + flow.own_bytes
    parts.append(f"n_packets={n_packets}, n_bytes={n_bytes}")
    if offload:
        parts.append("n_offload_packets=0, n_offload_bytes=0")
    match = format_match(flow.match, flow.priority)
    actions = f"actions={format_actions(flow.actions)}"
    parts.append(f"{match},{actions}" if match else actions)
    return ", ".join(parts)
