"""Labels and backbone headers on a packet under way, where its key does not say all: what is below comes and goes.

Each function takes a key and the buffer it describes, and gives both as they
are afterwards; the buffer is another one where bytes changed that no key tells
of, so that copies made before still have the first.
"""

from __future__ import annotations

from typing import Final

from gossamer.pipeline import labels
from gossamer.pipeline.commit import PACKET_MASK, Buffer, Frame, Tags
from gossamer.pipeline.fields import ETH_PBB, get_slot, put_slot
from gossamer.pipeline.rewrite import tags_of

_SERVICE: Final = 0xFFFFFF
"""I-SID in an I-TAG."""


def pushed(key: int, buffer: Buffer, eth_type: int) -> tuple[int, Buffer] | None:
    """With one more label; None where there are three already."""
    after = labels.push(key, eth_type)
    if after is None or labels.labels_of(key):
        return None if after is None else (after, buffer)
    # What the label covers must be right now, as it is out of sight from here on.
    return after, Buffer(buffer.frame.commit(key).labelled(after), buffer.tags)


def popped(key: int, buffer: Buffer, eth_type: int) -> tuple[int, Buffer] | None:
    """With one label less, and what comes to light parsed; None where a fourth may follow."""
    if not labels.labels_of(key):
        return key, buffer
    if not labels.can_pop(key, eth_type):
        return None
    key = labels.pop(key, eth_type)
    if labels.is_mpls(eth_type):
        return key, buffer
    frame = buffer.frame.commit(key).parsed_again(0)
    same = tags_of(frame.key) == tags_of(key)
    return _as(frame, key, buffer.tags if same else None)


def _as(frame: Frame, key: int, tags: Tags | None = None) -> tuple[int, Buffer]:
    """A frame with what `key` says of anything but headers."""
    return key & ~PACKET_MASK | frame.key & PACKET_MASK, Buffer(frame, tags)


def backbone_pushed(key: int, buffer: Buffer, eth_type: int) -> tuple[int, Buffer]:
    """Behind a Provider Backbone header with the service and priority of the one below, or of
    the outer tag (OpenFlow 1.3.5, 5.12.1)."""
    if get_slot(key, "eth_type") == ETH_PBB:
        service = get_slot(key, "pbb_isid") & _SERVICE
    else:
        service = 0
    priority = get_slot(key, "vlan_tci") >> 13
    return _as(buffer.frame.commit(key).encapsulated(eth_type, priority << 29 | service), key)


def backbone_popped(key: int, buffer: Buffer) -> tuple[int, Buffer]:
    """Without the Provider Backbone header, where there is one."""
    frame = buffer.frame.commit(key).decapsulated()
    return (key, buffer) if frame is None else _as(frame, key)


def ttl_copied_out(key: int, buffer: Buffer) -> tuple[int, Buffer]:
    """The outermost label with the TTL of what is next: a label, or IP."""
    entries = labels.labels_of(key)
    if len(entries) > 1:
        return labels.with_ttl(key, 0, labels.ttl_of(entries[1])), buffer
    inner = buffer.frame.commit(key).below_labels()
    return (labels.with_ttl(key, 0, get_slot(inner.key, "nw_ttl")) if inner else key), buffer


def ttl_copied_in(key: int, buffer: Buffer) -> tuple[int, Buffer]:
    """What is next to the outermost label, another one or IP, with its TTL."""
    entries = labels.labels_of(key)
    if len(entries) > 1:
        return labels.with_ttl(key, 1, labels.ttl_of(entries[0])), buffer
    frame = buffer.frame.commit(key)
    inner = frame.below_labels()
    if inner is None:
        return key, buffer
    changed = inner.commit(put_slot(inner.key, "nw_ttl", labels.ttl_of(entries[0])))
    return key, Buffer(frame.with_below(changed), buffer.tags)
