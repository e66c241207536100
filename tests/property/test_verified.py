"""How far the kernel's verifier walks through the programs: each start of the daemon waits for it."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from typing import Final

import pytest

from gossamer.datapath.datapath import Datapath
from gossamer.datapath.libbpf import check, lib

_LIMIT: Final = 1_000_000
"""What the kernel processes before it gives up (BPF_COMPLEXITY_LIMIT_INSNS)."""
_VERIFIED_INSNS: Final = 216
"""Offset in struct bpf_prog_info (linux/bpf.h)."""


def _verified(program_fd: int) -> int:
    info = ctypes.create_string_buffer(_VERIFIED_INSNS + 8)
    length = ctypes.c_uint32(len(info))
    asked = lib.bpf_obj_get_info_by_fd(program_fd, ctypes.byref(info), ctypes.byref(length))
    check(asked, "asking about a program")
    return int(struct.unpack_from("=I", info, _VERIFIED_INSNS)[0])


def test_the_verifier_stays_far_from_its_limit() -> None:
    # Kernel 6.1, which must load them too, walks about a third further than later ones.
    datapath = Datapath.open(Path(f"/sys/fs/bpf/verified-{os.getpid()}"), capturing=True)
    try:
        counts = [_verified(fd) for fd in (datapath.program_fd, datapath.uplink_fd)]
    finally:
        datapath.destroy()
    if not any(counts):
        pytest.skip("this kernel does not tell")
    assert all(0 < n < 0.5 * _LIMIT for n in counts), counts
