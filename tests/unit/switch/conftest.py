"""What the tests of requests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from running_switch import RunningSwitch


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[RunningSwitch]:
    """A switch with the usual bridge, which has no flows."""
    running = RunningSwitch(tmp_path)
    running.apply()
    running.ofctl("del-flows", "br0")
    yield running
    running.stop()
