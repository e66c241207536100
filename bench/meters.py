"""How exact meters are, from 100 kbit/s to 10 Gbit/s: packets by BPF_PROG_TEST_RUN, one CPU.

usage: python -m bench.meters [--seconds N]      inside tests/sandbox.sh; exit status 1 where one is off

Packets come as fast as the program takes them, always more than the meter lets through.  What
the first burst let pass is left out: the meter runs dry before the count begins.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Final

from bench.cost import FIVE_TUPLE, OUT, PACKET, Rig, flow
from gossamer.pipeline import action as act
from gossamer.pipeline.match import ANY
from gossamer.pipeline.meter import Band, BandType, Meter, MeterFlag

RATES_KBPS: Final = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
BURST_PART: Final = 20
"""Of a second's worth: the burst."""
AIM: Final = 0.05
_FRAME: Final = 3000
_CHUNK: Final = 500


def passed(rig: Rig) -> int:
    """Bytes that the meter has let through."""
    _, n_bytes, bands = rig.datapath.meter_statistics(rig.bridge, 1)
    return n_bytes - sum(count for _, count in bands)


def measure(rig: Rig, kbps: int, seconds: float) -> float:
    """What comes through, in kbit/s."""
    band = Band(BandType.DROP, kbps, max(1, kbps // BURST_PART))
    rig.datapath.set_meter(rig.bridge, Meter(1, MeterFlag.KBPS | MeterFlag.BURST, (band,)))
    frame = PACKET[:16] + _FRAME.to_bytes(2, "big") + PACKET[18:] + bytes(_FRAME - len(PACKET) + 14)
    flows = [flow(FIVE_TUPLE, act.Meter(1), OUT), flow(ANY, act.Meter(1), OUT, priority=1)]
    rig.datapath.insert_flows(rig.bridge, flows)

    def run(until: float) -> None:
        while time.monotonic() < until:
            rig.once(frame, _CHUNK)

    run(time.monotonic() + 2.5 / BURST_PART + 0.2)
    began, before = time.monotonic(), passed(rig)
    run(began + seconds)
    kbits = (passed(rig) - before) * 8 / 1000
    took = time.monotonic() - began
    rig.datapath.remove_flows(rig.bridge, flows)
    return kbits / took


def main() -> int:
    """Measure each rate and print."""
    parser = argparse.ArgumentParser(prog="bench.meters")
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    if os.environ.get("GOSSAMER_SANDBOX") != "inside":
        raise SystemExit("run it inside tests/sandbox.sh: it makes devices")
    rig = Rig()
    worst = 0.0
    try:
        for kbps in RATES_KBPS:
            got = measure(rig, kbps, options.seconds)
            off = got / kbps - 1
            worst = max(worst, abs(off))
            print(f"{kbps:12,} kbit/s: {got:14,.1f} came through, {off:+.2%}")
    finally:
        rig.close()
    return 0 if worst <= AIM else 1


if __name__ == "__main__":
    sys.exit(main())
