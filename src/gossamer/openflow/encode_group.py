"""Groups on the wire: what they are, what passed them, what they can do.

OpenFlow 1.3.5 sections 7.3.5.8 to 7.3.5.10, 1.5.1 section 7.3.5.11.  OpenFlow
1.0 has groups by Nicira's extension, in the words of 1.5.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct, pack
from typing import Final

from gossamer.openflow.action_encode import encode_actions
from gossamer.openflow.capabilities import action_bitmap
from gossamer.openflow.frame import duration, frame, multipart, multipart_nicira, nicira, pieces
from gossamer.openflow.group_mod import (
    METHOD_LEN,
    NTR_SELECTION_METHOD,
    NTR_VENDOR,
    has_buckets_of_15,
)
from gossamer.openflow.message import Version
from gossamer.openflow.message.group import GroupFeatures, GroupMod, GroupStats
from gossamer.openflow.oxm import encode_header
from gossamer.openflow.properties import encode_experimenter, encode_number
from gossamer.pipeline.fields import BY_NAME, FIELDS, Field
from gossamer.pipeline.group import GROUP_ANY, Bucket, Group, GroupType
from gossamer.pipeline.of_port import OfPort

_BUCKET11: Final = Struct(">HHII4x")
_STATS11: Final = Struct(">H2xII4xQQ")
_STATS13: Final = Struct(">H2xII4xQQII")
_STATS, _DESC, _FEATURES = 6, 7, 8
_NX_STATS, _NX_DESC, _NX_FEATURES = 7, 8, 9
_NXT_GROUP_MOD: Final = 31


def _reply(kind: int, nx_kind: int, version: int, xid: int, body: bytes, more: bool) -> bytes:
    if version == Version.V10 or (version == Version.V11 and kind == _FEATURES):
        return multipart_nicira(version, nx_kind, xid, body, more)
    return multipart(version, kind, xid, body, more)


def _weight(bucket: Bucket, kind: GroupType) -> int:
    """Buckets weigh something in select groups only."""
    return bucket.weight if kind is GroupType.SELECT else 0


def _bucket11(bucket: Bucket, kind: GroupType, version: int) -> bytes:
    actions = encode_actions(bucket.actions, version)
    head = _BUCKET11.pack(
        _BUCKET11.size + len(actions),
        _weight(bucket, kind),
        bucket.watch_port,
        bucket.watch_group,
    )
    return head + actions


def _bucket15(bucket: Bucket, kind: GroupType, version: int) -> bytes:
    actions = encode_actions(bucket.actions, version)
    body = actions
    if kind is GroupType.SELECT:
        body += encode_number(0, bucket.weight, 2)
    if bucket.watch_port != OfPort.ANY:
        body += encode_number(1, bucket.watch_port, 4)
    if bucket.watch_group != GROUP_ANY:
        body += encode_number(2, bucket.watch_group, 4)
    return pack(">HHI", 8 + len(body), len(actions), bucket.bucket_id) + body


def encode_buckets(group: Group, version: int) -> bytes:
    """The buckets of a group."""
    one = _bucket15 if has_buckets_of_15(version) else _bucket11
    return b"".join(one(b, group.type, version) for b in group.buckets)


def encode_selection_method(group: Group, version: int) -> bytes:
    """Netronome's property with the selection method; nothing where the choice is ours."""
    if not group.selection_method:
        return b""
    body = bytes(4) + group.selection_method.encode().ljust(METHOD_LEN, b"\0")
    body += group.selection_param.to_bytes(8, "big")
    for f in hashed_fields(group):
        mask = (group.fields >> f.shift) & ((1 << f.n_bits) - 1)
        body += encode_header(f, version, False) + mask.to_bytes(f.wire_bytes, "big")
    return encode_experimenter(NTR_VENDOR, NTR_SELECTION_METHOD, body)


def hashed_fields(group: Group) -> tuple[Field, ...]:
    """The fields a select group hashes over, in the order of the field table."""
    if group.named_fields:
        named = {BY_NAME[name] for name in group.named_fields}
        return tuple(f for f in FIELDS if f in named)
    out: list[Field] = []
    left = group.fields
    for f in FIELDS:
        if left & f.full_mask:
            out.append(f)
            left &= ~f.full_mask
    return tuple(out)


def group_stats_replies(stats: Iterable[GroupStats], version: int, xid: int) -> list[bytes]:
    """OFPMP_GROUP."""

    def record(s: GroupStats) -> bytes:
        counters = b"".join(pack(">QQ", *counted) for counted in s.buckets)
        head = (s.group_id, s.n_references, s.n_packets, s.n_bytes)
        if version in (Version.V11, Version.V12):
            return _STATS11.pack(_STATS11.size + len(counters), *head) + counters
        seconds, nanos = duration(s.duration_s)
        return _STATS13.pack(_STATS13.size + len(counters), *head, seconds, nanos) + counters

    return [
        _reply(_STATS, _NX_STATS, version, xid, body, more)
        for body, more in pieces(record(s) for s in stats)
    ]


def group_desc_replies(groups: Iterable[Group], version: int, xid: int) -> list[bytes]:
    """OFPMP_GROUP_DESC."""

    def record(g: Group) -> bytes:
        buckets = encode_buckets(g, version)
        if not has_buckets_of_15(version):
            return pack(">HBxI", 8 + len(buckets), g.type, g.group_id) + buckets
        body = buckets + encode_selection_method(g, version)
        return pack(">HBxIH6x", 16 + len(body), g.type, g.group_id, len(buckets)) + body

    return [
        _reply(_DESC, _NX_DESC, version, xid, body, more)
        for body, more in pieces(record(g) for g in groups)
    ]


def group_features_replies(features: GroupFeatures, version: int, xid: int) -> list[bytes]:
    """OFPMP_GROUP_FEATURES."""
    actions = action_bitmap(version)
    body = pack(
        ">II4I4I", features.types, features.capabilities, *features.max_groups, *(actions,) * 4
    )
    return [_reply(_FEATURES, _NX_FEATURES, version, xid, body, False)]


def group_mod(message: GroupMod, version: int, xid: int) -> bytes:
    """OFPT_GROUP_MOD, or NXT_GROUP_MOD: as it is forwarded to other controllers."""
    g = message.group
    buckets = encode_buckets(g, version)
    if not has_buckets_of_15(version):
        return frame(version, 15, xid, pack(">HBxI", message.command, g.type, g.group_id) + buckets)
    body = pack(
        ">HBxIH2xI", message.command, g.type, g.group_id, len(buckets), message.command_bucket_id
    )
    body += buckets + encode_selection_method(g, version)
    if version == Version.V10:
        return nicira(version, _NXT_GROUP_MOD, xid, body)
    return frame(version, 15, xid, body)
