"""What the tests of single packets share: a datapath that tells what leaves, and two ports on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from gossamer.datapath.datapath import Datapath
from tests.property.nat_world import NatWorld, nat_world


@pytest.fixture(scope="module")
def datapath() -> Iterator[Datapath]:
    """A datapath whose outputs are captured instead of sent, for all tests of the file."""
    opened = Datapath.open(Path(mkdtemp(prefix="packets", dir="/sys/fs/bpf")), capturing=True)
    yield opened
    opened.destroy()


@pytest.fixture
def world(datapath: Datapath) -> Iterator[NatWorld]:
    """A bridge with an inside and an outside, gone after the test with all connections."""
    with nat_world(datapath) as made:
        yield made
