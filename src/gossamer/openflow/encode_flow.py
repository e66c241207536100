"""Flows on the wire: statistics and flow-removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import TYPE_CHECKING, Final

from gossamer.openflow.frame import duration, frame, multipart, multipart_nicira, pieces
from gossamer.openflow.frame import nicira as nicira_message
from gossamer.openflow.instruction import encode_instructions
from gossamer.openflow.match import encode_match, encode_ofp_match
from gossamer.openflow.match10 import encode_match10
from gossamer.openflow.message import FlowFormat, FlowRemoved, FlowStats, Version

if TYPE_CHECKING:
    from gossamer.openflow.context import Context

_STATS10: Final = Struct(">HBx40sIIHHH6xQQQ")
_STATS11: Final = Struct(">HBxIIHHHHH2xQQQ")
_STATS15: Final = Struct(">H2xBxHHHHHQ")
_STATS_NXM: Final = Struct(">HBxIIHHHHHHQQQ")
_REMOVED10: Final = Struct(">40sQHBxIIH2xQQ")
_REMOVED_NXM: Final = Struct(">QHBBIIHHQQ")
_REMOVED11: Final = Struct(">QHBBIIHHQQ")


def _pad8(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def oxs(
    *,
    duration_s: float | None,
    packets: int,
    n_bytes: int,
    flows: int | None = None,
    idle_s: int = -1,
) -> bytes:
    """Flow statistics of OpenFlow 1.5 (1.5.1, 7.2.4)."""

    def field(number: int, value: bytes) -> bytes:
        return b"\x80\x02" + bytes((number << 1, len(value))) + value

    body = b""
    if duration_s is not None:
        seconds, nanos = duration(duration_s)
        body += field(0, seconds.to_bytes(4, "big") + nanos.to_bytes(4, "big"))
    if idle_s >= 0:
        body += field(1, idle_s.to_bytes(4, "big") + bytes(4))
    if flows is not None:
        body += field(3, flows.to_bytes(4, "big"))
    body += field(4, packets.to_bytes(8, "big")) + field(5, n_bytes.to_bytes(8, "big"))
    return _pad8(bytes(2) + (4 + len(body)).to_bytes(2, "big") + body)


def _flow_stats(f: FlowStats, version: int, nxm: bool, stats_only: bool) -> bytes:
    (
        table_id, priority, wanted, actions, cookie, duration_s, idle_timeout, hard_timeout, flags,
        importance, n_packets, n_bytes, idle_age_s, hard_age_s,
    ) = f  # fmt: skip
    seconds, nanos = duration(duration_s)
    if nxm:
        match = encode_match(wanted, Version.V10)
        body = _pad8(match) + encode_instructions(actions, Version.V10)
        head = _STATS_NXM.pack(
            48 + len(body), table_id, seconds, nanos, priority, idle_timeout, hard_timeout,
            len(match), min(idle_age_s + 1, 0xFFFF), min(hard_age_s + 1, 0xFFFF), cookie,
            n_packets, n_bytes,
        )  # fmt: skip
        return head + body
    if version == Version.V10:
        body = encode_instructions(actions, version)
        head = _STATS10.pack(
            88 + len(body), table_id, encode_match10(wanted), seconds, nanos, priority,
            idle_timeout, hard_timeout, cookie, n_packets, n_bytes,
        )  # fmt: skip
        return head + body
    match = encode_ofp_match(wanted, version)
    if version < Version.V15:
        body = match + encode_instructions(actions, version)
        head = _STATS11.pack(
            48 + len(body), table_id, seconds, nanos, priority, idle_timeout, hard_timeout,
            flags if version >= Version.V13 else 0, importance if version >= Version.V14 else 0,
            cookie, n_packets, n_bytes,
        )  # fmt: skip
        return head + body
    counters = oxs(duration_s=duration_s, packets=n_packets, n_bytes=n_bytes, idle_s=idle_age_s)
    if stats_only:
        body = match + counters
        head = (8 + len(body)).to_bytes(2, "big") + bytes((0, 0, table_id, 0))
        return head + priority.to_bytes(2, "big") + body
    body = match + counters + encode_instructions(actions, version)
    head = _STATS15.pack(
        24 + len(body), table_id, priority, idle_timeout, hard_timeout, flags, importance, cookie
    )
    return head + body


def flow_stats_replies(
    flows: Iterable[FlowStats],
    version: int,
    context: Context,
    xid: int,
    *,
    nicira: bool = False,
    stats_only: bool = False,
) -> Iterator[bytes]:
    """OFPMP_FLOW (1.5: OFPMP_FLOW_DESC or OFPMP_FLOW_STATS) or NXST_FLOW, piece by piece."""
    for body, more in pieces(_flow_stats(f, version, nicira, stats_only) for f in flows):
        if nicira:
            yield multipart_nicira(version, 0, xid, body, more)
        else:
            yield multipart(version, 17 if stats_only else 1, xid, body, more)


def aggregate_reply(
    packets: int, n_bytes: int, flows: int, version: int, xid: int, *, nicira: bool = False
) -> bytes:
    """OFPMP_AGGREGATE or NXST_AGGREGATE."""
    body = (
        packets.to_bytes(8, "big")
        + n_bytes.to_bytes(8, "big")
        + flows.to_bytes(4, "big")
        + bytes(4)
    )
    if nicira:
        return multipart_nicira(version, 1, xid, body)
    if version == Version.V15:
        body = oxs(duration_s=None, packets=packets, n_bytes=n_bytes, flows=flows)
    return multipart(version, 2, xid, body)


def flow_removed(f: FlowRemoved, version: int, context: Context, xid: int) -> bytes:
    """OFPT_FLOW_REMOVED, or NXT_FLOW_REMOVED where the connection speaks NXM."""
    seconds, nanos = duration(f.duration_s)
    reason = f.reason
    if version < Version.V14 and reason > 3:
        reason = 2  # what 1.4 calls eviction and meter deletion was a delete before
    if version == Version.V10:
        if context.flow_format == FlowFormat.NXM:
            match = encode_match(f.match, version)
            body = _REMOVED_NXM.pack(
                f.cookie, f.priority, reason, f.table_id + 1, seconds, nanos, f.idle_timeout,
                len(match), f.n_packets, f.n_bytes,
            )  # fmt: skip
            return nicira_message(version, 14, xid, body + _pad8(match))
        body = _REMOVED10.pack(
            encode_match10(f.match), f.cookie, f.priority, reason, seconds, nanos, f.idle_timeout,
            f.n_packets, f.n_bytes,
        )  # fmt: skip
        return frame(version, 11, xid, body)
    match = encode_ofp_match(f.match, version)
    if version == Version.V15:
        body = bytes((f.table_id, reason)) + b"".join(
            v.to_bytes(2, "big") for v in (f.priority, f.idle_timeout, f.hard_timeout)
        )
        body += f.cookie.to_bytes(8, "big") + match
        body += oxs(duration_s=f.duration_s, packets=f.n_packets, n_bytes=f.n_bytes)
        return frame(version, 11, xid, body)
    body = _REMOVED11.pack(
        f.cookie, f.priority, reason, f.table_id, seconds, nanos, f.idle_timeout,
        f.hard_timeout if version >= Version.V12 else 0, f.n_packets, f.n_bytes,
    )  # fmt: skip
    return frame(version, 11, xid, body + match)
