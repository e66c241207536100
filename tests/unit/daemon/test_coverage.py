"""Counters and their rates."""

from __future__ import annotations

import pytest

from gossamer.daemon.appctl.coverage import Coverage
from gossamer.switch.show import CommandError


class Kernel:
    """Counts that somebody else keeps."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}

    def read(self) -> dict[str, int]:
        return dict(self.totals)


def rates(coverage: Coverage, name: str) -> tuple[float, float, float, int]:
    line = next(x for x in coverage.show().splitlines() if x.startswith(name))
    words = line.replace("/sec", "").split()
    return float(words[1]), float(words[2]), float(words[3]), int(words[5])


def test_nothing_happened_yet() -> None:
    shown = Coverage(Kernel().read, frozenset({"a", "b"}), 0.0).show().splitlines()
    assert shown[0].startswith("Event coverage, avg rate over last: 5 seconds, last minute, ")
    assert shown[1:] == ["2 events never hit"]


def test_rates_are_per_second_over_five_seconds_a_minute_and_an_hour() -> None:
    kernel = Kernel()
    coverage = Coverage(kernel.read, frozenset({"drop_x", "drop_y"}), 0.0)
    kernel.totals["drop_x"] = 600
    coverage.run(5.0)
    assert rates(coverage, "drop_x") == (120.0, 10.0, 0.1667, 600)
    coverage.run(6.0)  # not due
    coverage.run(10.0)
    assert rates(coverage, "drop_x") == (0.0, 10.0, 0.1667, 600)
    for i in range(3, 20):
        coverage.run(5.0 * i)
    assert rates(coverage, "drop_x") == (0.0, 0.0, 0.1667, 600)
    assert coverage.show().endswith("1 events never hit\n")


def test_what_was_counted_before_the_start_is_no_rate() -> None:
    kernel = Kernel()
    kernel.totals["drop_x"] = 1000
    coverage = Coverage(kernel.read, frozenset({"drop_x"}), 0.0)
    coverage.run(5.0)
    assert rates(coverage, "drop_x") == (0.0, 0.0, 0.0, 1000)


def test_one_counter_is_read_by_name() -> None:
    coverage = Coverage(Kernel().read, frozenset({"drop_x", "done"}), 0.0)
    coverage.count("done", 3)
    assert coverage.read_counter("done") == "3\n"
    assert coverage.read_counter("drop_x") == "0\n"
    with pytest.raises(CommandError, match="No such counter"):
        coverage.read_counter("nothing")


def test_the_hash_tells_listings_of_another_shape_apart() -> None:
    def hash_of(**totals: int) -> str:
        kernel = Kernel()
        coverage = Coverage(kernel.read, frozenset(), 0.0)
        kernel.totals = totals
        return coverage.show().splitlines()[0].rsplit("=", 1)[1]

    assert hash_of(a=1, b=2) == hash_of(a=5, b=9) != hash_of(a=9, b=5)
