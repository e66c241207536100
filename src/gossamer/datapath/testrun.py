"""Run single packets through the loaded program (BPF_PROG_TEST_RUN), and see where they go.

Needs a datapath opened with ``capturing=True``: its program writes outputs to
the punt ring instead of devices, and takes the ingress port from skb->mark.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from gossamer.datapath import libbpf
from gossamer.datapath.datapath import Datapath
from gossamer.datapath.libbpf import check, lib
from gossamer.datapath.settings import Punt

_SKB_SIZE = 192
"""sizeof(struct __sk_buff); the kernel takes what it knows of it."""
_MARK_OFFSET = 8


@dataclass(frozen=True, slots=True)
class Captured:
    """A packet output to a port, or punted (`punt` is set, `port_id` 0)."""

    port_id: int
    data: bytes
    punt: Punt | None = None


class TestRun:
    """Feeds packets to a capturing datapath."""

    __test__ = False  # not a test, whatever its name

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self.duration_ns = 0
        """Time of the last run, a packet."""

    def run(self, port_id: int, packet: bytes, repeat: int = 1) -> list[Captured]:
        """What comes of a packet that enters by a port; at least 14 bytes long."""
        context = ctypes.create_string_buffer(
            bytes(_MARK_OFFSET) + port_id.to_bytes(4, "little"), _SKB_SIZE
        )
        data = ctypes.create_string_buffer(packet, len(packet))
        options = libbpf.TestRunOptions(
            sz=ctypes.sizeof(libbpf.TestRunOptions),
            data_in=ctypes.cast(data, ctypes.c_void_p),
            data_size_in=len(packet),
            ctx_in=ctypes.cast(context, ctypes.c_void_p),
            ctx_size_in=_SKB_SIZE,
            repeat=repeat,
        )
        check(
            lib.bpf_prog_test_run_opts(self._datapath.program_fd, ctypes.byref(options)),
            "test-running a packet",
        )
        self.duration_ns = options.duration
        return [
            Captured(to_port, punt.data) if to_port else Captured(0, punt.data, punt)
            for punt, to_port in self._datapath.read_records()
        ]
