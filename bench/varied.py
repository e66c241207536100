"""Test runs of packets that differ, or that do not find the datapath in the nearest caches (`vary.bpf.c`)."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

from bench.peers import BUILD, HERE, sh
from gossamer.datapath import libbpf
from gossamer.datapath.injection import run_once
from gossamer.datapath.libbpf import check, lib

_RUNS: Final = 25
_REPEAT: Final = 4000


class Varied:
    """A datapath behind the program that varies the packet, which arrives by one device."""

    def __init__(self, program_fd: int, ifindex: int, packet: bytes) -> None:
        self._ifindex = ifindex
        self._packet = packet
        BUILD.mkdir(parents=True, exist_ok=True)
        path = BUILD / "vary.bpf.o"
        sh("clang", "-O2", "-g", "-target", "bpf", f"-I/usr/include/{os.uname().machine}-linux-gnu",
           "-c", str(HERE / "vary.bpf.c"), "-o", str(path))  # fmt: skip
        handle = lib.bpf_object__open_file(str(path).encode(), None)
        check(lib.bpf_object__load(handle), "loading the program that varies packets")
        self._fd = lib.bpf_program__fd(lib.bpf_object__find_program_by_name(handle, b"vary"))
        self._turns = self._map(handle, b"turns")
        self._datapath = self._map(handle, b"datapath")
        self._program = program_fd.to_bytes(4, "little")
        self._put(self._datapath, self._program)

    def cost(self, n_flows: int) -> int:
        """The least a packet costs, in ns, where `n_flows` five-tuples come in turn; 0: each new."""
        self.turn(n_flows)
        if n_flows:
            self.once(4 * n_flows)
        return min(self.once(_REPEAT) for _ in range(_RUNS))

    def cost_after_others(self, packet: bytes, n_flows: int = 0) -> int:
        """The least a packet costs, in ns, where other code has run before each, with other data.

        `n_flows` five-tuples come in turn, 0: the packet as it is.
        """
        self._put(self._turns, struct.pack("=IIII", n_flows, 0, not n_flows, 1))
        self.once(4 * n_flows + 10, packet)
        behind, others = [], []
        for _ in range(_RUNS):
            behind.append(self.once(_REPEAT, packet))
            self._delete(self._datapath)
            others.append(self.once(_REPEAT, packet))
            self._put(self._datapath, self._program)
        return min(behind) - min(others)

    def turn(self, n_flows: int) -> None:
        """Begin again with the first of so many five-tuples; 0: each is new."""
        self._put(self._turns, struct.pack("=IIII", n_flows, 0, 0, 0))

    def once(self, repeat: int, packet: bytes | None = None) -> int:
        """Nanoseconds a packet, of so many that come next; `packet` instead of the usual one."""
        packet = packet or self._packet
        return run_once(self._fd, packet, mark=0, ifindex=self._ifindex, repeat=repeat)

    @staticmethod
    def _map(handle: int, name: bytes) -> int:
        return int(lib.bpf_map__fd(lib.bpf_object__find_map_by_name(handle, name)))

    @staticmethod
    def _put(fd: int, value: bytes) -> None:
        key, image = ctypes.c_uint32(0), ctypes.create_string_buffer(value, len(value))
        check(
            lib.bpf_map_update_elem(fd, ctypes.byref(key), image, libbpf.BPF_ANY),
            "setting up the program that varies packets",
        )

    @staticmethod
    def _delete(fd: int) -> None:
        key = ctypes.c_uint32(0)
        check(
            lib.bpf_map_delete_elem(fd, ctypes.byref(key)),
            "setting up the program that varies packets",
        )
