"""Groups and how one of their buckets is chosen (OpenFlow 1.3.5, 5.6.1; ovs-ofctl(8), "Group").

A select group chooses by weighted rendezvous hashing: each live bucket draws a
number from the packet's hash and its own id, and the one with the highest
weight / -log(number) wins.  Shares are exactly those of the weights, and a
bucket that dies or comes back moves only its own packets.  All is done in
integers, as bpf/group.h does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from gossamer.pipeline.action import Actions
from gossamer.pipeline.fields import KEY_LEN
from gossamer.pipeline.match import slot_mask
from gossamer.pipeline.of_port import OfPort

GROUP_MAX: Final = 0xFFFFFF00
GROUP_ALL: Final = 0xFFFFFFFC
GROUP_ANY: Final = 0xFFFFFFFF
MAX_BUCKETS: Final = 256
"""Of one group."""


class GroupType(IntEnum):
    """ofp_group_type (OpenFlow 1.3.5, 7.3.4.2)."""

    ALL = 0
    SELECT = 1
    INDIRECT = 2
    FAST_FAILOVER = 3


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket: its actions, run as an action set, and what tells whether it is live."""

    actions: Actions
    bucket_id: int = 0
    weight: int = 1
    watch_port: int = OfPort.ANY
    watch_group: int = GROUP_ANY


@dataclass(frozen=True, slots=True)
class Group:
    """A group.

    `selection_method` is "" (ours to choose: the five-tuple), "hash" (over
    `fields`, bits of the flow key; 0: the five-tuple) or "dp_hash";
    `selection_param` is the hash's basis, and `named_fields` the fields of
    `fields` by the names they came under, kept to be shown back.
    """

    group_id: int
    type: GroupType
    buckets: tuple[Bucket, ...]
    selection_method: str = ""
    selection_param: int = 0
    fields: int = 0
    named_fields: tuple[str, ...] = ()

    @property
    def hashed(self) -> int:
        """The bits of the key that choose the bucket of a select group."""
        if self.type is not GroupType.SELECT:
            return 0
        return self.fields if self.selection_method == "hash" and self.fields else FIVE_TUPLE


FIVE_TUPLE: Final = (
    slot_mask("eth_type", 0xFFFF)
    | slot_mask("nw_proto", 0xFF)
    | slot_mask("nw_src", (1 << 32) - 1)
    | slot_mask("nw_dst", (1 << 32) - 1)
    | slot_mask("ipv6_src", (1 << 128) - 1)
    | slot_mask("ipv6_dst", (1 << 128) - 1)
    | slot_mask("tp_src", 0xFFFF)
    | slot_mask("tp_dst", 0xFFFF)
    | slot_mask("eth_src", (1 << 48) - 1)
    | slot_mask("eth_dst", (1 << 48) - 1)
)
"""Addresses of both layers, protocol and ports: what tells connections apart."""

_U64: Final = (1 << 64) - 1
_MIX: Final = 0xFF51AFD7ED558CCD


def mix(h: int, word: int) -> int:
    """One round of the hash: 64 bits of state, 32 bits of data."""
    h = ((h ^ word) * _MIX) & _U64
    return h ^ (h >> 32)


def flow_hash(key: int, mask: int, basis: int = 0) -> int:
    """32 bits from the masked words of a key, each taken in network byte order."""
    raw, bits = key.to_bytes(KEY_LEN, "big"), mask.to_bytes(KEY_LEN, "big")
    h = mix(0, basis & 0xFFFFFFFF)
    for at in range(0, KEY_LEN, 4):
        wanted = int.from_bytes(bits[at : at + 4], "big")
        if wanted:
            h = mix(h, int.from_bytes(raw[at : at + 4], "big") & wanted)
    return h & 0xFFFFFFFF


_LOG_BITS: Final = 16


def minus_log2(number: int) -> int:
    """-log2(number / 2**32) in 1/65536ths, for 32-bit `number`; 0 counts as 1."""
    x = number | 1
    whole = x.bit_length() - 1
    mantissa = x << (31 - whole)
    fraction = 0
    for _ in range(_LOG_BITS):
        mantissa = mantissa * mantissa >> 31
        fraction <<= 1
        if mantissa >> 32:
            mantissa >>= 1
            fraction |= 1
    return (32 << _LOG_BITS) - (whole << _LOG_BITS | fraction)


def choose(buckets: Iterable[tuple[int, Bucket]], hashed: int) -> int | None:
    """The index of the bucket that a packet of this hash goes to, None where all weigh nothing.

    `buckets` are those that are live, with their index.
    """
    best: int | None = None
    best_weight, best_log = 0, 1
    for index, bucket in buckets:
        if not bucket.weight:
            continue
        log = minus_log2(mix(mix(mix(0, hashed), bucket.bucket_id), 0) & 0xFFFFFFFF)
        if best is None or bucket.weight * best_log > best_weight * log:
            best, best_weight, best_log = index, bucket.weight, log
    return best


def bucket_is_live(
    bucket: Bucket, port_is_live: Callable[[int], bool], group_is_live: Callable[[int], bool]
) -> bool:
    """Whether what a bucket watches is alive (OpenFlow 1.3.5, 6.5); what watches nothing is.

    Of a port and a group watched, one that is alive suffices.  A fast failover bucket that
    watches nothing is refused when it is added (OFPGMFC_INVALID_GROUP).
    """
    watches_port, watches_group = bucket.watch_port != OfPort.ANY, bucket.watch_group != GROUP_ANY
    return (
        not (watches_port or watches_group)
        or (watches_port and port_is_live(bucket.watch_port))
        or (watches_group and group_is_live(bucket.watch_group))
    )
