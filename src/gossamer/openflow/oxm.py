"""Headers of fields on the wire: OXM, NXM and ONF's experimenter fields.

OpenFlow 1.3.5 section 7.2.3.2, 1.5.1 section 7.2.3.2, ovs-fields(7).  One field
may have several headers; which one is sent depends on the version.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.message import Version
from gossamer.pipeline.action import OfPort
from gossamer.pipeline.fields import (
    BY_NAME,
    FIELDS,
    NONE,
    NXM_0,
    NXM_1,
    ONF_VENDOR,
    OXM_EXPERIMENTER,
    OXM_PACKET_REGS,
    Field,
)

IN_PORT: Final = BY_NAME["in_port"]
VLAN_TCI: Final = BY_NAME["vlan_tci"]
VLAN_VID: Final = BY_NAME["vlan_vid"]
NW_TOS: Final = BY_NAME["nw_tos"]
DSCP_MASK: Final = 0xFC
"""The bits of NXM_OF_IP_TOS that count; the others are ECN's and must be zero."""

NXM_IN_PORT: Final = Field("in_port", "in_port", 32, 2, None, (NXM_0, 0), False, True, NONE)
"""NXM_OF_IN_PORT: in_port, spelled with OpenFlow 1.0's 16-bit numbers."""

XREGS: Final = tuple(
    Field(f"xreg{i}", f"reg{2 * i + 1}", 64, 8, (OXM_PACKET_REGS, i), None, True, True, NONE)
    for i in range(8)
)
"""OXM_OF_PKT_REG: two registers side by side; the second holds the lower bits."""
XXREGS: Final = tuple(
    Field(f"xxreg{i}", f"reg{4 * i + 3}", 128, 16, None, (NXM_1, 111 + i), True, True, NONE)
    for i in range(4)
)
"""Four registers side by side."""

_ONF: Final = {42: BY_NAME["tcp_flags"], 43: BY_NAME["actset_output"]}
"""ONF experimenter fields (EXT-109, EXT-233) of OpenFlow 1.3 and 1.4, by number."""
_BY_WIRE: Final[dict[tuple[int, int], Field]] = {
    wire: f
    for f in (*FIELDS, *XREGS, *XXREGS, NXM_IN_PORT)
    for wire in (f.oxm, f.nxm)
    if wire is not None
}


def port_from_16(port: int) -> int:
    """A port number of OpenFlow 1.0 in its 32-bit form."""
    return port | 0xFFFF0000 if port >= 0xFF00 else port


def port_to_16(port: int) -> int:
    """A port number in OpenFlow 1.0's 16 bits; OFPP_NONE where it does not fit."""
    if port >= OfPort.MAX:
        return port & 0xFFFF
    return port if port < 0xFF00 else 0xFFFF


def is_nxm_port(field: Field) -> bool:
    """True for NXM_OF_IN_PORT (by value: fields that were pickled are other objects)."""
    return field.nxm == (NXM_0, 0)


@dataclass(frozen=True, slots=True)
class WireField:
    """A field as a header names it.  `wire_bytes` is the length of the value alone."""

    field: Field
    wire_bytes: int
    header_bytes: int
    masked: bool


def decode_header(data: bytes, offset: int) -> WireField:
    """The header of an OXM or NXM TLV.

    Raises OpenFlowError(BAD_FIELD or BAD_LEN of the match) for what is unknown.
    """
    if len(data) < offset + 4:
        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_LEN)
    oxm_class = data[offset] << 8 | data[offset + 1]
    number, masked = data[offset + 2] >> 1, bool(data[offset + 2] & 1)
    length = data[offset + 3]
    header_bytes = 4
    if oxm_class == OXM_EXPERIMENTER:
        if len(data) < offset + 8 or length < 4:
            raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_LEN)
        vendor = int.from_bytes(data[offset + 4 : offset + 8], "big")
        header_bytes, length = 8, length - 4
        field = _ONF.get(number) if vendor == ONF_VENDOR else None
    else:
        field = _BY_WIRE.get((oxm_class, number))
    if field is None or (masked and not field.maskable and length != field.wire_bytes * 2):
        raise OpenFlowError(
            ErrorCode.BAD_MATCH_BAD_FIELD, f"field {number} of class {oxm_class:#06x} is unknown"
        )
    if length != field.wire_bytes * (2 if masked else 1):
        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_LEN, place=field.name)
    return WireField(field, field.wire_bytes, header_bytes, masked)


@lru_cache(maxsize=1024)
def encode_header(field: Field, version: int, masked: bool) -> bytes:
    """The header under which Open vSwitch sends a field in a version of OpenFlow.

    Versions below 1.2 (and every Nicira action, whatever the version) prefer NXM.
    """
    length = field.wire_bytes * (2 if masked else 1)
    number = _onf_number(field, version)
    if number is not None:
        head = OXM_EXPERIMENTER << 16 | number << 9 | int(masked) << 8 | (length + 4)
        return head.to_bytes(4, "big") + ONF_VENDOR.to_bytes(4, "big")
    nxm = field.nxm is not None and (
        version < Version.V12
        or field.oxm is None
        or (field.name == "tun_id" and version < Version.V13)
        or (field.name == "tcp_flags" and version < Version.V15)
    )
    wire = field.nxm if nxm else field.oxm
    assert wire is not None, field.name
    return (wire[0] << 16 | wire[1] << 9 | int(masked) << 8 | length).to_bytes(4, "big")


def _onf_number(field: Field, version: int) -> int | None:
    if field.name == "tcp_flags" and version in (Version.V13, Version.V14):
        return 42
    if field.name == "actset_output" and version < Version.V15:
        return 43
    return None

