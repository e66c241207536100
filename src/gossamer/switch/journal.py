"""Flows, groups and meters survive the death of the daemon: one append-only file a bridge.

The kernel keeps forwarding while no daemon runs, so a daemon that starts again
must know the flows the kernel still has.  What is written is what was asked
for: the FLOW_MOD, GROUP_MOD and METER_MOD messages themselves, as they came off
the wire, one record a batch.  That costs one checksum and one write a batch, whatever the number of
flows, and a bundle, being one record, is there as a whole or not at all.

File: a header (magic, boot id), then records of

    payload length, CRC32 of what follows, kind, context, CLOCK_MONOTONIC, payload

in little-endian order.  A record that is cut short or whose CRC is wrong ends
the journal: a process that was killed while writing leaves at most one.
Nothing is synced to disk, since the page cache outlives the process; after a
reboot the boot id differs and the file is begun anew.

A journal that has outgrown its last snapshot is rewritten by a forked child,
so that the switch never stops to write a million flows.
"""

from __future__ import annotations

import logging
import os
import pickle
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from gossamer.breath import Breathe
from gossamer.errors import GossamerError
from gossamer.pipeline.flow import Flow
from gossamer.switch.journal_record import (
    MAGIC,
    Kind,
    Record,
    Snapshot,
    append_record,
    boot_id,
    dump_flows,
    read_record,
    write_snapshot,
)

log = logging.getLogger(__name__)

_FEW: Final = 16
"""Parts that are written together."""
MIN_COMPACTION_BYTES = 32 << 20
MEND_S = 5.0
"""Seconds after a failed write until all is written anew."""


class JournalError(GossamerError):
    """The journal cannot be written; flows would not survive a restart of the daemon."""


