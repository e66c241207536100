"""Where the kernel keeps connections (bpf/ct_store.h): the index, and chunks of slots.

The daemon reads, and adds chunks while connections become more.  What it wants removed the kernel
removes, in a program that is run for that.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator, Sequence
from struct import Struct
from threading import Lock
from typing import Final

from gossamer.datapath import layout, libbpf
from gossamer.datapath.conntrack.tuple import canonical, pack, unpack
from gossamer.datapath.injection import verdict
from gossamer.datapath.libbpf import check, lib
from gossamer.datapath.maps import HashMap, check_shape
from gossamer.errors import DatapathError

KEY_AT: Final = 8
VALUE_AT: Final = KEY_AT + layout.CT_TUPLE.size
"""Bytes of struct ct_record."""
_FAMILY: Final = 37
"""Byte of struct ct_tuple."""
_MASK32: Final = (1 << 32) - 1
_MASK64: Final = (1 << 64) - 1
_WORDS: Final = Struct("<10I")
_FACTOR: Final = 0xFF51AFD7ED558CCD
_SLOT_MASK: Final = (1 << layout.CT_SLOT_BITS) - 1
_WINDOW: Final = 4096
"""Records that are read at a time: whole pages."""
_KEYS_AT_ONCE: Final = 80
SLOTS_AT_ONCE: Final = 128
"""What one run of the program forgets, and looks at (bpf/forget.h, FORGET_MOST and FORGET_SLOTS_MOST)."""
_KEYS, _SLOTS, _EXPIRED_SLOTS = 0, 1, 2
"""enum forget."""
_LAST_SHIFT: Final = 16
_REMOVED: Final = (1 << _LAST_SHIFT) - 1
_ALL_ZONES: Final = (1 << 32) - 1
_HEAD: Final = Struct("=4I")
_INHERITED_AT_ONCE: Final = min(16, 3200 // layout.CT_RECORD_SIZE)
"""Records that one run of the program takes over (bpf/inherit.h, INHERIT_MOST), which must fit a page."""


class Chunks:
    """The slots of connections."""

    def __init__(self, fd: int) -> None:
        check_shape("ct_chunks", fd, 4, 4, layout.CT_CHUNKS)
        self.fd = fd
        self._maps: list[HashMap] = []
        self._lock = Lock()
        """Held while another one joins them; one thread adds, another may see at any time."""
        self._follow()

    def __len__(self) -> int:
        return len(self._maps)

    def fds(self) -> list[int]:
        """Of those that are there: their maps."""
        return [chunk.fd for chunk in self._maps]

    def _follow(self) -> None:
        """See those that are there."""
        with self._lock:
            while len(self._maps) < layout.CT_CHUNKS:
                fd = chunk_at(self.fd, len(self._maps))
                if fd is None:
                    return
                self._maps.append(HashMap("ct_chunk", fd, 4, layout.CT_RECORD_SIZE))

    def add(self) -> None:
        """Make one more.  Raises DatapathError where the kernel has no memory for it."""
        options = libbpf.MapOptions(
            sz=ctypes.sizeof(libbpf.MapOptions), map_flags=libbpf.BPF_F_MMAPABLE
        )
        fd = check(
            lib.bpf_map_create(
                libbpf.MAP_TYPE_ARRAY, b"ct_chunk", 4, layout.CT_RECORD_SIZE, layout.CT_CHUNK,
                ctypes.byref(options),
            ),
            "making room for more connections",
        )  # fmt: skip
        with self._lock:
            # Before the kernel has it: who sees it there would add it once more.
            place, value = ctypes.c_uint32(len(self._maps)), ctypes.c_uint32(fd)
            self._maps.append(HashMap("ct_chunk", fd, 4, layout.CT_RECORD_SIZE))
        # This waits for programs that run.
        result = lib.bpf_map_update_elem(
            self.fd, ctypes.byref(place), ctypes.byref(value), libbpf.BPF_ANY
        )
        if result < 0:
            with self._lock:
                self._maps.pop()
            os.close(fd)
        check(result, "making room for more connections")

    def record(self, slot: int) -> bytes:
        """What is in a slot."""
        chunk, at = divmod(slot, layout.CT_CHUNK)
        if chunk >= len(self._maps):
            self._follow()
        found = self._maps[chunk].get(at.to_bytes(4, "little")) if chunk < len(self._maps) else None
        return found or bytes(layout.CT_RECORD_SIZE)

    def put(self, slot: int, record: bytes) -> None:
        """Write a slot that the kernel does not use; for tests."""
        chunk, at = divmod(slot, layout.CT_CHUNK)
        self._maps[chunk].put(at.to_bytes(4, "little"), record)

    def windows(self, n_slots: int) -> Iterator[bytes]:
        """The records of the first slots, some thousands of them behind each other at a time."""
        self._follow()
        for number, chunk in enumerate(self._maps):
            left = min(layout.CT_CHUNK, n_slots - number * layout.CT_CHUNK)
            if left <= 0:
                return
            for first in range(0, left, _WINDOW):
                yield window(chunk.fd, first, _WINDOW, layout.CT_RECORD_SIZE)[
                    : (left - first) * layout.CT_RECORD_SIZE
                ]

    def close(self) -> None:
        """Let go of them."""
        for chunk in self._maps:
            os.close(chunk.fd)
        self._maps.clear()


def chunk_at(chunks_fd: int, place: int) -> int | None:
    """A file descriptor of a chunk in `ct_chunks`, None where there is none yet."""
    key, number = ctypes.c_uint32(place), ctypes.c_uint32()
    if lib.bpf_map_lookup_elem(chunks_fd, ctypes.byref(key), ctypes.byref(number)) < 0:
        return None
    return check(lib.bpf_map_get_fd_by_id(number), "opening a chunk of connections")


def window(fd: int, first: int, n: int, size: int) -> bytes:
    """Records of a chunk, `n` of them, `size` bytes each; `first` begins a page.

    Mapped only meanwhile: what stays mapped counts as the daemon's own memory.  bpf_map_lookup_batch()
    takes ten times as long, as it copies one by one.
    """
    try:
        with mmap.mmap(
            fd, n * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=first * size
        ) as mapped:
            return mapped[:]
    except OSError as e:
        raise DatapathError(f"mapping connections: {e.strerror}") from None


def families(records: bytes) -> bytes:
    """Of each record the byte that is not 0 where it holds a connection."""
    return records[KEY_AT + _FAMILY :: layout.CT_RECORD_SIZE]


class ConnectionStore:
    """Connections by their keys, which are `struct ct_tuple`, with CT_TRANSLATED or CT_ALIAS."""

    def __init__(
        self, index_fd: int, chunks_fd: int, secrets: Sequence[int], forget_fd: int, inherit_fd: int
    ) -> None:
        self._index = HashMap("ct_index", index_fd, 4, layout.CT_LINE.size)
        self.chunks = Chunks(chunks_fd)
        self._secrets = secrets
        self._forget_fd = forget_fd
        self._inherit_fd = inherit_fd

    def get(self, key: bytes) -> tuple[bytes, bytes] | None:
        """Key and `struct ct_connection` of the one that has this key, or this alias; None: none has."""
        home, other, bits = place_of(key, self._secrets)
        for line in (home, other):
            spilled, *entries = self._line(line)
            for entry in entries:
                if (entry ^ bits) >> layout.CT_SLOT_BITS:
                    continue
                record = self.chunks.record(entry & _SLOT_MASK)
                own, value = record[KEY_AT:VALUE_AT], record[VALUE_AT:VALUE_AT + layout.CT_CONNECTION.size]
                if key in (own, _alias(own, value)):
                    return own, value
            if not spilled:
                break
        return None

    def forget(self, keys: Sequence[bytes]) -> int:
        """Have connections removed, by their own keys.  How many there were."""
        n = 0
        for first in range(0, len(keys), _KEYS_AT_ONCE):
            part = keys[first : first + _KEYS_AT_ONCE]
            n += verdict(self._forget_fd, _HEAD.pack(len(part), _KEYS, 0, 0) + b"".join(part))
        return n

    def forget_slots(self, slots: range, zone: int | None = None) -> int:
        """Have the connections of slots removed, `SLOTS_AT_ONCE` at most, or only those of a zone.
        How many there were."""
        its_zone = _ALL_ZONES if zone is None else zone
        head = _HEAD.pack(len(slots), _SLOTS, slots.start, its_zone)
        return verdict(self._forget_fd, head) & _REMOVED

    def expire_slots(self, slots: range) -> tuple[int, int]:
        """Have the connections of slots removed whose time is up, of `SLOTS_AT_ONCE` at most.

        How many there were, and the slot behind the last one that had any: 0 where none had.
        """
        found = verdict(self._forget_fd, _HEAD.pack(len(slots), _EXPIRED_SLOTS, slots.start, 0))
        last = found >> _LAST_SHIFT
        return found & _REMOVED, slots.start + last if last else 0

    def inherit(self, records: Sequence[bytes]) -> int:
        """Have connections that another version kept, whose records are laid out as ours; those that are
        here already become what is further of both.  How many are here then."""
        n = 0
        for first in range(0, len(records), _INHERITED_AT_ONCE):
            part = records[first : first + _INHERITED_AT_ONCE]
            n += verdict(self._inherit_fd, len(part).to_bytes(4, "little") + bytes(12) + b"".join(part))
        return n

    def enter(self, names: Sequence[bytes], slot: int, value: bytes) -> None:
        """Have a connection, of a key and maybe an alias, in a slot: for tests of very many, while the
        kernel makes none."""
        taken = (1).to_bytes(8, "little")
        self.chunks.put(slot, (taken + names[0] + value).ljust(layout.CT_RECORD_SIZE, b"\0"))
        for name in names:
            home, other, bits = place_of(name, self._secrets)
            spilled, *entries = self._line(home)
            if 0 not in entries:
                self._index.put(home.to_bytes(4, "little"), layout.CT_LINE.pack(spilled + 1, *entries))
                home = other
                spilled, *entries = self._line(home)
            entries[entries.index(0)] = bits | slot
            self._index.put(home.to_bytes(4, "little"), layout.CT_LINE.pack(spilled, *entries))

    def _line(self, line: int) -> tuple[int, ...]:
        raw = self._index.get(line.to_bytes(4, "little"))
        return layout.CT_LINE.unpack(raw or bytes(layout.CT_LINE.size))

    def close(self) -> None:
        """Let go of the chunks."""
        self.chunks.close()


def place_of(key: bytes, secrets: Sequence[int]) -> tuple[int, int, int]:
    """The line of a key or an alias, its other line, and the bits of its entry (bpf/ct_store.h, ct_place_of())."""
    if key[_FAMILY] & (layout.CT_TRANSLATED | layout.CT_ALIAS):
        key = pack(canonical(unpack(key))[0])
    words = [(word + secret) & _MASK32 for word, secret in zip(_WORDS.unpack(key), secrets, strict=True)]
    found = sum(low * high for low, high in zip(words[::2], words[1::2], strict=True)) & _MASK64
    found = (found ^ found >> 32) * _FACTOR & _MASK64
    found ^= found >> 32
    home = found & layout.CT_HOME_LINES - 1
    other = layout.CT_HOME_LINES + (found >> 24 & layout.CT_MORE_LINES - 1)
    return home, other, (found >> 32 | 1 << 31) & _MASK32 & ~_SLOT_MASK


def _alias(key: bytes, value: bytes) -> bytes | None:
    """By what else a connection is found."""
    if not key[_FAMILY] & layout.CT_TRANSLATED:
        return None
    reply = value[layout.CT_REPLY_AT : layout.CT_REPLY_AT + 36]
    family = key[_FAMILY] ^ (layout.CT_TRANSLATED | layout.CT_ALIAS)
    return reply + key[36:37] + bytes((family,)) + key[38:]
