"""A traced packet leaves what belongs to real ones alone."""

from __future__ import annotations

import re
from pathlib import Path

from gossamer.daemon.appctl.kernel_run import PRIVATE, SHARED

_BPF = Path(__file__).parents[3] / "bpf"
_PER_CPU = re.compile(r"BPF_MAP_TYPE_PERCPU_ARRAY\);.*?\} (\w+) SEC", re.DOTALL)


def test_every_map_of_a_cpus_own_is_private_to_the_traced_packet_but_for_counters() -> None:
    texts = [path.read_text() for path in sorted(_BPF.glob("*.h"))]
    found = {name for text in texts for name in _PER_CPU.findall(text)}
    assert found == {*PRIVATE, *SHARED}
