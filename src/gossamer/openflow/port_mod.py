"""PORT_MOD in its three layouts (OpenFlow 1.0.0, 5.3.3; 1.3.5, 7.3.4.3; 1.4.1, 7.3.4.3)."""

from __future__ import annotations

from struct import Struct
from typing import Final

from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.message import (
    CONFIG_DOWN,
    CONFIG_NO_FWD,
    CONFIG_NO_PACKET_IN,
    CONFIG_NO_RECV,
    PortMod,
    Version,
)
from gossamer.openflow.oxm import is_valid_port, port_from_16
from gossamer.openflow.properties import properties, unknown

_MOD10: Final = Struct(">H6sIII4x")
_MOD11: Final = Struct(">I4x6s2xIII4x")
_MOD14: Final = Struct(">I4x6s2xII")
_ETHERNET: Final = 0
_CONFIG10: Final = 0x7F
CONFIG11: Final = CONFIG_DOWN | CONFIG_NO_RECV | CONFIG_NO_FWD | CONFIG_NO_PACKET_IN
"""The bits of a port's configuration that a version knows; others mean nothing."""


def decode_port_mod(data: bytes, version: int) -> PortMod:
    """OFPT_PORT_MOD.  Raises OpenFlowError(BAD_LEN, BAD_PROPERTY_*, BAD_OUT_PORT)."""
    body = data[8:]
    if version >= Version.V14:
        if len(body) < _MOD14.size:
            raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
        port, address, config, mask = _MOD14.unpack_from(body)
        advertise = 0
        for p in properties(body[_MOD14.size :]):
            if p.vendor or p.type != _ETHERNET:
                raise unknown("port", p)
            advertise = p.number(4)
    else:
        layout = _MOD10 if version == Version.V10 else _MOD11
        if len(body) != layout.size:
            raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
        port, address, config, mask, advertise = layout.unpack(body)
        if version == Version.V10:
            port, advertise = port_from_16(port), features11(advertise)
    if not is_valid_port(port):
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_OUT_PORT, f"port {port:#x}")
    mask &= _CONFIG10 if version == Version.V10 else CONFIG11
    return PortMod(port, address, config & mask, mask, advertise)


def features11(features: int) -> int:
    """OpenFlow 1.0's port features in 1.1's bits."""
    return features & 0x7F | (features & 0xF80) << 4
