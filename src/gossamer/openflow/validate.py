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
from gossamer.openflow.match import CT_INVALID, has_prerequisite, says_tracked
from gossamer.openflow.message import Version
from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, Actions, SubField
from gossamer.pipeline.action_choice import Bundle, Multipath
from gossamer.pipeline.action_ct import CT_ALG_FTP, CT_ALG_TFTP, Ct
from gossamer.pipeline.action_encap import Decap, DecNshTtl, Encap
from gossamer.pipeline.action_learn import Learn, LearnTo
from gossamer.pipeline.fields import (
    BY_NAME,
    ETH_IPV4,
    ETH_IPV6,
    ETH_PBB,
    FRAG_LATER,
    IP_SCTP,
    IP_TCP,
    IP_UDP,
    VLAN_CFI,
    Field,
    slot_shift,
)
from gossamer.pipeline.match import ANY, Match
from gossamer.pipeline.meter import METER_MAX

_WHAT_COUNTS: Final = (
    0xFFFF << slot_shift("eth_type")
    | 0xFF << slot_shift("nw_proto")
    | VLAN_CFI << slot_shift("vlan_tci")
    | 0xFF << slot_shift("tp_src")
    | 0xFF << slot_shift("tp_dst")
    | FRAG_LATER << slot_shift("nw_frag")
    | 0xFF << slot_shift("ct_state")
    | 0xFFFFFFFF << slot_shift("packet_type")
)
_LOWEST: Final = slot_shift("tp_dst")
_VLAN_TCI: Final = BY_NAME["vlan_tci"]
_ETH_TYPE: Final = BY_NAME["eth_type"]
_NW_PROTO: Final = BY_NAME["nw_proto"]
_NW_TTL: Final = BY_NAME["nw_ttl"]
_MPLS_TTL: Final = BY_NAME["mpls_ttl"]
_NSH_TTL: Final = BY_NAME["nsh_ttl"]
_PACKET_TYPE: Final = BY_NAME["packet_type"]
_UNKNOWN_TYPE: Final = 0xFFFFFFFF
_CT_STATE: Final = BY_NAME["ct_state"]
_ALG_PROTOCOLS: Final = {CT_ALG_FTP: IP_TCP, CT_ALG_TFTP: IP_UDP}
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


_CT_IPV4: Final = BY_NAME["ct_nw_src"].full_mask | BY_NAME["ct_nw_dst"].full_mask
_CT_IPV6: Final = BY_NAME["ct_ipv6_src"].full_mask | BY_NAME["ct_ipv6_dst"].full_mask
_CT_ADDRESSES: Final = _CT_IPV4 | _CT_IPV6


def check_connection(match: Match) -> None:
    """Addresses of a connection are those of the flow's own packets (ovs-fields(7), ct_nw_src).

    Raises OpenFlowError(MATCH_INCONSISTENT) unless the ethertype says their version of IP.
    """
    if not match.mask & _CT_ADDRESSES:
        return
    eth_type = match.field(_ETH_TYPE)[0]
    if (match.mask & _CT_IPV4 and eth_type != ETH_IPV4) or (
        match.mask & _CT_IPV6 and eth_type != ETH_IPV6
    ):
        raise _inconsistent("a connection's addresses need a match on their version of IP")


def _check(
    actions: Actions, match: Match, table_id: int, version: int, *, in_set: bool = False
) -> Actions:
    """`in_set`: of an action set nobody knows the packets, so less is asked of their match."""
    checker = _Checker(match, table_id, version, in_set=in_set)
    return tuple(checker.check(action) for action in actions)


