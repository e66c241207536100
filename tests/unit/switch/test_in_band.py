"""In-band control: which flows there are for which controllers."""

from __future__ import annotations

from ipaddress import IPv4Address

from fake_datapath import FakeDatapath
from fake_devices import FakeDevices

from gossamer.devices.routes import Route
from gossamer.devices.underlay import Neighbour
from gossamer.pipeline.action import Output, SetQueue
from gossamer.pipeline.format_match import format_match
from gossamer.pipeline.of_port import OfPort
from gossamer.switch.config import BridgeConfig, ControllerConfig
from gossamer.switch.in_band import InBand, Remote, remotes
from gossamer.switch.table import Table

V4 = bytes(10) + b"\xff\xff"
MAC = bytes.fromhex("020000000001")
HOP = bytes.fromhex("0200000000aa")
NEAR = Remote(int(IPv4Address("10.0.0.2")), 6653)
FAR = Remote(int(IPv4Address("192.0.2.1")), 6633)


class World:
    """A bridge of a host that has 10.0.0.0/24 and a default route by 10.0.0.254."""

    def __init__(self) -> None:
        self.datapath = FakeDatapath()
        self.devices = FakeDevices()
        self.underlay = self.devices.underlay
        self.underlay.ways[V4] = Route(5, gateway=V4 + bytes((10, 0, 0, 254)))
        self.underlay.ways[V4 + bytes((10, 0, 0))] = Route(5)
        self.table = Table(0)
        bridge_id = self.datapath.add_bridge("br0")
        self.in_band = InBand("br0", bridge_id, self.datapath, self.devices, self.table.hidden)

    def knows(self, address: str, mac: bytes) -> None:
        """The host learned where a neighbour is."""
        self.underlay.known.append(Neighbour(5, V4 + IPv4Address(address).packed, mac))

    @property
    def texts(self) -> set[str]:
        """What the hidden flows match."""
        return {format_match(flow.match) for flow in self.table.hidden}


def test_flows_let_arp_and_the_connection_of_each_controller_through() -> None:
    world = World()
    world.knows("10.0.0.2", HOP)
    world.in_band.configure([NEAR], None)
    world.in_band.run(0.0, MAC)
    mac, hop = MAC.hex(":"), HOP.hex(":")
    assert world.texts == {
        f"udp,in_port=LOCAL,dl_src={mac},tp_src=68,tp_dst=67",
        f"udp,dl_dst={mac},tp_src=67,tp_dst=68",
        f"arp,dl_dst={mac},arp_op=2",
        f"arp,dl_src={mac},arp_op=1",
        f"arp,dl_dst={hop},arp_op=2",
        f"arp,dl_src={hop},arp_op=1",
        "arp,arp_tpa=10.0.0.2,arp_op=2",
        "arp,arp_spa=10.0.0.2,arp_op=1",
        "tcp,nw_dst=10.0.0.2,tp_dst=6653",
        "tcp,nw_src=10.0.0.2,tp_src=6653",
    }
    assert {flow.actions for flow in world.table.hidden} == {(Output(OfPort.NORMAL),)}
    assert len(world.table) == 0, "nobody counts them"


def test_the_next_hop_of_a_far_controller_is_its_router() -> None:
    world = World()
    world.in_band.configure([FAR], None)
    world.in_band.run(0.0, MAC)
    assert not any(HOP.hex(":") in text for text in world.texts)
    assert world.in_band.next_s() == 1.0, "it is looked for again soon"
    world.knows("10.0.0.254", HOP)
    world.in_band.run(0.5, MAC)
    assert not any(HOP.hex(":") in text for text in world.texts)
    world.in_band.run(1.0, MAC)
    assert f"arp,dl_dst={HOP.hex(':')},arp_op=2" in world.texts
    assert world.in_band.next_s() == 11.0


def test_another_address_of_the_bridge_is_followed_at_once() -> None:
    world = World()
    world.knows("10.0.0.2", HOP)
    world.in_band.configure([NEAR], None)
    world.in_band.run(0.0, MAC)
    other = bytes.fromhex("020000000002")
    world.in_band.run(0.1, other)
    assert f"arp,dl_src={other.hex(':')},arp_op=1" in world.texts
    assert f"arp,dl_src={MAC.hex(':')},arp_op=1" not in world.texts


def test_a_queue_is_set_and_without_controllers_all_flows_go() -> None:
    world = World()
    world.in_band.configure([NEAR], 7)
    world.in_band.run(0.0, MAC)
    actions = (SetQueue(7), Output(OfPort.NORMAL))
    assert {flow.actions for flow in world.table.hidden} == {actions}
    world.in_band.configure([], 7)
    world.in_band.run(0.1, MAC)
    assert not world.texts and world.in_band.next_s() is None
    assert all(not bridge.flows for bridge in world.datapath.bridges.values())


def test_a_full_datapath_is_no_end_and_what_went_in_is_known() -> None:
    world = World()
    world.datapath.max_flows = 3
    world.in_band.configure([NEAR], None)
    world.in_band.run(0.0, MAC)
    assert len(world.texts) == 3
    world.datapath.max_flows = 100
    world.in_band.run(20.0, MAC)
    assert len(world.texts) == 8


def test_in_band_are_active_controllers_and_managers_with_ipv4_addresses_elsewhere() -> None:
    def found(*controllers: ControllerConfig, disable: bool = False) -> list[Remote]:
        config = BridgeConfig("br0", controllers=controllers, disable_in_band=disable)
        return list(remotes(config, ("ssl:192.0.2.1:6633", "ptcp:6640", "unix:/x")))

    near = ControllerConfig("tcp:10.0.0.2")
    out = ControllerConfig("tcp:10.0.0.3", connection_mode="out-of-band")
    six = ControllerConfig("tcp:[2001:db8::1]:6653")
    assert found(near, out, six, ControllerConfig("ptcp:6653")) == [NEAR, FAR]
    assert found(near, disable=True) == []
    world = World()
    world.in_band.configure([Remote(int(IPv4Address("127.0.0.1")), 6653)], None)
    world.in_band.run(0.0, MAC)
    assert not world.texts, "what is on this host needs no way through a bridge"


def test_hidden_flows_win_in_the_reference_pipeline() -> None:
    world = World()
    world.in_band.configure([NEAR], None)
    world.in_band.run(0.0, MAC)
    hidden = next(iter(world.table.hidden))
    assert world.table.lookup(hidden.match.value) is hidden
    assert world.table.lookup(0) is None
    assert hidden.match.mask in world.table.masks()
