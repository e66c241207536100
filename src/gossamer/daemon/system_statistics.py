"""Open_vSwitch.statistics: processors, load, memory, file systems and the daemons (ovs-vswitchd.conf.db(5))."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

_PAGE_KB: Final = os.sysconf("SC_PAGE_SIZE") // 1024
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_OF_NO_DISK: Final = frozenset(
    ("autofs", "cgroup", "cgroup2", "bpf", "debugfs", "devpts", "devtmpfs", "fusectl", "hugetlbfs",
     "iso9660", "mqueue", "nsfs", "proc", "pstore", "ramfs", "securityfs", "sysfs", "tmpfs",
     "tracefs")
)  # fmt: skip


def read(rundir: Path) -> dict[str, str]:
    """All of them, as they are now; the database's server has its pid file in `rundir`."""
    load = ",".join(f"{value:.2f}" for value in os.getloadavg())
    out = {
        "cpu": str(os.cpu_count() or 1),
        "load_average": load,
        "memory": _memory(),
        "file_systems": _file_systems(),
    }
    # Of ourselves without a look into our pid file: its lock would be gone with the file closed.
    out["process_ovs-vswitchd"] = _process(os.getpid())
    database = rundir / "ovsdb-server.pid"
    text = database.read_text().strip() if database.exists() else ""
    out["process_ovsdb-server"] = _process(int(text)) if text.isdigit() else ""
    return {key: value for key, value in out.items() if value}


def _memory() -> str:
    """Total, used, cached, total swap, used swap; KiB (proc(5), /proc/meminfo)."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    kb = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    cached = kb["Buffers"] + kb["Cached"]
    swap = kb["SwapTotal"]
    used = kb["MemTotal"] - kb["MemFree"]
    return f"{kb['MemTotal']},{used},{cached},{swap},{swap - kb['SwapFree']}"


def _file_systems() -> str:
    """Mount point, size and use in KiB of each file system on a disk."""
    out: dict[str, str] = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        device, point, kind, *_ = line.split()
        if kind in _OF_NO_DISK or device in out:
            continue
        point = point.encode().decode("unicode_escape")
        try:
            found = os.statvfs(point)
        except OSError:
            continue  # not ours to look into
        if found.f_blocks:
            unit = found.f_frsize
            used = found.f_blocks - found.f_bfree
            out[device] = f"{point},{found.f_blocks * unit // 1024},{used * unit // 1024}"
    return " ".join(out.values())


def _process(pid: int) -> str:
    """Virtual and resident memory in KiB, time of processors, crashes, two times it runs since, in
    ms, and the processor (proc(5), /proc/PID/stat); "" where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_KB
    except OSError:
        return ""
    cpu_ms = (int(fields[11]) + int(fields[12])) * 1000 // _TICKS
    since_ms = int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000) - int(fields[19]) * 1000 // _TICKS
    virtual = int(fields[20]) // 1024
    return f"{virtual},{resident},{cpu_ms},0,{since_ms},{since_ms},{fields[36]}"
