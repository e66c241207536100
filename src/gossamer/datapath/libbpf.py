"""libbpf's C interface, as far as the datapath needs it (libbpf.so.1, ctypes)."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
from pathlib import Path
from typing import Any, Final

from gossamer.errors import DatapathError

BPF_TC_INGRESS: Final = 1
BPF_TC_EGRESS: Final = 2
BPF_TC_F_REPLACE: Final = 1
BPF_ANY: Final = 0
BPF_NOEXIST: Final = 1
BPF_F_MMAPABLE: Final = 1 << 10
MAP_TYPE_ARRAY: Final = 2

class MapInfo(ctypes.Structure):
    """The beginning of struct bpf_map_info."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
        ("ifindex", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("netns_dev", ctypes.c_uint64),
        ("netns_ino", ctypes.c_uint64),
        ("btf_id", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
    )


_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
RING_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_ubyte), ctypes.c_size_t
)


class TcHook(ctypes.Structure):
    """struct bpf_tc_hook."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("ifindex", ctypes.c_int),
        ("attach_point", ctypes.c_int),
        ("parent", ctypes.c_uint32),
        ("_pad", ctypes.c_size_t),
    )


class TcOptions(ctypes.Structure):
    """struct bpf_tc_opts."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("prog_fd", ctypes.c_int),
        ("flags", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("handle", ctypes.c_uint32),
        ("priority", ctypes.c_uint32),
        ("_pad", ctypes.c_size_t),
    )


class MapOptions(ctypes.Structure):
    """struct bpf_map_create_opts."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("btf_fd", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("map_extra", ctypes.c_uint64),
        ("numa_node", ctypes.c_uint32),
        ("map_ifindex", ctypes.c_uint32),
    )


class TestRunOptions(ctypes.Structure):
    """struct bpf_test_run_opts."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


def _load() -> Any:
    try:
        lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as e:
        raise DatapathError(f"libbpf: {e}", remedy="apt-get install libbpf1") from None
    pointer, int_, size, text = (
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_size_t,
        ctypes.c_char_p,
    )
    signatures: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "bpf_object__open_file": (pointer, (text, pointer)),
        "bpf_object__load": (int_, (pointer,)),
        "bpf_object__close": (None, (pointer,)),
        "bpf_object__next_map": (pointer, (pointer, pointer)),
        "bpf_object__find_map_by_name": (pointer, (pointer, text)),
        "bpf_object__find_program_by_name": (pointer, (pointer, text)),
        "bpf_map__name": (text, (pointer,)),
        "bpf_map__key_size": (ctypes.c_uint32, (pointer,)),
        "bpf_map__value_size": (ctypes.c_uint32, (pointer,)),
        "bpf_map__max_entries": (ctypes.c_uint32, (pointer,)),
        "bpf_obj_get_info_by_fd": (int_, (int_, pointer, pointer)),
        "bpf_map__fd": (int_, (pointer,)),
        "bpf_map__is_internal": (ctypes.c_bool, (pointer,)),
        "bpf_map__set_pin_path": (int_, (pointer, text)),
        "bpf_map__set_initial_value": (int_, (pointer, pointer, size)),
        "bpf_program__fd": (int_, (pointer,)),
        "bpf_program__pin": (int_, (pointer, text)),
        "bpf_obj_get": (int_, (text,)),
        "bpf_obj_pin": (int_, (int_, text)),
        "bpf_map_create": (int_, (int_, text, *[ctypes.c_uint32] * 3, pointer)),
        "bpf_map_get_fd_by_id": (int_, (ctypes.c_uint32,)),
        "bpf_btf_get_fd_by_id": (int_, (ctypes.c_uint32,)),
        "bpf_map_lookup_elem": (int_, (int_, pointer, pointer)),
        "bpf_map_update_elem": (int_, (int_, pointer, pointer, ctypes.c_uint64)),
        "bpf_map_delete_elem": (int_, (int_, pointer)),
        "bpf_map_update_batch": (int_, (int_, pointer, pointer, pointer, pointer)),
        "bpf_map_delete_batch": (int_, (int_, pointer, pointer, pointer)),
        "bpf_map_lookup_batch": (int_, (int_, pointer, pointer, pointer, pointer, pointer, pointer)),
        "bpf_map_get_next_key": (int_, (int_, pointer, pointer)),
        "bpf_tc_hook_create": (int_, (pointer,)),
        "bpf_tc_hook_destroy": (int_, (pointer,)),
        "bpf_tc_attach": (int_, (pointer, pointer)),
        "bpf_tc_detach": (int_, (pointer, pointer)),
        "bpf_tc_query": (int_, (pointer, pointer)),
        "bpf_prog_test_run_opts": (int_, (int_, pointer)),
        "ring_buffer__new": (pointer, (int_, RING_CALLBACK, pointer, pointer)),
        "ring_buffer__add": (int_, (pointer, int_, RING_CALLBACK, pointer)),
        "ring_buffer__consume": (int_, (pointer,)),
        "ring_buffer__epoll_fd": (int_, (pointer,)),
        "ring_buffer__free": (None, (pointer,)),
        "libbpf_set_print": (pointer, (pointer,)),
        "libbpf_num_possible_cpus": (int_, ()),
    }
    for name, (restype, argtypes) in signatures.items():
        function = getattr(lib, name)
        function.restype = restype
        function.argtypes = argtypes
    # What libbpf would print, the verifier's log above all, is asked for where it is wanted.
    lib.libbpf_set_print(None)
    return lib


lib: Final[Any] = _load()


def check(result: int, what: str, *, place: str = "", remedy: str = "") -> int:
    """`result`, where it is no error; else DatapathError (libbpf returns -errno)."""
    if result >= 0:
        return result
    code = -result if result != -1 else ctypes.get_errno()
    raise DatapathError(f"{what}: {os.strerror(code)}", place=place, remedy=remedy)


def num_cpus() -> int:
    """CPUs the kernel may ever bring up: how many values a per-CPU map holds."""
    return check(lib.libbpf_num_possible_cpus(), "counting CPUs")


def object_get(path: Path) -> int | None:
    """File descriptor of what is pinned at `path`, None where nothing is."""
    fd: int = lib.bpf_obj_get(str(path).encode())
    if fd < 0:
        code = -fd if fd != -1 else ctypes.get_errno()
        if code == errno.ENOENT:
            return None
        raise DatapathError(f"opening a pinned object: {os.strerror(code)}", place=str(path))
    return fd


def map_info(fd: int) -> MapInfo:
    """What kind of map a file descriptor is of.  Raises DatapathError where it is of none."""
    info = MapInfo()
    length = ctypes.c_uint32(ctypes.sizeof(info))
    result = lib.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(length))
    check(result, "asking about a map")
    return info
