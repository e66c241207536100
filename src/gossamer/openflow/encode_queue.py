"""Queues on the wire: counters and rates (OpenFlow 1.0.0, 5.3.4; 1.3.5, 7.2.2; 1.4.1, 7.3.5.14)."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct, pack
from typing import Final

from gossamer.openflow.frame import duration, frame, multipart, pieces
from gossamer.openflow.message import QueueDesc, QueueStats, Version
from gossamer.openflow.oxm import port_to_16
from gossamer.openflow.properties import encode_number

_STATS10: Final = Struct(">H2xIQQQ")
_STATS11: Final = Struct(">IIQQQ")
_STATS13: Final = Struct(">IIQQQII")
_MIN_RATE, _MAX_RATE = 1, 2


def _stats(s: QueueStats, version: int) -> bytes:
    counters = (s.queue_id, s.tx_bytes, s.tx_packets, s.tx_errors)
    if version == Version.V10:
        return _STATS10.pack(port_to_16(s.port), *counters)
    if version < Version.V13:
        return _STATS11.pack(s.port, *counters)
    seconds, nanos = duration(s.duration_s)
    body = _STATS13.pack(s.port, *counters, seconds, nanos)
    return body if version == Version.V13 else pack(">H6x", 8 + len(body)) + body


def queue_stats_replies(stats: Iterable[QueueStats], version: int, xid: int) -> list[bytes]:
    """OFPMP_QUEUE."""
    records = (_stats(s, version) for s in stats)
    return [multipart(version, 5, xid, body, more) for body, more in pieces(records)]


def _rates(q: QueueDesc) -> Iterable[tuple[int, int]]:
    if q.min_rate is not None:
        yield _MIN_RATE, q.min_rate
    if q.max_rate is not None:
        yield _MAX_RATE, q.max_rate


def _queue(q: QueueDesc, version: int) -> bytes:
    rates = b"".join(pack(">HH4xH6x", kind, 16, rate) for kind, rate in _rates(q))
    if version < Version.V12:
        return pack(">IH2x", q.queue_id, 8 + len(rates)) + rates
    return pack(">IIH6x", q.queue_id, q.port, 16 + len(rates)) + rates


def queue_get_config_reply(port: int, queues: Iterable[QueueDesc], version: int, xid: int) -> bytes:
    """OFPT_QUEUE_GET_CONFIG_REPLY, up to OpenFlow 1.3."""
    body = b"".join(_queue(q, version) for q in queues)
    if version == Version.V10:
        return frame(version, 21, xid, pack(">H6x", port_to_16(port)) + body)
    return frame(version, 23, xid, pack(">I4x", port) + body)


def queue_desc_replies(queues: Iterable[QueueDesc], version: int, xid: int) -> list[bytes]:
    """OFPMP_QUEUE_DESC, from OpenFlow 1.4 on."""

    def record(q: QueueDesc) -> bytes:
        rates = b"".join(encode_number(kind, rate, 2) for kind, rate in _rates(q))
        return pack(">IIH6x", q.port, q.queue_id, 16 + len(rates)) + rates

    records = (record(q) for q in queues)
    return [multipart(version, 15, xid, body, more) for body, more in pieces(records)]
