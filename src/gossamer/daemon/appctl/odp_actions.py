"""Datapath actions as ``ovs-appctl dpctl/dump-flows`` and the last line of a trace write them.

``set(eth(src=...)),push_vlan(vid=10,pcp=0),3``: what is done to a packet, and
the datapath's ports it leaves by (ovs-actions(7) is about OpenFlow's; these
are those of ovs-dpctl(8)).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from gossamer.daemon.appctl.odp_match import GROUPS, format_group, header_groups, hexadecimal
from gossamer.pipeline.fields import (
    ETH_MPLS,
    ETH_MPLS_MC,
    ETH_VLAN,
    VLAN_CFI,
    get_slot,
    put_slot,
)
from gossamer.pipeline.match import Match

_PCP_SHIFT: Final = 13
_DSCP: Final = 0xFC
_MAX_LABELS: Final = 3
_BOS: Final = 0x100


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
    """What makes the headers of `old` (a key) those of `new`.

    In the order in which the peer's datapath can carry it out: addresses,
    labels taken off, what is behind them, labels put on, tags.  What a label
    is to cover must be changed before it is put on: behind it no key tells.
    """
    out = _sets(old, new, ("tunnel", "eth"))
    labels_of_old, labels_of_new = labels(old), labels(new)
    kept = _common_end(labels_of_old, labels_of_new)
    changed = int(len(labels_of_old) == len(labels_of_new) > kept)
    pops = len(labels_of_old) - kept - changed
    pushes = labels_of_new[: len(labels_of_new) - kept - changed]
    behind = get_slot(new, "eth_type")
    for i in range(pops):
        left = len(labels_of_old) - i - 1
        out.append(pop_mpls(get_slot(old, "eth_type") if left else behind))
    if not labels_of_new:
        names = header_groups(behind, get_slot(new, "nw_proto"), get_slot(new, "tp_src"))
        out += _sets(old, new, names)
    elif changed:
        out += _sets(old, new, ("mpls",))
    out += [push_mpls(behind, lse) for lse in reversed(pushes)]
    if get_slot(old, "pkt_mark") != get_slot(new, "pkt_mark"):
        out.append(f"set(skb_mark({hexadecimal(get_slot(new, 'pkt_mark'))}))")
    tags_of_old, tags_of_new = tags(old), tags(new)
    # The innermost tags that both have stay where they are.
    kept = _common_end(tags_of_old, tags_of_new)
    out += ["pop_vlan"] * (len(tags_of_old) - kept)
    out += [push_vlan(*tag) for tag in reversed(tags_of_new[: len(tags_of_new) - kept])]
    return out


def _sets(old: int, new: int, names: Iterable[str]) -> list[str]:
    """``set()`` actions for the fields of these groups that differ."""
    out = []
    for name in names:
        mask = 0
        for field in GROUPS[name]:
            was, now = field.of(old), field.of(new)
            if was == now:
                continue
            written = (1 << field.n_bits) - 1
            if field.slot == "nw_tos" and not (was ^ now) & 3:
                written = _DSCP
            mask |= put_slot(0, field.slot, written << field.low)
        if mask and (name == "mpls" or name.startswith("icmp")):
            # These are written whole, as the peer's datapath does.
            mask = 0
            for field in GROUPS[name]:
                mask |= put_slot(0, field.slot, ((1 << field.n_bits) - 1) << field.low)
        if mask:
            out.append(f"set({format_group(name, Match(new & mask, mask))})")
    return out


def _common_end(one: Sequence[object], other: Sequence[object]) -> int:
    """How many of the last elements are the same."""
    n = 0
    while n < min(len(one), len(other)) and one[-1 - n] == other[-1 - n]:
        n += 1
    return n


def labels(key: int) -> list[int]:
    """The MPLS label stack entries of a key, the outermost first."""
    if get_slot(key, "eth_type") not in (ETH_MPLS, ETH_MPLS_MC):
        return []
    out = []
    for i in range(_MAX_LABELS):
        lse = get_slot(key, f"mpls_lse{i}")
        out.append(lse)
        if lse & _BOS:
            break
    return out


def push_mpls(ethertype: int, lse: int) -> str:
    """A label put on."""
    return (
        f"push_mpls(label={lse >> 12},tc={lse >> 9 & 7},ttl={lse & 0xFF},bos={lse >> 8 & 1},"
        f"eth_type=0x{ethertype:x})"
    )


def pop_mpls(ethertype: int) -> str:
    """A label taken off; `ethertype` is that of what follows."""
    return f"pop_mpls(eth_type=0x{ethertype:x})"


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
