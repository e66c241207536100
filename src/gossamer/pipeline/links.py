"""Choosing among links and ports by a hash: multipath and bundle (ovs-actions(7)).

The hash is `group.flow_hash` over the fields that the action names.  Those
called symmetric give both directions of a connection the same number: source
and destination are folded into one by exclusive or, in the source's place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.pipeline.action_choice import (
    Bundle,
    BundleAlgorithm,
    HashFields,
    Multipath,
    MultipathAlgorithm,
)
from gossamer.pipeline.fields import IP_UDP, get_slot, put_slot
from gossamer.pipeline.group import flow_hash, mix
from gossamer.pipeline.match import slot_mask
from gossamer.pipeline.of_port import OfPort

MAX_TRIES: Final = 32
"""Hashes that iter_hash tries before it takes what modulo gives."""
_HRW_LINKS: Final = 64
"""More links than these are chosen among by iter_hash, as hrw would weigh each."""
_PAIRS: Final = (
    ("eth_src", "eth_dst"),
    ("nw_src", "nw_dst"),
    ("ipv6_src", "ipv6_dst"),
    ("tp_src", "tp_dst"),
)
_ETHERNET: Final = (
    slot_mask("eth_src", (1 << 48) - 1)
    | slot_mask("vlan_tci", 0x0FFF)
    | slot_mask("eth_type", 0xFFFF)
)
_SOURCES: Final = slot_mask("nw_src", (1 << 32) - 1) | slot_mask("ipv6_src", (1 << 128) - 1)
_DESTINATIONS: Final = slot_mask("nw_dst", (1 << 32) - 1) | slot_mask("ipv6_dst", (1 << 128) - 1)
_LAYER_3: Final = _SOURCES | slot_mask("eth_type", 0xFFFF) | slot_mask("nw_proto", 0xFF)
_PORTS: Final = slot_mask("tp_src", 0xFFFF)
_ANY_PORT: Final = frozenset(
    (OfPort.IN_PORT, OfPort.TABLE, OfPort.NORMAL, OfPort.FLOOD, OfPort.ALL, OfPort.ANY)
)
"""Reserved ports, which a bundle takes for alive."""

MASKS: Final = {
    HashFields.ETH_SRC: slot_mask("eth_src", (1 << 48) - 1),
    HashFields.SYMMETRIC_L4: _ETHERNET | _LAYER_3 | _PORTS,
    HashFields.SYMMETRIC_L3L4: _LAYER_3 | _PORTS,
    HashFields.SYMMETRIC_L3L4_UDP: _LAYER_3 | _PORTS,
    HashFields.NW_SRC: _SOURCES,
    HashFields.NW_DST: _DESTINATIONS,
    HashFields.SYMMETRIC_L3: _LAYER_3,
}
"""The bits of the folded key that are hashed."""
_SYMMETRIC: Final = frozenset(MASKS) - {HashFields.ETH_SRC, HashFields.NW_SRC, HashFields.NW_DST}
_WITHOUT_UDP: Final = frozenset((HashFields.SYMMETRIC_L4, HashFields.SYMMETRIC_L3L4))


def folded(key: int) -> int:
    """The key with the exclusive or of source and destination in the source's place."""
    for source, destination in _PAIRS:
        key = put_slot(key, source, get_slot(key, source) ^ get_slot(key, destination))
    return key


def hash_of(key: int, fields: HashFields, basis: int) -> int:
    """32 bits of the fields; UDP's ports only count where the fields are named so."""
    mask = MASKS[fields]
    if fields in _WITHOUT_UDP and get_slot(key, "nw_proto") == IP_UDP:
        mask &= ~_PORTS
    return flow_hash(folded(key) if fields in _SYMMETRIC else key, mask, basis)


def looks_at(fields: HashFields) -> int:
    """The bits of a packet's key that its hash depends on."""
    mask = MASKS[fields]
    if fields not in _SYMMETRIC:
        return mask
    for source, destination in _PAIRS:
        mask = put_slot(mask, destination, get_slot(mask, source))
    return mask | slot_mask("nw_proto", 0xFF)


def _weight(number: int, hashed: int) -> int:
    return mix(mix(mix(0, hashed), number), 0) & 0xFFFFFFFF


def link(key: int, action: Multipath) -> int:
    """The link, from 0, that a packet with this key is given."""
    hashed, n = hash_of(key, action.fields, action.basis), action.n_links
    match action.algorithm:
        case MultipathAlgorithm.MODULO_N:
            return hashed % n
        case MultipathAlgorithm.HASH_THRESHOLD:
            return hashed * n >> 32
        case MultipathAlgorithm.HRW if n <= _HRW_LINKS:
            return max(range(n), key=lambda i: _weight(i, hashed))
        case MultipathAlgorithm.HRW:
            return _iterated(hashed, n, 0)
        case MultipathAlgorithm.ITER_HASH:
            return _iterated(hashed, n, action.arg)


def _iterated(hashed: int, n_links: int, modulo: int) -> int:
    if modulo < n_links or modulo // 2 > n_links:
        modulo = 1 << (n_links - 1).bit_length()
    for i in range(MAX_TRIES):
        number = _weight(i, hashed) % modulo
        if number < n_links:
            return number
    return hashed % n_links


def member(key: int, action: Bundle, is_live: Callable[[int], bool]) -> int:
    """The port of a bundle that a packet goes to, OFPP_NONE where none is alive."""
    live = [
        (i, port)
        for i, port in enumerate(action.members)
        if port in _ANY_PORT or (port != OfPort.CONTROLLER and is_live(port))
    ]
    if not live:
        return OfPort.ANY
    if action.algorithm is BundleAlgorithm.ACTIVE_BACKUP:
        return live[0][1]
    hashed = hash_of(key, action.fields, action.basis)
    return max(live, key=lambda chosen: _weight(chosen[0], hashed))[1]
