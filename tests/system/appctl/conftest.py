"""What the tests of ovs-appctl share: a daemon, and bridges that begin each test without knowing anything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.appctl.world import World


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One daemon for all tests of the file."""
    it = World()
    yield it
    it.host.end()


@pytest.fixture(autouse=True)
def normal(world: World) -> None:
    """Each test begins with bridges that only learn, and have learned nothing."""
    world.flows("actions=NORMAL")
    world.appctl("fdb/flush")
