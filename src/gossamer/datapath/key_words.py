"""The flow key as the kernel has it: 32-bit words, and the header that each belongs to."""

from __future__ import annotations

import sys
from typing import Final, Literal

from gossamer.datapath.operations import Group
from gossamer.pipeline.fields import KEY_BITS, KEY_LEN, SLOTS

KEY_WORDS: Final = KEY_LEN // 4
SCRATCH_WORD: Final = KEY_WORDS
"""A word behind the key that programs may use for themselves."""
STACK_WORD: Final = KEY_WORDS + 12
"""The last four of these are what push and pop of the stack go through."""

_NATIVE: Final[Literal["little", "big"]] = "little" if sys.byteorder == "little" else "big"


def words_of(key: int) -> list[int]:
    """A key (or mask) as 32-bit words, each as the kernel sees it in memory."""
    raw = key.to_bytes(KEY_LEN, "big")
    return [int.from_bytes(raw[i : i + 4], _NATIVE) for i in range(0, KEY_LEN, 4)]


def _groups() -> list[int]:
    """Header groups by word; 0 for pipeline state."""
    by_slot = {
        "eth_dst": Group.ETH,
        "eth_src": Group.ETH,
        "eth_type": Group.VLAN,
        "vlan_tci": Group.VLAN,
        "vlan_tpid": Group.VLAN,
        "vlan1_tpid": Group.VLAN,
        "vlan1_tci": Group.VLAN,
        "tp_src": Group.L4,
        "tp_dst": Group.L4,
        "mpls_lse0": Group.MPLS,
        "mpls_lse1": Group.MPLS,
        "mpls_lse2": Group.MPLS,
        "arp_sha": Group.ARP_ND,
        "arp_tha": Group.ARP_ND,
        "nd_target": Group.ARP_ND,
        "pbb_isid": Group.ARP_ND,  # nd_reserved; the slow path sets pbb_isid itself
        "tcp_flags": Group.ARP_ND,  # nd_options_type; TCP's are read only
    } | dict.fromkeys(
        ("nw_proto", "nw_tos", "nw_ttl", "nw_src", "nw_dst", "ipv6_src", "ipv6_dst", "ipv6_label"),
        Group.L3,
    )
    out = [0] * (KEY_WORDS + 16)
    for name, group in by_slot.items():
        slot = SLOTS[name]
        for word in range(slot.offset // 4, (slot.offset + slot.length + 3) // 4):
            out[word] |= group
    return out


GROUPS: Final = _groups()
"""Header groups by word (bpf/flow_key.h); those of scratch words are 0."""


def word_at(bit: int) -> int:
    """The word that a bit lies in, given by its distance from the key's lowest bit."""
    return (KEY_BITS - 1 - bit) // 32


def in_network_order(value: int) -> int:
    """A number of 16 bits as a word of the kernel holds it."""
    return int.from_bytes(value.to_bytes(2, "big"), _NATIVE)
