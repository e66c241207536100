"""Tunnels' packets leave as the host's routes say."""

from __future__ import annotations

from pathlib import Path

import pytest
from tunnel_world import World, options

from gossamer.devices.routes import Route
from gossamer.pipeline.tunnel import overhead
from gossamer.switch.tunnel_options import parse_tunnel


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_its_status_says_which_way_packets_leave_and_how_long_they_may_be(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2 key=5")
    world.tunnel("ge6", "geneve", "remote_ip=fd01::2")
    world.tunnel("any", "gre", "remote_ip=flow key=flow")
    world.apply()
    assert world.status("vx0").status == {
        "tunnel_egress_iface": "un0",
        "tunnel_egress_iface_carrier": "up",
        "tunnel_mtu": "1450",
    }
    assert world.status("ge6").status["tunnel_mtu"] == "1430"
    assert world.status("any").status == {"tunnel_mtu": "1458"}


def test_a_lost_uplink_is_told(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2")
    world.apply()
    changes = world.switch.changes
    world.devices.change("un0", carrier=False, mtu=9000)
    world.underlay.changed = True
    world.switch.run()
    assert world.switch.changes > changes
    assert world.status("vx0").status["tunnel_egress_iface_carrier"] == "down"
    assert world.status("vx0").status["tunnel_mtu"] == "8950"


def test_a_route_that_changed_while_there_was_no_tunnel_is_asked_for_again(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2")
    world.apply()
    del world.bridges["br0"]["vx0"]
    world.apply()
    other = world.devices.appear("un1").ifindex
    world.underlay.ways = dict.fromkeys(world.underlay.ways, Route(other))
    world.underlay.changed = True
    world.switch.run()
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2")
    world.apply()
    assert world.status("vx0").status["tunnel_egress_iface"] == "un1"


OVERHEADS = [
    ("vxlan", "", False, 0, 50),
    ("vxlan", "", True, 0, 70),
    ("gre", "", False, 0, 38),
    ("gre", "key=1", False, 0, 42),
    ("gre", "key=1 csum=true", False, 0, 46),
    ("gre", "key=1 csum=true packet_type=legacy_l3", False, 0, 32),
    ("ip6gre", "key=flow", True, 0, 62),
    ("geneve", "", False, 12, 62),
    ("erspan", "erspan_ver=1", False, 0, 50),
    ("erspan", "erspan_ver=2", False, 0, 54),
]


@pytest.mark.parametrize(("kind", "text", "ipv6", "extra", "expected"), OVERHEADS)
def test_the_room_that_headers_take(
    kind: str, text: str, ipv6: bool, extra: int, expected: int
) -> None:
    tunnel, _ = parse_tunnel("t", kind, options(f"remote_ip=flow {text}"))
    assert overhead(tunnel, ipv6, extra) == expected
