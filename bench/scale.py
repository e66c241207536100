"""How Gossamer grows: a million flows loaded, and lookups against the number of flows and of masks.

Writes docs/scale.json, docs/scale.md and docs/scale.svg.  Run it by `make bench-scale`; takes about
ten minutes.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

from bench import scale_load, scale_lookup, scale_report

DOCS = Path(__file__).resolve().parent.parent / "docs"
FLOWS = (1, 1_000, 100_000, 1_000_000)
MASKS = (1, 10, 50, 100, 200)


def main() -> None:
    """Measure and write down."""
    parser = argparse.ArgumentParser(prog="bench.scale")
    parser.add_argument("--flows", type=int, default=1_000_000, help="to load through ovs-ofctl")
    parser.add_argument("--only", choices=("lookups", "loads", "report"), help="keep the other figures")
    options = parser.parse_args()
    path = DOCS / "scale.json"
    result = json.loads(path.read_text()) if options.only else {}
    result |= {"kernel": os.uname().release, "cpus": os.cpu_count()}
    if options.only in (None, "lookups"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # the flow cache is a CPU's own
        result["lookup_by_flows"] = [_told(scale_lookup.by_flows(n)) for n in FLOWS]
        result["lookup_by_masks"] = [_told(scale_lookup.by_masks(n)) for n in MASKS]
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    if options.only in (None, "loads"):
        result["loads"] = [
            _told(scale_load.load(0)),
            _told(scale_load.load(options.flows // 10)),
            _told(scale_load.load(options.flows, bundle=True)),
            _told(scale_load.load(options.flows, restart=True, fill=options.flows == 1_000_000)),
        ]
    path.write_text(json.dumps(result, indent=2) + "\n")
    scale_report.write(result, DOCS)
    print((DOCS / "scale.md").read_text())


def _told(measured: scale_load.Loaded | scale_lookup.Cost) -> dict[str, object]:
    values = asdict(measured)
    print(json.dumps(values), flush=True)
    return values


if __name__ == "__main__":
    main()
