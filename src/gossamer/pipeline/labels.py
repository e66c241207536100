"""MPLS labels in the flow key: counted, pushed, popped, and their TTLs (RFC 3032).

The key holds the three outermost label stack entries, `mpls_lse0` the
outermost.  As in Open vSwitch, a packet takes no more than three, and one that
has more loses none, as nobody knows what the third would be then.
"""

from __future__ import annotations

from typing import Final

from gossamer.pipeline.fields import (
    ETH_IPV4,
    ETH_IPV6,
    ETH_MPLS,
    ETH_MPLS_MC,
    ETH_QINQ,
    ETH_VLAN,
    KEY_LEN,
    SLOTS,
    get_slot,
    put_slot,
)

MAX_LABELS: Final = 3
BOTTOM: Final = 0x100
"""Bit of an entry that says 'nothing but the payload below' (S)."""
_TTL: Final = 0xFF
_DEFAULT_TTL: Final = 64
_IPV6_EXPLICIT_NULL: Final = 2
LABEL_SLOTS: Final = ("mpls_lse0", "mpls_lse1", "mpls_lse2")
_BELOW_LABELS: Final = (1 << (KEY_LEN - SLOTS["nw_proto"].offset) * 8) - 1
"""Layers 3 and 4 of a key, which nobody sees under labels."""


def is_mpls(eth_type: int) -> bool:
    """Whether an ethertype says that labels follow."""
    return eth_type in (ETH_MPLS, ETH_MPLS_MC)


def labels_of(key: int) -> list[int]:
    """The label stack entries that a key knows of, outermost first: to the bottom of the stack,
    or those that are not empty."""
    return entries_of(key) if is_mpls(get_slot(key, "eth_type")) else []


def entries_of(key: int) -> list[int]:
    """The same whatever the ethertype says: a pop to another one leaves the rest in the packet."""
    entries = [get_slot(key, slot) for slot in LABEL_SLOTS]
    for i, entry in enumerate(entries):
        if entry & BOTTOM:
            return entries[: i + 1]
    return entries[: sum(1 for entry in entries if entry)]


def n_shown(key: int) -> int:
    """How many places for entries a key has filled: up to the last that is not empty."""
    return max((i for i, slot in enumerate(LABEL_SLOTS, 1) if get_slot(key, slot)), default=0)


def with_labels(key: int, labels: list[int]) -> int:
    """The key with these entries and no others."""
    for slot, entry in zip(LABEL_SLOTS, labels + [0] * MAX_LABELS, strict=False):
        key = put_slot(key, slot, entry)
    return key


def push(key: int, eth_type: int) -> int | None:
    """The key with one more label: a copy of the one below, or made of the IP header
    (OpenFlow 1.3.5, 5.12.1); layers 3 and 4 are gone from it.  None where it has three, or a third
    VLAN tag follows.
    """
    labels = labels_of(key)
    if len(labels) >= MAX_LABELS or get_slot(key, "eth_type") in (ETH_VLAN, ETH_QINQ):
        return None
    new = labels[0] & ~BOTTOM if labels else _first_label(key)
    return put_slot(with_labels(key & ~_BELOW_LABELS, [new, *labels]), "eth_type", eth_type)


def _first_label(key: int) -> int:
    eth_type = get_slot(key, "eth_type")
    label = _IPV6_EXPLICIT_NULL if eth_type == ETH_IPV6 else 0
    tc, ttl = 0, _DEFAULT_TTL
    if eth_type in (ETH_IPV4, ETH_IPV6):
        tc = get_slot(key, "nw_tos") >> 2 & 7
        ttl = get_slot(key, "nw_ttl") or _DEFAULT_TTL
    return label << 12 | tc << 9 | BOTTOM | ttl


def can_pop(key: int, eth_type: int) -> bool:
    """Whether what is below the outermost label is known, and what `eth_type` says it is: labels
    must not become payload (Open vSwitch lets them)."""
    labels = labels_of(key)
    if len(labels) > 1 and not is_mpls(eth_type):
        return False
    return len(labels) < MAX_LABELS or bool(labels[-1] & BOTTOM)


def pop(key: int, eth_type: int) -> int:
    """The key without its outermost label; `eth_type` is that of what follows."""
    return put_slot(with_labels(key, labels_of(key)[1:]), "eth_type", eth_type)


def ttl_of(entry: int) -> int:
    """The TTL of a label stack entry."""
    return entry & _TTL


def with_ttl(key: int, index: int, ttl: int) -> int:
    """The key with another TTL in its entry `index`."""
    return put_slot(key, LABEL_SLOTS[index], get_slot(key, LABEL_SLOTS[index]) & ~_TTL | ttl)
