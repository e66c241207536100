"""Bundles on the wire: OpenFlow 1.4's (7.3.9), and ONF's for OpenFlow 1.3 (EXT-230)."""

from __future__ import annotations

from struct import unpack_from

from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.message import BundleAdd, BundleControl


def decode_bundle_control(data: bytes, offset: int, *, onf: bool = False) -> BundleControl:
    """What begins at `offset` of the message.  Raises OpenFlowError."""
    _at_least(data, offset + 8)
    bundle_id, kind, flags = unpack_from(">IHH", data, offset)
    return BundleControl(bundle_id, kind, flags, onf)


def decode_bundle_add(data: bytes, offset: int, *, onf: bool = False) -> BundleAdd:
    """The same of a bundle-add, with the message inside, as it is.  Raises OpenFlowError."""
    _at_least(data, offset + 8)
    bundle_id, flags = unpack_from(">I2xH", data, offset)
    return BundleAdd(bundle_id, flags, _bundled(data, offset + 8), onf=onf)


def _bundled(data: bytes, offset: int) -> bytes:
    """The message inside, without what follows it."""
    if len(data) < offset + 8:
        raise OpenFlowError(ErrorCode.BUNDLE_FAILED_MSG_BAD_LEN)
    length = unpack_from(">H", data, offset + 2)[0]
    if length < 8 or offset + length > len(data):
        raise OpenFlowError(ErrorCode.BUNDLE_FAILED_MSG_BAD_LEN)
    if data[4:8] != data[offset + 4 : offset + 8]:
        raise OpenFlowError(ErrorCode.BUNDLE_FAILED_MSG_BAD_XID)
    return data[offset : offset + length]


def _at_least(data: bytes, length: int) -> None:
    if len(data) < length:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
