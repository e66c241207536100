"""Compare Gossamer with Open vSwitch's kernel module, on a kernel that has it (tests/guest/run).

usage: python -m bench.kernel_module --prepare    compile what the comparison needs
       python -m bench.kernel_module              measure; exit status 1 below the aim
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from typing import Final

from bench import peers

AIM: Final = 1.3
"""Times the module's packets a second that Gossamer forwards at least, with NORMAL."""


def main() -> int:
    """Measure, interleaved; print the medians as JSON."""
    parser = argparse.ArgumentParser(prog="bench.kernel_module")
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    if options.prepare:
        peers.build_senders()
        peers.build("drop", 1)
        return 0
    module = peers.ovs_kernel_module()
    ours = peers.gossamer("gn", "Gossamer, NORMAL", None)
    everyone = (peers.linux_bridge(), module, ours)
    for peer in everyone:
        peer.exec("a", "ping", "-n", "-q", "-c", "3", "-i", "0.2", "10.0.0.2")
    rounds = [
        {peer.label: peer.packets_per_second(options.seconds, 1) for peer in everyone}
        for _ in range(options.rounds)
    ]
    medians = {p.label: statistics.median(r[p.label] for r in rounds) for p in everyone}
    ratios = sorted(r[ours.label] / r[module.label] for r in rounds)
    ratio = statistics.median(ratios)
    peers.stop(module)
    peers.stop(ours)
    result = {"kernel": os.uname().release, "packets_per_second": medians, "ratios": ratios}
    print(json.dumps(result, indent=2))
    print(f"{ours.label} / {module.label}: {ratio:.2f}, of at least {AIM}")
    return 0 if ratio >= AIM else 1


if __name__ == "__main__":
    sys.exit(main())
