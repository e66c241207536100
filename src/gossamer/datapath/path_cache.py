"""Where the kernel's cached paths lie in the memory of their map (bpf/cache.h, struct path_set)."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from gossamer.datapath import layout
from gossamer.datapath.maps import PerCpuArray

WAYS: Final = 2
"""Paths of one hash that a CPU keeps."""


class Head(IntEnum):
    """The first 64-bit words of a path; a version of 0 says that there is none."""

    VERSION = 0
    PACKETS = 1
    BYTES = 2
    USED = 3


class Place(NamedTuple):
    """A path: its CPU, its set, the offset in bytes, and the word that was asked for."""

    cpu: int
    set: int
    at: int
    word: int


def cache_map(fd: int) -> PerCpuArray:
    """The map `cache`; what it reads into is large where there are many CPUs."""
    return PerCpuArray("cache", fd, WAYS * layout.PATH_SIZE, layout.CACHE_SETS)


def places(cache: PerCpuArray, memory: memoryview, head: Head) -> Iterator[Place]:
    """The paths in what `cache.read_all()` returned of which a word is not zero.

    Most places are free, so that word of all of them is taken out in one go.
    """
    words = memory.cast("Q")
    for way in range(WAYS):
        begin = way * layout.PATH_SIZE
        for i, word in enumerate(words[begin // 8 + head :: cache.stride // 8].tolist()):
            if word:
                set_, cpu = divmod(i, cache.n_cpus)
                yield Place(cpu, set_, begin + i * cache.stride, word)
