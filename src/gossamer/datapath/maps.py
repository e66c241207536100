"""BPF maps: hash maps by batches, arrays as shared memory, per-CPU values, the ring."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Callable, Iterator, Sequence

from gossamer.datapath import libbpf
from gossamer.datapath.libbpf import check, lib
from gossamer.errors import DatapathError

_BATCH = 4096


def check_shape(name: str, fd: int, key_size: int, value_size: int, entries: int | None) -> None:
    """See that a map is what the daemon takes it for.

    Raises DatapathError where it is not: the compiled programs are of another
    version than the daemon, or a map of another version is pinned.
    """
    info = libbpf.map_info(fd)
    have = (info.key_size, info.value_size, info.max_entries if entries else None)
    if have == (key_size, value_size, entries):
        return

    def text(key: int, value: int, n: int | None) -> str:
        return f"{f'{n} entries of ' if n else ''}{key} + {value} bytes"

    raise DatapathError(
        f"it has {text(*have)}, the daemon expects {text(key_size, value_size, entries)}",
        place=f"map={name}",
        remedy="programs and daemon are of different versions: run make build, or install again",
    )


class HashMap:
    """A hash map whose keys and values are bytes of fixed length."""

    def __init__(self, name: str, fd: int, key_size: int, value_size: int) -> None:
        check_shape(name, fd, key_size, value_size, None)
        self.name = name
        self.fd = fd
        self.key_size = key_size
        self.value_size = value_size

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, None where it is absent."""
        value = ctypes.create_string_buffer(self.value_size)
        if lib.bpf_map_lookup_elem(self.fd, key, value) < 0:
            return None
        return value.raw

    def put(self, key: bytes, value: bytes) -> None:
        """Insert or replace; raises DatapathError where the map is full."""
        result = lib.bpf_map_update_elem(self.fd, key, value, libbpf.BPF_ANY)
        check(result, "writing a map", place=f"map={self.name}")

    def put_all(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Insert or replace many; raises DatapathError where the map is full."""
        count = ctypes.c_uint32(len(keys))
        if not keys:
            return
        result = lib.bpf_map_update_batch(
            self.fd, b"".join(keys), b"".join(values), ctypes.byref(count), None
        )
        check(result, "writing a map", place=f"map={self.name}")

    def delete(self, key: bytes) -> bool:
        """Remove; False where it was absent."""
        result = lib.bpf_map_delete_elem(self.fd, key)
        if result < 0 and ctypes.get_errno() != errno.ENOENT:
            check(result, "deleting from a map", place=f"map={self.name}")
        return bool(result >= 0)

    def delete_all(self, keys: Sequence[bytes]) -> int:
        """Remove many; absent ones are passed over.  How many there were."""
        done = absent = 0
        while done < len(keys):
            part = keys[done:]
            count = ctypes.c_uint32(len(part))
            result = lib.bpf_map_delete_batch(
                self.fd, b"".join(part), ctypes.byref(count), None
            )
            if result >= 0:
                break
            if ctypes.get_errno() != errno.ENOENT:
                check(result, "deleting from a map", place=f"map={self.name}")
            done += count.value + 1  # the one after those counted was absent
            absent += 1
        return len(keys) - absent

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All pairs; those written meanwhile may or may not be seen."""
        key_size, value_size = self.key_size, self.value_size
        for keys, values in self.batches():
            for k in range(0, len(keys), key_size):
                v = k // key_size * value_size
                yield keys[k : k + key_size], values[v : v + value_size]

    def batches(self) -> Iterator[tuple[bytes, bytes]]:
        """All pairs, as `items()`, some thousands at a time: keys behind each other, values too."""
        keys = ctypes.create_string_buffer(self.key_size * _BATCH)
        values = ctypes.create_string_buffer(self.value_size * _BATCH)
        # The kernel wants a batch to hold a whole bucket and keeps its place as a u32.
        place = ctypes.c_uint32(0)
        token: object = None
        more = True
        while more:
            count = ctypes.c_uint32(_BATCH)
            result = lib.bpf_map_lookup_batch(
                self.fd, token, ctypes.byref(place), keys, values, ctypes.byref(count), None
            )
            if result < 0:
                if ctypes.get_errno() != errno.ENOENT:
                    check(result, "reading a map", place=f"map={self.name}")
                more = False
            token = ctypes.byref(place)
            n = count.value
            if n:
                yield (
                    ctypes.string_at(keys, n * self.key_size),
                    ctypes.string_at(values, n * self.value_size),
                )


class MappedArray:
    """An array map in this process's memory: element i at ``offset(i)`` of `memory`.

    An aligned store of up to eight bytes is seen whole by BPF programs.
    """

    def __init__(self, name: str, fd: int, value_size: int, entries: int) -> None:
        check_shape(name, fd, 4, value_size, entries)
        self.name = name
        self.fd = fd
        self.stride = (value_size + 7) & ~7
        self.entries = entries
        page = mmap.PAGESIZE
        length = (self.stride * entries + page - 1) // page * page
        try:
            self._mmap = mmap.mmap(fd, length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError as e:
            raise DatapathError(f"mapping a map: {e.strerror}", place=f"map={name}") from None
        self.memory = memoryview(self._mmap)
        self.words64 = self.memory.cast("Q")
        self.words32 = self.memory.cast("I")

    def offset(self, index: int) -> int:
        """Byte offset of an element; raises DatapathError where it does not exist."""
        if not 0 <= index < self.entries:
            raise DatapathError(
                f"element {index} of {self.entries}",
                place=f"map={self.name}",
                remedy="the datapath's limits are in bpf/limits.h",
            )
        return index * self.stride

    def write(self, index: int, value: bytes) -> None:
        """Replace an element."""
        at = self.offset(index)
        self.memory[at : at + len(value)] = value

    def read(self, index: int) -> bytes:
        """An element's bytes."""
        at = self.offset(index)
        return bytes(self.memory[at : at + self.stride])

    def close(self) -> None:
        """Unmap."""
        for view in (self.words64, self.words32, self.memory):
            view.release()
        self._mmap.close()


class PerCpuArray:
    """An array with a value for each CPU."""

    def __init__(self, name: str, fd: int, value_size: int, entries: int) -> None:
        check_shape(name, fd, 4, value_size, entries)
        self.name = name
        self.fd = fd
        self.stride = (value_size + 7) & ~7
        self.entries = entries
        self.n_cpus = libbpf.num_cpus()
        self._one = ctypes.create_string_buffer(self.stride * self.n_cpus)
        self._all: ctypes.Array[ctypes.c_char] | None = None

    def read(self, index: int) -> bytes:
        """The values of all CPUs, `stride` bytes each."""
        key = ctypes.c_uint32(index)
        result = lib.bpf_map_lookup_elem(self.fd, ctypes.byref(key), self._one)
        check(result, "reading a map", place=f"map={self.name}")
        return self._one.raw

    def sums(self, index: int) -> list[int]:
        """The 64-bit counters of an element, each summed over all CPUs."""
        words = memoryview(self.read(index)).cast("Q")
        per_cpu = self.stride // 8
        return [sum(words[i::per_cpu]) for i in range(per_cpu)]

    def zero(self, index: int) -> None:
        """Set an element to zero on all CPUs."""
        self.write(index, bytes(self.stride * self.n_cpus))

    def write(self, index: int, values: bytes) -> None:
        """Replace the values of all CPUs, `stride` bytes each."""
        key = ctypes.c_uint32(index)
        result = lib.bpf_map_update_elem(self.fd, ctypes.byref(key), values, libbpf.BPF_ANY)
        check(result, "writing a map", place=f"map={self.name}")

    def read_all(self) -> memoryview:
        """All elements, each `stride * n_cpus` bytes; valid until the next call."""
        size = self.stride * self.n_cpus
        if self._all is None:
            self._all = ctypes.create_string_buffer(size * self.entries)
            self._keys = ctypes.create_string_buffer(4 * self.entries)
        place = ctypes.c_uint32(0)
        count = ctypes.c_uint32(self.entries)
        result = lib.bpf_map_lookup_batch(
            self.fd, None, ctypes.byref(place), self._keys, self._all, ctypes.byref(count), None
        )
        if result < 0 and ctypes.get_errno() != errno.ENOENT:
            check(result, "reading a map", place=f"map={self.name}")
        return memoryview(self._all).cast("B")


class Ring:
    """A BPF ring buffer: `fd` becomes readable when something is in it."""

    def __init__(self, map_fd: int, receive: Callable[[bytes], None]) -> None:
        def deliver(_context: object, data: object, size: int) -> int:
            receive(ctypes.string_at(data, size))  # type: ignore[arg-type]
            return 0

        self._callback = libbpf.RING_CALLBACK(deliver)
        self._more: list[object] = []
        self._ring = lib.ring_buffer__new(map_fd, self._callback, None, None)
        if not self._ring:
            raise DatapathError(f"opening the punt ring: {os.strerror(ctypes.get_errno())}")
        self.fd: int = lib.ring_buffer__epoll_fd(self._ring)

    def add(self, map_fd: int, receive: Callable[[bytes], None]) -> None:
        """Have another ring's records delivered with these."""

        def deliver(_context: object, data: object, size: int) -> int:
            receive(ctypes.string_at(data, size))  # type: ignore[arg-type]
            return 0

        callback = libbpf.RING_CALLBACK(deliver)
        self._more.append(callback)
        check(lib.ring_buffer__add(self._ring, map_fd, callback, None), "opening a ring")

    def consume(self) -> int:
        """Deliver all that is there; returns how many."""
        return check(lib.ring_buffer__consume(self._ring), "reading the punt ring")

    def close(self) -> None:
        """Let go of the ring; its map stays."""
        lib.ring_buffer__free(self._ring)
