"""The oracle at length: ``python -m tests.property.nightly 100000`` (root, as BPF is).

Random packets in random worlds go through the reference pipeline and the BPF
programs, whose outputs, packet-ins, counters and learned addresses must be the
same.  A disagreement is made small and stored in tests/property/cases/, which
every run replays first.  Exits 1 when there was one.

It runs in a mount namespace of its own with its own BPF file system, so that
nothing stays and no switch of this host is met.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from gossamer.datapath.datapath import Datapath
from gossamer.errors import DatapathError
from tests.property import connections
from tests.property.case import Case, from_json, to_json
from tests.property.compare import disagreement
from tests.property.features import FEATURES
from tests.property.generate import case
from tests.property.in_kernel import open_datapath
from tests.property.shrink import shrink

PACKETS: Final = 20
"""Packets of one world."""
CASES: Final = Path(__file__).with_name("cases")
_SOURCES: Final = Path(__file__).parents[2] / "bpf"
_CLONE_NEWNS: Final = 0x00020000
_MS_REC_PRIVATE: Final = 0x4000 | 0x40000


def isolate() -> Path:
    """Leave the host's mounts; returns the directory of a BPF file system that is ours alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    place = Path("/sys/fs/bpf")
    if (
        libc.unshare(_CLONE_NEWNS)
        or libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None)
        or libc.mount(b"bpf", str(place).encode(), b"bpf", 0, None)
    ):
        raise OSError(ctypes.get_errno(), "making a mount namespace (are you root?)")
    return place


def object_file(directory: Path) -> Path:
    """The BPF object: compiled from the sources here, so that they are what is tested."""
    out = directory / "gossamer.bpf.o"
    include = f"/usr/include/{os.uname().machine}-linux-gnu"
    command = ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", f"-I{include}"]
    subprocess.run([*command, "-c", str(_SOURCES / "gossamer.c"), "-o", str(out)], check=True)
    return out


def fails(datapath: Datapath, candidate: Case) -> bool:
    """Whether a case shows a disagreement; one that cannot be run shows none."""
    devices = {(b.name, p.ofport) for b in candidate.bridges for p in b.ports if p.peer is None}
    if any((p.bridge, p.in_port) not in devices for p in candidate.packets):
        return False
    return bool(disagreement(datapath, candidate))


def replay(datapath: Datapath) -> list[str]:
    """Run the stored cases; returns what disagreed."""
    found = []
    for path in sorted(CASES.glob("*.json")):
        text = disagreement(datapath, from_json(json.loads(path.read_text())))
        if text:
            found.append(f"{path.name}: {text}")
    return found


def some_case(seed: int, features: frozenset[str]) -> Case:
    """A world and packets; with ct, every fourth one is of connections."""
    if features == {"ct"} or ("ct" in features and seed % 4 == 3):
        return connections.case(seed, PACKETS, nat="nat" in features)
    if features <= {"ct", "nat"}:
        return connections.case(seed, PACKETS, nat=True)
    return case(seed, PACKETS, features)


def explore(
    datapath: Datapath, n_packets: int, first_seed: int, keep: bool, features: frozenset[str]
) -> list[str]:
    """Try new worlds until that many packets went through; returns what disagreed."""
    found = []
    for seed in range(first_seed, first_seed + (n_packets + PACKETS - 1) // PACKETS):
        world = some_case(seed, features)
        try:
            text = disagreement(datapath, world)
        except DatapathError as e:
            print(f"seed {seed} is refused: {e}")  # a bridge that looks at too much, say
            continue
        if not text:
            continue
        found.append(f"seed {seed}: {text}")
        if keep:
            small = shrink(world, lambda c: fails(datapath, c))
            path = CASES / f"seed_{seed}.json"
            CASES.mkdir(exist_ok=True)
            path.write_text(json.dumps(to_json(small), indent=1) + "\n")
            found.append(f"  made small in {path}")
        if len(found) > 20:
            break
    return found


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="tests.property.nightly", description=__doc__)
    parser.add_argument("packets", type=int, help="how many random packets to try")
    parser.add_argument("--seed", type=int, default=0, help="number of the first world")
    parser.add_argument("--keep", action="store_true", help="store what disagrees, made small")
    parser.add_argument(
        "--features",
        default=",".join(sorted(FEATURES)),
        help="names of tests/property/features.py, with commas between",
    )
    arguments = parser.parse_args()
    features = frozenset(arguments.features.split(","))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as build:
        built = object_file(Path(build))
        datapath = open_datapath(isolate() / "oracle", built)
        try:
            found = replay(datapath)
            found += explore(datapath, arguments.packets, arguments.seed, arguments.keep, features)
        finally:
            datapath.destroy()
    for text in found:
        print(text)
    seconds = time.monotonic() - began
    print(f"{arguments.packets} packets, {len(found)} disagreements, {seconds:.0f} s")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
