"""NXT_CT_FLUSH: which tracked connections are to be forgotten (ovs-ofctl(8), ct-flush)."""

from __future__ import annotations

from typing import Final

from gossamer.openflow import message as m
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.properties import properties
from gossamer.pipeline.tunnel import is_ipv4

_HEAD: Final = 16
_ORIGINAL, _REPLY, _ZONE = range(3)
_SRC, _DST, _SPORT, _DPORT, _ICMP_ID, _ICMP_TYPE, _ICMP_CODE = range(7)
_NUMBERS: Final = {
    _SPORT: ("sport", 2),
    _DPORT: ("dport", 2),
    _ICMP_ID: ("icmp_id", 2),
    _ICMP_TYPE: ("icmp_type", 1),
    _ICMP_CODE: ("icmp_code", 1),
}
"""What an IPv4 address has before it (RFC 4291, 2.5.5.2)."""


def decode_flush(data: bytes) -> m.ConnectionFlush:
    """The message.  Raises OpenFlowError; properties that nobody knows are passed over, as by OVS."""
    if len(data) < _HEAD + 8:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    zone: int | None = None
    tuples = {_ORIGINAL: m.ConnectionTuple(), _REPLY: m.ConnectionTuple()}
    for p in properties(data[_HEAD + 8 :]):
        if p.type == _ZONE:
            zone = p.number(2)
        elif p.type in tuples:
            tuples[p.type] = _tuple(p.payload[4:])
    families = {len(a) for t in tuples.values() for a in (t.src, t.dst) if a}
    if len(families) > 1:
        raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_VALUE, "addresses of both families")
    return m.ConnectionFlush(zone, data[_HEAD], tuples[_ORIGINAL], tuples[_REPLY])


def _tuple(data: bytes) -> m.ConnectionTuple:
    addresses = {_SRC: b"", _DST: b""}
    numbers: dict[str, int] = {}
    for p in properties(data):
        if p.type in addresses:
            if len(p.payload) < 16:
                raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_LEN)
            address = p.payload[:16]
            addresses[p.type] = address[12:] if is_ipv4(address) else address
        elif p.type in _NUMBERS:
            name, length = _NUMBERS[p.type]
            numbers[name] = p.number(length)
    return m.ConnectionTuple(addresses[_SRC], addresses[_DST], **numbers)
