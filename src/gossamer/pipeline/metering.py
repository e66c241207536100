"""Token buckets: which band of a meter applies to a packet (OpenFlow 1.3.5, 5.7.1).

Each band has a bucket that fills with its rate up to its burst, and begins
full.  A packet passes a band while there is any token in the bucket, and may
take it into debt, so that the rate in the long run does not depend on the size
of packets.  Of the bands a packet does not pass, the one of the highest rate
applies.  bpf/meter.h does the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gossamer.pipeline.meter import Band, Meter, MeterFlag


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_s: float


@dataclass(slots=True)
class Meters:
    """What is left in the buckets of a bridge's meters."""

    buckets: dict[tuple[int, int], _Bucket] = field(default_factory=dict)
    """By meter number and band index."""

    def exceeded(self, meter: Meter, n_bytes: int, now_s: float) -> int | None:
        """Pay for a packet; the index of the band that applies to it, None where it passes."""
        cost = 1.0 if meter.flags & MeterFlag.PKTPS else n_bytes * 8 / 1000
        worst: int | None = None
        for index, band in enumerate(meter.bands):
            if self._pay((meter.meter_id, index), band, cost, now_s):
                continue
            if worst is None or band.rate >= meter.bands[worst].rate:
                worst = index
        return worst

    def _pay(self, place: tuple[int, int], band: Band, cost: float, now_s: float) -> bool:
        most = float(band.burst or band.rate)
        bucket = self.buckets.get(place)
        if bucket is None:
            bucket = self.buckets[place] = _Bucket(most, now_s)
        earned = (now_s - bucket.filled_s) * band.rate
        bucket.tokens, bucket.filled_s = min(most, bucket.tokens + earned), now_s
        if bucket.tokens <= 0:
            return False
        bucket.tokens -= cost
        return True
