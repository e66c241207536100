"""Changes of fields in a program, left out where a packet lacks the field's header."""

from __future__ import annotations

from typing import Final

from gossamer.datapath.operations import Need, RuleOp
from gossamer.datapath.program import Program
from gossamer.pipeline.fields import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_MPLS,
    ETH_MPLS_MC,
    ETH_NSH,
    ETH_RARP,
    Field,
    slot_shift,
)

VLAN_TCI: Final = 0xFFFF << slot_shift("vlan_tci")
BOTH_TAGS: Final = (
    VLAN_TCI | 0xFFFF << slot_shift("vlan1_tci") | 0xFFFFFFFF << slot_shift("vlan1_tpid")
)
"""Both tags with their types: what a pop brings to light, and whether a push has room."""

_NEEDED_BITS: Final = {
    Need.L4: 2 << slot_shift("nw_frag"),
    Need.TAG: 0x1000 << slot_shift("vlan_tci"),
    Need.ND: 0xFFFFFFFF << slot_shift("tp_dst"),
    Need.ND_SOLICIT: 0xFFFFFFFF << slot_shift("tp_dst"),
    Need.ND_ADVERT: 0xFFFFFFFF << slot_shift("tp_dst"),
    Need.IPV4: 0xFFFF << slot_shift("eth_type"),
    Need.IPV6: 0xFFFF << slot_shift("eth_type"),
    Need.ARP: 0xFFFF << slot_shift("eth_type"),
    Need.MPLS: 0xFFFF << slot_shift("eth_type"),
    Need.NSH: 0xFFFF << slot_shift("eth_type"),
    Need.PROTO: 0xFF << slot_shift("nw_proto"),
}
"""The key bits that tell whether a packet has what is needed."""
_ETH_TYPES: Final = {
    ETH_IPV4: Need.IPV4,
    ETH_IPV6: Need.IPV6,
    ETH_ARP: Need.ARP,
    ETH_RARP: Need.ARP,
    ETH_MPLS: Need.MPLS,
    ETH_MPLS_MC: Need.MPLS,
    ETH_NSH: Need.NSH,
}
_ND_NEEDS: Final[dict[tuple[int, ...], Need]] = {
    (135,): Need.ND_SOLICIT,
    (136,): Need.ND_ADVERT,
}


def change_fields(
    program: Program, flags: int, fields: tuple[Field, ...], change: Program
) -> None:
    """Operations that change the first of `fields`, left out where the packet lacks one."""
    if fields[0].name == "pbb_isid":
        program.slow()
        return
    if fields[0].marks:
        change.set_bits(flags, fields[0].marks, fields[0].marks)
    if fields[0].slot == "vlan_tci":
        change.reads |= BOTH_TAGS
        change.emit(flags, RuleOp.FIX_TAG)
    found = sorted({(needs, proto) for needs, proto in map(_needs, fields) if needs})
    n_ops = len(change.ops) + len(found)
    for needs, proto in found:
        n_ops -= 1
        for need in needs:
            program.reads |= _NEEDED_BITS[need]
        program.emit(flags, RuleOp.SKIP, n_ops, needs | proto << 16)
    program.add(change)


def _needs(f: Field) -> tuple[Need, int]:
    """What a packet must have for a field to be there, and of which IP protocol it must be.

    A match may have made sure of it, but not where a bucket, or OpenFlow 1.0, sets the field.
    """
    needs = Need(0)
    p = f.prerequisite
    if p.vlan:
        needs |= Need.TAG
    for eth_type in p.eth_types:
        needs |= _ETH_TYPES.get(eth_type, Need(0))
    if p.nw_proto is not None:
        needs |= Need.L4 | Need.PROTO
    if p.icmpv6_types:
        needs |= _ND_NEEDS.get(p.icmpv6_types, Need.ND)
    return needs, p.nw_proto or 0
