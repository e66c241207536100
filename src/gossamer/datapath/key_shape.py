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
    shift: int
    """Bits of the key behind the last of the words."""
    length: int
    """Bytes from the first of them to the last."""
    slices: list[slice]
    """Of these bytes, the words."""
    padding: bytes

    def key(self, subtable_id: bytes, value: int) -> bytes:
        """A rule's key from its match value; `subtable_id` is its four bytes in memory."""
        # Most matches cover a small part of the key: the less of it is cut up the better.
        raw = (value >> self.shift).to_bytes(self.length, "big")
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
    first, last = (words[0][0], words[-1][0]) if words else (0, 0)
    slices: list[slice] = []
    for word, _ in words:
        at = (word - first) * 4
        if slices and slices[-1].stop == at:
            slices[-1] = slice(slices[-1].start, at + 4)
        else:
            slices.append(slice(at, at + 4))
    padding = bytes(4 * (KEY_CLASSES[key_class] - len(words)))
    length = (last + 1 - first) * 4
    return KeyShape(
        key_class, words, (KEY_LEN - last * 4 - 4) * 8, length, slices, padding
    )
