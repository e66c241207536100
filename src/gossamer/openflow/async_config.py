"""Which events a connection gets, on the wire (OpenFlow 1.3.5, 7.3.10; 1.4.1, 7.3.10)."""

from __future__ import annotations

from collections.abc import Mapping
from struct import pack, unpack_from
from typing import Final

from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.message import ASYNC_KINDS, AsyncConfig, SetAsync, Version
from gossamer.openflow.properties import encode_number, properties, unknown

_REASONS10: Final = (0b111, 0b111, 0b111111, 0b111, 0b11000, 0b11)
"""Reasons that a kind has, by the order of `ASYNC_KINDS`."""
_REASONS14: Final = (0b111111, *_REASONS10[1:])
_FIRST_EXPERIMENTER: Final = 0xFFFE
_N_LEGACY: Final = 3


def _reasons(version: int) -> tuple[int, ...]:
    return _REASONS14 if version >= Version.V14 else _REASONS10


def decode_masks(data: bytes, version: int) -> SetAsync:
    """The six masks of OpenFlow 1.3 and of Nicira; reasons that are unknown are left out."""
    if len(data) != 8 * _N_LEGACY:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    words = unpack_from(f">{2 * _N_LEGACY}I", data)
    masks: dict[str, tuple[int | None, int | None]] = {}
    for i, kind in enumerate(ASYNC_KINDS[:_N_LEGACY]):
        allowed = _reasons(version)[i]
        masks[kind] = (words[2 * i] & allowed, words[2 * i + 1] & allowed)
    return SetAsync(masks)


def decode_properties(data: bytes, version: int) -> SetAsync:
    """The properties of OpenFlow 1.4, and of NXT_SET_ASYNC_CONFIG2.

    Raises OpenFlowError(ASYNC_CONFIG_FAILED_*, BAD_PROPERTY_*).
    """
    masks: dict[str, tuple[int | None, int | None]] = {}
    for p in properties(data, first_experimenter=_FIRST_EXPERIMENTER):
        if p.vendor:
            raise unknown("async", p)
        if p.type >= 2 * len(ASYNC_KINDS):
            raise OpenFlowError(ErrorCode.ASYNC_CONFIG_FAILED_UNSUPPORTED, f"property {p.type}")
        kind, mask = ASYNC_KINDS[p.type // 2], p.number(4)
        if mask & ~_reasons(version)[p.type // 2]:
            raise OpenFlowError(ErrorCode.ASYNC_CONFIG_FAILED_INVALID, f"{kind}: {mask:#x}")
        master, slave = masks.get(kind, (None, None))
        masks[kind] = (mask, slave) if p.type & 1 else (master, mask)
    return SetAsync(masks)


def encode_masks(masks: Mapping[str, tuple[int, int]]) -> bytes:
    """The six masks of OpenFlow 1.3."""
    pairs = (masks.get(kind, (0, 0)) for kind in ASYNC_KINDS[:_N_LEGACY])
    return b"".join(pack(">II", *pair) for pair in pairs)


def encode_properties(masks: Mapping[str, tuple[int, int]], version: int) -> bytes:
    """The properties of OpenFlow 1.4: of each kind first the slave's mask, then the master's."""
    out = b""
    for i, kind in enumerate(ASYNC_KINDS):
        master, slave = masks.get(kind, (0, 0))
        allowed = _reasons(version)[i]
        out += encode_number(2 * i, slave & allowed, 4)
        out += encode_number(2 * i + 1, master & allowed, 4)
    return out


def encode_config(config: AsyncConfig, version: int) -> bytes:
    """The body of OFPT_GET_ASYNC_REPLY."""
    if version < Version.V14:
        return encode_masks(config.masks)
    return encode_properties(config.masks, version)
