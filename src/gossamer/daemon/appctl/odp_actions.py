"""Datapath actions as ``ovs-appctl dpctl/dump-flows`` and the last line of a trace write them.

``set(eth(src=...)),push_vlan(vid=10,pcp=0),3``: what is done to a packet, and
the datapath's ports it leaves by (ovs-actions(7) is about OpenFlow's; these
are those of ovs-dpctl(8)).
"""

from __future__ import annotations

from typing import Final

from gossamer.daemon.appctl.odp_match import GROUPS, format_group, header_groups, hexadecimal
from gossamer.pipeline.fields import (
    ETH_MPLS,
    ETH_VLAN,
    VLAN_CFI,
    get_slot,
    put_slot,
)
from gossamer.pipeline.match import Match

_PCP_SHIFT: Final = 13
_DSCP: Final = 0xFC


def set_actions(match: Match, eth_type: int, proto: int) -> list[str]:
    """What writes the bits of `match`: a ``set()`` for each header that has some of them.

    `eth_type` and `proto` say which headers the packet has, 0 and -1 where
    that is not known.
    """
    names = ["eth", *header_groups(eth_type, proto)]
    if "icmpv6" in names:
        names.append("nd")
    if get_slot(match.mask, "mpls_lse0") and "mpls" not in names:
        names += header_groups(ETH_MPLS, -1)
    out = []
    for name in ("tunnel", *names):
        text = format_group(name, match)
        if text:
            out.append(f"set({text})")
    mark = get_slot(match.mask, "pkt_mark")
    if mark:
        out.append(f"set(skb_mark({hexadecimal(get_slot(match.value, 'pkt_mark'))}))")
    return out


def push_vlan(tpid: int, tci: int) -> str:
    """A tag pushed; the ethertype is said where it is not 802.1Q's."""
    kind = "" if tpid in (0, ETH_VLAN) else f"tpid=0x{tpid:04x},"
    return f"push_vlan({kind}vid={tci & 0xFFF},pcp={tci >> _PCP_SHIFT})"


def changes(old: int, new: int) -> list[str]:
    """What makes the headers of `old` (a key) those of `new`: fields first, then tags."""
    eth_type, proto = get_slot(new, "eth_type"), get_slot(new, "nw_proto")
    mask = 0
    names = {"eth", "tunnel", *header_groups(eth_type, proto, get_slot(new, "tp_src"))}
    for name in names:
        for field in GROUPS[name]:
            was, now = field.of(old), field.of(new)
            if was == now:
                continue
            written = (1 << field.n_bits) - 1
            if field.slot == "nw_tos" and not (was ^ now) & 3:
                written = _DSCP
            mask |= put_slot(0, field.slot, written << field.low)
    for name in ("icmp", "icmpv6"):
        # The two are written together, as the peer's datapath does.
        fields = [put_slot(0, f.slot, 0xFF) for f in GROUPS[name]] if name in names else []
        if any(mask & bits for bits in fields):
            mask |= sum(fields)
    if get_slot(old, "pkt_mark") != get_slot(new, "pkt_mark"):
        mask = put_slot(mask, "pkt_mark", 0xFFFFFFFF)
    out = set_actions(Match(new & mask, mask), eth_type, proto)
    tags_of_old, tags_of_new = tags(old), tags(new)
    # The innermost tags that both have stay where they are.
    while tags_of_old and tags_of_new and tags_of_old[-1] == tags_of_new[-1]:
        tags_of_old.pop()
        tags_of_new.pop()
    out += ["pop_vlan"] * len(tags_of_old)
    out += [push_vlan(tpid, tci) for tpid, tci in reversed(tags_of_new)]
    return out


def tags(key: int) -> list[tuple[int, int]]:
    """(tpid, tci without its CFI bit) of a key's tags, the outermost first."""
    out = []
    for prefix in ("vlan", "vlan1"):
        tci = get_slot(key, f"{prefix}_tci")
        if not tci & VLAN_CFI:
            break
        out.append((get_slot(key, f"{prefix}_tpid") or ETH_VLAN, tci & ~VLAN_CFI))
    return out


def to_controller(
    reason: int, controller_id: int, max_len: int, cookie: int, *, dont_send: bool, pause: bool
) -> str:
    """A packet-in, with what the controller is told of it."""
    return (
        f"userspace(pid=0,controller(reason={reason},dont_send={int(dont_send)},"
        f"continuation={int(pause)},recirc_id=0,rule_cookie={hexadecimal(cookie)},"
        f"controller_id={controller_id},max_len={max_len}))"
    )
