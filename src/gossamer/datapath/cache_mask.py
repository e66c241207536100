"""What tells the packets of a bridge apart: the cache mask, and how deep packets are parsed."""

from __future__ import annotations

from typing import Final

from gossamer.datapath.key_words import words_of
from gossamer.datapath.layout import MAX_LENGTHS, ParseDepth
from gossamer.pipeline.fields import BY_NAME, KEY_BITS, SLOTS, slot_shift

_L2_END: Final = SLOTS["mpls_lse0"].offset // 4
IN_PORT_MASK: Final = BY_NAME["in_port"].full_mask
_PIPELINE_STATE: Final = sum(
    0xFFFFFFFF << (KEY_BITS - 32 - 32 * word)
    for word in range(SLOTS["metadata"].offset // 4, SLOTS["tun_id"].offset // 4)
)
RESUMES: Final = 0x1FF << slot_shift("_pad2") + 8
"""Where a pass goes on after a ct(): part of what tells its packets apart."""
LENGTHS: Final = ((1 << MAX_LENGTHS) - 1) << slot_shift("_pad2")
"""Which of the bridge's lengths a packet exceeds (check_pkt_larger)."""
_CARRIED: Final = sum(
    0xFFFFFFFF << (KEY_BITS - 32 - 32 * word)
    for word in range(SLOTS["metadata"].offset // 4, SLOTS["eth_dst"].offset // 4)
)


def cache_bits(reads: int, writes: int) -> int:
    """The bits that tell packets of a bridge apart, from those its rules read and write.

    Registers begin at zero in each pass, so they can differ between packets only where a pass
    goes on with them after a ct().
    """
    if reads & RESUMES:
        return reads | writes & _CARRIED
    return reads & ~_PIPELINE_STATE


def parse_depth(mask: int) -> ParseDepth:
    """How deep the parser must look for someone who cares about these bits."""
    below = mask & ((1 << (KEY_BITS - 32 * _L2_END)) - 1)
    return ParseDepth.L4 if below else ParseDepth.L2


def cache_words(mask: int) -> list[tuple[int, int]]:
    """(word, mask) pairs of a cache mask; with more than CACHE_WORDS no path is kept."""
    return [(i, w) for i, w in enumerate(words_of(mask)) if w]