class _Checker:
    """What is known of the packets while a list of actions is gone through."""

    def __init__(self, match: Match, table_id: int, version: int, *, in_set: bool) -> None:
        self.match = match
        self.table_id = table_id
        self.version = version
        self.strict = version != Version.V10 and not in_set

    def check(self, action: Action) -> Action:
        """The action as it is kept.  Raises OpenFlowError."""
        match action:
            case act.NamedSet(spelling="set_tp_src" | "set_tp_dst"):
                action = _resolve(action, self.match)
            case act.SetField(field=f):
                if self.version != Version.V10 or f.name not in _OWN_FIELDS:
                    _need(f, self.match)
                if f is _VLAN_TCI:
                    self.match = _written(self.match, action.value)
            case act.RegLoad(dst=dst, value=value):
                _need(dst.field, self.match)
                if dst.field is _VLAN_TCI:
                    self.match = _written(self.match, value << dst.low)
            case act.RegMove(src=src, dst=dst):
                _need_prerequisite(src.field, self.match)
                _need_prerequisite(dst.field, self.match)
            case act.OutputReg(source=sub) | act.StackPush(source=sub):
                _need_prerequisite(sub.field, self.match)
            case act.StackPop(dst=sub) | Multipath(dst=sub) | Bundle(dst=SubField() as sub):
                _need_prerequisite(sub.field, self.match)
            case act.PushVlan() | act.PopVlan() | act.SetVlanVid() | act.SetVlanPcp():
                action = self._vlan(action)
            case act.WriteActions(actions=inner):
                inner = _check(inner, self.match, self.table_id, self.version, in_set=True)
                action = act.WriteActions(inner)
            case act.Clone(actions=inner):
                in_set = not self.strict
                action = act.Clone(
                    _check(inner, self.match, self.table_id, self.version, in_set=in_set)
                )
            case act.GotoTable(table_id=target):
                if target == 0xFF or (self.table_id != 0xFF and target <= self.table_id):
                    raise OpenFlowError(
                        ErrorCode.BAD_INSTRUCTION_BAD_TABLE_ID, "goto_table must go forward"
                    )
            case _:
                self._more(action)
        return action

    def _vlan(self, action: Action) -> Action:
        match action:
            case act.PushVlan():
                self.match = _tagged(self.match)
            case act.SetVlanVid(push=True) | act.SetVlanPcp(push=True):
                if _has_tag(self.match):
                    action = replace(action, push=False)
                self.match = _tagged(self.match)
            case act.PopVlan():
                if self.strict and not _has_tag(self.match):
                    raise _inconsistent("there is no VLAN tag to remove")
                self.match = _untagged(self.match)
            case _:
                if not _has_tag(self.match):
                    raise _inconsistent("there is no VLAN tag to change")
        return action

    def _more(self, action: Action) -> None:
        match action:
            case act.DecTtl():
                self._packets_are(_NW_TTL)
            case act.PushMpls(ethertype=ethertype):
                self.match = _of_type(self.match, ethertype)
            case act.PopMpls(ethertype=ethertype):
                self._packets_are(_MPLS_TTL)
                self.match = _of_type(self.match, ethertype)
            case act.DecMplsTtl():
                self._packets_are(_MPLS_TTL)
            case act.PushPbb(ethertype=ethertype):
                self.match = _of_type(self.match, ethertype)
            case act.PopPbb():
                if self.strict and self.match.field(_ETH_TYPE)[0] != ETH_PBB:
                    raise _inconsistent("pop_pbb needs a match on pbb")
                self.match = _of_type(self.match, None)
            case Encap(packet_type=packet_type):
                self.match = _of_packet_type(self.match, packet_type)
            case Decap():
                self.match = _uncovered(self.match)
            case DecNshTtl():
                self._packets_are(_NSH_TTL)
            case act.FinTimeout():
                if self.strict and self.match.field(_NW_PROTO) != (IP_TCP, 0xFF):
                    raise _inconsistent("fin_timeout needs a match on tcp")
            case act.Resubmit(with_ct=True):
                if not says_tracked(self.match):
                    raise _inconsistent("resubmit(,,ct) needs a match on a tracked packet")
            case Ct():
                self._ct(action)
            case act.Meter(meter_id=meter_id):
                if not 0 < meter_id <= METER_MAX:
                    raise OpenFlowError(
                        ErrorCode.METER_MOD_FAILED_INVALID_METER, f"meter {meter_id:#x}"
                    )
            case act.DeleteField(field=f) if not f.marks:
                raise OpenFlowError(
                    ErrorCode.BAD_ACTION_BAD_ARGUMENT, f"{f.name} is in every packet"
                )
            case Learn():
                _check_learn(action, self.match)

    def _ct(self, action: Ct) -> None:
        """Also for OpenFlow 1.0: there is no packet that such a ct could do anything to."""
        eth_type = self.match.field(_ETH_TYPE)[0]
        proto = self.match.field(_NW_PROTO)[0]
        if eth_type not in (ETH_IPV4, ETH_IPV6):
            raise _inconsistent("ct needs a match on ip or ipv6")
        if action.commit and self.match.field(_CT_STATE)[0] & CT_INVALID:
            raise _inconsistent("an invalid packet cannot be committed")
        if action.alg in _ALG_PROTOCOLS and proto != _ALG_PROTOCOLS[action.alg]:
            raise _inconsistent("the helper is for packets of another protocol")
        if action.zone_field is not None:
            _need_prerequisite(action.zone_field.field, self.match)
            return
        nat = action.nat
        if nat and nat.addresses and (len(nat.addresses[0]) == 4) != (eth_type == ETH_IPV4):
            raise _inconsistent("nat's addresses are of the other family")
        for inside in action.actions:
            self.check(inside)

    def _packets_are(self, field: Field) -> None:
        """Packets must have `field`, where the version cares."""
        if self.strict:
            _need_prerequisite(field, self.match)


