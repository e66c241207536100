"""Errors of the protocol: one name each, with the type and code that each version gives it.

OpenFlow 1.0.0 section 5.4.4, 1.3.5 section 7.4.4, 1.5.1 section 7.5.4; codes that a
version lacks are sent as Open vSwitch does: the nearest one it has.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from gossamer.errors import GossamerError

_V10, _V11, _V12, _V13, _V14, _V15 = range(1, 7)


class ErrorCode(Enum):
    """Value: ((first version, type, code), ...), the last applicable row counts."""

    HELLO_FAILED_INCOMPATIBLE = ((_V10, 0, 0),)
    HELLO_FAILED_EPERM = ((_V10, 0, 1),)

    BAD_REQUEST_BAD_VERSION = ((_V10, 1, 0),)
    BAD_REQUEST_BAD_TYPE = ((_V10, 1, 1),)
    BAD_REQUEST_BAD_STAT = ((_V10, 1, 2),)
    BAD_REQUEST_BAD_VENDOR = ((_V10, 1, 3),)
    BAD_REQUEST_BAD_SUBTYPE = ((_V10, 1, 4),)
    BAD_REQUEST_EPERM = ((_V10, 1, 5),)
    BAD_REQUEST_BAD_LEN = ((_V10, 1, 6),)
    BAD_REQUEST_BUFFER_EMPTY = ((_V10, 1, 7),)
    BAD_REQUEST_BUFFER_UNKNOWN = ((_V10, 1, 8),)
    BAD_REQUEST_BAD_TABLE_ID = ((_V10, 1, 1), (_V11, 1, 9))
    BAD_REQUEST_IS_SLAVE = ((_V10, 1, 5), (_V12, 1, 10))
    BAD_REQUEST_BAD_PORT = ((_V10, 1, 1), (_V12, 1, 11))
    BAD_REQUEST_BAD_PACKET = ((_V10, 1, 1), (_V12, 1, 12))
    BAD_REQUEST_MULTIPART_BUFFER_OVERFLOW = ((_V10, 1, 1), (_V13, 1, 13))

    BAD_ACTION_BAD_TYPE = ((_V10, 2, 0),)
    BAD_ACTION_BAD_LEN = ((_V10, 2, 1),)
    BAD_ACTION_BAD_VENDOR = ((_V10, 2, 2),)
    BAD_ACTION_BAD_VENDOR_TYPE = ((_V10, 2, 3),)
    BAD_ACTION_BAD_OUT_PORT = ((_V10, 2, 4),)
    BAD_ACTION_BAD_ARGUMENT = ((_V10, 2, 5),)
    BAD_ACTION_EPERM = ((_V10, 2, 6),)
    BAD_ACTION_TOO_MANY = ((_V10, 2, 7),)
    BAD_ACTION_BAD_QUEUE = ((_V10, 2, 8),)
    BAD_ACTION_BAD_OUT_GROUP = ((_V10, 2, 5), (_V11, 2, 9))
    BAD_ACTION_MATCH_INCONSISTENT = ((_V10, 2, 5), (_V11, 2, 10))
    BAD_ACTION_UNSUPPORTED_ORDER = ((_V10, 2, 5), (_V11, 2, 11))
    BAD_ACTION_BAD_TAG = ((_V10, 2, 5), (_V11, 2, 12))
    BAD_ACTION_BAD_SET_TYPE = ((_V10, 2, 5), (_V12, 2, 13))
    BAD_ACTION_BAD_SET_LEN = ((_V10, 2, 5), (_V12, 2, 14))
    BAD_ACTION_BAD_SET_ARGUMENT = ((_V10, 2, 5), (_V12, 2, 15))
    BAD_ACTION_BAD_SET_MASK = ((_V10, 2, 5), (_V14, 2, 16))

    BAD_INSTRUCTION_UNKNOWN_INST = ((_V10, 1, 1), (_V11, 3, 0))
    BAD_INSTRUCTION_UNSUP_INST = ((_V10, 1, 1), (_V11, 3, 1))
    BAD_INSTRUCTION_BAD_TABLE_ID = ((_V10, 1, 1), (_V11, 3, 2))
    BAD_INSTRUCTION_UNSUP_METADATA = ((_V10, 1, 1), (_V11, 3, 3))
    BAD_INSTRUCTION_UNSUP_METADATA_MASK = ((_V10, 1, 1), (_V11, 3, 4))
    BAD_INSTRUCTION_BAD_EXPERIMENTER = ((_V10, 1, 1), (_V11, 3, 5))
    BAD_INSTRUCTION_BAD_EXP_TYPE = ((_V10, 1, 1), (_V12, 3, 6))
    BAD_INSTRUCTION_BAD_LEN = ((_V10, 1, 6), (_V12, 3, 7))
    BAD_INSTRUCTION_DUP_INST = ((_V10, 1, 1), (_V14, 3, 9))

    BAD_MATCH_BAD_TYPE = ((_V10, 1, 1), (_V11, 4, 0))
    BAD_MATCH_BAD_LEN = ((_V10, 1, 6), (_V11, 4, 1))
    BAD_MATCH_BAD_TAG = ((_V10, 1, 1), (_V11, 4, 2))
    BAD_MATCH_BAD_WILDCARDS = ((_V10, 1, 1), (_V11, 4, 5))
    BAD_MATCH_BAD_FIELD = ((_V10, 1, 1), (_V11, 4, 6))
    BAD_MATCH_BAD_VALUE = ((_V10, 1, 1), (_V11, 4, 7))
    BAD_MATCH_BAD_MASK = ((_V10, 1, 1), (_V12, 4, 8))
    BAD_MATCH_BAD_PREREQ = ((_V10, 1, 1), (_V12, 4, 9))
    BAD_MATCH_DUP_FIELD = ((_V10, 1, 1), (_V12, 4, 10))

    FLOW_MOD_FAILED_UNKNOWN = ((_V10, 3, 5), (_V11, 5, 0))
    FLOW_MOD_FAILED_TABLE_FULL = ((_V10, 3, 0), (_V11, 5, 1))
    FLOW_MOD_FAILED_BAD_TABLE_ID = ((_V10, 1, 1), (_V11, 5, 2))
    FLOW_MOD_FAILED_OVERLAP = ((_V10, 3, 1), (_V11, 5, 3))
    FLOW_MOD_FAILED_EPERM = ((_V10, 3, 2), (_V11, 5, 4))
    FLOW_MOD_FAILED_BAD_TIMEOUT = ((_V10, 3, 3), (_V11, 5, 5))
    FLOW_MOD_FAILED_BAD_COMMAND = ((_V10, 3, 4), (_V11, 5, 6))
    FLOW_MOD_FAILED_BAD_FLAGS = ((_V10, 3, 5), (_V12, 5, 7))

    GROUP_MOD_FAILED_BAD_TYPE = ((_V10, 1, 1), (_V11, 6, 10))
    GROUP_MOD_FAILED_UNKNOWN_GROUP = ((_V10, 1, 1), (_V11, 6, 8))
    METER_MOD_FAILED_UNKNOWN_METER = ((_V10, 1, 1), (_V13, 12, 3))
    METER_MOD_FAILED_OUT_OF_METERS = ((_V10, 1, 1), (_V13, 12, 10))

    PORT_MOD_FAILED_BAD_PORT = ((_V10, 4, 0), (_V11, 7, 0))
    PORT_MOD_FAILED_BAD_HW_ADDR = ((_V10, 4, 1), (_V11, 7, 1))
    PORT_MOD_FAILED_BAD_CONFIG = ((_V10, 4, 0), (_V11, 7, 2))
    PORT_MOD_FAILED_BAD_ADVERTISE = ((_V10, 4, 0), (_V11, 7, 3))

    TABLE_MOD_FAILED_BAD_TABLE = ((_V10, 1, 1), (_V11, 8, 0))
    TABLE_MOD_FAILED_BAD_CONFIG = ((_V10, 1, 1), (_V11, 8, 1))

    QUEUE_OP_FAILED_BAD_PORT = ((_V10, 5, 0), (_V11, 9, 0))
    QUEUE_OP_FAILED_BAD_QUEUE = ((_V10, 5, 1), (_V11, 9, 1))

    SWITCH_CONFIG_FAILED_BAD_FLAGS = ((_V10, 1, 1), (_V11, 10, 0))
    SWITCH_CONFIG_FAILED_BAD_LEN = ((_V10, 1, 6), (_V11, 10, 1))

    ROLE_REQUEST_FAILED_STALE = ((_V10, 1, 5), (_V12, 11, 0))
    ROLE_REQUEST_FAILED_UNSUP = ((_V10, 1, 1), (_V12, 11, 1))
    ROLE_REQUEST_FAILED_BAD_ROLE = ((_V10, 1, 1), (_V12, 11, 2))

    TABLE_FEATURES_FAILED_EPERM = ((_V10, 1, 5), (_V13, 13, 5))

    ASYNC_CONFIG_FAILED_INVALID = ((_V10, 1, 1), (_V14, 15, 0))

    FLOW_MONITOR_FAILED_UNKNOWN = ((_V10, 1, 1), (_V14, 16, 0))
    FLOW_MONITOR_FAILED_MONITOR_EXISTS = ((_V10, 1, 1), (_V14, 16, 1))
    FLOW_MONITOR_FAILED_UNKNOWN_MONITOR = ((_V10, 1, 1), (_V14, 16, 4))
    FLOW_MONITOR_FAILED_BAD_FLAGS = ((_V10, 1, 1), (_V14, 16, 5))
    FLOW_MONITOR_FAILED_BAD_OUT = ((_V10, 1, 1), (_V14, 16, 7))

    BUNDLE_FAILED_UNKNOWN = ((_V10, 1, 1), (_V14, 17, 0))
    BUNDLE_FAILED_EPERM = ((_V10, 1, 5), (_V14, 17, 1))
    BUNDLE_FAILED_BAD_ID = ((_V10, 1, 1), (_V14, 17, 2))
    BUNDLE_FAILED_BUNDLE_EXIST = ((_V10, 1, 1), (_V14, 17, 3))
    BUNDLE_FAILED_BUNDLE_CLOSED = ((_V10, 1, 1), (_V14, 17, 4))
    BUNDLE_FAILED_OUT_OF_BUNDLES = ((_V10, 1, 1), (_V14, 17, 5))
    BUNDLE_FAILED_BAD_TYPE = ((_V10, 1, 1), (_V14, 17, 6))
    BUNDLE_FAILED_BAD_FLAGS = ((_V10, 1, 1), (_V14, 17, 7))
    BUNDLE_FAILED_MSG_BAD_LEN = ((_V10, 1, 6), (_V14, 17, 8))
    BUNDLE_FAILED_MSG_BAD_XID = ((_V10, 1, 1), (_V14, 17, 9))
    BUNDLE_FAILED_MSG_UNSUP = ((_V10, 1, 1), (_V14, 17, 10))
    BUNDLE_FAILED_MSG_CONFLICT = ((_V10, 1, 1), (_V14, 17, 11))
    BUNDLE_FAILED_MSG_FAILED = ((_V10, 1, 1), (_V14, 17, 13))
    BUNDLE_FAILED_TIMEOUT = ((_V10, 1, 1), (_V14, 17, 14))


_MAX_DATA: Final = 64
"""How much of the offending message goes back with the error."""


class OpenFlowError(GossamerError):
    """A request that must be refused; `code` says how the peer is told."""

    def __init__(self, code: ErrorCode, message: str = "", *, place: str = "") -> None:
        super().__init__(message or code.name, place=place)
        self.code = code


def wire_code(code: ErrorCode, version: int) -> tuple[int, int]:
    """(type, code) of an error in a version of the protocol."""
    found = code.value[0]
    for row in code.value:
        if row[0] <= version:
            found = row
    return found[1], found[2]


def encode_error(code: ErrorCode, version: int, request: bytes, xid: int) -> bytes:
    """An OFPT_ERROR that answers `request` (OpenFlow 1.3.5, 7.4.4)."""
    kind, number = wire_code(code, version)
    data = request[:_MAX_DATA]
    head = bytes((version, 1)) + (12 + len(data)).to_bytes(2, "big") + xid.to_bytes(4, "big")
    return head + kind.to_bytes(2, "big") + number.to_bytes(2, "big") + data
