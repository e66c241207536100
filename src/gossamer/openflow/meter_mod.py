"""METER_MOD (OpenFlow 1.3.5, 7.3.4.4)."""

from __future__ import annotations

from struct import Struct
from typing import Final

from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.message.meter import MeterCommand, MeterMod
from gossamer.pipeline.meter import Band, BandType, Meter, MeterFlag

_HEAD: Final = Struct(">HHI")
_BAND: Final = Struct(">HHIIB3x")


def decode_meter_mod(data: bytes) -> MeterMod:
    """OFPT_METER_MOD.  Raises OpenFlowError(METER_MOD_FAILED_*, BAD_LEN)."""
    if len(data) < 8 + _HEAD.size:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    command, flags, meter_id = _HEAD.unpack_from(data, 8)
    if command not in tuple(MeterCommand):
        raise OpenFlowError(ErrorCode.METER_MOD_FAILED_BAD_COMMAND, f"command {command}")
    if command == MeterCommand.DELETE:
        return MeterMod(MeterCommand.DELETE, Meter(meter_id, MeterFlag(0), ()))
    if flags & MeterFlag.KBPS and flags & MeterFlag.PKTPS:
        raise OpenFlowError(ErrorCode.METER_MOD_FAILED_BAD_FLAGS, "kbps and pktps")
    bands = _bands(data[8 + _HEAD.size :])
    return MeterMod(MeterCommand(command), Meter(meter_id, MeterFlag(flags), bands))


def _bands(data: bytes) -> tuple[Band, ...]:
    out: list[Band] = []
    at = 0
    while len(data) - at >= _BAND.size:
        kind, length, rate, burst, precedence = _BAND.unpack_from(data, at)
        if length != _BAND.size:
            raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN, f"band of {length} bytes")
        if kind not in tuple(BandType):
            raise OpenFlowError(ErrorCode.METER_MOD_FAILED_BAD_BAND, f"band type {kind}")
        remarks = kind == BandType.DSCP_REMARK
        out.append(Band(BandType(kind), rate, burst, precedence if remarks else 0))
        at += length
    if at != len(data):
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN, "bytes behind the bands")
    return tuple(out)


def encode_bands(bands: tuple[Band, ...]) -> bytes:
    """The bands of a meter, as METER_MOD and OFPMP_METER_CONFIG have them."""
    return b"".join(_BAND.pack(b.type, _BAND.size, b.rate, b.burst, b.precedence) for b in bands)
