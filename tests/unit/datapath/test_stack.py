"""The stack of the BPF programs, as kernel 6.1 counts it: frames are rounded up to 32 bytes, all
that are open at once have 512, and there are at most eight.

Newer kernels count less, so that what loads here might not load there.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections import defaultdict
from typing import Final

import pytest

from gossamer.datapath.loader import OBJECT_FILE

_OBJDUMP: Final = shutil.which("llvm-objdump") or shutil.which("llvm-objdump-14")
_FRAME: Final = re.compile(r"r10 - (0x[0-9a-f]+|\d+)|\br\d+ \+= -(0x[0-9a-f]+|\d+)")


@functools.cache
def _functions() -> tuple[dict[str, int], dict[str, set[str]]]:
    """Bytes of stack by function, and whom each calls (callbacks of bpf_loop() too)."""
    dump = subprocess.run(
        [str(_OBJDUMP), "--no-show-raw-insn", "-d", "-r", str(OBJECT_FILE)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    symbols = subprocess.run(
        [str(_OBJDUMP), "-t", str(OBJECT_FILE)], check=True, capture_output=True, text=True
    ).stdout
    places: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for line in symbols.splitlines():
        found = re.match(r"([0-9a-f]+) .*F\s+(\S+)\s+([0-9a-f]+)\s+(?:\.hidden )?(\w+)$", line)
        if found:
            places[found[2]].append((int(found[1], 16), int(found[3], 16), found[4]))

    def at(section: str, address: int) -> str:
        return next(n for a, size, n in places[section] if a <= address < a + size)

    names = {n for found in places.values() for _, _, n in found}
    stack = dict.fromkeys(names, 0)
    calls: dict[str, set[str]] = {name: set() for name in names}
    section, current, last = "", "", ""
    for line in dump.splitlines():
        if head := re.match(r"Disassembly of section (\S+):", line):
            section = head[1]
        elif relocation := re.search(r"R_BPF_64_(\d+)\s+(\S+)", line):
            target = relocation[2]
            if target == ".text" and relocation[1] == "32":
                call = re.search(r"call (-?0x[0-9a-f]+|-?\d+)", last)
                assert call is not None
                target = at(".text", (int(call[1], 0) + 1) * 8)
            elif target == ".text":
                value = re.search(r"= (0x[0-9a-f]+|\d+) ll", last)
                assert value is not None
                target = at(".text", int(value[1], 0))
            if target in names:
                calls[current].add(target)
        elif instruction := re.match(r"\s+(\d+):\s", line):
            current, last = at(section, int(instruction[1]) * 8), line
            for found in _FRAME.finditer(line):
                size = int(found[1] or found[2], 0)
                if size <= 512:
                    stack[current] = max(stack[current], size)
    return stack, calls


def _deepest(name: str) -> tuple[int, int, tuple[str, ...]]:
    """The most bytes, the most frames, and the way that takes the most bytes."""
    stack, calls = _functions()
    frame = max(32, (stack[name] + 31) // 32 * 32)
    below = [_deepest(callee) for callee in calls[name]]
    worst = max(below, key=lambda found: found[0], default=(0, 0, ()))
    frames = max((found[1] for found in below), default=0)
    return frame + worst[0], frames + 1, (f"{name} {stack[name]}", *worst[2])


@pytest.mark.skipif(_OBJDUMP is None, reason="llvm-objdump is not installed")
@pytest.mark.parametrize("program", ["gossamer", "gossamer_uplink"])
def test_a_program_fits_the_stack_of_kernel_6_1(program: str) -> None:
    size, frames, way = _deepest(program)
    assert size <= 512, f"{size} bytes: {' > '.join(way)}"
    assert frames <= 8
