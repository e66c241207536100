"""GROUP_MOD in its two layouts: OpenFlow 1.1 to 1.4, and 1.5's, which Nicira lends to 1.0.

OpenFlow 1.3.5 section 7.3.4.2, 1.5.1 section 7.3.4.3; ONF EXT 350 is what the
selection method of a select group comes in (its vendor is Netronome).
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

from gossamer.openflow.action import decode_action_list
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.message import Version
from gossamer.openflow.message.group import (
    BUCKET_ALL,
    BUCKET_FIRST,
    BUCKET_LAST,
    BUCKET_MAX,
    GroupCommand,
    GroupMod,
)
from gossamer.openflow.oxm import decode_entry, is_valid_port
from gossamer.openflow.properties import Property, properties, unknown
from gossamer.pipeline.group import GROUP_ANY, Bucket, Group, GroupType
from gossamer.pipeline.of_port import OfPort

_HEAD: Final = Struct(">HBxI")
_HEAD15: Final = Struct(">HBxIH2xI")
_BUCKET11: Final = Struct(">HHII4x")
_BUCKET15: Final = Struct(">HHI")
NTR_VENDOR: Final = 0x0000154D
NTR_VENDOR_OF_2_4: Final = 0x00001540
"""What Open vSwitch 2.4 took for Netronome's number."""
NTR_SELECTION_METHOD: Final = 1
METHODS: Final = ("hash", "dp_hash")
METHOD_LEN: Final = 16
_WEIGHT, _WATCH_PORT, _WATCH_GROUP = range(3)


def has_buckets_of_15(version: int) -> bool:
    """OpenFlow 1.5's layout; 1.0 knows groups only by an extension, which speaks the same."""
    return version >= Version.V15 or version == Version.V10


def decode_group_mod(data: bytes, offset: int, version: int) -> GroupMod:
    """The body at `offset` of OFPT_GROUP_MOD, or of NXT_GROUP_MOD.

    Raises OpenFlowError with GROUP_MOD_FAILED_*, BAD_PROPERTY_* or BAD_ACTION_*.
    """
    if has_buckets_of_15(version):
        return _decode15(data, offset, version)
    return _decode11(data, offset, version)


def _decode11(data: bytes, offset: int, version: int) -> GroupMod:
    if len(data) < offset + _HEAD.size:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    command, kind, group_id = _HEAD.unpack_from(data, offset)
    buckets = _buckets11(data[offset + _HEAD.size :], version)
    if buckets and command == GroupCommand.DELETE and version >= Version.V13:
        raise OpenFlowError(ErrorCode.GROUP_MOD_FAILED_INVALID_GROUP, "a deletion with buckets")
    return _checked(command, kind, group_id, buckets, BUCKET_ALL)


def _buckets11(data: bytes, version: int) -> tuple[Bucket, ...]:
    out: list[Bucket] = []
    at = 0
    while at < len(data):
        if len(data) - at < _BUCKET11.size:
            raise _bad_bucket("bytes left over")
        length, weight, port, group = _BUCKET11.unpack_from(data, at)
        if length < _BUCKET11.size or at + length > len(data):
            raise _bad_bucket(f"length {length}")
        actions = decode_action_list(data[at + _BUCKET11.size : at + length], version)
        _check_watch(port)
        out.append(Bucket(actions, len(out), weight, port, group))
        at += length
    return tuple(out)


def _check_watch(port: int) -> None:
    if not is_valid_port(port):
        raise OpenFlowError(ErrorCode.GROUP_MOD_FAILED_BAD_WATCH, f"watch_port {port:#x}")


def _bad_bucket(why: str) -> OpenFlowError:
    return OpenFlowError(ErrorCode.GROUP_MOD_FAILED_BAD_BUCKET, why)


def _decode15(data: bytes, offset: int, version: int) -> GroupMod:
    if len(data) < offset + _HEAD15.size:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    command, kind, group_id, length, bucket_id = _HEAD15.unpack_from(data, offset)
    if not _is_command_bucket(command, bucket_id):
        raise _bad_bucket(f"command bucket {bucket_id:#x}")
    at = offset + _HEAD15.size
    if at + length > len(data):
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_LEN)
    buckets = _buckets15(data[at : at + length], version, kind)
    method, parameter, fields, names = "", 0, 0, ()  # type: tuple[str, int, int, tuple[str, ...]]
    for p in properties(data[at + length :]):
        if p.vendor not in (NTR_VENDOR, NTR_VENDOR_OF_2_4) or p.type != NTR_SELECTION_METHOD:
            raise unknown("group", p)
        method, parameter, fields, names = _selection_method(p, command, kind)
    return _checked(command, kind, group_id, buckets, bucket_id, method, parameter, fields, names)


def _is_command_bucket(command: int, bucket_id: int) -> bool:
    if command == GroupCommand.REMOVE_BUCKET and bucket_id == BUCKET_ALL:
        return True
    if command in (GroupCommand.INSERT_BUCKET, GroupCommand.REMOVE_BUCKET):
        return bucket_id <= BUCKET_MAX or bucket_id in (BUCKET_FIRST, BUCKET_LAST)
    return bucket_id == BUCKET_ALL


