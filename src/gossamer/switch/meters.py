"""METER_MOD: the meter table of a bridge (OpenFlow 1.3.5, 6.7 and 7.3.4.4)."""

from __future__ import annotations

from typing import Final

from gossamer.datapath.layout import MAX_BANDS
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.message import MeterCommand, MeterMod
from gossamer.pipeline.meter import (
    METER_ALL,
    METER_CONTROLLER,
    METER_MAX,
    METER_SLOWPATH,
    BandType,
    Meter,
    MeterFlag,
)
from gossamer.switch.flow_event import RemovedReason
from gossamer.switch.numbered import Numbered
from gossamer.switch.tables import FlowTables

_VIRTUAL: Final = (METER_SLOWPATH, METER_CONTROLLER)
_FLAGS: Final = int(MeterFlag.KBPS | MeterFlag.PKTPS | MeterFlag.BURST | MeterFlag.STATS)


class MeterMods:
    """Carries out METER_MODs on the meters of one bridge; the caller commits."""

    def __init__(self, tables: FlowTables, meters: Numbered[Meter]) -> None:
        self._tables = tables
        self.meters = meters

    def apply(self, message: MeterMod, now: float, source: object, xid: int = 0) -> None:
        """Carry out one METER_MOD at CLOCK_MONOTONIC `now`.

        Raises OpenFlowError with the code the specification gives; then
        nothing was changed.
        """
        meter = message.meter
        match message.command:
            case MeterCommand.DELETE:
                self._delete(meter.meter_id, source, xid)
            case MeterCommand.ADD:
                if meter.meter_id in self.meters:
                    raise OpenFlowError(ErrorCode.METER_MOD_FAILED_METER_EXISTS)
                check(meter)
                self.meters.set(meter.meter_id, meter, now)
            case MeterCommand.MODIFY:
                if meter.meter_id not in self.meters:
                    raise OpenFlowError(ErrorCode.METER_MOD_FAILED_UNKNOWN_METER)
                check(meter)
                self.meters.set(meter.meter_id, meter, now)
            case _:
                raise OpenFlowError(ErrorCode.METER_MOD_FAILED_BAD_COMMAND)

    def _delete(self, meter_id: int, source: object, xid: int) -> None:
        """Delete a meter, or all, with the flows that use them; one that is not there is no error."""
        if meter_id == METER_ALL:
            gone = list(self.meters)
        else:
            gone = [meter_id] if meter_id in self.meters else []
        by_meter = self._tables.references.by_meter
        for number in gone:
            for flow in list(by_meter.get(number, ())):
                self._tables.remove(flow, RemovedReason.METER_DELETE, source, xid)
            self.meters.remove(number)

    def n_flows(self, meter_id: int) -> int:
        """Flows that pass their packets through a meter."""
        return len(self._tables.references.by_meter.get(meter_id, ()))


def check(meter: Meter) -> None:
    """Raises OpenFlowError for a meter that cannot be (OpenFlow 1.3.5, 7.4.4.13)."""
    if not 1 <= meter.meter_id <= METER_MAX and meter.meter_id not in _VIRTUAL:
        raise OpenFlowError(ErrorCode.METER_MOD_FAILED_INVALID_METER)
    both = MeterFlag.KBPS | MeterFlag.PKTPS
    if int(meter.flags) & ~_FLAGS or meter.flags & both == both:
        raise OpenFlowError(ErrorCode.METER_MOD_FAILED_BAD_FLAGS)
    if len(meter.bands) > MAX_BANDS:
        raise OpenFlowError(ErrorCode.METER_MOD_FAILED_OUT_OF_BANDS)
    for band in meter.bands:
        if band.type not in tuple(BandType):
            raise OpenFlowError(ErrorCode.METER_MOD_FAILED_BAD_BAND)
        if not band.rate:
            raise OpenFlowError(ErrorCode.METER_MOD_FAILED_BAD_RATE, "a band needs a rate")
