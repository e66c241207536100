"""Connections of an earlier version, whose maps are laid out otherwise: taken over into ours.

Its programs go on forwarding meanwhile.  So all is copied once, which takes some seconds for a million,
then ports get the new programs, and what the old ones changed since then is copied again.  A connection
that both versions have moved is what is further of both (bpf/inherit.h).

Until the end neither looks at windows of TCP's sequence numbers, as each sees a part of the packets.
A killed daemon leaves the old maps pinned, and the next one begins again: nothing gets in twice.
"""

from __future__ import annotations

import logging
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gossamer.datapath import libbpf
from gossamer.datapath.btf import Layout, Types
from gossamer.datapath.conntrack.conntrack import Conntrack
from gossamer.datapath.conntrack.store import chunk_at, window
from gossamer.datapath.conversion import Conversion
from gossamer.datapath.layout import CtConfigFlag
from gossamer.datapath.maps import HashMap, MappedArray, PerCpuArray
from gossamer.errors import DatapathError

log = logging.getLogger(__name__)

_ARRAYS: Final = {
    "ct_zones": ("count",),
    "ct_timeouts": (),
    "ct_config": ("flags", "index_secrets", "n_slots", "room_at"),
    "ct_shared": ("n_connections", "hand", "reach", "top", "fragments"),
}
"""What the daemon says, with the names of what belongs to the maps themselves."""
_HASHES: Final = ("ct_nat_rules", "ct_parents", "ct_expectations", "ct_sequences")
_OWN_PLACE: Final = ("taken", "c.lock", "c.slot")
"""Of a record: what means something in its slot only."""
_WINDOW: Final = 4096
"""Records that are read at a time: whole pages, whatever their size."""
_RECORDS_UNNAMED: Final = range(4, 8)
"""Layouts whose BTF has no struct ct_record.  All had a word, four bytes, key and connection, eight bytes."""


