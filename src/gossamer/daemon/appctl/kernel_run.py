"""One real packet through the BPF program, its outputs held back (``ofproto/trace -generate``).

The program that the ports run is loaded a second time, over the same pinned
maps, with `capturing` set: it takes the ingress port from the packet's mark
and writes what it would send into the punt ring (bpf/gossamer.c).  State that
belongs to one packet, the cache and the reasons of drops are maps of its own,
so that a packet which arrives in the middle of a run disturbs neither.

The verifier takes a second or more over the program; ctypes lets go of the
interpreter's lock meanwhile, so that is done in a thread, and the loop goes on.
"""

from __future__ import annotations

import ctypes
import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gossamer.datapath.drop_reasons import DROP_REASONS
from gossamer.datapath.injection import run_once
from gossamer.datapath.libbpf import check, lib
from gossamer.datapath.loader import OBJECT_FILE, map_path
from gossamer.datapath.maps import PerCpuArray
from gossamer.datapath.path_cache import Head, cache_map, places
from gossamer.errors import DatapathError

if TYPE_CHECKING:
    from ovs.poller import Poller

    from gossamer.datapath import Datapath
    from gossamer.datapath.settings import Punt

IDLE_S: Final = 60.0
"""How long a program nobody runs is kept."""
PRIVATE: Final = (
    "states", "passes", "sets_aside", "ct_works", "nat_works", "transports", "nesting", "cache",
    "cache_tags", "shortcuts", "drops",
)  # fmt: skip
"""Maps that this program has for itself: what is half done in them when a packet arrives."""
SHARED: Final = ("port_counters", "ct_counters", "meter_counts")
"""Of the maps with a value for each CPU those that it counts in, as the ports' program does."""
_MIN_FRAME: Final = 14


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the kernel did with the packet.

    `outputs` are (port id, frame) in order, `punts` what went up, `drops` the
    reasons for which it, or copies of it, ended.  `others` are packets of the
    network that had come up before.  All punts are for the switch still.
    """

    outputs: tuple[tuple[int, bytes], ...]
    punts: tuple[Punt, ...]
    drops: tuple[str, ...]
    others: tuple[Punt, ...]


@dataclass(frozen=True, slots=True)
class _Program:
    fd: int
    cache_fd: int
    drops: PerCpuArray

    def close(self) -> None:
        for fd in (self.fd, self.cache_fd, self.drops.fd):
            os.close(fd)


class KernelRun:
    """Runs packets through the datapath pinned under `pin_dir`; loads what it needs when asked.

    `when_ready()` calls back once `run()` can be called, from the event loop.
    """

    def __init__(self, datapath: Datapath, pin_dir: Path) -> None:
        self._datapath = datapath
        self._pin_dir = pin_dir
        self._program: _Program | None = None
        self._error: DatapathError | None = None
        self._waiting: list[Callable[[DatapathError | None], None]] = []
        self._thread: threading.Thread | None = None
        self._wake_read, self._wake_write = os.pipe()
        self._used_s = 0.0

    def when_ready(self, call: Callable[[DatapathError | None], None]) -> None:
        """Call back when the program is loaded, or with why it cannot be."""
        self._used_s = time.monotonic()
        if self._program is not None:
            call(None)
            return
        self._waiting.append(call)
        if self._thread is None:
            self._thread = threading.Thread(target=self._load, name="load", daemon=True)
            self._thread.start()

    def _load(self) -> None:
        """In the thread: load, and wake the loop."""
        try:
            self._program = _load_capturing(self._pin_dir)
        except DatapathError as e:
            self._error = e
        finally:
            os.write(self._wake_write, b"!")

    def run_waiting(self) -> None:
        """Call back those who wait, when the thread is done.  Never blocks."""
        thread = self._thread
        if thread is None or not select.select([self._wake_read], [], [], 0)[0]:
            return
        os.read(self._wake_read, 1)
        thread.join()
        self._thread = None
        error, self._error = self._error, None
        if error is None and self._program is None:
            error = DatapathError("loading the BPF program again failed")
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call(error)

    def wait(self, poller: Poller) -> None:
        """Wake when the thread is done."""
        if self._thread is not None:
            poller.fd_wait(self._wake_read, select.POLLIN)

    def forget_if_idle(self, now_s: float) -> None:
        """Give the program's memory back when nobody used it for a while."""
        if self._program is not None and now_s - self._used_s > IDLE_S:
            self._program.close()
            self._program = None

    def run(self, port_id: int, packet: bytes) -> Outcome:
        """Send a frame in by a port, and hold back what comes out.

        Addresses are learned and flows credited as with any packet.  Raises
        DatapathError where it is too short, or the program is not loaded.
        """
        if self._program is None:
            raise DatapathError("the program is not loaded")
        if len(packet) < _MIN_FRAME:
            raise DatapathError("the packet is shorter than an Ethernet header")
        before = self._datapath.packets.read_records()
        run_once(self._program.fd, packet, mark=port_id)
        # What the network itself sends up within this moment is taken for this packet's.
        records = self._datapath.packets.read_records()
        outcome = Outcome(
            outputs=tuple((to_port, punt.data) for punt, to_port in records if to_port),
            punts=tuple(punt for punt, to_port in records if not to_port),
            drops=_read_drops(self._program.drops),
            others=tuple(punt for punt, _ in before),
        )
        _clear(self._program)
        return outcome

    def close(self) -> None:
        """Let go of everything."""
        if self._thread is not None:
            self._thread.join()
        if self._program is not None:
            self._program.close()
            self._program = None
        os.close(self._wake_read)
        os.close(self._wake_write)


