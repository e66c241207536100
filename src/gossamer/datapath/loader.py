"""Load the BPF programs and pin them with their maps, or take over what is pinned.

Under the pin directory: ``maps-V/NAME``, ``conntrack-V/NAME`` and ``program-HASH``, V
being the layout's version and HASH that of the object file.  The same object is not
loaded again; a new one is loaded over the same maps, and ports are moved to
it one by one, each atomically.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import os
from dataclasses import dataclass
from pathlib import Path

from gossamer.datapath import layout, libbpf
from gossamer.datapath.libbpf import check, lib
from gossamer.errors import DatapathError

OBJECT_FILE = Path(__file__).with_name("gossamer.bpf.o")

MAP_NAMES = (
    "ports",
    "port_by_ifindex",
    "port_by_low_ifindex",
    "port_by_ofport",
    "trunks",
    "port_counters",
    "bridges",
    "members",
    "subtables",
    "tables",
    "table_index",
    "rule_filters",
    "rules_3",
    "rules_7",
    "rules_15",
    "rules_48",
    "flow_counters",
    "table_misses",
    "small_programs",
    "large_programs",
    "groups",
    "buckets",
    "meters",
    "meter_bands",
    "meter_states",
    "meter_counts",
    "cache_masks",
    "cache",
    "cache_tags",
    "fdb",
    "shortcuts",
    "punts",
    "punt_buckets",
    "police_buckets",
    "drops",
    "tunnels",
    "endpoints",
    "tunnel_udp_ports",
    "tunnel_config",
    "tunnel_options",
    "local_addresses",
    "underlay_sources",
    "uplinks",
    "entrances",
    "states",
    "passes",
    "sets_aside",
    "nesting",
    "ct_works",
    "nat_works",
    "transports",
    "ct_fragments",
    "no_fragments",
    "held",
)
CT_MAP_NAMES = (
    "ct_index",
    "ct_chunks",
    "ct_zones",
    "ct_timeouts",
    "ct_config",
    "ct_shared",
    "ct_nat_rules",
    "ct_parents",
    "ct_expectations",
    "ct_sequences",
    "ct_counters",
    "ct_events",
    "ct_room",
)
"""Maps that live on when the layout of the others changes: established connections go on."""

_WORKING = frozenset(
    ("states", "passes", "sets_aside", "nesting", "ct_works", "nat_works", "transports")
)
"""Nothing in them outlives a packet: other programs get others, in whatever layout they like."""
_FORGETTABLE = frozenset(("ct_fragments", "no_fragments", "held"))
"""What is in them is of use for some seconds; it is let go of where its layout changes."""

_ENTRANCES = "entrances"
"""By this, programs on uplinks go on to the one that works with the same maps.  Other programs get another;
theirs stays pinned under another name while devices have them, since the kernel empties what nobody holds."""

PROGRAM_NAMES = (
    "gossamer",
    "gossamer_uplink",
    "gossamer_cutter",
    "gossamer_forget",
    "gossamer_inherit",
    "gossamer_grow",
)
"""In the order in which `Loaded` has them."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """File descriptors of the programs and their maps; `taken_over` where maps were there before,
    `capturing` where outputs go to the ring of punts."""

    program_fd: int
    uplink_fd: int
    """The program on devices that tunnels run over."""
    cutter_fd: int
    """The program that sends outer packets in fragments."""
    forget_fd: int
    """The program that removes connections."""
    inherit_fd: int
    """The program that takes over connections of another layout."""
    grow_fd: int
    """The first one, for packets of which only the beginning is there."""
    map_fds: dict[str, int]
    taken_over: bool
    capturing: bool = False


def map_path(pin_dir: Path, name: str) -> Path:
    """Where a map is pinned."""
    if name in CT_MAP_NAMES:
        return pin_dir / f"conntrack-{layout.CT_LAYOUT_VERSION}" / name
    return pin_dir / f"maps-{layout.LAYOUT_VERSION}" / name


def load(pin_dir: Path, *, object_file: Path = OBJECT_FILE, capturing: bool = False) -> Loaded:
    """The datapath pinned under `pin_dir`, loaded where it is not there yet.

    Raises DatapathError where the kernel refuses (no BPF, no bpffs, verifier).
    """
    digest = _digest(object_file, capturing)
    paths = {name: pin_dir / f"program-{digest}-{name}" for name in PROGRAM_NAMES}
    begun = map_path(pin_dir, MAP_NAMES[0]).parent
    if begun.exists() and any(folder.name.startswith("maps-") for folder in _earlier(pin_dir)):
        # Of a daemon that was killed before its ports changed from another layout.
        _remove_folder(begun)
    pinned = _pinned_maps(pin_dir)
    if len(pinned) == len(MAP_NAMES) + len(CT_MAP_NAMES):
        found = [libbpf.object_get(path) for path in paths.values()]
        present = [fd for fd in found if fd is not None]
        if len(present) == len(paths):
            return _loaded(present, pinned, True, capturing)
        for fd in present:
            os.close(fd)
        for path in paths.values():
            path.unlink(missing_ok=True)
    for name in (MAP_NAMES[0], CT_MAP_NAMES[0]):
        map_path(pin_dir, name).parent.mkdir(parents=True, exist_ok=True)
    for fd in pinned.values():
        os.close(fd)
    program_fds, map_fds = _load_object(object_file, pin_dir, paths, capturing)
    for old in pin_dir.glob("program-*"):
        if old not in paths.values():
            old.unlink()
    taken_over = pinned.keys() >= set(MAP_NAMES) - _WORKING - _FORGETTABLE
    return _loaded(program_fds, map_fds, taken_over, capturing)


def _loaded(
    program_fds: list[int], map_fds: dict[str, int], taken_over: bool, capturing: bool
) -> Loaded:
    program, uplink, cutter, forget, inherit, grow = program_fds
    return Loaded(
        *(program, uplink, cutter, forget, inherit, grow),
        map_fds, taken_over=taken_over, capturing=capturing,
    )  # fmt: skip


def join(loaded: Loaded) -> None:
    """Have packets that come out of tunnels go on by these programs."""
    program, first = ctypes.c_uint32(loaded.program_fd), ctypes.c_uint32(0)
    fd = loaded.map_fds[_ENTRANCES]
    result = lib.bpf_map_update_elem(
        fd, ctypes.byref(first), ctypes.byref(program), libbpf.BPF_ANY
    )
    check(result, "joining the programs")


def earlier_connections(pin_dir: Path) -> Path | None:
    """Where maps of connections of another layout are pinned: the latest ones; None: nowhere."""
    found = [
        (int(number), folder)
        for folder in pin_dir.glob("conntrack-*")
        if (number := folder.name.partition("-")[2]).isdigit()
        and int(number) != layout.CT_LAYOUT_VERSION
    ]
    return max(found)[1] if found else None


def has_earlier(pin_dir: Path) -> bool:
    """Whether maps of other layouts are pinned, whose programs ports run."""
    return bool(_earlier(pin_dir))


def remove_earlier(pin_dir: Path) -> None:
    """Remove the pins of maps of other layouts and programs, which no device runs any more."""
    for folder in _earlier(pin_dir):
        _remove_folder(folder)
    entrances = map_path(pin_dir, _ENTRANCES)
    for earlier in entrances.parent.glob(f"{_ENTRANCES}-*"):
        earlier.unlink()


def _earlier(pin_dir: Path) -> list[Path]:
    own = {map_path(pin_dir, name).parent for name in (MAP_NAMES[0], CT_MAP_NAMES[0])}
    found = (folder for pattern in ("maps-*", "conntrack-*") for folder in pin_dir.glob(pattern))
    return [folder for folder in found if folder not in own]


def unpin(pin_dir: Path) -> None:
    """Remove every pin; what ports still run lives until it is detached."""
    for pattern in ("maps-*", "conntrack-*"):
        for folder in pin_dir.glob(pattern):
            _remove_folder(folder)
    for path in pin_dir.glob("program-*"):
        path.unlink()
    if pin_dir.exists():
        pin_dir.rmdir()


def _remove_folder(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def mount_bpffs(mount_point: Path = Path("/sys/fs/bpf")) -> None:
    """Mount the BPF file system where it is not mounted yet."""
    if os.path.ismount(mount_point):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", str(mount_point).encode(), b"bpf", 0, None) != 0:
        raise DatapathError(
            f"mounting bpffs: {os.strerror(ctypes.get_errno())}",
            place=str(mount_point),
            remedy="run as root, on a kernel with CONFIG_BPF_SYSCALL",
        )


def _digest(object_file: Path, capturing: bool) -> str:
    try:
        data = object_file.read_bytes()
    except OSError as e:
        raise DatapathError(
            f"reading the BPF object: {e.strerror}", place=str(object_file), remedy="run make build"
        ) from None
    return hashlib.sha256(data + bytes([capturing])).hexdigest()[:16]


def _pinned_maps(pin_dir: Path) -> dict[str, int]:
    """The maps that are pinned, in our layouts."""
    found = {name: libbpf.object_get(map_path(pin_dir, name)) for name in (*MAP_NAMES, *CT_MAP_NAMES)}
    return {name: fd for name, fd in found.items() if fd is not None}


def _check_pinned(path: Path, map_pointer: int) -> None:
    """See that the map pinned at `path`, if one is, is of the kind that the object wants.

    One that is not is unpinned where nobody needs what is in it; else DatapathError is raised.
    """
    if path.name in _WORKING:
        path.unlink(missing_ok=True)
    elif path.name == _ENTRANCES and path.exists():
        path.rename(_free_name(path))
    fd = libbpf.object_get(path)
    if fd is None:
        return
    info = libbpf.map_info(fd)
    os.close(fd)
    have = (info.key_size, info.value_size, info.max_entries)
    wanted = (
        lib.bpf_map__key_size(map_pointer),
        lib.bpf_map__value_size(map_pointer),
        lib.bpf_map__max_entries(map_pointer) or info.max_entries,
    )
    if have != wanted and path.name in _FORGETTABLE:
        path.unlink()
    elif have != wanted:
        raise DatapathError(
            f"the pinned map has {have[2]} entries of {have[0]} + {have[1]} bytes, "
            f"these programs want {wanted[2]} of {wanted[0]} + {wanted[1]}",
            place=str(path),
            remedy="another version left it: end that one with `ovs-appctl exit --cleanup`, or "
            f"remove {path.parent.parent}, which ends what is still forwarded by it",
        )


def _free_name(path: Path) -> Path:
    """Another name beside it."""
    names = (path.with_name(f"{path.name}-{n}") for n in itertools.count())
    return next(name for name in names if not name.exists())


def _load_object(
    object_file: Path, pin_dir: Path, program_paths: dict[str, Path], capturing: bool
) -> tuple[list[int], dict[str, int]]:
    handle = lib.bpf_object__open_file(str(object_file).encode(), None)
    if not handle:
        raise DatapathError(
            f"opening the BPF object: {os.strerror(ctypes.get_errno())}", place=str(object_file)
        )
    try:
        map_pointers: dict[str, int] = {}
        item = lib.bpf_object__next_map(handle, None)
        while item:
            name = lib.bpf_map__name(item).decode()
            if lib.bpf_map__is_internal(item):
                # The one internal map is .rodata, whose one variable is `capturing`.
                value = ctypes.c_uint32(capturing)
                check(
                    lib.bpf_map__set_initial_value(item, ctypes.byref(value), 4),
                    "setting .rodata",
                )
            else:
                map_pointers[name] = item
                path = map_path(pin_dir, name)
                _check_pinned(path, item)
                result = lib.bpf_map__set_pin_path(item, str(path).encode())
                check(result, "naming a pin", place=name)
            item = lib.bpf_object__next_map(handle, item)
        missing = {*MAP_NAMES, *CT_MAP_NAMES} ^ set(map_pointers)
        if missing:
            raise DatapathError(
                f"maps of the object and the daemon differ: {', '.join(sorted(missing))}",
                place=str(object_file),
                remedy="run make build",
            )
        check(
            lib.bpf_object__load(handle),
            "loading the BPF programs",
            place=str(object_file),
            remedy="root and a kernel of 6.1 or later are needed; see docs/architecture.md",
        )
        program_fds = []
        for name, path in program_paths.items():
            program = lib.bpf_object__find_program_by_name(handle, name.encode())
            # The same programs may be pinned with other maps: of another layout, or some of them gone.
            path.unlink(missing_ok=True)
            check(lib.bpf_program__pin(program, str(path).encode()), "pinning a program")
            program_fds.append(os.dup(lib.bpf_program__fd(program)))
        fds = {name: os.dup(lib.bpf_map__fd(p)) for name, p in map_pointers.items()}
    finally:
        lib.bpf_object__close(handle)
    return program_fds, fds
