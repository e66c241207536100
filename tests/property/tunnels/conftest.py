"""What the tests of single packets in tunnels share: a datapath with one tunnel, as each test begins."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossamer.pipeline import action as act
from tests.property.tunnels.world import TUNNEL, World


@pytest.fixture(scope="module")
def module_world() -> Iterator[World]:
    """One datapath for all tests of the file."""
    world = World(Path(f"/sys/fs/bpf/tunnels-{os.getpid()}"))
    yield world
    world.datapath.destroy()


@pytest.fixture
def world(module_world: World) -> World:
    """Its tunnel unset, no options known, and all that comes sent into the tunnel."""
    module_world.datapath.set_tunnel(module_world.tunnel, None)
    module_world.datapath.set_tlv_map(module_world.bridge, ())
    module_world.tell(act.Output(TUNNEL))
    return module_world
