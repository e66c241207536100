"""How rules are keyed: the words that a match covers, one after another.

The counterpart in the kernel is bpf/classify.h.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.datapath.key_words import words_of
from gossamer.datapath.layout import KEY_CLASSES, MATCH_WORD, MATCH_WORDS
from gossamer.errors import DatapathError
from gossamer.pipeline.fields import KEY_LEN


@dataclass(slots=True)
class KeyShape:
    """How the keys of one mask are written: class, and the runs of bytes they gather."""

    key_class: int
    words: list[tuple[int, int]]
    """(word, mask as in memory), what the kernel gathers."""
    slices: list[slice]
    padding: bytes

    def key(self, subtable_id: bytes, value: int) -> bytes:
        """A rule's key from its match value; `subtable_id` is its four bytes in memory."""
        raw = value.to_bytes(KEY_LEN, "big")
        return subtable_id + b"".join([raw[s] for s in self.slices]) + self.padding

    def words_bytes(self) -> bytes:
        """`struct match_word` records."""
        return b"".join(MATCH_WORD.pack(word, 0, mask) for word, mask in self.words)


def key_shape(mask: int) -> KeyShape:
    """The shape of a mask's keys; raises DatapathError where it covers too much."""
    words = [(i, w) for i, w in enumerate(words_of(mask)) if w]
    if len(words) > MATCH_WORDS:
        raise DatapathError(
            f"a match covers {len(words)} words of the key, {MATCH_WORDS} are possible",
            remedy="match fewer fields in one flow",
        )
    key_class = next(i for i, n in enumerate(KEY_CLASSES) if n >= len(words))
    slices: list[slice] = []
    for word, _ in words:
        if slices and slices[-1].stop == word * 4:
            slices[-1] = slice(slices[-1].start, word * 4 + 4)
        else:
            slices.append(slice(word * 4, word * 4 + 4))
    padding = bytes(4 * (KEY_CLASSES[key_class] - len(words)))
    return KeyShape(key_class, words, slices, padding)
