"""Meters into the kernel: bands, and the buckets they fill (bpf/meter.h).

One that changes gets another place in the arrays.  Which place counts changes
with the version of the bridge: `write()`, then that store, then `published()`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from gossamer.datapath import layout
from gossamer.datapath.cells import Cells
from gossamer.datapath.grace import Duty, Key
from gossamer.datapath.maps import MappedArray, PerCpuArray
from gossamer.errors import DatapathError
from gossamer.pipeline.match import slot_mask
from gossamer.pipeline.meter import Band, BandType, Meter, MeterFlag

_NS: Final = 10**9
_MOST: Final = 1 << 56
"""Of time in the kernel's unit, 18 years' worth: what fills a bucket must fit 63 bits."""
_COARSE: Final = 5
"""The clock that ticks every few milliseconds serves bursts of this part of a second."""
_TOS: Final = slot_mask("nw_tos", 0xFC)
_Place = tuple[int, int]
"""(bridge, meter number)"""


class Meters:
    """The `meters`, `meter_bands`, `meter_states` and `meter_counts` maps."""

    def __init__(
        self, meters: Cells, bands: MappedArray, states: MappedArray, counts: PerCpuArray
    ) -> None:
        self._cells = meters
        self._bands = bands
        self._states = states
        self._counts = counts
        self.records: dict[_Place, Meter] = {}
        self._remarking: set[_Place] = set()
        """Those that change packets."""
        self._indexes: dict[_Place, int] = {}
        """From the next version on."""
        self._replaced: list[int] = []
        """Places that are no meter's from then on."""
        self._next = 0
        self._free: list[int] = []
        self._inherited: set[_Place] = set()

    def inherit(self, version: Callable[[int], int]) -> None:
        """Learn what an earlier daemon left; what is set again unchanged goes on."""
        for key, state in self._cells.inherit(version).items():
            bridge_id, meter_id = layout.METER_KEY.unpack(key)
            self._indexes[bridge_id, meter_id] = int.from_bytes(state, "little") - 1
        self._inherited = set(self._indexes)
        used = set(self._indexes.values())
        self._next = max(used, default=-1) + 1
        self._free = [i for i in range(self._next) if i not in used]

    def disinherit(self) -> None:
        """What was inherited and not set again goes with the next commit."""
        for place in self._inherited:
            self._remove(place)
        self._inherited.clear()

    def put(self, bridge_id: int, meter: Meter) -> None:
        """Add a meter, or replace the one of that number, whose buckets and counters begin again.

        Raises DatapathError for more than the kernel can hold; then nothing has changed.
        """
        if len(meter.bands) > layout.MAX_BANDS:
            raise DatapathError(
                f"a meter of {len(meter.bands)} bands, {layout.MAX_BANDS} are possible",
                place=f"meter={meter.meter_id}",
                remedy="use fewer bands",
            )
        place = (bridge_id, meter.meter_id)
        index = self._indexes.get(place)
        image = _image(meter)
        self._inherited.discard(place)
        self.records[place] = meter
        if any(band.type is BandType.DSCP_REMARK for band in meter.bands):
            self._remarking.add(place)
        else:
            self._remarking.discard(place)
        if index is not None and self._bands.read(index)[: len(image)] == image:
            return
        if index is not None:
            self._remove(place)
        index = self._free_index(place)
        self._bands.write(index, image)
        self._states.write(index, bytes(self._states.stride))
        self._counts.zero(index)
        self._indexes[place] = index
        self._cells.put(layout.METER_KEY.pack(*place), (index + 1).to_bytes(4, "little"))

    def keys(self) -> list[Key]:
        """The keys that the next commit changes."""
        return self._cells.keys("meters")

    def write(self) -> set[int]:
        """Write what has changed; returns the bridges whose meters are others from the next version
        on."""
        return self._cells.write()

    def published(self) -> list[Duty]:
        """The commit counts; what remains to be done when no packet looks at what was before."""
        replaced, self._replaced = self._replaced, []
        duties = self._cells.published()
        if replaced:
            duties.append(partial(self._free.extend, replaced))
        return duties

    def writes(self) -> int:
        """The key bits that meters write."""
        return _TOS if self._remarking else 0

    def delete(self, bridge_id: int, meter_id: int) -> None:
        """Remove a meter; nothing where there is none."""
        place = (bridge_id, meter_id)
        if self.records.pop(place, None) is not None:
            self._remarking.discard(place)
            self._remove(place)

    def remove_bridge(self, bridge_id: int) -> None:
        """Remove all meters of a bridge."""
        for place in [place for place in self.records if place[0] == bridge_id]:
            self.delete(*place)

    def statistics(self, bridge_id: int, meter_id: int) -> tuple[int, int, list[tuple[int, int]]]:
        """(packets, bytes) that came to a meter, and of each band that applied to them."""
        index = self._indexes[bridge_id, meter_id]
        packets, n_bytes, *rest = self._counts.sums(index)
        n = len(self.records[bridge_id, meter_id].bands)
        return packets, n_bytes, [(rest[2 * i], rest[2 * i + 1]) for i in range(n)]

    def _remove(self, place: _Place) -> None:
        self._cells.put(layout.METER_KEY.pack(*place), None)
        self._replaced.append(self._indexes.pop(place))

    def _free_index(self, place: _Place) -> int:
        if self._free:
            return self._free.pop(0)
        if self._next >= layout.MAX_METERS:
            raise DatapathError(f"more than {layout.MAX_METERS} meters", place=f"meter={place[1]}")
        self._next += 1
        return self._next - 1


def _image(meter: Meter) -> bytes:
    """`struct meter_bands`."""
    in_packets = bool(meter.flags & MeterFlag.PKTPS)
    coarse = all(_burst(band, meter.flags) * _COARSE >= band.rate for band in meter.bands)
    head = layout.BANDS_HEAD.pack(len(meter.bands), in_packets, coarse)
    bands = b"".join(_band(band, meter.flags, in_packets) for band in meter.bands)
    return (head + bands).ljust(layout.BANDS_SIZE, b"\0")


def _burst(band: Band, flags: MeterFlag) -> int:
    """In the unit of the rate: what is not said is a second's worth."""
    return band.burst if flags & MeterFlag.BURST and band.burst else band.rate


def _band(band: Band, flags: MeterFlag, in_packets: bool) -> bytes:
    unit = 1 if in_packets else 125
    rate = band.rate * unit
    second = _NS << layout.METER_SHIFT
    cost = max(1, round(second / rate)) if rate else 0
    burst = min(max(1, _burst(band, flags) * unit) * second // rate, _MOST) if rate else 0
    kind = BandType.DSCP_REMARK if band.type is BandType.DSCP_REMARK else BandType.DROP
    return layout.BAND.pack(rate, cost, burst, kind, band.precedence)
