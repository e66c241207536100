"""Do actions make sense after a match?  (OpenFlow 1.3.5, 6.4: match inconsistent, bad table.)

The answer depends on the actions, the table, and what the match says of
ethertype, protocol and VLAN only; it is worked out once for each.

OpenFlow 1.0 knows no such check: there its own actions do nothing to packets
that lack the field.  What it calls a transport port becomes the field of the
protocol matched, which is what later versions call it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.interned import Interned
from gossamer.openflow.message import Version
from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, Actions
from gossamer.pipeline.fields import (
    BY_NAME,
    IP_SCTP,
    IP_TCP,
    IP_UDP,
    VLAN_CFI,
    Field,
    slot_shift,
)
from gossamer.pipeline.match import Match

_WHAT_COUNTS: Final = (
    0xFFFF << slot_shift("eth_type")
    | 0xFF << slot_shift("nw_proto")
    | VLAN_CFI << slot_shift("vlan_tci")
    | 0xFF << slot_shift("tp_src")
)
_LOWEST: Final = slot_shift("tp_src")
_VLAN_TCI: Final = BY_NAME["vlan_tci"]
_OWN_FIELDS: Final = frozenset(
    ("eth_src", "eth_dst", "ip_src", "ip_dst", "ip_dscp", "vlan_vid", "vlan_pcp")
)
"""Set by actions of OpenFlow 1.0 itself."""
_PORTS: Final = {
    "tcp_src": {IP_TCP: "tcp_src", IP_UDP: "udp_src", IP_SCTP: "sctp_src"},
    "tcp_dst": {IP_TCP: "tcp_dst", IP_UDP: "udp_dst", IP_SCTP: "sctp_dst"},
}
_Key = tuple[int, int, int, int, bool, bool]
_passed: Interned[_Key, tuple[Actions, Actions]] = Interned()


def check_actions(actions: Actions, match: Match, table_id: int, version: int) -> Actions:
    """The actions, transport ports resolved, of a flow with this match.

    Raises OpenFlowError(MATCH_INCONSISTENT, BAD_TABLE_ID, ...) where they do not fit.
    """
    if not actions:
        return actions
    key = (
        id(actions),
        (match.mask & _WHAT_COUNTS) >> _LOWEST,
        (match.value & _WHAT_COUNTS) >> _LOWEST,
        table_id,
        version == Version.V10,
        version == Version.V11,
    )
    # The tuple is kept with the entry, so that its identity cannot be another's.
    known = _passed.get(key)
    if known is not None and known[0] is actions:
        return known[1]
    resolved = _check(actions, match, table_id, version)
    if resolved == actions:
        resolved = actions
    return _passed.remember(key, (actions, resolved))[1]


def _check(actions: Actions, match: Match, table_id: int, version: int) -> Actions:
    out: list[Action] = []
    for action in actions:
        match action:
            case act.NamedSet(spelling="set_tp_src" | "set_tp_dst"):
                action = _resolve(action, match)
            case act.SetField(field=f):
                if version != Version.V10 or f.name not in _OWN_FIELDS:
                    _need(f, match)
                if f is _VLAN_TCI:
                    match = _written(match, action.value)
            case act.RegLoad(dst=dst, value=value):
                _need(dst.field, match)
                if dst.field is _VLAN_TCI:
                    match = _written(match, value << dst.low)
            case act.RegMove(src=src, dst=dst):
                _need_prerequisite(src.field, match)
                _need_prerequisite(dst.field, match)
            case act.OutputReg(source=source):
                _need_prerequisite(source.field, match)
            case act.DecTtl():
                if version != Version.V10:
                    _need(BY_NAME["nw_ttl"], match)
            case act.PushVlan():
                match = _tagged(match)
            case act.SetVlanVid(push=True) | act.SetVlanPcp(push=True):
                if _has_tag(match):
                    action = replace(action, push=False)
                match = _tagged(match)
            case act.SetVlanVid() | act.SetVlanPcp():
                if not _has_tag(match):
                    raise _inconsistent("there is no VLAN tag to change")
            case act.PopVlan():
                if version != Version.V10 and not _has_tag(match):
                    raise _inconsistent("there is no VLAN tag to remove")
                match = _untagged(match)
            case act.GotoTable(table_id=target):
                if target == 0xFF or (table_id != 0xFF and target <= table_id):
                    raise OpenFlowError(
                        ErrorCode.BAD_INSTRUCTION_BAD_TABLE_ID, "goto_table must go forward"
                    )
            case act.WriteActions(actions=inner):
                action = act.WriteActions(_check(inner, match, table_id, version))
        out.append(action)
    return tuple(out)


def _resolve(action: act.NamedSet, match: Match) -> act.SetField:
    """OpenFlow 1.0's and 1.1's set_tp_src and set_tp_dst, which name no protocol."""
    proto, exact = match.field(BY_NAME["nw_proto"])
    name = _PORTS[action.field.name].get(proto) if exact else None
    field = BY_NAME[name] if name else action.field
    _need(field, match)
    if proto == IP_SCTP:
        # Later versions know SCTP's ports as fields, these only by this action.
        return act.NamedSet(field, action.value, action.mask, action.spelling)
    return act.SetField(field, action.value, action.mask)


def _tagged(match: Match) -> Match:
    shifted = VLAN_CFI << _VLAN_TCI.shift
    return Match(match.value | shifted, match.mask | shifted)


def _untagged(match: Match) -> Match:
    return Match(match.value & ~_VLAN_TCI.full_mask, match.mask & ~_VLAN_TCI.full_mask)


def _written(match: Match, tci: int) -> Match:
    return _tagged(match) if tci & VLAN_CFI else _untagged(match)


def _has_tag(match: Match) -> bool:
    value, mask = match.field(_VLAN_TCI)
    return bool(value & mask & VLAN_CFI)


def _need(field: Field, match: Match) -> None:
    _need_prerequisite(field, match)
    if field.name == "vlan_vid" and not _has_tag(match):
        raise _inconsistent("vlan_vid needs a VLAN tag")


def _need_prerequisite(field: Field, match: Match) -> None:
    if not match.satisfies(field.prerequisite):
        raise _inconsistent(f"{field.name} needs a match on {field.prerequisite.name}")


def _inconsistent(message: str) -> OpenFlowError:
    return OpenFlowError(ErrorCode.BAD_ACTION_MATCH_INCONSISTENT, message)
