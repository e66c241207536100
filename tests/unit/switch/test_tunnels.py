"""Tunnel ports: told to the datapath, kept apart, and following what they run over."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from fake_datapath import FakeDatapath, FakeDevices

from gossamer.datapath.settings import PortKind
from gossamer.datapath.tunnel_settings import FLOW, Cuts, TunnelKind
from gossamer.devices.joining import Wanted
from gossamer.devices.routes import Route
from gossamer.devices.underlay import Address
from gossamer.pipeline.action import OfPort, Output
from gossamer.pipeline.tunnel import overhead
from gossamer.switch.config import BridgeConfig, InterfaceConfig, PortConfig, SwitchConfig
from gossamer.switch.packet_out import perform
from gossamer.switch.status import InterfaceStatus, SwitchStatus
from gossamer.switch.switch import Switch
from gossamer.switch.tunnel_options import parse_tunnel


def _address(text: str) -> bytes:
    raw = ip_address(text).packed
    return raw if len(raw) == 16 else bytes(10) + b"\xff\xff" + raw


def _options(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in text.split())


class World:
    """A host with the uplink un0, 172.16.0.1, and the route to 10.0.0.0/8."""

    def __init__(self, rundir: Path) -> None:
        self.datapath, self.devices = FakeDatapath(), FakeDevices()
        self.un0 = self.devices.appear("un0")
        underlay = self.underlay = self.devices.underlay
        underlay.own = [
            Address(1, _address("127.0.0.1")),
            Address(self.un0.ifindex, _address("172.16.0.1")),
            Address(self.un0.ifindex, _address("fd01::1")),
        ]
        to_peers = Route(self.un0.ifindex, source=_address("172.16.0.1"))
        underlay.ways = {_address("172.16.0.0")[:14]: to_peers, _address("fd01::")[:8]: to_peers}
        self.switch = Switch(self.datapath, self.devices, rundir)
        self.bridges: dict[str, dict[str, InterfaceConfig]] = {"br0": {}}
        self.other_config: dict[str, str] = {}

    def tunnel(self, name: str, kind: str, options: str, bridge: str = "br0") -> None:
        interface = InterfaceConfig(name, type=kind, options=_options(options))
        self.bridges.setdefault(bridge, {})[name] = interface

    def apply(self) -> SwitchStatus:
        return self.switch.apply(
            SwitchConfig(
                tuple(
                    BridgeConfig(name, ports=tuple(PortConfig(n, (i,)) for n, i in ports.items()))
                    for name, ports in self.bridges.items()
                ),
                other_config=self.other_config,
            )
        )

    def status(self, name: str, bridge: str = "br0") -> InterfaceStatus:
        return self.switch.status().bridges[bridge].ports[name].interfaces[name]

    def told(self, name: str) -> object:
        port = self.switch.find_port(name)
        assert port is not None
        return self.datapath.tunnels.get(port[1].port_id)


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


def test_packets_are_taken_where_the_host_has_addresses_and_nowhere_else(world: World) -> None:
    world.devices.appear("other")
    world.apply()
    assert world.datapath.uplinks == set()
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2")
    world.apply()
    assert world.datapath.uplinks == {world.un0.ifindex}
    shown = {a.address for a in world.datapath.local_addresses}
    assert shown == {bytes([172, 16, 0, 1]), _address("fd01::1")}
    del world.bridges["br0"]["vx0"]
    world.apply()
    assert world.datapath.uplinks == set()
    assert world.datapath.local_addresses == []


def test_a_new_address_is_followed_while_running(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2")
    world.apply()
    second = world.devices.appear("un1")
    world.underlay.own.append(Address(second.ifindex, _address("172.17.0.1")))
    world.underlay.changed = True
    world.switch.run()
    assert world.datapath.uplinks == {world.un0.ifindex, second.ifindex}


def test_a_tunnel_with_a_local_address_is_looked_for_only_there(world: World) -> None:
    second = world.devices.appear("un1")
    world.underlay.own.append(Address(second.ifindex, _address("172.17.0.1")))
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2 local_ip=172.16.0.1")
    world.apply()
    assert world.datapath.uplinks == {world.un0.ifindex}


def test_an_address_of_lo_can_be_reached_by_every_uplink(world: World) -> None:
    second = world.devices.appear("un1")
    world.underlay.own += [
        Address(second.ifindex, _address("172.17.0.1")),
        Address(1, _address("192.0.2.1")),
    ]
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2 local_ip=192.0.2.1")
    world.apply()
    assert world.datapath.uplinks == {world.un0.ifindex, second.ifindex}


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


def test_a_group_is_joined_where_its_route_leads(world: World) -> None:
    world.underlay.ways[_address("239.0.0.0")[:13]] = Route(world.un0.ifindex)
    world.tunnel("mc", "vxlan", "remote_ip=239.1.1.1 local_ip=172.16.0.1 key=7")
    world.apply()
    assert world.underlay.joined == {(_address("239.1.1.1"), world.un0.ifindex)}
    assert bytes([239, 1, 1, 1]) in {a.address for a in world.datapath.local_addresses}
    assert world.status("mc").status["tunnel_egress_iface"] == "un0"
    del world.bridges["br0"]["mc"]
    world.apply()
    assert world.underlay.joined == set()


def test_routers_are_heard_for_the_protocols_that_tunnels_run_over(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2")
    world.apply()
    assert world.underlay.heard_of == {17}
    world.tunnel("gre0", "gre", "remote_ip=172.16.0.2")
    world.apply()
    assert world.underlay.heard_of == {17, 47}
    del world.bridges["br0"]["vx0"]
    world.apply()
    assert world.underlay.heard_of == {47}


def test_super_packets_are_cut_before_a_device_that_would_sum_them_wrongly(world: World) -> None:
    world.devices.cutting = {world.un0.ifindex}
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2")
    world.apply()
    assert world.datapath.cuts[world.un0.ifindex] is Cuts.SUMMED
    assert world.datapath.cutter == (0, 0, False, False), "it has no outer checksum"
    world.tunnel("gre0", "gre", "remote_ip=172.16.0.2 csum=true")
    world.apply()
    assert world.datapath.cutter == (*world.devices.cutter, True, False)
    assert any(world.devices.cutter)


def test_what_goes_from_tunnel_to_tunnel_is_cut_between_them(world: World) -> None:
    world.devices.internal = {world.un0.ifindex}
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2")
    world.apply()
    assert world.datapath.cuts[world.un0.ifindex] is Cuts.ALL
    assert world.datapath.cutter == (*world.devices.cutter, True, False)


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


@pytest.mark.parametrize(("kind", "options", "ipv6", "extra", "expected"), OVERHEADS)
def test_the_room_that_headers_take(
    kind: str, options: str, ipv6: bool, extra: int, expected: int
) -> None:
    tunnel, _ = parse_tunnel("t", kind, _options(f"remote_ip=flow {options}"))
    assert overhead(tunnel, ipv6, extra) == expected


def test_a_packet_out_by_a_tunnel_is_sent_by_the_hosts_routes(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2 key=5")
    world.apply()
    frame = bytes.fromhex("02000000000102000000000288b5") + bytes(46)
    ofport = world.status("vx0").ofport
    assert ofport is not None
    perform(world.switch, world.switch.bridges["br0"], OfPort.CONTROLLER, frame, (Output(ofport),))
    ((packet, destination),) = world.underlay.sent
    assert destination == _address("172.16.0.2")
    assert packet[12:20] == bytes([172, 16, 0, 1, 172, 16, 0, 2])
    assert packet[28:] == bytes.fromhex("0800000000000500") + frame


def test_a_device_that_asks_for_it_gets_the_mtu_that_fits_into_all_tunnels(world: World) -> None:
    world.devices.appear("v0", mtu=1500)
    world.bridges["br-int"] = {
        "v0": InterfaceConfig("v0", other_config={"tunnel-mtu": "true"}),
        "i0": InterfaceConfig("i0", type="internal", other_config={"tunnel-mtu": "true"}),
    }
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2 key=5")
    world.apply()
    links = world.devices.links
    assert (links["v0"].mtu, links["i0"].mtu) == (1450, 1450)
    world.tunnel("vx6", "vxlan", "remote_ip=fd01::2 key=5")
    world.apply()
    assert (links["v0"].mtu, links["i0"].mtu) == (1430, 1430)
    del world.bridges["br0"]["vx6"]
    world.apply()
    world.devices.set_mtu("un0", 9000)
    world.underlay.changed = True
    world.switch.run()
    assert (links["v0"].mtu, links["i0"].mtu, links["br0"].mtu) == (8950, 8950, 1500)


# -- fragments -----------------------------------------------------------------------------------


def test_fragments_are_sent_and_taken_where_a_tunnel_has_no_dont_fragment(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2 key=5 df_default=false")
    world.tunnel("gre0", "gre", "remote_ip=flow key=5")
    world.apply()
    near, far = world.devices.cutter
    assert world.datapath.cutter == (near, far, True, True)
    assert near in world.datapath.uplinks
    assert world.underlay.joining == {Wanted(False, 4789), Wanted(False, 0), Wanted(True, 0)}
    del world.bridges["br0"]["vx0"]
    world.apply()
    assert world.datapath.cutter == (0, 0, False, False)
    assert world.devices.cutter == (0, 0)
    assert near not in world.datapath.uplinks
    assert world.underlay.joining == set()


def test_fragments_of_all_tunnels_are_taken_where_the_database_says_so(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2 key=5")
    world.apply()
    assert world.datapath.cutter == (0, 0, False, False)
    world.other_config["tunnel-reassembly"] = "true"
    world.apply()
    assert world.datapath.cutter == (*world.devices.cutter, False, True)
    assert world.underlay.joining == {Wanted(False, 4789)}


def test_what_the_host_put_together_arrives_if_it_came_by_an_uplink(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2 key=5 df_default=false")
    world.apply()
    world.underlay.came = [(world.un0.ifindex, b"one"), (1, b"from the host itself")]
    world.switch.run()
    assert world.datapath.arrived == [b"one"]


def test_a_packet_out_by_a_tunnel_that_fragments_may_be_cut_up(world: World) -> None:
    world.tunnel("vx0", "vxlan", "remote_ip=172.16.0.2 key=5 df_default=false")
    world.apply()
    ofport = world.status("vx0").ofport
    assert ofport is not None
    frame = bytes.fromhex("02000000000102000000000288b5") + bytes(1500)
    perform(world.switch, world.switch.bridges["br0"], OfPort.CONTROLLER, frame, (Output(ofport),))
    assert world.underlay.sent == []
    (packet,) = world.datapath.cut
    assert packet[6:8] == bytes(2)
    assert packet[36:] == frame
