"""Lines of the log."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import ovs.vlog
import pytest

from gossamer.daemon.log_line import line

_NOW = datetime(2024, 2, 3, 4, 5, 6, 78_000, UTC)


def test_the_usual_pattern_gives_what_scripts_look_for() -> None:
    pattern = ovs.vlog.PATTERNS["file"]
    shown = line(pattern, "switch", "warn", "bridge=br0 100% of c:\\x", 7, _NOW)
    assert shown == "2024-02-03T04:05:06.078Z|00007|switch|WARN|bridge=br0 100% of c:\\x"


@pytest.mark.parametrize(
    ("pattern", "shown"),
    [
        ("%5N|%-5N|%05N|%N", "    7|7    |00007|7"),
        ("%D{%H.###}", "04.078"),
        ("%D", "2024-02-03 04:05:06.078"),
        ("%c%T %t", "switch main"),
        ("100%% %p%n", "100% WARN\n"),
        ("%P", str(os.getpid())),
        ("%Q %", "%Q %"),
        ("<%B>", "<132>"),
    ],
)
def test_each_field_of_a_pattern(pattern: str, shown: str) -> None:
    assert line(pattern, "switch", "warn", "text", 7, _NOW) == shown
