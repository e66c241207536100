"""What is warned of where connections cannot begin."""

from __future__ import annotations

import pytest

from gossamer.daemon.shortages import INTERVAL_S, Shortages


def test_a_shortage_is_told_at_once_and_then_once_a_minute_with_all_that_it_cost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    totals = {"nat_full": 7, "full": 0}
    shortages = Shortages(lambda: totals)
    shortages.run(100.0)
    assert not caplog.messages, "those of the time before"
    totals["nat_full"] = 10
    shortages.run(101.0)
    totals["nat_full"] = 20
    shortages.run(102.0)
    (line,) = caplog.messages
    assert line.startswith("3 packets of new connections found no free address and port")
    assert "drop_ct_nat_full" in line
    totals["full"] = 2
    shortages.run(103.0)
    assert "drop_ct_full" in caplog.messages[1]
    shortages.run(101.0 + INTERVAL_S)
    shortages.run(101.0 + 2 * INTERVAL_S)
    assert [m.split()[0] for m in caplog.messages] == ["3", "2", "10"]
