"""Ports that are ends of tunnels follow their options."""

from __future__ import annotations

from pathlib import Path

import pytest
from tunnel_world import World

from gossamer.datapath.settings import PortKind
from gossamer.datapath.tunnel_settings import FLOW, TunnelKind


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_tunnel_is_a_port_without_a_device(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2 key=5")
    world.apply()
    assert world.datapath.port_named("vx0").kind is PortKind.TUNNEL
    settings = world.told("vx0")
    assert settings is not None
    assert (settings.kind, settings.remote) == (TunnelKind.VXLAN, bytes([172, 16, 0, 2]))  # type: ignore[attr-defined]
    status = world.status("vx0")
    assert (status.link_state, status.ifindex, status.mtu, status.error) == ("up", 0, None, None)


def test_options_change_while_the_port_stays(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2 key=5")
    world.apply()
    ofport = world.status("vx0").ofport
    world.tunnel("vx0", "vxlan", "remote_ip=flow key=flow")
    world.apply()
    assert world.status("vx0").ofport == ofport
    assert world.told("vx0").remote == FLOW  # type: ignore[attr-defined]


def test_a_tunnel_that_becomes_wrong_goes_and_comes_back_with_its_number(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2")
    world.apply()
    ofport = world.status("vx0").ofport
    world.tunnel("vx0", "vxlan", "")
    world.apply()
    assert world.status("vx0").error == "vx0: vxlan type requires valid 'remote_ip' argument"
    assert world.datapath.tunnels == {}
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2")
    world.apply()
    assert (world.status("vx0").error, world.status("vx0").ofport) == (None, ofport)


@pytest.mark.parametrize("kind", ["gtpu", "lisp", "stt", "bareudp"])
def test_what_is_not_supported_says_so(world: World, kind: str) -> None:
    world.tunnel("t", kind, "remote_ip=172.16.0.2")
    world.apply()
    assert world.status("t").error == f"t: tunnels of type {kind} are not supported"
