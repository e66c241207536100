"""A flood of new connections from one port breaks no established connection of another."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import pytest

from tests.system.peer import IS_PEER, PeerHost
from tests.system.tcp_sessions import Sessions
from tests.system.world import Host, Netns

MOST: Final = 2000
"""Connections that there is room for."""
SESSIONS: Final = 300
FLOOD: Final = 20_000
FLOWS: Final = """\
table=0,priority=10,arp,actions=NORMAL
table=0,priority=0,ip,actions=ct(table=1,zone=7)
table=1,ct_state=+trk+inv,actions=drop
table=1,ct_state=+trk+est,actions=NORMAL
table=1,ct_state=+trk+new,ip,actions=ct(commit,zone=7),NORMAL
"""


class World:
    """Two hosts that talk, and one that floods."""

    def __init__(self) -> None:
        self.host: Host = (PeerHost if IS_PEER else Host)(Path(mkdtemp(prefix="flood", dir="/run")))
        self.host.start()
        self.host.vsctl("add-br", "br0")
        self.a, self.b, self.c = (
            self.host.netns(n, f"10.0.0.{i}/24", "br0") for i, n in enumerate("abc", 1)
        )
        self.host.ofctl("del-flows", "br0")
        self.host.ofctl("add-flows", "br0", "-", stdin=FLOWS)
        self.host.appctl("dpctl/ct-set-maxconns", str(MOST))

    def connections(self) -> int:
        """That there are now."""
        return int(self.host.appctl("dpctl/ct-get-nconns"))


@pytest.fixture(scope="module")
def lasting() -> Iterator[World]:
    it = World()
    yield it
    it.host.end()


@pytest.fixture
def world(lasting: World) -> World:
    """Without connections."""
    lasting.host.appctl("dpctl/flush-conntrack")
    return lasting


def _flood(source: Netns, target: Netns, protocol: str) -> None:
    """First packets of connections, each from other ports."""
    done = source.run(
        sys.executable, "-m", "tests.system.connection_flood", protocol, "10.0.0.3", "10.0.0.2",
        source.mac, target.mac, str(FLOOD), timeout_s=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_established_connections_outlive_a_flood(world: World, protocol: str) -> None:
    port = {"tcp": 8080, "udp": 8081}[protocol]
    held = Sessions(world.a, world.b, "10.0.0.2", port, SESSIONS)
    try:
        assert held.answered("before") == SESSIONS
        _flood(world.c, world.b, protocol)
        full = world.connections()
        assert MOST * 0.9 < full <= MOST, full
        assert held.answered("after") == SESSIONS
        known = world.host.appctl("dpctl/dump-conntrack", "zone=7")
        kept = re.findall(rf"orig=\(src=10\.0\.0\.1,.*dport={port}\),reply.*state=ESTABLISHED", known)
        assert len(kept) == SESSIONS
    finally:
        held.end()


@pytest.mark.skipif(IS_PEER, reason="Open vSwitch refuses new connections while its table is full")
def test_a_flood_keeps_nobody_from_beginning_a_connection(world: World) -> None:
    _flood(world.c, world.b, "tcp")
    assert world.connections() > MOST * 0.9
    later = Sessions(world.a, world.b, "10.0.0.2", 8082, 50)
    try:
        _flood(world.c, world.b, "tcp")
        assert later.answered("after") == 50
    finally:
        later.end()
