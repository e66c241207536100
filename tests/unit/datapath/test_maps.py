"""Maps that are not what the daemon takes them for."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossamer.datapath import libbpf, loader
from gossamer.datapath.maps import HashMap, MappedArray, PerCpuArray
from gossamer.errors import DatapathError

_HASH = 1


@pytest.fixture
def hash_fd() -> Iterator[int]:
    """A hash map of 8 entries of 4 + 16 bytes."""
    import os

    create = libbpf.lib.bpf_map_create
    create.restype = ctypes.c_int
    create.argtypes = (ctypes.c_int, ctypes.c_char_p, *[ctypes.c_uint32] * 3, ctypes.c_void_p)
    fd = create(_HASH, b"test", 4, 16, 8, None)
    if fd < 0:
        pytest.skip("no BPF here")
    yield fd
    os.close(fd)


def test_a_map_of_the_expected_shape_is_taken(hash_fd: int) -> None:
    a_map = HashMap("test", hash_fd, 4, 16)
    a_map.put(b"abcd", bytes(16))
    assert a_map.get(b"abcd") == bytes(16)


def test_a_map_of_another_version_is_told_with_both_shapes(hash_fd: int) -> None:
    with pytest.raises(DatapathError, match=r"map=test: it has 4 \+ 16 bytes.*4 \+ 24") as e:
        HashMap("test", hash_fd, 4, 24)
    assert "different versions" in e.value.remedy
    with pytest.raises(DatapathError, match=r"it has 8 entries of 4 \+ 16 bytes.* 9 entries of"):
        MappedArray("test", hash_fd, 16, 9)
    with pytest.raises(DatapathError, match=r"the daemon expects 8 entries of 4 \+ 8 bytes"):
        PerCpuArray("test", hash_fd, 8, 8)


def test_programs_are_not_loaded_over_a_pinned_map_of_another_shape(
    hash_fd: int, tmp_path: Path
) -> None:
    loader.mount_bpffs()
    pin_dir = Path("/sys/fs/bpf/gossamer-test-maps")
    path = loader.map_path(pin_dir, "fdb")
    path.parent.mkdir(parents=True)
    try:
        assert libbpf.lib.bpf_obj_pin(hash_fd, str(path).encode()) == 0
        with pytest.raises(DatapathError, match=r"fdb: the pinned map has 8 entries of 4 \+ 16"):
            loader.load(pin_dir)
    finally:
        loader.unpin(pin_dir)
