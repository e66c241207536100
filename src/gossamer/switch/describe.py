"""How a bridge, its ports and its flows look to a controller."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Final

from gossamer.openflow import message as m
from gossamer.switch.flow_event import FlowEvent
from gossamer.switch.port import Port
from gossamer.switch.table import Table

if TYPE_CHECKING:
    from gossamer.pipeline.flow import Flow
    from gossamer.switch.bridge import Bridge

MANUFACTURER: Final = "Gossamer"
HARDWARE: Final = "Gossamer eBPF switch"
UNKNOWN: Final = "None"
"""For descriptions nobody set, as Open vSwitch says it."""


@cache
def version() -> str:
    """Of this software; "unpackaged" where it runs from a source tree that is not installed."""
    try:
        return installed_version("gossamer")
    except PackageNotFoundError:
        return "unpackaged"


def desc(bridge: Bridge) -> m.Desc:
    """OFPMP_DESC: who made this switch, and which one it is."""
    return m.Desc(
        mfr=MANUFACTURER,
        hw=HARDWARE,
        sw=version(),
        serial=bridge.config.dp_sn or UNKNOWN,
        dp=bridge.config.dp_desc or UNKNOWN,
    )


def port_desc(port: Port) -> m.PortDesc:
    """A port."""
    return m.PortDesc(
        number=port.ofport,
        hw_addr=port.mac,
        name=port.name,
        config=port.config_bits,
        state=port.state_bits,
        curr=port.features,
        curr_speed=min(port.speed_mbps * 1000, 0xFFFFFFFF),
        max_speed=0,
    )


def table_desc(table: Table) -> m.TableDesc:
    """What controllers chose for a table."""
    vacancy = table.settings.vacancy
    return m.TableDesc(
        table_id=table.table_id,
        evicts=table.settings.evicts,
        vacancy_down=vacancy.down if vacancy else None,
        vacancy_up=vacancy.up if vacancy else None,
        vacancy=table.percent_free,
    )


def flow_stats(flow: Flow, now: float) -> m.FlowStats:
    """A flow with its counters as last read."""
    used_s = flow.used_s if flow.used_s > flow.created_s else flow.created_s
    # By position: names would cost a third more, and a dump has a hundred thousand of these.
    return m.FlowStats(
        flow.table_id, flow.priority, flow.match, flow.actions, flow.cookie, now - flow.created_s,
        flow.idle_timeout_s, flow.hard_timeout_s, flow.flags, flow.importance,
        flow.n_packets + flow.own_packets, flow.n_bytes + flow.own_bytes, int(now - used_s),
        int(now - flow.modified_s),
    )  # fmt: skip


def flow_removed(event: FlowEvent, now: float) -> m.FlowRemoved:
    """A flow that went."""
    flow = event.flow
    return m.FlowRemoved(
        match=flow.match,
        cookie=flow.cookie,
        priority=flow.priority,
        reason=int(event.reason),
        table_id=flow.table_id,
        duration_s=now - flow.created_s,
        idle_timeout=flow.idle_timeout_s,
        hard_timeout=flow.hard_timeout_s,
        n_packets=flow.n_packets + flow.own_packets,
        n_bytes=flow.n_bytes + flow.own_bytes,
    )
