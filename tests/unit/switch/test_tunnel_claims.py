"""No two ports take the same tunnels' packets."""

from __future__ import annotations

from pathlib import Path

import pytest
from tunnel_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_two_ports_of_one_configuration_are_refused_on_any_bridge(world: World) -> None:
    world.tunnel("a", "vxlan", "remote_ip=172.16.0.2 key=5")
    world.apply()
    world.tunnel("b", "vxlan", "remote_ip=172.16.0.2 in_key=5", bridge="br1")
    world.apply()
    error = "could not add network device b to ofproto (File exists)"
    assert world.status("b", "br1").error == error
    assert world.status("b", "br1").ofport == -1
    world.tunnel("b", "vxlan", "remote_ip=172.16.0.2 key=6", bridge="br1")
    world.apply()
    assert world.status("b", "br1").error is None


def test_two_ports_can_exchange_their_keys(world: World) -> None:
    world.tunnel("a", "vxlan", "remote_ip=172.16.0.2 key=5")
    world.tunnel("b", "vxlan", "remote_ip=172.16.0.2 key=6")
    world.apply()
    world.tunnel("a", "vxlan", "remote_ip=172.16.0.2 key=6")
    world.tunnel("b", "vxlan", "remote_ip=172.16.0.2 key=5")
    world.apply()
    keys = [world.told(name).in_key for name in ("a", "b")]  # type: ignore[attr-defined]
    assert keys == [6, 5]
    assert world.status("a").error is None


def test_group_policies_and_none_do_not_share_a_udp_port(world: World) -> None:
    world.tunnel("a", "vxlan", "remote_ip=172.16.0.2")
    world.tunnel("b", "vxlan", "remote_ip=172.16.0.3 exts=gbp")
    world.tunnel("c", "vxlan", "remote_ip=172.16.0.3 exts=gbp dst_port=4790")
    world.apply()
    assert world.status("b").error == (
        "b: VXLAN-GBP, and non-VXLAN-GBP tunnels can't be configured on the same dst_port"
    )
    assert world.status("c").error is None
