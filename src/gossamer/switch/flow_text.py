"""Flows as `ovs-appctl bridge/dump-flows` shows them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gossamer.pipeline.format import format_actions, format_match

if TYPE_CHECKING:
    from gossamer.pipeline.flow import Flow
    from gossamer.switch.bridge import Bridge


def flow_line(bridge: Bridge, flow: Flow, *, offload: bool) -> str:
    """One flow on one line."""
    parts = [f"table_id={flow.table_id}"] if flow.table_id else []
    parts.append(f"duration={int(time.monotonic() - flow.created_s)}s")
    parts.append(f"n_packets={flow.n_packets}")
    parts.append(f"n_bytes={flow.n_bytes}")
    if offload:
        parts += ["n_offload_packets=0", "n_offload_bytes=0"]
    parts.append(format_match(flow.match, flow.priority))
    return f"{', '.join(parts)},actions={format_actions(flow.actions)}"
