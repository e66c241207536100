"""The kernel's cached paths, read from its pinned maps (bpf/cache.h).

A path is what the whole pipeline of one bridge came to for packets of certain
bits.  Each CPU has its own cache; the same path on several of them is one here.
Reading changes nothing, and needs nothing of the daemon but where the maps are.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from gossamer.datapath import layout, libbpf
from gossamer.datapath.maps import MappedArray
from gossamer.datapath.path_cache import WAYS, Head, cache_map, places
from gossamer.errors import DatapathError
from gossamer.pipeline.fields import KEY_BITS
from gossamer.pipeline.match import Match

_NATIVE: Final = "little" if sys.byteorder == "little" else "big"
_OPS_AT: Final = layout.PATH_HEAD.size
_BRIDGE_WORDS: Final = layout.BRIDGE.size // 8


class PathOp(IntEnum):
    """bpf/program.h, enum path_op; a test compares them."""

    NOTHING = 0
    OUTPUT = 1
    NORMAL = 2
    FLOOD = 3
    ALL = 4
    SET = 5
    PUSH_VLAN = 6
    POP_VLAN = 7
    PUSH_MPLS = 8
    POP_MPLS = 9
    CONTROLLER = 10
    DROP = 11
    SAVE = 12
    RESTORE = 13
    METER = 14
    TRUNCATE = 15
    CT_SET = 16
    CT = 17
    CT_CLEAR = 18
    QUEUE = 19
    TELL = 20


@dataclass(frozen=True, slots=True)
class Op:
    """One operation of a path: struct op."""

    code: int
    flags: int
    a: int
    b: int
    c: int
    d: int

    @property
    def ethertype(self) -> int:
        """`a` of operations that push and pop, which is in network order."""
        return int.from_bytes(self.a.to_bytes(2, _NATIVE), "big")


@dataclass(slots=True)
class CachedPath:
    """One path: which packets of a bridge take it, what it does, who took it."""

    bridge_id: int
    match: Match
    """Its in_port is the OpenFlow number."""
    ops: tuple[Op, ...]
    flow_ids: tuple[int, ...]
    """The rules passed, in order; table misses are left out."""
    packets: int = 0
    n_bytes: int = 0
    used_ns: int = 0
    """CLOCK_MONOTONIC when a packet took it last; 0 where none did since it was made."""

    @property
    def ufid(self) -> str:
        """A name for it, in the form of a UUID: the same as long as the match is."""
        seed = b"%d/%x/%x" % (self.bridge_id, self.match.value, self.match.mask)
        d = hashlib.sha256(seed).hexdigest()
        return f"{d[:8]}-{d[8:12]}-{d[12:16]}-{d[16:20]}-{d[20:32]}"


@dataclass(frozen=True, slots=True)
class CacheReading:
    """All paths at one moment."""

    paths: tuple[CachedPath, ...]
    per_cpu: tuple[int, ...]
    """Paths in the cache of each CPU."""
    duration_s: float

    @property
    def capacity(self) -> int:
        """How many paths all caches together can hold."""
        return WAYS * layout.CACHE_SETS * len(self.per_cpu)


class PathCache:
    """The maps `cache`, `cache_masks` and `bridges` of the datapath pinned under `pin_dir`.

    Raises DatapathError where they are not pinned there.
    """

    def __init__(self, pin_dir: Path) -> None:
        directory = pin_dir / f"maps-{layout.LAYOUT_VERSION}"
        self._fds: list[int] = []
        self._cache_fd = self._open(directory / "cache")
        self._masks = MappedArray(
            "cache_masks",
            self._open(directory / "cache_masks"),
            layout.CACHE_MASK_SIZE,
            layout.MAX_MASKS,
        )
        self._bridges = MappedArray(
            "bridges", self._open(directory / "bridges"), layout.BRIDGE.size, layout.MAX_BRIDGES
        )

    def _open(self, path: Path) -> int:
        fd = libbpf.object_get(path)
        if fd is None:
            raise DatapathError("the datapath is not pinned here", place=str(path))
        self._fds.append(fd)
        return fd

    def close(self) -> None:
        """Let go of the maps."""
        self._masks.close()
        self._bridges.close()
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()

    def versions(self) -> set[int]:
        """The versions of bridges that are current: paths of others are no longer taken."""
        words = self._bridges.words64
        found = {words[b * _BRIDGE_WORDS] for b in range(1, layout.MAX_BRIDGES)}
        return {version for version in found if version}

    def read(self) -> CacheReading:
        """The paths packets may take now, those most used first."""
        began = time.monotonic()
        current = self.versions()
        cache = cache_map(self._cache_fd)  # made anew each time: it is large
        memory = cache.read_all()
        found: dict[tuple[int, int, int], CachedPath] = {}
        per_cpu = [0] * cache.n_cpus
        for place in places(cache, memory, Head.VERSION):
            if place.word not in current:
                continue
            per_cpu[place.cpu] += 1
            path = self._decode(memory, place.at)
            identity = (path.bridge_id, path.match.value, path.match.mask)
            known = found.setdefault(identity, path)
            if known is not path:
                known.packets += path.packets
                known.n_bytes += path.n_bytes
                known.used_ns = max(known.used_ns, path.used_ns)
        paths = tuple(sorted(found.values(), key=lambda p: (-p.packets, p.bridge_id, p.ufid)))
        return CacheReading(paths, tuple(per_cpu), time.monotonic() - began)

    def _decode(self, memory: memoryview, at: int) -> CachedPath:
        head = layout.PATH_HEAD.unpack_from(memory, at)
        version, packets, n_bytes, used = head[:4]
        n_ops, n_flows = head[-3:-1]
        ops = tuple(
            Op(*layout.OP.unpack_from(memory, at + _OPS_AT + i * layout.OP.size))
            for i in range(min(n_ops, layout.CACHED_OPS))
        )
        flows = memory[at + layout.PATH_FLOWS_OFFSET :][: n_flows * 8].cast("I")
        return CachedPath(
            bridge_id=version >> layout.BRIDGE_SHIFT & (layout.MAX_BRIDGES - 1),
            match=self._match(
                version & (layout.MAX_MASKS - 1), memory[at + layout.PATH_KEY_OFFSET :]
            ),
            ops=ops,
            flow_ids=tuple(f for f in flows[::2].tolist() if not f & layout.TABLE_MISS),
            packets=packets,
            n_bytes=n_bytes,
            # Before the first hit it is when the path was made.
            used_ns=used if packets else 0,
        )

    def _match(self, mask_id: int, key_words: memoryview) -> Match:
        raw = self._masks.read(mask_id)
        n_words, _ = layout.CACHE_MASK_HEAD.unpack_from(raw)
        value = mask = 0
        for i in range(min(n_words, layout.CACHE_WORDS)):
            word, _, bits = layout.MATCH_WORD.unpack_from(
                raw, layout.CACHE_MASK_HEAD.size + i * layout.MATCH_WORD.size
            )
            have = int.from_bytes(key_words[4 * i : 4 * i + 4], _NATIVE)
            mask |= in_key(word, bits)
            value |= in_key(word, have & bits)
        return Match(value, mask)


def in_key(word: int, bits: int) -> int:
    """A 32-bit word as the kernel has it in memory, in its place in a key."""
    return int.from_bytes(bits.to_bytes(4, _NATIVE), "big") << (KEY_BITS - 32 - 32 * word)
