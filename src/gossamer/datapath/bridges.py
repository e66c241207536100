"""Bridges in the kernel: names, learning, the cache mask, and the version of it all."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import Final

from gossamer.datapath import layout
from gossamer.datapath.cache_mask import cache_words
from gossamer.datapath.index import IndexArray
from gossamer.datapath.layout import ParseDepth
from gossamer.datapath.maps import MappedArray
from gossamer.datapath.settings import BridgeSettings
from gossamer.errors import DatapathError
from gossamer.pipeline.fields import FRAG_ANY, PACKET_OFFSET, slot_shift
from gossamer.pipeline.world import Fragments

log = logging.getLogger(__name__)

_VERSION, _MEMBERS, _AGE = 0, 1, 2  # 64-bit words of struct bridge
_GENERATION: Final = 1 << layout.VERSION_SHIFT
_LEAP: Final = 256 * _GENERATION
"""From one commit to the next; between them are versions for what cannot wait."""
_LIMIT, _COUNT, _FLAGS, _DEPTH, _MOVES = 6, 7, 8, 9, 18  # 32-bit words


_A_FRAGMENT = FRAG_ANY << slot_shift("nw_frag")
_PORTS = 0xFFFFFFFF << slot_shift("tp_dst")
_FRAGMENT_FLAGS = {
    Fragments.NORMAL: layout.FRAG_NORMAL,
    Fragments.DROP: layout.FRAG_DROP,
    Fragments.NX_MATCH: 0,
}


class Bridges:
    """The `bridges`, `cache_masks` and `members` maps."""

    def __init__(self, bridges: MappedArray, masks: MappedArray, members: IndexArray) -> None:
        self._array = bridges
        self._masks = masks
        self._members = members
        self._names: dict[str, int] = {}
        self._looks: dict[int, tuple[int, int]] = {}
        """Bridge -> (bits its cache mask covers, mask id)."""
        self._free_masks: deque[int] = deque(range(1, layout.MAX_MASKS))
        self._uncached: set[int] = set()
        """Bridges of which the cache keeps nothing."""
        self._claimed: set[int] = set()
        self._reserved: dict[int, int] = {}
        """Bridge -> the version of its next commit, without the number of its mask."""

    def inherit(self) -> None:
        """Learn the names and lists an earlier daemon left."""
        for bridge_id in range(1, layout.MAX_BRIDGES):
            name = self._name(bridge_id)
            if name:
                self._names[name] = bridge_id
                self._members.adopt(self._word64(bridge_id, _MEMBERS))
                mask_id = self._word64(bridge_id, _VERSION) & (layout.MAX_MASKS - 1)
                if mask_id in self._free_masks:
                    self._free_masks.remove(mask_id)
                self._looks[bridge_id] = (-1, mask_id)

    def unclaimed(self) -> list[int]:
        """Bridges that were inherited and not added again."""
        return [b for b in self._names.values() if b not in self._claimed]

    def add(self, name: str) -> int:
        """The id of a bridge, a new one where the name is new."""
        bridge_id = self._names.get(name)
        if bridge_id is None:
            in_use = set(self._names.values())
            free = (b for b in range(1, layout.MAX_BRIDGES) if b not in in_use)
            bridge_id = next(free, None)
            if bridge_id is None:
                raise DatapathError(
                    f"more than {layout.MAX_BRIDGES - 1} bridges", place=f"bridge={name}"
                )
            version = self._word64(bridge_id, _VERSION)
            record = layout.BRIDGE.pack(
                0, 0, 300 * 10**9, 8192, 0, 0, 0, name.encode()[:15], *[0] * (layout.MAX_LENGTHS + 2)
            )
            self._array.write(bridge_id, record)
            # Generations go on where they stopped: no old path may look current.
            self._set64(bridge_id, _VERSION, version)
            self._names[name] = bridge_id
        self._claimed.add(bridge_id)
        return bridge_id

    def configure(self, bridge_id: int, settings: BridgeSettings) -> None:
        """Apply the settings of a bridge."""
        self._set64(bridge_id, _AGE, settings.mac_ageing_s * 10**9)
        self._set32(bridge_id, _LIMIT, settings.mac_table_size)
        flags = self._flags(bridge_id) & ~layout.FORWARD_BPDU
        self._set32(
            bridge_id, _FLAGS, flags | (layout.FORWARD_BPDU if settings.forward_bpdu else 0)
        )

    def set_fragments(self, bridge_id: int, fragments: Fragments) -> None:
        """What tables see of fragments; takes effect at once, for paths in the cache at `bump()`."""
        both = layout.FRAG_NORMAL | layout.FRAG_DROP
        flags = self._flags(bridge_id) & ~both | _FRAGMENT_FLAGS[fragments]
        self._set32(bridge_id, _FLAGS, flags)

    def set_sampling(self, bridge_id: int, wanted: bool) -> None:
        """Whether sampled packets go up; takes effect at `bump()`."""
        flags = self._flags(bridge_id) & ~layout.SAMPLES
        self._set32(bridge_id, _FLAGS, flags | (layout.SAMPLES if wanted else 0))

    def hides_fragments(self, bridge_id: int) -> int:
        """What of fragments its tables do not see, as flags of its record."""
        return self._flags(bridge_id) & (layout.FRAG_NORMAL | layout.FRAG_DROP)

    def tells_fragments(self, bridge_id: int, reads: int) -> int:
        """The bits by which fragments fare otherwise than whole packets, where rules read `reads`."""
        flags = self._flags(bridge_id)
        hidden = flags & layout.FRAG_NORMAL and reads & _PORTS
        return _A_FRAGMENT if hidden or flags & layout.FRAG_DROP else 0

    def _flags(self, bridge_id: int) -> int:
        return int(self._array.words32[self._at32(bridge_id, _FLAGS)])

    def remove(self, bridge_id: int) -> None:
        """Forget a bridge; its ports and flows are gone already."""
        self.bump(bridge_id)
        self._members.retire(self._word64(bridge_id, _MEMBERS))
        self._set64(bridge_id, _MEMBERS, 0)
        self._uncached.discard(bridge_id)
        look = self._looks.pop(bridge_id, None)
        if look is not None:
            self._free_masks.append(look[1])
        at = self._array.offset(bridge_id)
        self._array.memory[at + 40 : at + 56] = bytes(16)
        self._names = {n: b for n, b in self._names.items() if b != bridge_id}
        self._claimed.discard(bridge_id)

    def set_members(self, bridge_id: int, port_ids: Iterable[int]) -> None:
        """Replace the list of ports that floods go to, in their order."""
        ref = self._members.write(self._word64(bridge_id, _MEMBERS), list(port_ids))
        self._set64(bridge_id, _MEMBERS, ref)

    def learned(self, bridge_id: int) -> int:
        """How many addresses the kernel counts as learned."""
        return int(self._array.words32[self._at32(bridge_id, _COUNT)])

    def moves(self, bridge_id: int) -> int:
        """How often, modulo 2^32, an address was seen behind another port."""
        return int(self._array.words32[self._at32(bridge_id, _MOVES)])

    def count_move(self, bridge_id: int) -> None:
        """An address was seen behind another port, by a packet that the kernel did not see there."""
        self._set32(bridge_id, _MOVES, (self.moves(bridge_id) + 1) & 0xFFFFFFFF)

    def limit(self, bridge_id: int) -> int:
        """How many it may learn."""
        return int(self._array.words32[self._at32(bridge_id, _LIMIT)])

    def set_learned(self, bridge_id: int, count: int) -> None:
        """Correct that count after a sweep."""
        self._set32(bridge_id, _COUNT, count)

    def set_lengths(self, bridge_id: int, lengths: frozenset[int]) -> None:
        """The lengths of packets that its rules ask about; at most MAX_LENGTHS.

        Each keeps its place while it is asked about, so that what a path's key says of it does
        not change its meaning.
        """
        at = (self._array.offset(bridge_id) + layout.LENGTHS_OFFSET) // 2
        words = self._array.memory.cast("H")
        places = range(at, at + layout.MAX_LENGTHS)
        present = {words[i] for i in places}
        for length in sorted(lengths - present):
            words[next(i for i in places if words[i] not in lengths)] = length
        flags = self._flags(bridge_id) & ~layout.ASKS_LENGTHS
        self._set32(bridge_id, _FLAGS, flags | (layout.ASKS_LENGTHS if lengths else 0))

    def set_look(self, bridge_id: int, look: int) -> None:
        """Give the bridge the cache mask that covers the bits `look`; takes effect at `bump()`."""
        known = self._looks.get(bridge_id)
        if known is not None and known[0] == look:
            return
        words = cache_words(look)
        self._tell_uncached(bridge_id, len(words))
        mask_id = self._free_masks.popleft()
        n_pipeline = sum(word < PACKET_OFFSET // 4 for word, _ in words)
        record = layout.CACHE_MASK_HEAD.pack(len(words), n_pipeline) + b"".join(
            layout.MATCH_WORD.pack(word, 0, mask) for word, mask in words[: layout.CACHE_WORDS]
        )
        self._masks.write(mask_id, record)
        self._looks[bridge_id] = (look, mask_id)
        if known is not None:
            self._free_masks.append(known[1])

    def _tell_uncached(self, bridge_id: int, n_words: int) -> None:
        """Say once that packets of a bridge are told apart by more than the cache's keys hold."""
        if n_words <= layout.CACHE_WORDS:
            self._uncached.discard(bridge_id)
        elif bridge_id not in self._uncached:
            self._uncached.add(bridge_id)
            log.warning(
                "bridge=%s: its flows look at %d words of packets together, of which the cache holds %d:"
                " each packet is looked up in all tables, until flows match fewer fields",
                self._name(bridge_id), n_words, layout.CACHE_WORDS,
            )  # fmt: skip

    def depth(self, bridge_id: int) -> int:
        """How deep its packets are parsed."""
        return int(self._array.words32[self._at32(bridge_id, _DEPTH)])

    def set_depth(self, bridge_id: int, depth: ParseDepth) -> None:
        """How deep its packets are to be parsed.

        Deeper must be set before a version that asks for it, shallower after.
        """
        self._set32(bridge_id, _DEPTH, int(depth))

    def ids(self) -> list[int]:
        """The bridges there are."""
        return list(self._names.values())

    def version(self, bridge_id: int) -> int:
        """The version that counts."""
        return self._word64(bridge_id, _VERSION)

    def reserve(self, bridge_id: int) -> int:
        """From which version on the next commit will count."""
        reserved = self._reserved.get(bridge_id)
        if reserved is None:
            generation = self._word64(bridge_id, _VERSION) // _LEAP * _LEAP + _LEAP
            reserved = self._reserved[bridge_id] = generation
        return reserved

    def bump(self, bridge_id: int) -> None:
        """The next version: what is written for it counts, and cached paths of this bridge are
        stale from now on."""
        mask_id = self._looks.get(bridge_id, (0, 0))[1]
        version = self.reserve(bridge_id) | bridge_id << layout.BRIDGE_SHIFT | mask_id
        self._set64(bridge_id, _VERSION, version)
        del self._reserved[bridge_id]

    def outdate_paths(self, bridge_id: int) -> None:
        """Cached paths are stale from now on, but no commit counts that is being written."""
        version = self._word64(bridge_id, _VERSION) + _GENERATION
        # 255 times in one commit; what comes more often than that waits for its end.
        if version < self.reserve(bridge_id):
            self._set64(bridge_id, _VERSION, version)

    def _name(self, bridge_id: int) -> str:
        at = self._array.offset(bridge_id)
        raw = bytes(self._array.memory[at + 40 : at + 56])
        return raw.rstrip(b"\0").decode(errors="replace")

    def _at32(self, bridge_id: int, word: int) -> int:
        return self._array.offset(bridge_id) // 4 + word

    def _word64(self, bridge_id: int, word: int) -> int:
        return int(self._array.words64[self._array.offset(bridge_id) // 8 + word])

    def _set64(self, bridge_id: int, word: int, value: int) -> None:
        self._array.words64[self._array.offset(bridge_id) // 8 + word] = value

    def _set32(self, bridge_id: int, word: int, value: int) -> None:
        self._array.words32[self._at32(bridge_id, word)] = value