def _buckets15(data: bytes, version: int, kind: int) -> tuple[Bucket, ...]:
    out: dict[int, Bucket] = {}
    twice = False
    at = 0
    while at < len(data):
        if len(data) - at < _BUCKET15.size:
            raise _bad_bucket("bytes left over")
        length, n_actions, bucket_id = _BUCKET15.unpack_from(data, at)
        if length < _BUCKET15.size + n_actions or at + length > len(data):
            raise _bad_bucket(f"length {length}")
        body = data[at + _BUCKET15.size : at + length]
        actions = decode_action_list(body[:n_actions], version)
        weight = 1 if kind == GroupType.SELECT else 0
        port, group = int(OfPort.ANY), GROUP_ANY
        for p in properties(body[n_actions:]):
            if p.vendor or p.type > _WATCH_GROUP:
                raise unknown("bucket", p)
            if p.type == _WEIGHT:
                weight = p.number(2)
            elif p.type == _WATCH_PORT:
                port = p.number(4)
            else:
                group = p.number(4)
        _check_watch(port)
        if bucket_id > BUCKET_MAX:
            raise _bad_bucket(f"bucket {bucket_id:#x}")
        twice = twice or bucket_id in out
        out[bucket_id] = Bucket(actions, bucket_id, weight, port, group)
        at += length
    if twice:
        raise _bad_bucket("a number given to two buckets")
    return tuple(out.values())


def _selection_method(
    p: Property, command: int, kind: int
) -> tuple[str, int, int, tuple[str, ...]]:
    """(method, parameter, key bits, names of the fields) of Netronome's property."""
    bad_value = OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_VALUE, "selection method")
    if kind > GroupType.FAST_FAILOVER:
        raise OpenFlowError(ErrorCode.GROUP_MOD_FAILED_BAD_TYPE)
    if kind != GroupType.SELECT:
        raise bad_value
    if command not in tuple(GroupCommand):
        raise OpenFlowError(ErrorCode.GROUP_MOD_FAILED_BAD_COMMAND)
    if command not in (GroupCommand.ADD, GroupCommand.MODIFY, GroupCommand.ADD_OR_MODIFY):
        raise bad_value
    # Four bytes of padding, the method's name, its parameter.
    if len(p.payload) < 4 + METHOD_LEN + 8:
        raise OpenFlowError(ErrorCode.BAD_PROPERTY_BAD_LEN)
    name, ended, _ = p.payload[4 : 4 + METHOD_LEN].partition(b"\0")
    method = name.decode("latin-1")
    if not ended or method not in METHODS:
        raise bad_value
    parameter = int.from_bytes(p.payload[4 + METHOD_LEN : 12 + METHOD_LEN], "big")
    tlvs = p.payload[12 + METHOD_LEN :]
    if tlvs and method != "hash":
        raise bad_value
    fields, names = decode_fields(tlvs)
    return method, parameter, fields, names


def decode_fields(data: bytes) -> tuple[int, tuple[str, ...]]:
    """(key bits, names) of a list of fields, whose values are the bits that count.

    Raises OpenFlowError with a BAD_MATCH_* code.
    """
    names: list[str] = []
    bits = at = 0
    while at < len(data):
        entry = decode_entry(data, at, in_action=False)
        f, value = entry.field, entry.value
        if entry.masked:
            raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_MASK)
        if f.name in names:
            raise OpenFlowError(ErrorCode.BAD_MATCH_DUP_FIELD)
        whole = (1 << f.wire_bytes * 8) - 1
        if not f.maskable and value not in (0, whole, (1 << f.n_bits) - 1):
            raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_MASK)
        bits |= (value & (1 << f.n_bits) - 1) << f.shift
        names.append(f.name)
        at = entry.end
    return bits, tuple(names)


def _checked(
    command: int,
    kind: int,
    group_id: int,
    buckets: tuple[Bucket, ...],
    command_bucket_id: int,
    method: str = "",
    parameter: int = 0,
    fields: int = 0,
    names: tuple[str, ...] = (),
) -> GroupMod:
    """The message, where its parts fit each other."""
    if kind > GroupType.FAST_FAILOVER:
        raise OpenFlowError(ErrorCode.GROUP_MOD_FAILED_BAD_TYPE, f"group type {kind}")
    if kind == GroupType.INDIRECT and command != GroupCommand.DELETE and len(buckets) != 1:
        raise _invalid("an indirect group has one bucket")
    if command not in tuple(GroupCommand):
        raise OpenFlowError(ErrorCode.GROUP_MOD_FAILED_BAD_COMMAND, f"command {command}")
    if command == GroupCommand.REMOVE_BUCKET and buckets:
        raise _bad_bucket("remove_bucket names buckets by number")
    _check_buckets(GroupType(kind), buckets, command != GroupCommand.INSERT_BUCKET)
    group = Group(group_id, GroupType(kind), buckets, method, parameter, fields, names)
    return GroupMod(GroupCommand(command), group, command_bucket_id)


def _check_buckets(kind: GroupType, buckets: Sequence[Bucket], judge_weight: bool) -> None:
    for b in buckets:
        if b.weight and kind is not GroupType.SELECT and judge_weight:
            raise _invalid("only buckets of a select group weigh anything")
        watches = b.watch_port != OfPort.ANY or b.watch_group != GROUP_ANY
        if watches and kind in (GroupType.ALL, GroupType.INDIRECT):
            raise OpenFlowError(ErrorCode.GROUP_MOD_FAILED_WATCH_UNSUPPORTED)
        if not watches and kind is GroupType.FAST_FAILOVER:
            raise _invalid("buckets of a fast failover group watch a port or a group")


def _invalid(why: str) -> OpenFlowError:
    return OpenFlowError(ErrorCode.GROUP_MOD_FAILED_INVALID_GROUP, why)
