"""Headers of fields on the wire: OXM, NXM and experimenters' fields (ONF's, Nicira's).

OpenFlow 1.3.5 section 7.2.3.2, 1.5.1 section 7.2.3.2, ovs-fields(7).  One field
may have several headers; which one is sent depends on the version.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.message import Version
from gossamer.pipeline import tlv
from gossamer.pipeline.field_views import IN_PHY_PORT, NXM_IN_PORT, XREGS, XXREGS
from gossamer.pipeline.fields import (
    BY_NAME,
    FIELDS,
    NXM_0,
    NXM_1,
    ONF_VENDOR,
    OXM_EXPERIMENTER,
    Field,
)
from gossamer.pipeline.of_port import OfPort

IN_PORT: Final = BY_NAME["in_port"]
VLAN_TCI: Final = BY_NAME["vlan_tci"]
VLAN_VID: Final = BY_NAME["vlan_vid"]
NW_TOS: Final = BY_NAME["nw_tos"]
DSCP_MASK: Final = 0xFC
"""The bits of NXM_OF_IP_TOS that count; the others are ECN's and must be zero."""

_ONF: Final = {42: BY_NAME["tcp_flags"], 43: BY_NAME["actset_output"]}
"""ONF experimenter fields (EXT-109, EXT-233) of OpenFlow 1.3 and 1.4, by number."""
_BY_WIRE: Final[dict[tuple[int, int], Field]] = {
    wire: f
    for f in (*FIELDS, *XREGS, *XXREGS, NXM_IN_PORT, IN_PHY_PORT)
    for wire in (f.oxm, f.nxm)
    if wire is not None
}


_FIRST_NO_PORT: Final = 0xFF00


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


class Header(NamedTuple):
    """A header as it stands: lengths in bytes.  `field` is None for one that is not known."""

    field: Field | None
    wrong_length: bool
    """The field is known, but not in this length."""
    masked: bool
    header_bytes: int
    payload_bytes: int


def decode_header(data: bytes, offset: int) -> Header:
    """The header of an OXM or NXM TLV.

    Raises OpenFlowError(BAD_LEN of the match) where it is cut short.
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
        if vendor == ONF_VENDOR:
            field = _ONF.get(number)
        else:
            field = _BY_WIRE.get((OXM_EXPERIMENTER << 32 | vendor, number))
    else:
        field = _BY_WIRE.get((oxm_class, number))
        if oxm_class == NXM_1 and tlv.FIRST_NUMBER <= number < tlv.FIRST_NUMBER + tlv.N_FIELDS:
            field = _option(number - tlv.FIRST_NUMBER)
            # Any length will do: shorter values have zeros in front, longer ones are cut.
            odd = masked and length % 2 == 1
            return Header(None if odd else field, odd, masked, header_bytes, length)
    if field is not None and length != field.wire_bytes * (2 if masked else 1):
        return Header(None, True, masked, header_bytes, length)
    return Header(field, False, masked, header_bytes, length)


def _option(index: int) -> Field:
    found = tlv.LAYOUT.fields.get(index)
    if found is None:
        raise OpenFlowError(
            ErrorCode.FLOW_MOD_FAILED_NX_INVALID_TLV_FIELD,
            f"tun_metadata{index} is mapped to no option",
        )
    return found


class Entry(NamedTuple):
    """A whole TLV; without a mask, `mask` is all ones."""

    field: Field
    value: int
    mask: int
    masked: bool
    value_at: int
    """Where the value begins."""
    end: int


def decode_entry(data: bytes, offset: int, *, in_action: bool) -> Entry:
    """The TLV at `offset`.

    Raises OpenFlowError(BAD_LEN, BAD_WILDCARDS, BAD_FIELD) of the match errors;
    for what is not known `in_action`, BAD_SET_TYPE or BAD_SET_LEN.
    """
    head = decode_header(data, offset)
    if head.field is None and in_action:
        wrong_length = head.wrong_length
        raise OpenFlowError(
            ErrorCode.BAD_ACTION_BAD_SET_LEN if wrong_length else ErrorCode.BAD_ACTION_BAD_SET_TYPE
        )
    at = offset + head.header_bytes
    end = at + head.payload_bytes
    if end > len(data):
        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_LEN)
    n = head.payload_bytes // 2 if head.masked else head.payload_bytes
    value = int.from_bytes(data[at : at + n], "big")
    if head.masked:
        mask = int.from_bytes(data[at + n : end], "big")
    else:
        mask = (1 << (max(n, head.field.wire_bytes if head.field else 0) * 8)) - 1
    if value & ~mask:
        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_WILDCARDS, "value has bits outside the mask")
    if head.field is not None and head.field.marks and n > head.field.wire_bytes:
        value >>= (n - head.field.wire_bytes) * 8
        mask >>= (n - head.field.wire_bytes) * 8
    if head.field is None:
        raise OpenFlowError(
            ErrorCode.BAD_MATCH_BAD_FIELD, f"field {data[offset : offset + 4].hex()}"
        )
    return Entry(head.field, value, mask, head.masked, at, end)


_ALLOWED: Final = {"nw_tos": DSCP_MASK, "tun_flags": 1, "ct_state": 0xFF}
"""Bits that mean something, of fields where these are not all."""


_NSH_MDTYPES: Final = (1, 2)
"""The forms of metadata there are (RFC 8300, 2.2); Open vSwitch takes no other."""
_NSH_MAX_TTL: Final = 63
"""Six bits of the header (RFC 8300, 2.2), in a field of eight."""


def allowed_bits(field: Field) -> int:
    """The bits a value of a field may have."""
    return _ALLOWED.get(field.name, (1 << field.n_bits) - 1)


def is_valid_value(field: Field, value: int) -> bool:
    """True when packets could have that value."""
    if field.name in ("in_port", "actset_output") and not is_nxm_port(field):
        return is_valid_port(value)
    if field.name == "nsh_mdtype":
        return value in _NSH_MDTYPES
    if field.name == "nsh_ttl":
        return value <= _NSH_MAX_TTL
    return is_nxm_port(field) or not value & ~allowed_bits(field)


def is_valid_port(port: int) -> bool:
    """True for the numbers of ports and the reserved ones; between them is a gap."""
    return port < _FIRST_NO_PORT or port >= OfPort.MAX


def check_port(port: int) -> None:
    """Raises OpenFlowError(BAD_OUT_PORT) for numbers that cannot be sent to.

    Numbers from OFPP_MAX on are valid in matches, but only the named ones can be sent to.
    """
    if _FIRST_NO_PORT <= port < OfPort.IN_PORT or port == OfPort.ANY:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_OUT_PORT, f"port {port:#x}")


@lru_cache(maxsize=1024)
def encode_header(field: Field, version: int, masked: bool) -> bytes:
    """The header under which Open vSwitch sends a field in a version of OpenFlow.

    Versions below 1.2 (and every Nicira action, whatever the version) prefer NXM.
    """
    length = field.wire_bytes * (2 if masked else 1)
    number, vendor = _onf_number(field, version), ONF_VENDOR
    if field.oxm is not None and field.oxm[0] >> 32:
        number, vendor = field.oxm[1], field.oxm[0] & 0xFFFFFFFF
    if number is not None:
        head = OXM_EXPERIMENTER << 16 | number << 9 | int(masked) << 8 | (length + 4)
        return head.to_bytes(4, "big") + vendor.to_bytes(4, "big")
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
