"""Let packets into the program by a test run of it (BPF_PROG_TEST_RUN).

What a helper of connections has read, and perhaps rewritten, goes on where it
was held (bpf/held.h); the program knows it by its mark and the id beside it, and
does not hold it again.  A test run has no device to redirect to, so the last
copy leaves as the others do.
"""

from __future__ import annotations

import ctypes
from typing import Final

from gossamer.datapath import libbpf
from gossamer.datapath.layout import CAPTURE_ARRIVED, INJECT_ARRIVED
from gossamer.datapath.libbpf import check, lib

_SKB_SIZE: Final = 192
"""sizeof(struct __sk_buff); the kernel takes what it knows of it."""
_MARK_OFFSET: Final = 8
_IFINDEX_OFFSET: Final = 40
_CB_OFFSET: Final = 48
_BEGINNING: Final = 3072
"""Bytes that are given of a packet which is too long."""


def run_once(program_fd: int, packet: bytes, *, mark: int, ifindex: int = 0, repeat: int = 1) -> int:
    """Run a packet through the program; how long it took, in ns.

    At least 14 bytes, at most about 3,500: the kernel puts it into one page.
    Raises DatapathError where the kernel refuses.
    """
    return int(_run(program_fd, packet, mark, ifindex, repeat).duration)


def verdict(program_fd: int, packet: bytes) -> int:
    """What a program returns for a packet: TC_ACT_* (linux/pkt_cls.h)."""
    result = int(_run(program_fd, packet, 0, 0, 1).retval)
    return result - (1 << 32) if result >> 31 else result


def _run(
    program_fd: int, packet: bytes, mark: int, ifindex: int, repeat: int, beside: int = 0
) -> libbpf.TestRunOptions:
    image = bytearray(_SKB_SIZE)
    image[_MARK_OFFSET : _MARK_OFFSET + 4] = mark.to_bytes(4, "little")
    image[_IFINDEX_OFFSET : _IFINDEX_OFFSET + 4] = ifindex.to_bytes(4, "little")
    image[_CB_OFFSET : _CB_OFFSET + 4] = beside.to_bytes(4, "little")
    context = ctypes.create_string_buffer(bytes(image), _SKB_SIZE)
    data = ctypes.create_string_buffer(packet, len(packet))
    options = libbpf.TestRunOptions(
        sz=ctypes.sizeof(libbpf.TestRunOptions),
        # cast() would make a ring of objects, of which very many wait for the garbage collector.
        data_in=ctypes.addressof(data),
        data_size_in=len(packet),
        ctx_in=ctypes.addressof(context),
        ctx_size_in=_SKB_SIZE,
        repeat=repeat,
    )
    check(lib.bpf_prog_test_run_opts(program_fd, ctypes.byref(options)), "test-running a packet")
    return options


def go_on(program_fd: int, held_id: int, ifindex: int, packet: bytes, *, capturing: bool) -> None:
    """Let a held packet go on, whose device is `ifindex`.

    Raises DatapathError where the kernel refuses: the device is gone, or the
    packet too long.
    """
    mark = CAPTURE_ARRIVED if capturing else INJECT_ARRIVED
    _run(program_fd, packet, mark, 0 if capturing else ifindex, 1, held_id)


def arrive(program_fd: int, port_id: int, ifindex: int, packet: bytes, *, capturing: bool) -> None:
    """Let a packet of the daemon's arrive at a port, whose device is `ifindex`; it is held for no helper.

    Raises DatapathError where the kernel refuses: the device is gone, or the
    packet too long.
    """
    mark = CAPTURE_ARRIVED | port_id if capturing else INJECT_ARRIVED
    run_once(program_fd, packet, mark=mark, ifindex=0 if capturing else ifindex)


def arrive_by_headers(
    program_fd: int, grow_fd: int, port_id: int, ifindex: int, packet: bytes, *, capturing: bool
) -> None:
    """The same for a packet of which what stands behind the headers does not matter: of one of more than
    3,072 bytes the kernel sees zeros there, and it may have about 16,000 (SKB_MAX_ALLOC).  `grow_fd` is
    the program for those.
    """
    if len(packet) <= _BEGINNING:
        arrive(program_fd, port_id, ifindex, packet, capturing=capturing)
        return
    mark = CAPTURE_ARRIVED | port_id if capturing else INJECT_ARRIVED
    ifindex = 0 if capturing else ifindex
    _run(grow_fd, packet[:_BEGINNING], mark, ifindex, 1, len(packet))