class EarlierConnections:
    """The connections in maps that are pinned in `folder`, `own` being ours of the same names.

    Raises DatapathError where they cannot be read: their layout is from before 4, or a number became
    narrower.
    """

    def __init__(self, folder: Path, own: dict[str, int], conntrack: Conntrack) -> None:
        self._folder = folder
        self._own = own
        self._conntrack = conntrack
        self._fds = _open_all(folder)
        try:
            for name in ("ct_chunks", *_ARRAYS):
                if name not in self._fds:
                    raise DatapathError("connections are kept in another way", place=str(folder / name))
            self._types = Types.of_map(self._fds["ct_config"])
            self._own_types = Types.of_map(own["ct_config"])
            self._chunks = _chunks(self._fds["ct_chunks"])
            old, new = self._record_layout(), self._own_types.struct("ct_record")
            if old is None or new is None:
                raise DatapathError("the layout of connections is not known", place=str(folder))
            self._record = Conversion(old, new, _OWN_PLACE)
        except DatapathError:
            self.close()
            raise
        self._size = old.size
        self._family_at = old.fields["key.family"].offset
        self._expires_at = old.fields["c.expires"].offset // 8
        n_slots = sum(entries for _, entries in self._chunks)
        self._known = array("q", bytes(8 * n_slots))
        """Of each slot the hash of what was taken from it."""
        self._copied: dict[str, set[bytes]] = {name: set() for name in _HASHES}

    def close(self) -> None:
        """Let go of the old maps."""
        for fd in self._fds.values():
            os.close(fd)
        for fd, _ in getattr(self, "_chunks", ()):
            os.close(fd)

    def begin(self) -> int:
        """Copy what there is.  Call before a packet meets the new programs.

        How many connections that was.
        """
        config = self._conntrack.config
        at = self._value("ct_config").fields["flags"].offset // 4
        old = self._old_array("ct_config")
        if not config.has_flag(CtConfigFlag.INHERITS):
            for name, without in _ARRAYS.items():
                self._copy_array(name, without)
            self._copy_counters()
            config.set_flags(CtConfigFlag(old.words32[at]) | CtConfigFlag.INHERITS)
        old.words32[at] |= CtConfigFlag.NO_SEQUENCE_CHECK
        old.close()
        return self.follow()

    def follow(self) -> int:
        """Copy what is new or has changed since the last time; how many connections that was."""
        self._conntrack.room.make_for(self._count())
        for name in _HASHES:
            if name in self._fds:
                self._copy_hash(name)
        offered = taken = 0
        for images in self._changed():
            offered += len(images)
            taken += self._conntrack.store.inherit(images)
        if taken < offered:
            log.warning("connections=%d: there is no room for them, or their ports", offered - taken)
        return taken

    def end(self) -> None:
        """All packets meet the new programs: the old maps are not needed any more."""
        self.follow()
        self.close()
        for path in self._folder.iterdir():
            path.unlink()
        self._folder.rmdir()
        self._conntrack.config.set_flag(CtConfigFlag.INHERITS, False)

    def _record_layout(self) -> Layout | None:
        named = self._types.struct("ct_record")
        number = self._folder.name.rpartition("-")[2]
        if named is not None or not number.isdigit() or int(number) not in _RECORDS_UNNAMED:
            return named
        key, connection = self._types.struct("ct_tuple"), self._types.struct("ct_connection")
        if key is None or connection is None:
            return None
        size = 8 + key.size + connection.size + 8
        return Layout(size, key.within("key", 8) | connection.within("c", 8 + key.size))

    def _changed(self) -> Iterator[list[bytes]]:
        """In our layout, connections that live and are not as they were taken the last time; some
        thousands of slots at a time."""
        now, size, known = self._conntrack.config.now_ns(), self._size, self._known
        slot = 0
        for records in self._windows():
            n = len(records) // size
            families = records[self._family_at :: size]
            if families.count(0) < n:
                expires = memoryview(records).cast("Q")[self._expires_at :: size // 8].tolist()
                changed = []
                for i, (family, time_ns) in enumerate(zip(families, expires, strict=True)):
                    if family and time_ns > now:
                        at = i * size
                        is_now = hash(records[at : at + size])
                        if known[slot + i] != is_now:
                            known[slot + i] = is_now
                            changed.append(at)
                yield self._record.images(records, changed)
            slot += n

    def _windows(self) -> Iterator[bytes]:
        for fd, entries in self._chunks:
            for first in range(0, entries, _WINDOW):
                yield window(fd, first, min(_WINDOW, entries - first), self._size)

    def _count(self) -> int:
        mapped = self._old_array("ct_shared")
        n = int(mapped.words32[self._value("ct_shared").fields["n_connections"].offset // 4])
        mapped.close()
        return n

    def _old_array(self, name: str) -> MappedArray:
        info = libbpf.map_info(self._fds[name])
        return MappedArray(name, self._fds[name], info.value_size, info.max_entries)

    def _copy_array(self, name: str, without: tuple[str, ...]) -> None:
        info = libbpf.map_info(self._own[name])
        old, new = self._old_array(name), MappedArray(
            name, self._own[name], info.value_size, info.max_entries
        )
        conversion = Conversion(self._value(name), self._own_value(name), without)
        for i in range(min(old.entries, new.entries)):
            raw = old.read(i)
            if any(raw):
                conversion.write(raw, new.memory, new.offset(i))
        old.close()
        new.close()

    def _copy_counters(self) -> None:
        """Those of the same places: new ones are added at the end."""
        if "ct_counters" not in self._fds:
            return
        of = [
            PerCpuArray("ct_counters", fd, 8, libbpf.map_info(fd).max_entries)
            for fd in (self._fds["ct_counters"], self._own["ct_counters"])
        ]
        for i in range(min(counters.entries for counters in of)):
            of[1].write(i, of[0].read(i))

    def _copy_hash(self, name: str) -> None:
        """What came since the last time, and remove what is gone again."""
        old, new = (_hash(name, fds[name]) for fds in (self._fds, self._own))
        values = Conversion(self._value(name), self._own_value(name))
        keys = Conversion(
            self._types.layout(libbpf.map_info(old.fd).btf_key_type_id),
            self._own_types.layout(libbpf.map_info(new.fd).btf_key_type_id),
        )
        before, there = self._copied[name], set()
        added: list[tuple[bytes, bytes]] = []
        for raw, value in old.items():
            key = keys.image(raw)
            there.add(key)
            if key not in before:
                added.append((key, values.image(value)))
        new.put_all([key for key, _ in added], [value for _, value in added])
        new.delete_all(list(before - there))
        self._copied[name] = there

    def _value(self, name: str) -> Layout:
        return self._types.layout(libbpf.map_info(self._fds[name]).btf_value_type_id)

    def _own_value(self, name: str) -> Layout:
        return self._own_types.layout(libbpf.map_info(self._own[name]).btf_value_type_id)


def _hash(name: str, fd: int) -> HashMap:
    info = libbpf.map_info(fd)
    return HashMap(name, fd, info.key_size, info.value_size)


def _open_all(folder: Path) -> dict[str, int]:
    found = {path.name: libbpf.object_get(path) for path in folder.iterdir()}
    return {name: fd for name, fd in found.items() if fd is not None}


def _chunks(fd: int) -> list[tuple[int, int]]:
    """Of each chunk that is there its map, and its slots."""
    found: list[tuple[int, int]] = []
    for place in range(libbpf.map_info(fd).max_entries):
        chunk = chunk_at(fd, place)
        if chunk is None:
            break
        found.append((chunk, libbpf.map_info(chunk).max_entries))
    return found
