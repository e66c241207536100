"""Headers of messages the switch sends, and how long answers are cut into pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from gossamer.openflow.message import Version
from gossamer.pipeline.fields import NX_VENDOR, ONF_VENDOR

MULTIPART_MORE: Final = 1
MAX_PIECE: Final = 60_000
"""A piece of a long answer; a message may have 65,535 bytes."""


def duration(seconds: float) -> tuple[int, int]:
    """Seconds and nanoseconds of a duration, in whole milliseconds as Open vSwitch tells them."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return whole, milliseconds * 1_000_000


def frame(version: int, kind: int, xid: int, body: bytes = b"") -> bytes:
    """A whole message."""
    length = 8 + len(body)
    return bytes((version, kind)) + length.to_bytes(2, "big") + xid.to_bytes(4, "big") + body


def nicira(version: int, subtype: int, xid: int, body: bytes) -> bytes:
    """An NXT_* message."""
    return frame(version, 4, xid, NX_VENDOR.to_bytes(4, "big") + subtype.to_bytes(4, "big") + body)


def onf(version: int, subtype: int, xid: int, body: bytes) -> bytes:
    """An ONF extension message."""
    return frame(version, 4, xid, ONF_VENDOR.to_bytes(4, "big") + subtype.to_bytes(4, "big") + body)


def multipart(version: int, kind: int, xid: int, body: bytes, more: bool = False) -> bytes:
    """One OFPT_STATS_REPLY or OFPT_MULTIPART_REPLY."""
    head = kind.to_bytes(2, "big") + (MULTIPART_MORE if more else 0).to_bytes(2, "big")
    if version == Version.V10:
        return frame(version, 17, xid, head + body)
    return frame(version, 19, xid, head + bytes(4) + body)


def multipart_nicira(
    version: int, subtype: int, xid: int, body: bytes, more: bool = False
) -> bytes:
    """One NXST_* reply."""
    head = NX_VENDOR.to_bytes(4, "big") + subtype.to_bytes(4, "big")
    if version == Version.V10:
        head += bytes(4)
    return multipart(version, 0xFFFF, xid, head + body, more)


def multipart_onf(version: int, subtype: int, xid: int, body: bytes, more: bool = False) -> bytes:
    """One reply of ONF's extensions."""
    head = ONF_VENDOR.to_bytes(4, "big") + subtype.to_bytes(4, "big")
    return multipart(version, 0xFFFF, xid, head + body, more)


def pieces(records: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """(body, whether more follow) for answers of many records; at least one."""
    waiting: list[bytes] = []
    size = 0
    for record in records:
        if size + len(record) > MAX_PIECE and waiting:
            yield b"".join(waiting), True
            waiting, size = [], 0
        waiting.append(record)
        size += len(record)
    yield b"".join(waiting), False
