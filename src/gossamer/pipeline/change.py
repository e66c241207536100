"""Actions that change the flow key: set_field, load, move, VLAN tags.

A field that the packet does not have is not set (ovs-actions(7): "the action
does nothing"): its prerequisites are looked at again when the action runs,
since a match on TCP, say, also matches later fragments, which have no ports.
"""

from __future__ import annotations

from typing import Final

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action
from gossamer.pipeline.fields import (
    BY_NAME,
    ETH_IPV4,
    ETH_IPV6,
    ETH_VLAN,
    FRAG_LATER,
    VLAN_CFI,
    Field,
    get_slot,
    put_slot,
)
from gossamer.pipeline.steps import Step

_OF_FRAMES: Final = ("eth_dst", "eth_src", "vlan_tci")


def has_field(key: int, field: Field) -> bool:
    """Whether a packet with this key has the field (OpenFlow 1.3.5, 7.2.3.8)."""
    p = field.prerequisite
    if field.slot in _OF_FRAMES and get_slot(key, "packet_type"):
        return False
    if p.vlan and not get_slot(key, "vlan_tci") & VLAN_CFI:
        return False
    if p.eth_types and get_slot(key, "eth_type") not in p.eth_types:
        return False
    if p.nw_proto is not None and (
        get_slot(key, "nw_proto") != p.nw_proto or get_slot(key, "nw_frag") & FRAG_LATER
    ):
        return False
    return not p.icmpv6_types or (
        get_slot(key, "tp_src") in p.icmpv6_types and get_slot(key, "tp_dst") == 0
    )


def apply_change(key: int, action: Action, step: Step) -> int:
    """The key after an action that sets or moves bits; other actions change nothing."""
    match action:
        case act.SetField(field=f, value=value, mask=mask):
            return _write(key, f, value << f.shift, mask << f.shift, step)
        case act.RegLoad(dst=dst, value=value):
            return _write_subfield(key, dst, value, step)
        case act.RegMove(src=src, dst=dst):
            if not has_field(key, src.field):
                step.warn(f"unmet prerequisites for {src.field.name}, move ignored")
                return key
            return _write_subfield(key, dst, key >> src.shift, step)
        case act.WriteMetadata(value=value, mask=mask):
            shift = BY_NAME["metadata"].shift
            return (key & ~(mask << shift)) | (value & mask) << shift
        case act.DeleteField(field=f):
            step.detail(f"delete {f.name}")
            return key & ~(f.full_mask | f.marks)
        case act.SetVlanVid(vid=vid):
            return _set_tci(key, vid & 0x0FFF, 0x0FFF)
        case act.SetVlanPcp(pcp=pcp):
            return _set_tci(key, (pcp & 7) << 13, 0xE000)
        case _:
            return key


def target(action: Action) -> tuple[Field, int] | None:
    """The field that an action sets or moves bits to, and which of its bits; None for others."""
    match action:
        case act.SetField(field=field, mask=mask):
            return field, mask
        case act.RegLoad(dst=dst) | act.RegMove(dst=dst):
            return dst.field, ((1 << dst.n_bits) - 1) << dst.low
        case _:
            return None


def bits_written(key: int, action: Action) -> int:
    """The bits of the key that an action sets or moves something to, be it what they were."""
    to = target(action)
    if to is None or not has_field(key, to[0]):
        return 0
    if isinstance(action, act.RegMove) and not has_field(key, action.src.field):
        return 0
    return to[1] << to[0].shift


def _write_subfield(key: int, dst: act.SubField, value: int, step: Step) -> int:
    """The key with as many low bits of `value` in a subfield as it has; unchanged where the
    packet has no such field."""
    mask = (1 << dst.n_bits) - 1
    return _write(key, dst.field, (value & mask) << dst.shift, mask << dst.shift, step)


def _write(key: int, field: Field, value: int, mask: int, step: Step) -> int:
    if not has_field(key, field):
        step.warn(f"unmet prerequisites for {field.name}, set_field ignored")
        return key
    key = (key & ~mask) | value | field.marks
    return fix_tag(key) if field.slot == "vlan_tci" else key


def _set_tci(key: int, value: int, mask: int) -> int:
    tci = get_slot(key, "vlan_tci")
    return put_slot(key, "vlan_tci", (tci & ~mask) | value) if tci else key


def fix_tag(key: int) -> int:
    """After bits of vlan_tci were written: its 'present' bit makes a tag, or takes it off."""
    if not get_slot(key, "vlan_tci") & VLAN_CFI:
        return pop_vlan(key)
    if not get_slot(key, "vlan_tpid"):
        return put_slot(key, "vlan_tpid", ETH_VLAN)
    return key


def push_vlan(key: int, tpid: int) -> int | None:
    """The key with one more tag, whose VID and PCP are those of the tag below, or 0
    (OpenFlow 1.3.5, 5.12.1); None where it has two already."""
    if get_slot(key, "vlan1_tci"):
        return None
    tci = get_slot(key, "vlan_tci")
    key = put_slot(key, "vlan1_tci", tci)
    key = put_slot(key, "vlan1_tpid", get_slot(key, "vlan_tpid"))
    return put_slot(put_slot(key, "vlan_tci", tci | VLAN_CFI), "vlan_tpid", tpid)


def pop_vlan(key: int) -> int:
    """The key without its outer tag; unchanged where there is none."""
    key = put_slot(key, "vlan_tci", get_slot(key, "vlan1_tci"))
    key = put_slot(key, "vlan_tpid", get_slot(key, "vlan1_tpid"))
    return put_slot(put_slot(key, "vlan1_tci", 0), "vlan1_tpid", 0)


_TUPLE: Final = (
    ("nw_proto", "ct_nw_proto"),
    ("nw_src", "ct_nw_src"),
    ("nw_dst", "ct_nw_dst"),
    ("ipv6_src", "ct_ipv6_src"),
    ("ipv6_dst", "ct_ipv6_dst"),
    ("tp_src", "ct_tp_src"),
    ("tp_dst", "ct_tp_dst"),
)


def has_original_tuple(key: int) -> bool:
    """Whether the packet's connection is tracked, so that its original direction is known."""
    return bool(get_slot(key, "ct_nw_proto")) and get_slot(key, "eth_type") in (ETH_IPV4, ETH_IPV6)


def original_tuple(key: int) -> int:
    """The key with the tuple of its connection's original direction in place of the packet's,
    and the other way round (ovs-actions(7), resubmit with ct)."""
    out = key
    for ours, original in _TUPLE:
        out = put_slot(put_slot(out, ours, get_slot(key, original)), original, get_slot(key, ours))
    return out
