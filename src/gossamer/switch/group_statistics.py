"""Answers about groups and meters (OpenFlow 1.3.5, 7.3.5.6 to 7.3.5.13)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from gossamer.datapath.layout import MAX_BANDS, MAX_GROUPS, MAX_METERS
from gossamer.openflow import encode
from gossamer.openflow import message as m
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.pipeline.group import GROUP_ALL
from gossamer.pipeline.meter import METER_ALL, Meter
from gossamer.switch.statistics import send_all

if TYPE_CHECKING:
    from gossamer.switch.bridge import Bridge
    from gossamer.switch.numbered import Entry, Numbered
    from gossamer.switch.session import Session

T = TypeVar("T")
_CAPABILITIES: Final = (
    m.CAPABILITY_SELECT_WEIGHT
    | m.CAPABILITY_SELECT_LIVENESS
    | m.CAPABILITY_CHAINING
    | m.CAPABILITY_CHAINING_CHECKS
)


def _selected(all_of_them: Numbered[T], number: int, every: int) -> Sequence[Entry[T]]:
    if number == every:
        return all_of_them.entries()
    entry = all_of_them.entry(number)
    return [entry] if entry is not None else []


def groups(session: Session, message: m.GroupStatsRequest, xid: int) -> None:
    """OFPMP_GROUP; a group that is not there has no statistics, as in Open vSwitch."""
    bridge, now = session.bridge, time.monotonic()
    references = bridge.rules.group_mods.n_references()
    stats = []
    for entry in _selected(bridge.rules.groups, message.group_id, GROUP_ALL):
        group_id = entry.value.group_id
        packets, n_bytes, buckets = bridge.datapath.group_statistics(
            bridge.ports.bridge_id, group_id
        )
        stats.append(
            m.GroupStats(
                group_id=group_id,
                n_references=references[group_id],
                n_packets=packets,
                n_bytes=n_bytes,
                duration_s=now - entry.created_s,
                buckets=tuple(buckets),
            )
        )
    send_all(session, encode.group_stats_replies(stats, session.version, xid))


def group_descs(session: Session, message: m.GroupDescRequest, xid: int) -> None:
    """OFPMP_GROUP_DESC."""
    found = _selected(session.bridge.rules.groups, message.group_id, GROUP_ALL)
    send_all(session, encode.group_desc_replies([e.value for e in found], session.version, xid))


def group_features(session: Session, message: m.GroupFeaturesRequest, xid: int) -> None:
    """OFPMP_GROUP_FEATURES."""
    features = m.GroupFeatures((MAX_GROUPS,) * 4, capabilities=_CAPABILITIES)
    send_all(session, encode.group_features_replies(features, session.version, xid))


def _meters(bridge: Bridge, meter_id: int) -> Sequence[Entry[Meter]]:
    """Raises OpenFlowError for a meter that is not there."""
    if meter_id != METER_ALL and meter_id not in bridge.rules.meters:
        raise OpenFlowError(ErrorCode.METER_MOD_FAILED_UNKNOWN_METER)
    return _selected(bridge.rules.meters, meter_id, METER_ALL)


def meters(session: Session, message: m.MeterStatsRequest, xid: int) -> None:
    """OFPMP_METER."""
    bridge, now = session.bridge, time.monotonic()
    stats = []
    for entry in _meters(bridge, message.meter_id):
        meter_id = entry.value.meter_id
        packets, n_bytes, bands = bridge.rules.meter_statistics(meter_id)
        stats.append(
            m.MeterStats(
                meter_id=meter_id,
                n_flows=bridge.rules.meter_mods.n_flows(meter_id),
                packets_in=packets,
                bytes_in=n_bytes,
                duration_s=now - entry.created_s,
                bands=tuple(bands),
            )
        )
    send_all(session, encode.meter_stats_replies(stats, session.version, xid))


def meter_configs(session: Session, message: m.MeterConfigRequest, xid: int) -> None:
    """OFPMP_METER_CONFIG."""
    found = [entry.value for entry in _meters(session.bridge, message.meter_id)]
    send_all(session, encode.meter_config_replies(found, session.version, xid))


def meter_features(session: Session, message: m.MeterFeaturesRequest, xid: int) -> None:
    """OFPMP_METER_FEATURES."""
    features = m.MeterFeatures(max_meters=MAX_METERS, max_bands=MAX_BANDS)
    send_all(session, encode.meter_features_replies(features, session.version, xid))
