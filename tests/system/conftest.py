"""Worlds for system tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.system.tunnel_world import OUR_INNER
from tests.system.world import Host, Netns


@pytest.fixture
def host() -> Iterator[Host]:
    """A running daemon without bridges."""
    it = Host(Path(mkdtemp(prefix="host", dir="/run")))
    it.start()
    yield it
    it.end()


@pytest.fixture
def two_hosts(host: Host) -> tuple[Host, Netns, Netns]:
    """Two namespaces on a bridge br0."""
    host.vsctl("add-br", "br0")
    return host, host.netns("a", "10.0.0.1/24", "br0"), host.netns("b", "10.0.0.2/24", "br0")


@pytest.fixture(scope="module")
def shared_host() -> Iterator[Host]:
    """A daemon for all tests of the file."""
    it = Host(Path(mkdtemp(prefix="host", dir="/run")))
    it.start()
    yield it
    it.end()


@pytest.fixture
def cleared_host(shared_host: Host) -> Iterator[Host]:
    """It, without bridges: what a test makes goes with the test."""
    yield shared_host
    shared_host.clear()


@pytest.fixture
def a(shared_host: Host) -> Iterator[Netns]:
    """An instance on a bridge br0, which thinks that its network takes 1,500 bytes."""
    shared_host.vsctl("add-br", "br0")
    yield shared_host.netns("a", f"{OUR_INNER}/24", "br0")
    shared_host.vsctl("del-br", "br0")
    shared_host.forget("a")


@pytest.fixture
def tunnel_host(shared_host: Host) -> Iterator[Host]:
    """The daemon, with a bridge br0 and an instance `a` on it."""
    shared_host.vsctl("add-br", "br0")
    shared_host.netns("a", f"{OUR_INNER}/24", "br0")
    shared_host.check("ip", "-n", "a", "link", "set", "eth0", "mtu", "1400")
    yield shared_host
    shared_host.vsctl("del-br", "br0")
    shared_host.forget("a")