def _check_learn(action: Learn, match: Match) -> None:
    """Sources must be in this flow's packets, destinations in the learned flow's."""
    learned = ANY
    for spec in action.specs:
        if isinstance(spec.source, SubField):
            _need_prerequisite(spec.source.field, match)
        if spec.dst is None:
            continue
        _need_prerequisite(spec.dst.field, learned)
        if spec.to == LearnTo.MATCH and isinstance(spec.source, int):
            bits = ((1 << spec.dst.n_bits) - 1) << spec.dst.shift
            placed = spec.source << spec.dst.shift & bits
            learned = Match(learned.value & ~bits | placed, learned.mask | bits)


def _of_type(match: Match, ethertype: int | None) -> Match:
    """The match once the ethertype is another one (None: unknown); of the rest nothing is known."""
    gone = _ETH_TYPE.full_mask | _NW_PROTO.full_mask
    left = Match(match.value & ~gone, match.mask & ~gone)
    return left if ethertype is None else left.with_field(_ETH_TYPE, ethertype)


def _of_packet_type(match: Match, packet_type: int) -> Match:
    """The match once the packet has another header around it."""
    before = match.field(_PACKET_TYPE)[0]
    if packet_type:
        return _of_type(match, packet_type & 0xFFFF).with_field(_PACKET_TYPE, packet_type)
    known = match.with_field(_ETH_TYPE, before & 0xFFFF) if before >> 16 == 1 else match
    return known.with_field(_PACKET_TYPE, 0)


def _uncovered(match: Match) -> Match:
    """The match without the outermost header: what is below Ethernet is known, below others not."""
    if match.field(_PACKET_TYPE)[0]:
        return _of_type(match, None).with_field(_PACKET_TYPE, _UNKNOWN_TYPE)
    eth_type, exact = match.field(_ETH_TYPE)
    kind = eth_type if exact else 0
    return match.with_field(_PACKET_TYPE, 1 << 16 | kind)


def _resolve(action: act.NamedSet, match: Match) -> act.NamedSet:
    """OpenFlow 1.0's and 1.1's set_tp_src and set_tp_dst, which name no protocol."""
    proto, exact = match.field(BY_NAME["nw_proto"])
    name = _PORTS[action.field.name].get(proto) if exact else None
    field = BY_NAME[name] if name else action.field
    _need(field, match)
    return replace(action, field=field)


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
    if not has_prerequisite(match, field):
        raise _inconsistent(f"{field.name} needs a match on {field.prerequisite.name}")


def _inconsistent(message: str) -> OpenFlowError:
    return OpenFlowError(ErrorCode.BAD_ACTION_MATCH_INCONSISTENT, message)
