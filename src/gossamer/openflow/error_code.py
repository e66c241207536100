"""The errors of the protocol: one name each, with the type and code that each version gives it.

OpenFlow 1.0.0 section 5.4.4, 1.3.5 section 7.4.4, 1.5.1 section 7.5.4.  What a
version has no code for is said in Nicira's or ONF's extension, as Open vSwitch
does; what has no code there either is "cannot be said in this version".
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from gossamer.pipeline.fields import NX_VENDOR, ONF_VENDOR

_V10, _V11, _V12, _V13, _V14, _V15 = range(1, 7)
_LAST: Final = _V15


class WireCode(NamedTuple):
    """How an error is told from version `since` on; `vendor` is 0 for the standard's own."""

    since: int
    kind: int
    code: int
    vendor: int = 0


def _of(since: int, kind: int, code: int) -> WireCode:
    return WireCode(since, kind, code)


def _nx(since: int, kind: int, code: int) -> WireCode:
    """Nicira's errors of OpenFlow 1.0 and 1.1: a type and a code of their own."""
    return WireCode(since, kind, code, NX_VENDOR)


def _nx12(since: int, code: int) -> WireCode:
    """Nicira's errors from OpenFlow 1.2 on: one number."""
    return WireCode(since, 0xFFFF, code, NX_VENDOR)


def _onf(since: int, code: int) -> WireCode:
    return WireCode(since, 0xFFFF, code, ONF_VENDOR)


