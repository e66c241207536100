"""What the tests of requests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from both_switches import Both
from running_switch import RunningSwitch
from tests.property.peer import Peer


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[RunningSwitch]:
    """A switch with the usual bridge, which has no flows."""
    running = RunningSwitch(tmp_path)
    running.apply()
    running.ofctl("del-flows", "br0")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """One pair for all files: comparing needs no fresh state, only the same."""
    theirs, ours = tmp_path_factory.mktemp("theirs"), tmp_path_factory.mktemp("ours")
    switch = RunningSwitch(ours)
    switch.apply()
    protocols = ",".join(f"OpenFlow1{minor}" for minor in range(6))
    with Peer(theirs) as peer:
        command = ["ovs-vsctl", "add-br", "br0", "--", "set", "bridge", "br0"]
        command += ["datapath_type=dummy", "fail-mode=secure", f"protocols={protocols}"]
        for n in (1, 2, 3):
            command += ["--", "add-port", "br0", f"v{n}", "--", "set", "interface", f"v{n}"]
            command += ["type=dummy", f"ofport_request={n}"]
        peer.run(*command)
        yield Both(theirs, ours)
    switch.stop()
