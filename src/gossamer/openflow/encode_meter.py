"""Meters on the wire: configuration, counters, features (OpenFlow 1.3.5, 7.3.5.11 to 7.3.5.13)."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct, pack
from typing import Final

from gossamer.openflow.frame import duration, frame, multipart, pieces
from gossamer.openflow.message.meter import MeterFeatures, MeterMod, MeterStats
from gossamer.openflow.meter_mod import encode_bands
from gossamer.pipeline.meter import Meter

_STATS: Final = Struct(">IH6xIQQII")


def meter_stats_replies(stats: Iterable[MeterStats], version: int, xid: int) -> list[bytes]:
    """OFPMP_METER."""

    def record(s: MeterStats) -> bytes:
        bands = b"".join(pack(">QQ", *counted) for counted in s.bands)
        seconds, nanos = duration(s.duration_s)
        return (
            _STATS.pack(
                s.meter_id, _STATS.size + len(bands), s.n_flows, s.packets_in, s.bytes_in,
                seconds, nanos,
            )
            + bands
        )  # fmt: skip

    records = (record(s) for s in stats)
    return [multipart(version, 9, xid, body, more) for body, more in pieces(records)]


def meter_config_replies(meters: Iterable[Meter], version: int, xid: int) -> list[bytes]:
    """OFPMP_METER_CONFIG, which OpenFlow 1.5 calls OFPMP_METER_DESC."""

    def record(m: Meter) -> bytes:
        bands = encode_bands(m.bands)
        return pack(">HHI", 8 + len(bands), m.flags, m.meter_id) + bands

    records = (record(m) for m in meters)
    return [multipart(version, 10, xid, body, more) for body, more in pieces(records)]


def meter_features_replies(features: MeterFeatures, version: int, xid: int) -> list[bytes]:
    """OFPMP_METER_FEATURES, in OpenFlow 1.3's form as Open vSwitch has it in every version."""
    body = pack(
        ">IIIBB2x", features.max_meters, features.band_types, features.capabilities,
        features.max_bands, features.max_color,
    )  # fmt: skip
    return [multipart(version, 11, xid, body)]


def meter_mod(message: MeterMod, version: int, xid: int) -> bytes:
    """OFPT_METER_MOD: as it is forwarded to other controllers."""
    m = message.meter
    head = pack(">HHI", message.command, m.flags, m.meter_id)
    return frame(version, 29, xid, head + encode_bands(m.bands))
