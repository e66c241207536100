"""Put the program on a device, through TC's clsact hooks (tc-bpf(8))."""

from __future__ import annotations

import ctypes
import errno

from gossamer.datapath.libbpf import (
    BPF_TC_EGRESS,
    BPF_TC_F_REPLACE,
    BPF_TC_INGRESS,
    TcHook,
    TcOptions,
    check,
    lib,
)
from gossamer.datapath.settings import PortKind

# A place of our own among the filters of a device, so that others' stay untouched.
HANDLE = 1
PRIORITY = 0x6055


def attach(ifindex: int, kind: PortKind, program_fd: int) -> None:
    """Run the program for what enters the switch by this device; replaces ours, atomically.

    Raises DatapathError where the device is gone.
    """
    hook = _hook(ifindex, kind)
    created = lib.bpf_tc_hook_create(ctypes.byref(hook))
    if created < 0 and created != -errno.EEXIST:
        check(created, "creating the clsact hook", place=f"ifindex={ifindex}")
    options = TcOptions(
        sz=ctypes.sizeof(TcOptions),
        prog_fd=program_fd,
        flags=BPF_TC_F_REPLACE,
        handle=HANDLE,
        priority=PRIORITY,
    )
    check(
        lib.bpf_tc_attach(ctypes.byref(hook), ctypes.byref(options)),
        "attaching the datapath",
        place=f"ifindex={ifindex}",
    )


def detach(ifindex: int, kind: PortKind) -> None:
    """Take the program off a device; nothing where device or program is gone."""
    hook = _hook(ifindex, kind)
    options = TcOptions(sz=ctypes.sizeof(TcOptions), handle=HANDLE, priority=PRIORITY)
    result = lib.bpf_tc_detach(ctypes.byref(hook), ctypes.byref(options))
    if result < 0 and -result not in (errno.ENOENT, errno.ENODEV, errno.EINVAL):
        check(result, "detaching the datapath", place=f"ifindex={ifindex}")


def _hook(ifindex: int, kind: PortKind) -> TcHook:
    point = BPF_TC_EGRESS if kind is PortKind.INTERNAL else BPF_TC_INGRESS
    return TcHook(sz=ctypes.sizeof(TcHook), ifindex=ifindex, attach_point=point)
