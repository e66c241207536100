"""The guest's root as a cpio archive: this machine's own programs, at their own paths.

The kernel Debian builds for clouds has no 9p, so the root is an initial RAM file system.  It is
made of lists of files, nothing is copied: programs with the libraries `ldd` finds for them, the
Python that runs this script with its library and virtual environment, and kernel modules.

usage: image.py system OUT      the programs and Python
       image.py checkout OUT    the files of this checkout, with what was built in it
       image.py modules OUT TREE RELEASE    kernel modules from an unpacked package
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAMS = """
    awk bash bpftool busybox cat cp cut date dmesg env ethtool find free grep head hostname id ip
    iperf3 kill ldd ls mkdir mktemp modprobe mount nft nproc ovs-appctl ovs-dpctl ovs-ofctl
    ovs-vsctl ovs-vswitchd ovsdb-client ovsdb-server ovsdb-tool ping ps rm sed setpriv sh sleep
    sort ss stty sync sysctl tail tc tcpdump tee timeout touch tr true umount uname unshare wc
"""
LISTED = (
    "/etc/group", "/etc/hosts", "/etc/iproute2", "/etc/ld.so.cache", "/etc/ld.so.conf",
    "/etc/ld.so.conf.d", "/etc/nsswitch.conf", "/etc/passwd", "/etc/protocols", "/etc/services",
    "/usr/lib/locale/C.utf8", "/usr/lib/tc", "/usr/share/iproute2", "/usr/share/openvswitch",
    "/usr/share/zoneinfo/UTC",
)  # fmt: skip
LEFT_OUT = """
    PIL __pycache__ config-3.11-x86_64-linux-gnu contourpy ensurepip fontTools idlelib lib2to3
    matplotlib mpl_toolkits mypy mypyc numpy numpy.libs pillow.libs pip ruff test tests tkinter
    turtledemo typeshed
"""
"""Folders of Python's that nothing in the guest needs; they are most of its bytes."""
MODULE_FOLDERS = ("net", "lib", "crypto", "arch/x86/crypto", "drivers/net")


class Archive:
    """Paths in the order the kernel needs them: folders and links before what is inside."""

    def __init__(self) -> None:
        self._seen: dict[str, None] = {}

    def add(self, path: Path) -> None:
        """A path, what it leads through, and where it leads to."""
        at = Path("/")
        parts = list(path.parts[1:])
        while parts:
            at = Path(os.path.normpath(at / parts.pop(0)))
            if str(at) == "/":
                continue
            self._seen.setdefault(str(at))
            if at.is_symlink():
                target = at.parent / os.readlink(at)
                parts = [*Path(os.path.normpath(target)).parts[1:], *parts]
                at = Path("/")

    def add_tree(self, top: Path) -> None:
        """A folder with all that is in it, less LEFT_OUT."""
        self.add(top)
        left_out = LEFT_OUT.split()
        for folder, folders, files in os.walk(top):
            folders[:] = [name for name in folders if name not in left_out]
            for name in (*folders, *files):
                if (Path(folder) / name).exists():
                    self.add(Path(folder) / name)

    def add_libraries(self) -> None:
        """What `ldd` finds for the programs and shared objects that are listed so far."""
        binaries = [p for p in self._seen if os.path.isfile(p) and _is_elf(p)]
        found: set[str] = set()
        for start in range(0, len(binaries), 100):
            done = subprocess.run(
                ["ldd", *binaries[start : start + 100]], capture_output=True, text=True, check=False
            )
            for line in done.stdout.splitlines():
                words = line.split()
                found.update(w for w in words[:3] if w.startswith("/") and not w.endswith(":"))
        for library in sorted(found):
            self.add(Path(library))

    def write(self, out: Path, root: Path = Path("/")) -> None:
        """The archive, with paths relative to `root`."""
        inside = (p for p in self._seen if Path(p).is_relative_to(root) and Path(p) != root)
        names = "\0".join(os.path.relpath(p, root) for p in inside)
        part = out.with_suffix(".part")
        with part.open("wb") as f:
            subprocess.run(
                ["cpio", "-o", "-H", "newc", "--quiet", "--null"],
                input=names.encode(), stdout=f, cwd=root, check=True,
            )  # fmt: skip
        part.rename(out)


def _is_elf(path: str) -> bool:
    with open(path, "rb") as f:
        return f.read(4) == b"\x7fELF"


def system(out: Path) -> None:
    """Programs, libraries, Python."""
    archive = Archive()
    search = os.environ["PATH"] + ":/usr/sbin:/sbin"
    for name in PROGRAMS.split():
        found = shutil.which(name, path=search)
        if found and not Path(found).is_relative_to(CHECKOUT):
            archive.add(Path(found))
    for top in LISTED:
        if os.path.isdir(top):
            archive.add_tree(Path(top))
        elif os.path.exists(top):
            archive.add(Path(top))
    for library in Path(f"/usr/lib/{os.uname().machine}-linux-gnu").glob("lib[bn][ps]*.so*"):
        if library.name.startswith(("libbpf", "libnss_")):  # found by name at run time
            archive.add(library)
    archive.add_tree(Path(sysconfig.get_path("stdlib")))
    archive.add_tree(Path(sys.prefix))
    archive.add(Path(sys.executable))
    archive.add_libraries()
    archive.write(out)


def checkout(out: Path) -> None:
    """What git knows or would add here, and what was built."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=CHECKOUT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    archive = Archive()
    built: Iterable[Path] = (
        *CHECKOUT.glob("src/**/*.bpf.o"), *CHECKOUT.glob("build/bench/*"), *CHECKOUT.glob("src/*.egg-info/*"),
    )  # fmt: skip
    for path in (*(CHECKOUT / name for name in listed if name), *built):
        if path.exists():
            archive.add(path)
    archive.write(out)


def modules(out: Path, tree: Path, release: str) -> None:
    """Network modules and their index; `tree` holds usr/lib/modules/RELEASE."""
    top = tree / "usr" / "lib" / "modules" / release
    archive = Archive()
    for path in top.glob("modules.*"):
        archive.add(path)
    for folder in MODULE_FOLDERS:
        if folder == "drivers/net":  # without the drivers of hardware
            for path in (top / "kernel" / folder).glob("*.ko"):
                archive.add(path)
        else:
            archive.add_tree(top / "kernel" / folder)
    archive.write(out, tree)


def main() -> None:
    """Command line."""
    kind, out, *rest = sys.argv[1:]
    if kind == "modules":
        modules(Path(out), Path(rest[0]), rest[1])
    else:
        {"system": system, "checkout": checkout}[kind](Path(out))


if __name__ == "__main__":
    main()
