"""Instructions: apply, clear and write actions, metadata, goto (OpenFlow 1.3.5, 7.2.4).

OpenFlow 1.0 has none: there the action list stands alone, and the rest comes
as Nicira actions.  Inside the switch it is all one tuple (pipeline/action.py).
"""

from __future__ import annotations

from struct import unpack_from
from typing import Final

from gossamer.openflow.action import decode_actions, encode_actions
from gossamer.openflow.action_order import check_list
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.interned import Interned
from gossamer.openflow.message import Version
from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, Actions
from gossamer.pipeline.action_ct import Ct, CtClear

_GOTO, _METADATA, _WRITE, _APPLY, _CLEAR, _METER = range(1, 7)
_EXPERIMENTER: Final = 0xFFFF
_ORDER: Final = (_METER, _APPLY, _CLEAR, _WRITE, _METADATA, _GOTO)
_interned: Interned[tuple[int, bytes], Actions] = Interned()
_encoded: Interned[tuple[int, int], tuple[Actions, bytes]] = Interned()


def decode_instructions(data: bytes, version: int) -> Actions:
    """What a flow-mod does; for OpenFlow 1.0 its action list.  Equal bytes give the same tuple.

    Raises OpenFlowError with the bad-instruction or bad-action code.
    """
    if version == Version.V10:
        return decode_actions(data, version)
    if not data:
        return act.DROP
    known = _interned.get((version, data))
    if known is not None:
        return known
    bodies = _split(data, version)
    found = {kind: _decode_one(kind, bodies[kind], version) for kind in _ORDER if kind in bodies}
    result = tuple(a for kind in _ORDER for a in found.get(kind, ()))
    check_list(result, version)
    return _interned.remember((version, data), result, 16 * len(data))


_LENGTHS: Final = {_GOTO: 8, _METADATA: 24, _WRITE: 0, _APPLY: 0, _CLEAR: 8, _METER: 8}
"""0: it varies."""


def _has_meters(version: int) -> bool:
    """In OpenFlow 1.5 meter is an action."""
    return Version.V13 <= version < Version.V15


def _split(data: bytes, version: int) -> dict[int, bytes]:
    """The instructions by their type: all are looked at before any is taken apart."""
    bodies: dict[int, bytes] = {}
    offset, end = 0, len(data)
    if end % 8:
        raise OpenFlowError(ErrorCode.BAD_INSTRUCTION_BAD_LEN)
    while offset < end:
        kind, length = unpack_from(">HH", data, offset)
        if length < 8 or length % 8 or offset + length > end:
            raise OpenFlowError(ErrorCode.BAD_INSTRUCTION_BAD_LEN)
        if kind == _EXPERIMENTER:
            raise OpenFlowError(ErrorCode.BAD_INSTRUCTION_BAD_EXPERIMENTER)
        expected = _LENGTHS.get(kind)
        if expected is None or (kind == _METER and not _has_meters(version)):
            raise OpenFlowError(ErrorCode.BAD_INSTRUCTION_UNKNOWN_INST, f"instruction {kind}")
        if expected and length != expected:
            raise OpenFlowError(ErrorCode.BAD_INSTRUCTION_BAD_LEN)
        if kind in bodies:
            raise OpenFlowError(ErrorCode.BAD_INSTRUCTION_DUP_INST)
        bodies[kind] = data[offset : offset + length]
        offset += length
    return bodies


def _decode_one(kind: int, body: bytes, version: int) -> tuple[Action, ...]:
    match kind:
        case 4:  # OFPIT_APPLY_ACTIONS
            return decode_actions(body[8:], version)
        case 3:  # OFPIT_WRITE_ACTIONS
            actions = decode_actions(body[8:], version)
            _check_action_set(actions)
            return (act.WriteActions(actions),)
        case 1:  # OFPIT_GOTO_TABLE
            return (act.GotoTable(body[4]),)
        case 2:  # OFPIT_WRITE_METADATA
            value, mask = unpack_from(">QQ", body, 8)
            return (act.WriteMetadata(value, mask),)
        case 5:  # OFPIT_CLEAR_ACTIONS
            return (act.ClearActions(),)
        case _:  # OFPIT_METER
            return (act.Meter(int.from_bytes(body[4:8], "big")),)


_IN_SET: Final = (
    act.Output, act.SetField, act.RegLoad, act.RegMove, act.PushVlan, act.PopVlan, act.SetVlanVid,
    act.SetVlanPcp, act.PushMpls, act.PopMpls, act.PushPbb, act.PopPbb, act.DecTtl, act.DecMplsTtl,
    act.CopyTtlOut, act.CopyTtlIn, act.SetQueue, act.Group, act.Resubmit,
    Ct, CtClear,
)  # fmt: skip


def _check_action_set(actions: Actions) -> None:
    for action in actions:
        if isinstance(action, act.Controller):
            allowed = action.as_output
        else:
            allowed = isinstance(action, _IN_SET) and not isinstance(action, act.PopQueue)
        if not allowed:
            raise OpenFlowError(
                ErrorCode.BAD_ACTION_BAD_TYPE, f"{type(action).__name__} in write_actions"
            )


def encode_instructions(actions: Actions, version: int) -> bytes:
    """The instructions, or OpenFlow 1.0's action list, of a flow."""
    # The tuple is kept with the entry, so that its identity cannot be another's.
    known = _encoded.get((id(actions), version))
    if known is not None and known[0] is actions:
        return known[1]
    data = _encode(actions, version)
    return _encoded.remember((id(actions), version), (actions, data), 16 * len(data))[1]


_BEHIND_APPLY: Final = (act.WriteActions, act.ClearActions, act.WriteMetadata, act.GotoTable)


def _encode(actions: Actions, version: int) -> bytes:
    meters = [a for a in actions if isinstance(a, act.Meter) and version < Version.V15]
    rest = [a for a in actions if isinstance(a, _BEHIND_APPLY)]
    apply = [a for a in actions if a not in meters and not isinstance(a, _BEHIND_APPLY)]
    if version == Version.V10:
        return encode_actions(tuple(apply), version) + b"".join(_as_nicira(a) for a in rest)
    out = b""
    if _has_meters(version):
        for meter in meters:
            out += _head(_METER, 8) + meter.meter_id.to_bytes(4, "big")
    if apply:
        body = encode_actions(tuple(apply), version)
        out += _head(_APPLY, 8 + len(body)) + bytes(4) + body
    for action in rest:
        match action:
            case act.WriteActions(actions=inner):
                body = encode_actions(inner, version)
                out += _head(_WRITE, 8 + len(body)) + bytes(4) + body
            case act.ClearActions():
                out += _head(_CLEAR, 8) + bytes(4)
            case act.WriteMetadata(value=value, mask=mask):
                out += _head(_METADATA, 24) + bytes(4)
                out += value.to_bytes(8, "big") + mask.to_bytes(8, "big")
            case act.GotoTable(table_id=table_id):
                out += _head(_GOTO, 8) + bytes([table_id, 0, 0, 0])
    return out


def _as_nicira(action: Action) -> bytes:
    """An instruction in OpenFlow 1.0: goto as resubmit, metadata as its Nicira action."""
    match action:
        case act.GotoTable(table_id=table_id):
            return encode_actions((act.Resubmit(table_id=table_id),), Version.V10)
        case act.WriteMetadata():
            return encode_actions((action,), Version.V10)
        case _:
            return b""


def _head(kind: int, length: int) -> bytes:
    return kind.to_bytes(2, "big") + length.to_bytes(2, "big")
