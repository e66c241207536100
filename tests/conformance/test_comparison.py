"""Ours passes at least as much of the public OpenFlow 1.3 suite as Open vSwitch does.

``make conformance`` plays everything; here cases that measure rates are few.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_PYTHON = _ROOT / "build" / "controllers" / "bin" / "python"

pytestmark = pytest.mark.skipif(
    os.environ.get("GOSSAMER_SANDBOX") != "inside",
    reason="needs the sandbox: run make test, or sh tests/sandbox.sh ...",
)

CATEGORIES = ("action", "group", "match", "meter")

Passed = Callable[[str, str], int]
"""How many cases of a category (second) a switch (first) passed."""


@pytest.fixture(scope="module")
def passed() -> Passed:
    """Both switches, played."""
    with TemporaryDirectory() as directory:
        report = Path(directory, "report.json")
        done = subprocess.run(
            [_PYTHON, "-W", "ignore", "-m", "tests.conformance", "--rates", "3",
             "--rate-seconds", "1", "--json", report],
            cwd=_ROOT, capture_output=True, text=True, timeout=1800, check=False,
        )  # fmt: skip
        # 1 is its word for "behind", which the tests below say by category.
        assert done.returncode in (0, 1), done.stderr
        print(done.stdout)
        counts = Counter(
            (switch, case["category"])
            for case in json.loads(report.read_text())
            for switch, failure in case["failures"].items()
            if failure is None
        )
    return lambda switch, category: counts[switch, category]


def test_open_vswitch_passes_what_it_is_known_to_pass(passed: Passed) -> None:
    # Were it fewer, the player would be at fault, and the comparison worth nothing.
    assert passed("ovs", "match") >= 540
    assert passed("ovs", "action") >= 154
    assert passed("ovs", "group") > 0
    assert passed("ovs", "meter") > 0


@pytest.mark.parametrize("category", CATEGORIES)
def test_ours_passes_at_least_what_open_vswitch_passes(passed: Passed, category: str) -> None:
    assert passed("gossamer", category) >= passed("ovs", category)