class Journal:
    """The journal of one bridge.  Nothing reaches the file before `flush()`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.breathe: Breathe = lambda: None
        """Called now and then in long work."""
        self._writing = False
        self._fd = -1
        self._size = 0
        self._snapshot_size = 0
        self._pending: list[tuple[Kind, int, float, list[bytes]]] = []
        self._child = 0
        self._fork_offset = 0
        self._error: JournalError | None = None
        self._mend_at_s = 0.0
        self._untold = False
        """The file could not even be begun, and nobody was told yet."""

    def open(self) -> Iterator[Record]:
        """Open or create the file, and give back what is in it.

        The records must be read to the end before anything is added.
        Raises JournalError where the file cannot be opened; where there is no
        room to begin it, the first `flush()` does.
        """
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with open(os.dup(self._fd), "rb") as stream:
                data = stream.read()
        except OSError as e:
            raise JournalError(
                f"cannot open: {e.strerror}", place=str(self.path), remedy="check the run directory"
            ) from e
        self._temporary.unlink(missing_ok=True)
        header = MAGIC + boot_id()
        if data[: len(header)] != header:
            if data and not data.startswith(MAGIC):
                log.warning("%s: is no journal; what flows it had are lost", self.path)
            try:
                self._begin()
            except JournalError:
                self._untold = True
            return
        offset = len(header)
        while True:
            found = read_record(data, offset)
            if found is None:
                break
            record, offset = found
            yield record
        if offset < len(data):
            log.warning(
                "%s: %d bytes at its end are no record (a write that was cut short, or damage); "
                "what they held is lost",
                self.path,
                len(data) - offset,
            )
        # A torn last record would make all that is appended behind it unreadable.
        os.ftruncate(self._fd, offset)
        self._size = self._snapshot_size = offset

    def _begin(self) -> None:
        """Make the file one without records; ends any failure.  Raises JournalError."""
        os.ftruncate(self._fd, 0)
        self._size, self._error = 0, None
        self._write([MAGIC + boot_id()])
        self._snapshot_size = self._size

    @property
    def _temporary(self) -> Path:
        return self.path.with_name(self.path.name + ".new")

    def messages(self, raw: list[bytes], context: int, now: float) -> None:
        """Note messages that took effect."""
        pending = self._pending
        if pending:
            kind, last_context, last_now, parts = pending[-1]
            if kind is Kind.MESSAGES and last_context == context and last_now == now:
                parts += raw
                return
        pending.append((Kind.MESSAGES, context, now, list(raw)))

    def removed(self, flows: Iterable[Flow], now: float) -> None:
        """Note flows that went by themselves."""
        keys = [(f.table_id, f.priority, f.match.value, f.match.mask) for f in flows]
        self._pending.append((Kind.REMOVED, 0, now, [pickle.dumps(keys, 5)]))

    def flows(self, flows: Iterable[Flow], now: float) -> None:
        """Note flows the switch installed of its own accord."""
        self._pending.append((Kind.FLOWS, 0, now, [dump_flows(flows)]))

    def cleared(self, now: float) -> None:
        """Note that all flows went."""
        self._pending.append((Kind.CLEARED, 0, now, []))

    def mode(self, mode: tuple[bool, str], now: float) -> None:
        """Note whether there are controllers, and the fail mode."""
        self._pending.append((Kind.MODE, 0, now, [pickle.dumps(mode, 5)]))

    def tables(self, settings: Mapping[int, object], now: float) -> None:
        """Note what table-mods chose, by table."""
        self._pending.append((Kind.TABLES, 0, now, [pickle.dumps(dict(settings), 5)]))

    def options(self, rows: Sequence[object], now: float) -> None:
        """Note what the TLV table has."""
        self._pending.append((Kind.OPTIONS, 0, now, [pickle.dumps(list(rows), 5)]))

    def fragments(self, fragments: int, now: float) -> None:
        """Note what tables see of IP fragments."""
        self._pending.append((Kind.FRAGMENTS, 0, now, [pickle.dumps(int(fragments), 5)]))

    def flush(self) -> None:
        """Write what was noted.

        Raises JournalError on the first failure (a full run directory); the
        file then holds all up to the last flush that succeeded.
        """
        if not self._pending or self._writing:
            return  # who is writing takes what came meanwhile along
        self._writing = True
        try:
            while self._pending:
                self._flush()
        finally:
            self._writing = False

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if self._error:
            if self._untold:
                self._untold = False
                raise self._error
            return  # the file ends at the failure: later records make no sense without the lost one
        parts: list[bytes] = []
        for kind, context, now, payload in pending:
            append_record(parts, kind, context, now, payload, self.breathe)
        self._write(parts)

    def _write(self, parts: list[bytes]) -> None:
        offset = self._size
        if len(parts) <= _FEW:
            parts = [b"".join(parts)]
        try:
            for part in parts:
                data = memoryview(part)
                while data:
                    n = os.pwrite(self._fd, data, offset)
                    data, offset = data[n:], offset + n
                if len(parts) > 1:
                    self.breathe()
        except OSError as e:
            self._mend_at_s = time.monotonic() + MEND_S
            os.ftruncate(self._fd, self._size)
            self._error = JournalError(
                f"cannot write: {e.strerror}", place=str(self.path), remedy="free space there"
            )
            raise self._error from e
        self._size = offset

    def truncate(self, mode: tuple[bool, str], now: float) -> None:
        """Begin anew, as for a bridge without flows; ends any failure."""
        if self._child or self._writing:
            return
        self._pending.clear()
        self._begin()
        self.mode(mode, now)
        self.flush()

    @property
    def compacting(self) -> bool:
        """A snapshot is being written: `poll()` now and then."""
        return bool(self._child)

    @property
    def wants_mending(self) -> bool:
        """A write failed, and it is a while since the last attempt to begin anew."""
        return self._error is not None and time.monotonic() >= self._mend_at_s

    @property
    def mend_at_s(self) -> float | None:
        """When it wants to be begun anew, CLOCK_MONOTONIC; None where nothing failed."""
        return None if self._error is None or self._child else self._mend_at_s

    @property
    def wants_truncation(self) -> bool:
        """Worth beginning anew once the bridge has no flows."""
        return self._size > 1 << 20 or self.wants_mending

    @property
    def wants_compaction(self) -> bool:
        """Much larger than what it describes, or broken by a failed write."""
        if self._child or self._writing:
            return False
        return self.wants_mending or (
            self._size > MIN_COMPACTION_BYTES and self._size > 2 * self._snapshot_size
        )

    def compact(self, snapshot: Snapshot, now: float) -> None:
        """Start writing a snapshot in a child process; `poll()` finishes it."""
        self.flush()
        self._fork_offset = self._size
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                write_snapshot(self._temporary, snapshot, now)
                status = 0
            finally:
                os._exit(status)
        self._child = pid

    def poll(self) -> None:
        """Put a finished snapshot in place of the file.

        Raises JournalError where the child failed; the old file goes on.
        """
        if not self._child:
            return
        pid, status = os.waitpid(self._child, os.WNOHANG)
        if pid == 0:
            return
        self._child = 0
        self._mend_at_s = time.monotonic() + MEND_S
        if status != 0:
            self._temporary.unlink(missing_ok=True)
            self._snapshot_size = self._size  # not again before it has doubled
            raise JournalError(
                "cannot write a snapshot", place=str(self.path), remedy="free space there"
            )
        self.flush()
        fd = os.open(self._temporary, os.O_RDWR | os.O_CLOEXEC)
        snapshot_size = os.fstat(fd).st_size
        try:
            size = self._copy_tail(fd, snapshot_size)
            os.rename(self._temporary, self.path)
        except OSError as e:
            os.close(fd)
            self._temporary.unlink(missing_ok=True)
            self._snapshot_size = self._size
            raise JournalError(
                f"cannot write a snapshot: {e.strerror}", place=str(self.path), remedy="free space there"
            ) from e
        os.close(self._fd)
        self._fd, self._size, self._snapshot_size = fd, size, snapshot_size
        self._error = None

    def _copy_tail(self, fd: int, size: int) -> int:
        """Write what was noted since the fork behind a snapshot of that size; returns the sum."""
        offset = self._fork_offset
        while offset < self._size:
            chunk = os.pread(self._fd, min(1 << 20, self._size - offset), offset)
            written = os.pwrite(fd, chunk, size)
            size, offset = size + written, offset + written
        return size

    def close(self) -> None:
        """Stop writing; the file stays."""
        if self._fd >= 0:
            if self._error is None:
                self.flush()
            if self._child:
                os.waitpid(self._child, 0)
                self._child = 0
            os.close(self._fd)
            self._fd = -1

    def remove(self) -> None:
        """Stop, and delete the file: the bridge is gone."""
        self._pending.clear()
        self.close()
        self._temporary.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
