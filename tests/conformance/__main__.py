"""``python -m tests.conformance``: play the suite, print the comparison.

Runs inside tests/sandbox.sh, with the Python that has os-ken.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from tests.conformance.cases import Case, read_cases
from tests.conformance.channel import Silent
from tests.conformance.play import play
from tests.conformance.report import Result, as_json, behind, table
from tests.conformance.targets import GOSSAMER, KINDS, OVS, Kind, Target, running


def main() -> int:
    """Exit status 1 where ours passes fewer cases of a category than Open vSwitch."""
    options = _options()
    if os.environ.get("GOSSAMER_SANDBOX") != "inside":
        print("makes devices: run make conformance, or sh tests/sandbox.sh ...", file=sys.stderr)
        return 2
    cases = [c for c in read_cases() if c.name.startswith(tuple(options.only))]
    if options.rates is not None:
        cases = _fewer_rates(cases, options.rates)
    if not cases:
        print(f"no case's name begins with {' or '.join(options.only)}", file=sys.stderr)
        return 2
    began = time.monotonic()
    kinds = [KINDS[name] for name in options.switch]
    failures = {kind.name: _play_all(kind, cases, options.rate_seconds) for kind in kinds}
    results = [
        Result(case, {name: failed[case.name] for name, failed in failures.items()})
        for case in cases
    ]
    _print(results, list(failures), options.show)
    print(f"{len(cases)} cases in {time.monotonic() - began:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(as_json(results), indent=1) + "\n")
    if {OVS.name, GOSSAMER.name} <= failures.keys() and behind(results, GOSSAMER.name, OVS.name):
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("only", nargs="*", default=[""], help="cases whose names begin so")
    parser.add_argument("--switch", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--rates", type=int, metavar="N",
                        help="of the cases that measure rates, N of each category")  # fmt: skip
    parser.add_argument("--show", choices=["none", "behind", "failures"], default="behind",
                        help="which failures to list: those that Open vSwitch passes, or all")  # fmt: skip
    parser.add_argument("--rate-seconds", type=float, default=1.75,
                        help="how long to measure a rate; the suite takes 30")  # fmt: skip
    parser.add_argument("--json", type=Path, help="write each case's result here")
    return parser.parse_args()


def _fewer_rates(cases: list[Case], count: int) -> list[Case]:
    """All cases that take no time, and of the others that many of a category, evenly chosen."""
    slow: dict[str, list[Case]] = {}
    for case in cases:
        if case.measures_rates:
            slow.setdefault(case.category, []).append(case)
    chosen = {
        case for mine in slow.values() for case in mine[:: max(1, len(mine) // count)][:count]
    }
    return [case for case in cases if not case.measures_rates or case in chosen]


def _play_all(kind: Kind, cases: list[Case], rate_s: float) -> dict[str, str | None]:
    failures: dict[str, str | None] = {}
    left = list(cases)
    while left:
        with running(kind) as target:
            while left:
                case = left.pop(0)
                try:
                    failures[case.name] = _play(target, case, rate_s)
                except Silent as silence:
                    # Whatever it is that it choked on, the next cases get a new one.
                    failures[case.name] = str(silence)
                    break
                if sys.stderr.isatty():
                    print(f"\r{kind.name}: {len(failures)}/{len(cases)}", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return failures


def _play(target: Target, case: Case, rate_s: float) -> str | None:
    """Once more where it fails, and a rate twice: on a busy machine who sends or counts may be late."""
    failure = play(target, case, rate_s)
    for _ in range(2 if case.measures_rates else 1):
        failure = failure and play(target, case, rate_s)
    return failure


def _print(results: list[Result], switches: list[str], show: str) -> None:
    for result in results:
        for switch in switches:
            why = result.failures[switch]
            others = any(result.passed(other) for other in switches if other != switch)
            if why and (
                show == "failures" or (show == "behind" and switch == GOSSAMER.name and others)
            ):
                print(f"{switch}: {result.case.name} {result.case.description}\n    {why}")
    print(table(results, switches))


if __name__ == "__main__":
    sys.exit(main())
