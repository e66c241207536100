"""Do actions make sense after a match?  (OpenFlow 1.3.5, 6.4: match inconsistent, bad table.)

The answer depends on the actions, the table, and what the match says of
ethertype, protocol and VLAN only; it is worked out once for each.
"""

from __future__ import annotations

from typing import Final

from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.pipeline import action as act
from gossamer.pipeline.action import Actions
from gossamer.pipeline.fields import BY_NAME, Field, slot_shift
from gossamer.pipeline.match import Match

_WHAT_COUNTS: Final = (
    0xFFFF << slot_shift("eth_type")
    | 0xFF << slot_shift("nw_proto")
    | 0x1000 << slot_shift("vlan_tci")
    | 0xFF << slot_shift("tp_src")
)
_passed: dict[tuple[int, int, int, int], Actions] = {}
_MAX_PASSED: Final = 1 << 16
_VLAN_TCI: Final = BY_NAME["vlan_tci"]


def check_actions(actions: Actions, match: Match, table_id: int) -> None:
    """Raises OpenFlowError(MATCH_INCONSISTENT, BAD_TABLE_ID) where actions do not fit."""
    if not actions:
        return
    key = (id(actions), match.mask & _WHAT_COUNTS, match.value & _WHAT_COUNTS, table_id)
    # The tuple is kept with the entry, so that its identity cannot be another's.
    if _passed.get(key) is actions:
        return
    _check(actions, match, table_id)
    if len(_passed) >= _MAX_PASSED:
        _passed.clear()
    _passed[key] = actions


def _check(actions: Actions, match: Match, table_id: int) -> None:
    for action in actions:
        match action:
            case act.SetField(field=f):
                _need(f, match)
            case act.RegLoad(dst=dst):
                _need(dst.field, match)
            case act.RegMove(src=src, dst=dst):
                _need(src.field, match)
                _need(dst.field, match)
            case act.OutputReg(source=source):
                _need(source.field, match)
            case act.DecTtl():
                eth_type, mask = match.field(BY_NAME["eth_type"])
                if not mask or eth_type not in (0x0800, 0x86DD):
                    raise _inconsistent("dec_ttl needs an IP match")
            case act.PushVlan() | act.SetVlanVid(push=True) | act.SetVlanPcp(push=True):
                match = _tagged(match)
            case act.SetVlanVid() | act.SetVlanPcp():
                if not _has_tag(match):
                    raise _inconsistent("there is no VLAN tag to change")
            case act.PopVlan():
                match = Match(
                    match.value & ~_VLAN_TCI.full_mask, match.mask & ~_VLAN_TCI.full_mask
                )
            case act.GotoTable(table_id=target):
                if target == 0xFF or (table_id != 0xFF and target <= table_id):
                    raise OpenFlowError(
                        ErrorCode.BAD_INSTRUCTION_BAD_TABLE_ID, "goto_table must go forward"
                    )
            case act.WriteActions(actions=inner):
                _check(inner, match, table_id)


def _tagged(match: Match) -> Match:
    return match.with_field(_VLAN_TCI, *(v | 0x1000 for v in match.field(_VLAN_TCI)))


def _has_tag(match: Match) -> bool:
    value, mask = match.field(_VLAN_TCI)
    return bool(value & mask & 0x1000)


def _need(field: Field, match: Match) -> None:
    if field.name == "vlan_vid":
        return  # may push a tag, as Open vSwitch lets it
    if not match.satisfies(field.prerequisite):
        raise _inconsistent(f"{field.name} needs a match on {field.prerequisite.name}")


def _inconsistent(message: str) -> OpenFlowError:
    return OpenFlowError(ErrorCode.BAD_ACTION_MATCH_INCONSISTENT, message)