class ErrorCode(Enum):
    """Value: what is sent from which version on, the last applicable row counts."""

    HELLO_FAILED_INCOMPATIBLE = (_of(_V10, 0, 0),)
    HELLO_FAILED_EPERM = (_of(_V10, 0, 1),)

    BAD_REQUEST_BAD_VERSION = (_of(_V10, 1, 0),)
    BAD_REQUEST_BAD_TYPE = (_of(_V10, 1, 1),)
    BAD_REQUEST_BAD_STAT = (_of(_V10, 1, 2),)
    BAD_REQUEST_BAD_VENDOR = (_of(_V10, 1, 3),)
    BAD_REQUEST_BAD_SUBTYPE = (_of(_V10, 1, 4),)
    BAD_REQUEST_EPERM = (_of(_V10, 1, 5),)
    BAD_REQUEST_BAD_LEN = (_of(_V10, 1, 6),)
    BAD_REQUEST_BUFFER_EMPTY = (_of(_V10, 1, 7),)
    BAD_REQUEST_BUFFER_UNKNOWN = (_of(_V10, 1, 8),)
    BAD_REQUEST_BAD_TABLE_ID = (_nx(_V10, 1, 512), _of(_V11, 1, 9))
    BAD_REQUEST_IS_SLAVE = (_of(_V10, 1, 5), _of(_V12, 1, 10))
    BAD_REQUEST_BAD_PORT = (_nx(_V10, 1, 514), _of(_V12, 1, 11))
    BAD_REQUEST_BAD_PACKET = (_of(_V12, 1, 12),)
    BAD_REQUEST_MULTIPART_BUFFER_OVERFLOW = (_of(_V13, 1, 13),)
    BAD_REQUEST_MULTIPART_REQUEST_TIMEOUT = (_onf(_V13, 2640), _of(_V14, 1, 14))
    BAD_REQUEST_MULTIPART_REPLY_TIMEOUT = (_onf(_V13, 2641), _of(_V14, 1, 15))
    BAD_REQUEST_MULTIPART_BAD_SCHED = (_of(_V15, 1, 16),)
    BAD_REQUEST_PIPELINE_FIELDS_ONLY = (_of(_V15, 1, 17),)
    BAD_REQUEST_UNKNOWN = (_of(_V15, 1, 18),)
    BAD_REQUEST_NXM_INVALID = (_nx(_V10, 1, 256), _nx12(_V12, 2))
    BAD_REQUEST_NXM_BAD_TYPE = (_nx(_V10, 1, 257), _nx12(_V12, 3))
    BAD_REQUEST_MUST_BE_ZERO = (_nx(_V10, 1, 515), _nx12(_V12, 4))
    BAD_REQUEST_UNSAYABLE = (_nx(_V10, 1, 521), _nx12(_V12, 10))

    BAD_ACTION_BAD_TYPE = (_of(_V10, 2, 0),)
    BAD_ACTION_BAD_LEN = (_of(_V10, 2, 1),)
    BAD_ACTION_BAD_VENDOR = (_of(_V10, 2, 2),)
    BAD_ACTION_BAD_VENDOR_TYPE = (_of(_V10, 2, 3),)
    BAD_ACTION_BAD_OUT_PORT = (_of(_V10, 2, 4),)
    BAD_ACTION_BAD_ARGUMENT = (_of(_V10, 2, 5),)
    BAD_ACTION_EPERM = (_of(_V10, 2, 6),)
    BAD_ACTION_TOO_MANY = (_of(_V10, 2, 7),)
    BAD_ACTION_BAD_QUEUE = (_of(_V10, 2, 8),)
    BAD_ACTION_BAD_OUT_GROUP = (_nx(_V10, 2, 9), _of(_V11, 2, 9))
    BAD_ACTION_MATCH_INCONSISTENT = (_nx(_V10, 1, 522), _of(_V11, 2, 10))
    BAD_ACTION_UNSUPPORTED_ORDER = (_of(_V11, 2, 11),)
    BAD_ACTION_BAD_TAG = (_of(_V11, 2, 12),)
    BAD_ACTION_BAD_SET_TYPE = (_nx(_V10, 1, 523), _of(_V12, 2, 13))
    BAD_ACTION_BAD_SET_LEN = (_nx(_V10, 1, 524), _of(_V12, 2, 14))
    BAD_ACTION_BAD_SET_ARGUMENT = (_nx(_V10, 1, 525), _of(_V12, 2, 15))
    BAD_ACTION_BAD_SET_MASK = (_onf(_V13, 4250), _of(_V15, 2, 16))
    BAD_ACTION_BAD_METER = (_of(_V15, 2, 17),)
    BAD_ACTION_MUST_BE_ZERO = (_nx(_V10, 2, 256), _nx12(_V12, 11))
    BAD_ACTION_BAD_CONJUNCTION = (_nx(_V10, 2, 526), _nx12(_V12, 15))
    BAD_ACTION_BAD_HEADER_TYPE = (_nx12(_V13, 39),)
    BAD_ACTION_UNKNOWN_ED_PROP = (_nx12(_V13, 40),)
    BAD_ACTION_BAD_ED_PROP = (_nx12(_V13, 41),)

    BAD_INSTRUCTION_UNKNOWN_INST = (_of(_V11, 3, 0),)
    BAD_INSTRUCTION_UNSUP_INST = (_nx(_V10, 2, 257), _of(_V11, 3, 1))
    BAD_INSTRUCTION_BAD_TABLE_ID = (_of(_V11, 3, 2),)
    BAD_INSTRUCTION_UNSUP_METADATA = (_of(_V11, 3, 3),)
    BAD_INSTRUCTION_UNSUP_METADATA_MASK = (_of(_V11, 3, 4),)
    BAD_INSTRUCTION_BAD_EXPERIMENTER = (_of(_V11, 3, 5),)
    BAD_INSTRUCTION_BAD_EXP_TYPE = (_of(_V11, 3, 5), _of(_V12, 3, 6))
    BAD_INSTRUCTION_BAD_LEN = (_of(_V12, 3, 7),)
    BAD_INSTRUCTION_EPERM = (_of(_V12, 3, 8),)
    BAD_INSTRUCTION_DUP_INST = (_nx(_V11, 3, 256), _onf(_V12, 2600), _of(_V14, 3, 9))

    BAD_MATCH_BAD_TYPE = (_of(_V11, 4, 0),)
    BAD_MATCH_BAD_LEN = (_of(_V11, 4, 1),)
    BAD_MATCH_BAD_TAG = (_of(_V11, 4, 2),)
    BAD_MATCH_BAD_DL_ADDR_MASK = (_of(_V11, 4, 3),)
    BAD_MATCH_BAD_NW_ADDR_MASK = (_of(_V11, 4, 4),)
    BAD_MATCH_BAD_WILDCARDS = (_nx(_V10, 1, 262), _of(_V11, 4, 5))
    BAD_MATCH_BAD_FIELD = (_nx(_V10, 0, 263), _of(_V11, 4, 6))
    BAD_MATCH_BAD_VALUE = (_nx(_V10, 1, 258), _of(_V11, 4, 7))
    BAD_MATCH_BAD_MASK = (_nx(_V10, 1, 259), _of(_V12, 4, 8))
    BAD_MATCH_BAD_PREREQ = (_nx(_V10, 1, 260), _of(_V12, 4, 9))
    BAD_MATCH_DUP_FIELD = (_nx(_V10, 1, 261), _of(_V12, 4, 10))
    BAD_MATCH_EPERM = (_of(_V12, 4, 11),)

    FLOW_MOD_FAILED_UNKNOWN = (_of(_V11, 5, 0),)
    FLOW_MOD_FAILED_TABLE_FULL = (_of(_V10, 3, 0), _of(_V11, 5, 1))
    FLOW_MOD_FAILED_BAD_TABLE_ID = (_of(_V11, 5, 2),)
    FLOW_MOD_FAILED_OVERLAP = (_of(_V10, 3, 1), _of(_V11, 5, 3))
    FLOW_MOD_FAILED_EPERM = (_of(_V10, 3, 2), _of(_V11, 5, 4))
    FLOW_MOD_FAILED_BAD_TIMEOUT = (_of(_V11, 5, 5),)
    FLOW_MOD_FAILED_BAD_EMERG_TIMEOUT = (_of(_V10, 3, 3),)
    FLOW_MOD_FAILED_BAD_COMMAND = (_of(_V10, 3, 4), _of(_V11, 5, 6))
    FLOW_MOD_FAILED_BAD_FLAGS = (_nx(_V10, 3, 258), _nx(_V11, 5, 258), _of(_V12, 5, 7))
    FLOW_MOD_FAILED_CANT_SYNC = (_of(_V14, 5, 8),)
    FLOW_MOD_FAILED_BAD_PRIORITY = (_onf(_V13, 2360), _of(_V14, 5, 9))
    FLOW_MOD_FAILED_IS_SYNC = (_of(_V14, 5, 10),)
    FLOW_MOD_FAILED_UNSUPPORTED = (_of(_V10, 3, 5),)
    FLOW_MOD_FAILED_NX_BAD_TABLE_ID = (_nx(_V10, 5, 257), _nx12(_V12, 13))
    FLOW_MOD_FAILED_NX_INVALID_TLV_FIELD = (_nx(_V10, 1, 536), _nx12(_V12, 37))

    GROUP_MOD_FAILED_GROUP_EXISTS = (_nx(_V10, 6, 0), _of(_V11, 6, 0))
    GROUP_MOD_FAILED_INVALID_GROUP = (_nx(_V10, 6, 1), _of(_V11, 6, 1))
    GROUP_MOD_FAILED_WEIGHT_UNSUPPORTED = (_nx(_V10, 6, 2), _of(_V11, 6, 2))
    GROUP_MOD_FAILED_OUT_OF_GROUPS = (_nx(_V10, 6, 3), _of(_V11, 6, 3))
    GROUP_MOD_FAILED_OUT_OF_BUCKETS = (_nx(_V10, 6, 4), _of(_V11, 6, 4))
    GROUP_MOD_FAILED_CHAINING_UNSUPPORTED = (_nx(_V10, 6, 5), _of(_V11, 6, 5))
    GROUP_MOD_FAILED_WATCH_UNSUPPORTED = (_nx(_V10, 6, 6), _of(_V11, 6, 6))
    GROUP_MOD_FAILED_LOOP = (_nx(_V10, 6, 7), _of(_V11, 6, 7))
    GROUP_MOD_FAILED_UNKNOWN_GROUP = (_nx(_V10, 6, 8), _of(_V11, 6, 8))
    GROUP_MOD_FAILED_CHAINED_GROUP = (_nx(_V10, 6, 9), _of(_V12, 6, 9))
    GROUP_MOD_FAILED_BAD_TYPE = (_nx(_V10, 6, 10), _of(_V12, 6, 10))
    GROUP_MOD_FAILED_BAD_COMMAND = (_nx(_V10, 6, 11), _of(_V12, 6, 11))
    GROUP_MOD_FAILED_BAD_BUCKET = (_nx(_V10, 6, 12), _of(_V12, 6, 12))
    GROUP_MOD_FAILED_BAD_WATCH = (_nx(_V10, 6, 13), _of(_V12, 6, 13))
    GROUP_MOD_FAILED_EPERM = (_nx(_V10, 6, 14), _of(_V12, 6, 14))
    GROUP_MOD_FAILED_UNKNOWN_BUCKET = (_nx(_V10, 6, 15), _of(_V15, 6, 15))
    GROUP_MOD_FAILED_BUCKET_EXISTS = (_nx(_V10, 6, 16), _of(_V15, 6, 16))

    METER_MOD_FAILED_UNKNOWN = (_of(_V13, 12, 0),)
    METER_MOD_FAILED_METER_EXISTS = (_of(_V13, 12, 1),)
    METER_MOD_FAILED_INVALID_METER = (_of(_V13, 12, 2),)
    METER_MOD_FAILED_UNKNOWN_METER = (_of(_V13, 12, 3),)
    METER_MOD_FAILED_BAD_COMMAND = (_of(_V13, 12, 4),)
    METER_MOD_FAILED_BAD_FLAGS = (_of(_V13, 12, 5),)
    METER_MOD_FAILED_BAD_RATE = (_of(_V13, 12, 6),)
    METER_MOD_FAILED_BAD_BURST = (_of(_V13, 12, 7),)
    METER_MOD_FAILED_BAD_BAND = (_of(_V13, 12, 8),)
    METER_MOD_FAILED_BAD_BAND_VALUE = (_of(_V13, 12, 9),)
    METER_MOD_FAILED_OUT_OF_METERS = (_of(_V13, 12, 10),)
    METER_MOD_FAILED_OUT_OF_BANDS = (_of(_V13, 12, 11),)

    PORT_MOD_FAILED_BAD_PORT = (_of(_V10, 4, 0), _of(_V11, 7, 0))
    PORT_MOD_FAILED_BAD_HW_ADDR = (_of(_V10, 4, 1), _of(_V11, 7, 1))
    PORT_MOD_FAILED_BAD_CONFIG = (_of(_V11, 7, 2),)
    PORT_MOD_FAILED_BAD_ADVERTISE = (_of(_V11, 7, 3),)
    PORT_MOD_FAILED_EPERM = (_of(_V12, 7, 4),)

    TABLE_MOD_FAILED_BAD_TABLE = (_of(_V11, 8, 0),)
    TABLE_MOD_FAILED_BAD_CONFIG = (_of(_V11, 8, 1),)
    TABLE_MOD_FAILED_EPERM = (_of(_V12, 8, 2),)

    QUEUE_OP_FAILED_BAD_PORT = (_of(_V10, 5, 0), _of(_V11, 9, 0))
    QUEUE_OP_FAILED_BAD_QUEUE = (_of(_V10, 5, 1), _of(_V11, 9, 1))
    QUEUE_OP_FAILED_EPERM = (_of(_V10, 5, 2), _of(_V11, 9, 2))
    QUEUE_OP_FAILED_NX_QUEUE_ERROR = (_nx12(_V14, 23),)

    SWITCH_CONFIG_FAILED_BAD_FLAGS = (_of(_V11, 10, 0),)
    SWITCH_CONFIG_FAILED_BAD_LEN = (_of(_V11, 10, 1),)
    SWITCH_CONFIG_FAILED_EPERM = (_of(_V12, 10, 2),)

    ROLE_REQUEST_FAILED_STALE = (_of(_V12, 11, 0),)
    ROLE_REQUEST_FAILED_UNSUP = (_of(_V12, 11, 1),)
    ROLE_REQUEST_FAILED_BAD_ROLE = (_nx(_V10, 1, 513), _of(_V12, 11, 2))
    ROLE_REQUEST_FAILED_ID_UNSUP = (_of(_V15, 11, 3),)
    ROLE_REQUEST_FAILED_ID_IN_USE = (_of(_V15, 11, 4),)

    TABLE_FEATURES_FAILED_BAD_TABLE = (_of(_V13, 13, 0),)
    TABLE_FEATURES_FAILED_BAD_METADATA = (_of(_V13, 13, 1),)
    TABLE_FEATURES_FAILED_EPERM = (_of(_V13, 13, 5),)
    TABLE_FEATURES_FAILED_BAD_CAPA = (_of(_V15, 13, 6),)
    TABLE_FEATURES_FAILED_BAD_MAX_ENT = (_of(_V15, 13, 7),)
    TABLE_FEATURES_FAILED_BAD_FEATURES = (_of(_V15, 13, 8),)
    TABLE_FEATURES_FAILED_BAD_COMMAND = (_of(_V15, 13, 9),)
    TABLE_FEATURES_FAILED_TOO_MANY = (_of(_V15, 13, 10),)
    TABLE_FEATURES_FAILED_NX_DUP_TABLE = (_nx12(_V13, 44),)

    BAD_PROPERTY_BAD_TYPE = (_nx(_V10, 13, 2), _nx12(_V12, 25), _of(_V13, 13, 2), _of(_V14, 14, 0))
    BAD_PROPERTY_BAD_LEN = (_nx(_V10, 13, 3), _nx12(_V12, 26), _of(_V13, 13, 3), _of(_V14, 14, 1))
    BAD_PROPERTY_BAD_VALUE = (_nx(_V10, 13, 4), _nx12(_V12, 27), _of(_V13, 13, 4), _of(_V14, 14, 2))
    BAD_PROPERTY_TOO_MANY = (_nx(_V10, 14, 3), _nx12(_V12, 28), _onf(_V13, 4443), _of(_V14, 14, 3))
    BAD_PROPERTY_DUP_TYPE = (_nx(_V10, 14, 4), _nx12(_V12, 29), _onf(_V13, 4444), _of(_V14, 14, 4))
    BAD_PROPERTY_BAD_EXPERIMENTER = (
        _nx(_V10, 14, 5), _nx12(_V12, 30), _onf(_V13, 4445), _of(_V14, 14, 5)
    )  # fmt: skip
    BAD_PROPERTY_BAD_EXP_TYPE = (
        _nx(_V10, 14, 6), _nx12(_V12, 31), _onf(_V13, 4446), _of(_V14, 14, 6)
    )  # fmt: skip
    BAD_PROPERTY_BAD_EXP_VALUE = (
        _nx(_V10, 14, 7), _nx12(_V12, 32), _onf(_V13, 4447), _of(_V14, 14, 7)
    )  # fmt: skip
    BAD_PROPERTY_EPERM = (
        _nx(_V10, 14, 8), _nx12(_V12, 33), _onf(_V13, 4448), _of(_V14, 14, 8)
    )  # fmt: skip

    ASYNC_CONFIG_FAILED_INVALID = (_onf(_V13, 2370), _of(_V14, 15, 0))
    ASYNC_CONFIG_FAILED_UNSUPPORTED = (_onf(_V13, 2371), _of(_V14, 15, 1))
    ASYNC_CONFIG_FAILED_EPERM = (_onf(_V13, 2372), _of(_V14, 15, 2))

    FLOW_MONITOR_FAILED_UNKNOWN = (_of(_V14, 16, 0),)
    FLOW_MONITOR_FAILED_MONITOR_EXISTS = (_nx(_V10, 1, 517), _nx12(_V12, 6), _of(_V14, 16, 1))
    FLOW_MONITOR_FAILED_INVALID_MONITOR = (_of(_V14, 16, 2),)
    FLOW_MONITOR_FAILED_UNKNOWN_MONITOR = (_nx(_V10, 1, 519), _nx12(_V12, 8), _of(_V14, 16, 3))
    FLOW_MONITOR_FAILED_BAD_COMMAND = (_of(_V14, 16, 4),)
    FLOW_MONITOR_FAILED_BAD_FLAGS = (_nx(_V10, 1, 518), _nx12(_V12, 7), _of(_V14, 16, 5))
    FLOW_MONITOR_FAILED_BAD_TABLE_ID = (_of(_V14, 16, 6),)
    FLOW_MONITOR_FAILED_BAD_OUT = (_of(_V14, 16, 7),)

    BUNDLE_FAILED_UNKNOWN = (_onf(_V13, 2300), _of(_V14, 17, 0))
    BUNDLE_FAILED_EPERM = (_onf(_V13, 2301), _of(_V14, 17, 1))
    BUNDLE_FAILED_BAD_ID = (_onf(_V13, 2302), _of(_V14, 17, 2))
    BUNDLE_FAILED_BUNDLE_EXIST = (_onf(_V13, 2303), _of(_V14, 17, 3))
    BUNDLE_FAILED_BUNDLE_CLOSED = (_onf(_V13, 2304), _of(_V14, 17, 4))
    BUNDLE_FAILED_OUT_OF_BUNDLES = (_onf(_V13, 2305), _of(_V14, 17, 5))
    BUNDLE_FAILED_BAD_TYPE = (_onf(_V13, 2306), _of(_V14, 17, 6))
    BUNDLE_FAILED_BAD_FLAGS = (_onf(_V13, 2307), _of(_V14, 17, 7))
    BUNDLE_FAILED_MSG_BAD_LEN = (_onf(_V13, 2308), _of(_V14, 17, 8))
    BUNDLE_FAILED_MSG_BAD_XID = (_onf(_V13, 2309), _of(_V14, 17, 9))
    BUNDLE_FAILED_MSG_UNSUP = (_onf(_V13, 2310), _of(_V14, 17, 10))
    BUNDLE_FAILED_MSG_CONFLICT = (_onf(_V13, 2311), _of(_V14, 17, 11))
    BUNDLE_FAILED_MSG_TOO_MANY = (_onf(_V13, 2312), _of(_V14, 17, 12))
    BUNDLE_FAILED_MSG_FAILED = (_onf(_V13, 2313), _of(_V14, 17, 13))
    BUNDLE_FAILED_TIMEOUT = (_onf(_V13, 2314), _of(_V14, 17, 14))
    BUNDLE_FAILED_BUNDLE_IN_PROGRESS = (_onf(_V13, 2315), _of(_V14, 17, 15))
    BUNDLE_FAILED_SCHED_NOT_SUPPORTED = (_of(_V15, 17, 16),)
    BUNDLE_FAILED_SCHED_FUTURE = (_of(_V15, 17, 17),)
    BUNDLE_FAILED_SCHED_PAST = (_of(_V15, 17, 18),)
    BUNDLE_FAILED_BAD_VERSION = (_nx12(_V14, 22),)

    TLV_TABLE_MOD_FAILED_BAD_COMMAND = (_nx(_V10, 1, 527), _nx12(_V12, 16))
    TLV_TABLE_MOD_FAILED_BAD_OPT_LEN = (_nx(_V10, 1, 528), _nx12(_V12, 17))
    TLV_TABLE_MOD_FAILED_BAD_FIELD_IDX = (_nx(_V10, 1, 529), _nx12(_V12, 18))
    TLV_TABLE_MOD_FAILED_TABLE_FULL = (_nx(_V10, 1, 530), _nx12(_V12, 19))
    TLV_TABLE_MOD_FAILED_ALREADY_MAPPED = (_nx(_V10, 1, 531), _nx12(_V12, 20))
    TLV_TABLE_MOD_FAILED_DUP_ENTRY = (_nx(_V10, 1, 532), _nx12(_V12, 21))
    TLV_TABLE_MOD_FAILED_INVALID_TLV_DEL = (_nx(_V10, 1, 537), _nx12(_V12, 38))

    RESUME_NOT_SUPPORTED = (_nx(_V10, 1, 533), _nx12(_V12, 34))
    RESUME_STALE = (_nx(_V10, 1, 534), _nx12(_V12, 35))
    STATS_NOT_CONFIGURED = (_nx(_V10, 1, 535), _nx12(_V12, 36))