def _load_capturing(pin_dir: Path) -> _Program:
    handle = lib.bpf_object__open_file(str(OBJECT_FILE).encode(), None)
    if not handle:
        raise DatapathError(
            f"opening the BPF object: {os.strerror(ctypes.get_errno())}", place=str(OBJECT_FILE)
        )
    try:
        found: dict[str, int] = {}
        item = lib.bpf_object__next_map(handle, None)
        while item:
            name = lib.bpf_map__name(item).decode()
            if lib.bpf_map__is_internal(item):
                value = ctypes.c_uint32(1)  # .rodata holds `capturing` alone
                check(
                    lib.bpf_map__set_initial_value(item, ctypes.byref(value), 4), "setting .rodata"
                )
            elif name in PRIVATE:
                found[name] = item
            else:
                path = map_path(pin_dir, name)
                if not path.exists():
                    raise DatapathError("the datapath is not pinned here", place=str(path))
                # A map that is pinned there is used, not made anew.
                check(lib.bpf_map__set_pin_path(item, str(path).encode()), "naming a pin")
            item = lib.bpf_object__next_map(handle, item)
        check(
            lib.bpf_object__load(handle),
            "loading the BPF program again",
            place=str(OBJECT_FILE),
            remedy="restart the daemon if another version was installed meanwhile",
        )
        program = lib.bpf_object__find_program_by_name(handle, b"gossamer")
        return _Program(
            os.dup(lib.bpf_program__fd(program)),
            os.dup(lib.bpf_map__fd(found["cache"])),
            PerCpuArray(
                "drops", os.dup(lib.bpf_map__fd(found["drops"])), 8, len(DROP_REASONS)
            ),
        )
    finally:
        lib.bpf_object__close(handle)


def _read_drops(drops: PerCpuArray) -> tuple[str, ...]:
    """Why packets were dropped in this run, and forget it."""
    found = []
    for i, reason in enumerate(DROP_REASONS):
        (n,) = drops.sums(i)
        if n:
            found += [reason] * n
            drops.zero(i)
    return tuple(found)


def _clear(program: _Program) -> None:
    """Forget the path of this run: the next packet is to go through the tables too."""
    cache = cache_map(program.cache_fd)  # made anew each time: it is large
    for found in {place.set for place in places(cache, cache.read_all(), Head.VERSION)}:
        cache.zero(found)
