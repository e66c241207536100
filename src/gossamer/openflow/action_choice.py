"""Nicira actions that choose by a hash of the packet: multipath, bundle, bundle_load (ovs-actions(7))."""

from __future__ import annotations

from struct import unpack_from
from typing import Final

from gossamer.openflow.action_field import short_field_at, target
from gossamer.openflow.action_frame import be, nicira, nxm, packed_bits
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.oxm import check_port, port_from_16, port_to_16
from gossamer.pipeline.action import SubField
from gossamer.pipeline.action_choice import (
    Bundle,
    BundleAlgorithm,
    HashFields,
    Multipath,
    MultipathAlgorithm,
)
from gossamer.pipeline.field_views import NXM_IN_PORT
from gossamer.pipeline.of_port import OfPort

_MULTIPATH, _BUNDLE, _BUNDLE_LOAD = 10, 12, 13
_MAX_MEMBERS: Final = 2048
_MIN_LOAD_BITS: Final = 16
"""A port number of OpenFlow 1.0 must fit where bundle_load puts it."""


def _argument(why: str) -> OpenFlowError:
    return OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT, why)


def decode_multipath(body: bytes) -> Multipath:
    """NXAST_MULTIPATH.  Raises OpenFlowError."""
    fields, basis, algorithm, max_link, arg, packed = unpack_from(">HH2xHHI2xH", body, 10)
    field = short_field_at(body, 28)
    n_links = max_link + 1
    n_bits = (packed & 63) + 1
    if fields not in tuple(HashFields):
        raise _argument(f"hash fields {fields}")
    if algorithm not in tuple(MultipathAlgorithm):
        raise _argument(f"algorithm {algorithm}")
    if n_bits < (n_links - 1).bit_length():
        raise _argument(f"{n_bits} bits cannot tell {n_links} links apart")
    return Multipath(
        HashFields(fields), basis, MultipathAlgorithm(algorithm), n_links, arg,
        target(field, packed >> 6, n_bits),
    )  # fmt: skip


def encode_multipath(a: Multipath) -> bytes:
    """NXAST_MULTIPATH."""
    body = be(a.fields, 2) + be(a.basis, 2) + bytes(2) + be(a.algorithm, 2) + be(a.n_links - 1, 2)
    body += be(a.arg, 4) + bytes(2) + packed_bits(a.dst) + nxm(a.dst.field)
    return nicira(_MULTIPATH, body)


def decode_bundle(body: bytes) -> Bundle:
    """NXAST_BUNDLE, NXAST_BUNDLE_LOAD.  Raises OpenFlowError."""
    subtype, algorithm, fields, basis, kind, count, packed = unpack_from(">HHHH4sHH", body, 8)
    if fields not in tuple(HashFields):
        raise _argument(f"hash fields {fields}")
    if count > _MAX_MEMBERS:
        raise _argument(f"{count} members")
    if algorithm not in tuple(BundleAlgorithm):
        raise _argument(f"algorithm {algorithm}")
    if kind != nxm(NXM_IN_PORT) or any(body[28:32]):
        raise _argument("members are ports")
    dst: SubField | None = None
    if subtype == _BUNDLE_LOAD:
        n_bits = (packed & 63) + 1
        field = short_field_at(body, 24)
        if n_bits < _MIN_LOAD_BITS:
            raise _argument("a port number needs 16 bits")
        dst = target(field, packed >> 6, n_bits)
    elif packed or any(body[24:28]):
        raise _argument("bundle has no destination")
    if len(body) < 32 + 2 * count:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_LEN)
    members = tuple(port_from_16(port) for port in unpack_from(f">{count}H", body, 32))
    for port in members:
        if port != OfPort.ANY:
            check_port(port)
        if port == OfPort.CONTROLLER:
            raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_OUT_PORT, "a controller is no member")
    return Bundle(HashFields(fields), basis, BundleAlgorithm(algorithm), members, dst)


def encode_bundle(a: Bundle) -> bytes:
    """NXAST_BUNDLE, or NXAST_BUNDLE_LOAD where there is a destination."""
    body = be(a.algorithm, 2) + be(a.fields, 2) + be(a.basis, 2) + nxm(NXM_IN_PORT)
    body += be(len(a.members), 2)
    body += packed_bits(a.dst) + nxm(a.dst.field) if a.dst else bytes(6)
    body += bytes(4) + b"".join(be(port_to_16(port), 2) for port in a.members)
    return nicira(_BUNDLE_LOAD if a.dst else _BUNDLE, body)
