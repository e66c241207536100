"""Meters as far as the daemon itself keeps to them.

Those of packet-ins (OFPM_CONTROLLER) and of the slow path have numbers beyond
those of flows, and no packet meets them in the datapath (OpenFlow 1.3.5, 6.7:
virtual meters).  Any other may be named by a controller action.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gossamer.pipeline.meter import METER_MAX, BandType
from gossamer.pipeline.metering import Meters

if TYPE_CHECKING:
    from gossamer.pipeline.meter import Meter
    from gossamer.switch.numbered import Numbered


def is_own(meter_id: int) -> bool:
    """Whether a number is that of a virtual meter."""
    return meter_id > METER_MAX


@dataclass(slots=True)
class _Counters:
    packets: int = 0
    n_bytes: int = 0
    bands: dict[int, list[int]] = field(default_factory=dict)


class OwnMeters:
    """Buckets and counters of the meters of one bridge, in the daemon."""

    def __init__(self, meters: Numbered[Meter]) -> None:
        self._configured = meters
        self._buckets = Meters()
        self._counters: dict[int, _Counters] = {}

    def passes(self, meter_id: int, n_bytes: int, now: float) -> bool:
        """Whether a packet may go on; one for which there is no such meter may."""
        meter = self._configured.get(meter_id)
        if meter is None:
            return True
        counters = self._counters.setdefault(meter_id, _Counters())
        counters.packets += 1
        counters.n_bytes += n_bytes
        index = self._buckets.exceeded(meter, n_bytes, now)
        if index is None:
            return True
        band = counters.bands.setdefault(index, [0, 0])
        band[0] += 1
        band[1] += n_bytes
        return meter.bands[index].type is not BandType.DROP

    def statistics(self, meter_id: int) -> tuple[int, int, list[tuple[int, int]]]:
        """(packets, bytes) of a meter that is there, and of each of its bands."""
        meter = self._configured.get(meter_id)
        counters = self._counters.get(meter_id, _Counters())
        bands = range(len(meter.bands) if meter is not None else 0)
        each = [counters.bands.get(i, [0, 0]) for i in bands]
        return counters.packets, counters.n_bytes, [(packets, size) for packets, size in each]

    def forget(self, meter_id: int) -> None:
        """A meter went, or has other bands: it begins anew."""
        self._counters.pop(meter_id, None)
        for place in [p for p in self._buckets.buckets if p[0] == meter_id]:
            del self._buckets.buckets[place]
