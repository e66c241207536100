"""Put the program on a device, through TC's clsact hooks (tc-bpf(8))."""

from __future__ import annotations

import ctypes
import errno
import socket

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
from gossamer.errors import DatapathError

# A place of our own among the filters of a device, so that others' stay untouched.
HANDLE = 1
PRIORITY = 0x6055
UPLINK_PRIORITY = 0x6054
"""Before ports: a device may be both."""


def attach(ifindex: int, kind: PortKind, program_fd: int) -> None:
    """Run the program for what enters the switch by this device; replaces ours, atomically.

    Raises DatapathError where the device is gone.
    """
    _attach(_hook(ifindex, kind), program_fd, PRIORITY)


def attach_if_there(ifindex: int, kind: PortKind, program_fd: int) -> None:
    """The same; nothing where the device is gone."""
    _attach_if_there(_hook(ifindex, kind), program_fd, PRIORITY)


def detach(ifindex: int, kind: PortKind) -> None:
    """Take the program off a device; nothing where device or program is gone."""
    _detach(_hook(ifindex, kind), PRIORITY)


def attach_uplink(ifindex: int, program_fd: int) -> None:
    """Run the program for what arrives at a device that tunnels run over.

    Raises DatapathError where the device is gone.
    """
    _attach(_hook(ifindex, PortKind.DEVICE), program_fd, UPLINK_PRIORITY)


def attach_uplink_if_there(ifindex: int, program_fd: int) -> None:
    """The same; nothing where the device is gone."""
    _attach_if_there(_hook(ifindex, PortKind.DEVICE), program_fd, UPLINK_PRIORITY)


def detach_uplink(ifindex: int) -> None:
    """Take it off again; nothing where device or program is gone."""
    _detach(_hook(ifindex, PortKind.DEVICE), UPLINK_PRIORITY)


def _attach(hook: TcHook, program_fd: int, priority: int) -> None:
    ifindex = hook.ifindex
    created = lib.bpf_tc_hook_create(ctypes.byref(hook))
    if created < 0 and created != -errno.EEXIST:
        check(created, "creating the clsact hook", place=f"ifindex={ifindex}")
    options = TcOptions(
        sz=ctypes.sizeof(TcOptions),
        prog_fd=program_fd,
        flags=BPF_TC_F_REPLACE,
        handle=HANDLE,
        priority=priority,
    )
    check(
        lib.bpf_tc_attach(ctypes.byref(hook), ctypes.byref(options)),
        "attaching the datapath",
        place=f"ifindex={ifindex}",
    )


def _attach_if_there(hook: TcHook, program_fd: int, priority: int) -> None:
    try:
        _attach(hook, program_fd, priority)
    except DatapathError:
        if _is_there(hook.ifindex):
            raise


def _is_there(ifindex: int) -> bool:
    try:
        socket.if_indextoname(ifindex)
    except OSError:
        return False
    return True


def _detach(hook: TcHook, priority: int) -> None:
    options = TcOptions(sz=ctypes.sizeof(TcOptions), handle=HANDLE, priority=priority)
    result = lib.bpf_tc_detach(ctypes.byref(hook), ctypes.byref(options))
    if result < 0 and -result not in (errno.ENOENT, errno.ENODEV, errno.EINVAL):
        check(result, "detaching the datapath", place=f"ifindex={hook.ifindex}")


def _hook(ifindex: int, kind: PortKind) -> TcHook:
    point = BPF_TC_EGRESS if kind is PortKind.INTERNAL else BPF_TC_INGRESS
    return TcHook(sz=ctypes.sizeof(TcHook), ifindex=ifindex, attach_point=point)
