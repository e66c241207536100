"""Meters: changing them, and what is told of them (OpenFlow 1.3.5, 7.3.4.4 and 7.3.5.11 on)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from gossamer.pipeline.meter import METER_ALL, BandType, Meter, MeterFlag


class MeterCommand(IntEnum):
    """ofp_meter_mod_command."""

    ADD = 0
    MODIFY = 1
    DELETE = 2


@dataclass(frozen=True, slots=True)
class MeterMod:
    """OFPT_METER_MOD; of a deletion, `meter` carries the number alone (`METER_ALL`: all)."""

    command: MeterCommand
    meter: Meter


@dataclass(frozen=True, slots=True)
class MeterStatsRequest:
    """OFPMP_METER; `METER_ALL`: of every meter."""

    meter_id: int = METER_ALL


@dataclass(frozen=True, slots=True)
class MeterConfigRequest:
    """OFPMP_METER_CONFIG (OpenFlow 1.5: OFPMP_METER_DESC); `METER_ALL`: of every meter."""

    meter_id: int = METER_ALL


@dataclass(frozen=True, slots=True)
class MeterFeaturesRequest:
    """OFPMP_METER_FEATURES."""


@dataclass(frozen=True, slots=True)
class MeterStats:
    """Counters of a meter; `bands` has (packets, bytes) of each, in their order.

    `n_flows`: flows that pass their packets through it.
    """

    meter_id: int
    n_flows: int
    packets_in: int
    bytes_in: int
    duration_s: float
    bands: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class MeterFeatures:
    """What meters can do; bit n of `band_types` is set for band type n."""

    max_meters: int
    max_bands: int
    band_types: int = 1 << BandType.DROP | 1 << BandType.DSCP_REMARK
    capabilities: int = MeterFlag.KBPS | MeterFlag.PKTPS | MeterFlag.BURST | MeterFlag.STATS
    max_color: int = 0


__all__ = [
    "METER_ALL",
    "MeterCommand",
    "MeterConfigRequest",
    "MeterFeatures",
    "MeterFeaturesRequest",
    "MeterMod",
    "MeterStats",
    "MeterStatsRequest",
]
