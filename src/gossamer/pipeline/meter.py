"""Meters: bands of rates that packets must keep to (OpenFlow 1.3.5, 5.7)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

METER_MAX: Final = 0xFFFF0000
METER_SLOWPATH: Final = 0xFFFFFFFD
METER_CONTROLLER: Final = 0xFFFFFFFE
METER_ALL: Final = 0xFFFFFFFF


class MeterFlag(IntFlag):
    """ofp_meter_flags (OpenFlow 1.3.5, 7.3.4.4)."""

    KBPS = 1
    PKTPS = 2
    BURST = 4
    STATS = 8


class BandType(IntEnum):
    """ofp_meter_band_type."""

    DROP = 1
    DSCP_REMARK = 2


@dataclass(frozen=True, slots=True)
class Band:
    """A band: above `rate` (kbit/s, or packets/s) it applies; `burst` in kbit or packets, of which
    0 is one second's worth; `precedence` is what DSCP_REMARK adds to the drop precedence."""

    type: BandType
    rate: int
    burst: int = 0
    precedence: int = 0


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter and its bands."""

    meter_id: int
    flags: MeterFlag
    bands: tuple[Band, ...]


def remark(tos: int, precedence: int) -> int:
    """IP ToS with the drop precedence of its DSCP raised (RFC 2597: AF classes; at most 3).

    What is no AF code point stays as it is.
    """
    dscp = tos >> 2
    drop, af = (dscp >> 1) & 3, dscp >> 3
    if not 1 <= af <= 4 or dscp & 1 or not drop:
        return tos
    return (af << 5 | min(drop + precedence, 3) << 3) | tos & 3
