"""Compare Gossamer with Open vSwitch's kernel module, on a kernel that has it (tests/guest/run).

usage: python -m bench.kernel_module --prepare    compile what the comparison needs
       python -m bench.kernel_module              measure; exit status 1 below the aim

In the guest the clock counts instructions (GUEST_CLOCK=instructions): what is measured is how many
of them a packet takes, from where it is made to where it is counted and dropped.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from bench import peers
from bench.peers import Peer

AIM: Final = 1.3
"""Times the module's packets a second that Gossamer forwards at least, with NORMAL."""
_INDEXES: Final = {"redirect": (9001, 9002), "redirect_peer": (9003, 9004)}
"""Devices of the bare programs, which are compiled for them: the guest has no compiler."""
_LOADS: Final = {"sender included": "packets_per_second", "under overload": "packets_forwarded"}
"""How packets are made, and what counts them."""

_HEAD: Final = """# Beside the openvswitch module

Debian 12's own kernel, {kernel}, in an emulated machine whose clock counts instructions, one a nanosecond, and goes on to
the next event where there is nothing to do. With a sender, what is measured is how many of them a packet takes, from where
it is made to where it is counted, on one processor. Caches and pipelines play no part in it, nor does what else the machine
does that emulates. Medians of {rounds} interleaved rounds, the daemons at rest meanwhile; made by
`make bench-kernel-module`. The bare redirect_peer looks at nothing and is the limit.

Under overload the generator waits after each 20,000 packets, for everybody, until a tick of 4 ms: about 1,000 ns of each
packet are that wait, and figures are in steps of some 400. So these ratios are rough, to about a tenth.
"""

Round = dict[str, dict[str, float]]
"""Packets a second by peer, by load."""


def prepare() -> None:
    """Compile what the guest needs."""
    peers.build_senders()
    peers.build("drop", 1)
    for kind, indexes in _INDEXES.items():
        for index in indexes:
            peers.build(kind, index)


@contextmanager
def resting(everyone: Sequence[Peer]) -> Iterator[None]:
    """Let the daemons rest: a second's bookkeeping would fall into one peer's turn or another's."""
    pids = sorted({pid for peer in everyone for pid in peer.pids})
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def one_round(everyone: Sequence[Peer], seconds: float) -> Round:
    """Each peer's turn, under each load."""
    for peer in everyone:  # what is known of addresses, and the module's flows, may have aged
        peer.exec("a", "ping", "-n", "-q", "-c", "3", "-i", "0.2", "10.0.0.2")
    with resting(everyone):
        return {
            load: {p.label: getattr(p, count)(seconds, 1) for p in everyone}
            for load, count in _LOADS.items()
        }


def ratios(rounds: Sequence[Round], load: str, peer: str, other: str) -> list[float]:
    """Of all rounds, the least first."""
    return sorted(r[load][peer] / r[load][other] for r in rounds)


def table(rounds: Sequence[Round], load: str, module: str) -> list[str]:
    """A load's figures in Markdown: medians, and how far the rounds lie apart."""
    lines = [
        f"| 60-byte packets a second, {load} | packets/s | ns a packet | of the module | least | most |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for label in rounds[0][load]:
        rate = statistics.median(r[load][label] for r in rounds)
        times = ratios(rounds, load, label, module)
        spread = f"{statistics.median(times):.2f} | {times[0]:.3f} | {times[-1]:.3f}"
        lines.append(f"| {label} | {rate:,.0f} | {1e9 / rate:,.0f} | {spread} |")
    return lines


def main() -> int:
    """Measure, interleaved, and print what came of it in Markdown."""
    parser = argparse.ArgumentParser(prog="bench.kernel_module")
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.1)
    options = parser.parse_args()
    if options.prepare:
        prepare()
        return 0
    module = peers.ovs_kernel_module()
    ours = peers.gossamer("gn", "Gossamer, NORMAL", None)
    one = peers.gossamer("g1", "Gossamer, 1 flow",
                         ["in_port=1,actions=output:2", "in_port=2,actions=output:1"])  # fmt: skip
    everyone = (
        peers.linux_bridge(), module, ours, one,
        *(peers.redirect(kind, indexes) for kind, indexes in _INDEXES.items()),
    )  # fmt: skip
    rounds = [one_round(everyone, options.seconds) for _ in range(options.rounds)]
    for daemon in (module, ours):
        peers.stop(daemon)
    print(_HEAD.format(kernel=os.uname().release, rounds=len(rounds)))
    for load in _LOADS:
        print("\n".join(table(rounds, load, module.label)), end="\n\n")
    least = min(ratios(rounds, load, ours.label, module.label)[0] for load in _LOADS)
    verdict = "reached" if least >= AIM else "not reached"
    print(f"{ours.label}, in the worst round: {least:.2f} times the module, of {AIM}: {verdict}.")
    return 0 if least >= AIM else 1


if __name__ == "__main__":
    sys.exit(main())
