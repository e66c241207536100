"""The learning VLAN switch."""

from __future__ import annotations

import pytest

from gossamer.pipeline import action as act
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.flow_syntax import compose, parse_flow
from gossamer.pipeline.match import ANY
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.result import Result
from gossamer.pipeline.steps import Drop
from gossamer.pipeline.world import Bridge, Port, VlanMode, World

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
NORMAL = Flow(0, 0, ANY, (act.Output(int(OfPort.NORMAL)),))
TAGGED, UNTAGGED = VlanMode.NATIVE_TAGGED, VlanMode.NATIVE_UNTAGGED


def frame(src: str, dst: str, *, vlan: str = "") -> bytes:
    return compose(parse_flow(f"dl_src={src},dl_dst={dst},dl_type=0x1234{vlan}").match)


class Network:
    """A bridge that is NORMAL throughout."""

    def __init__(self, *ports: Port, forward_bpdu: bool = False) -> None:
        self.bridge = Bridge("br0", ports, [NORMAL], forward_bpdu=forward_bpdu)
        self.world = World([self.bridge])

    def send(self, in_port: int, packet: bytes) -> Result:
        return Pipeline(self.world).run("br0", in_port, packet)

    def out(self, in_port: int, packet: bytes) -> dict[int, bytes]:
        return {o.ofport: o.packet[12:16] for o in self.send(in_port, packet).outputs}


UNTAG = b"\x12\x34\0\0"


def tag(tci: int) -> bytes:
    return b"\x81\0" + tci.to_bytes(2, "big")


def test_unknown_destinations_are_flooded_and_known_ones_are_not() -> None:
    network = Network(Port(1), Port(2), Port(3))
    assert set(network.out(1, frame(A, B))) == {2, 3}
    assert set(network.out(2, frame(B, A))) == {1}
    assert set(network.out(1, frame(A, B))) == {2}


def test_a_packet_for_an_address_behind_its_own_port_is_dropped() -> None:
    network = Network(Port(1), Port(2))
    network.send(1, frame(B, A))
    assert network.send(1, frame(A, B)).drops == [Drop.SAME_PORT]


def test_an_address_that_moves_is_followed() -> None:
    network = Network(Port(1), Port(2), Port(3))
    network.send(1, frame(A, B))
    network.send(2, frame(A, B))
    assert set(network.out(3, frame(B, A))) == {2}


def test_an_address_too_old_is_forgotten() -> None:
    network = Network(Port(1), Port(2), Port(3))
    network.send(1, frame(A, B))
    network.world.now_s += network.bridge.fdb.ageing_s + 1
    assert set(network.out(2, frame(B, A))) == {1, 3}


def test_multicast_sources_are_never_learned() -> None:
    network = Network(Port(1), Port(2))
    network.send(1, frame("03:00:00:00:00:01", B))
    assert not network.bridge.fdb.entries


def test_a_full_table_learns_no_more() -> None:
    network = Network(Port(1), Port(2))
    network.bridge.fdb.size = 1
    network.send(1, frame(A, B))
    network.send(2, frame(B, A))
    assert len(network.bridge.fdb.entries) == 1


@pytest.mark.parametrize(
    "dst", ["01:80:c2:00:00:00", "01:80:c2:00:00:0f", "01:00:0c:cc:cc:cc", "00:e0:2b:00:00:04"]
)
def test_link_local_protocols_end_here_unless_bpdus_are_forwarded(dst: str) -> None:
    assert Network(Port(1), Port(2)).send(1, frame(A, dst)).drops == [Drop.RESERVED_MAC]
    assert set(Network(Port(1), Port(2), forward_bpdu=True).out(1, frame(A, dst))) == {2}


def test_access_ports_of_two_vlans_do_not_meet() -> None:
    access = VlanMode.ACCESS
    network = Network(Port(1, access, 10), Port(2, access, 20), Port(3, access, 10), Port(4))
    assert network.out(1, frame(A, B)) == {3: UNTAG, 4: tag(10)}
    assert network.send(1, frame(A, B, vlan=",dl_vlan=10")).drops == [Drop.VLAN_INGRESS]


def test_learning_is_per_vlan() -> None:
    network = Network(Port(1), Port(2), Port(3))
    network.send(1, frame(A, B, vlan=",dl_vlan=10"))
    assert set(network.out(2, frame(B, A, vlan=",dl_vlan=20"))) == {1, 3}


def test_a_trunk_carries_only_its_vlans() -> None:
    network = Network(Port(1, trunks=frozenset((10,))), Port(2, trunks=frozenset((20,))), Port(3))
    assert network.out(1, frame(A, B, vlan=",dl_vlan=10")) == {3: tag(10)}
    assert network.send(1, frame(A, B)).drops == [Drop.VLAN_INGRESS]


def test_native_ports_differ_in_how_their_own_vlan_leaves() -> None:
    network = Network(Port(1, TAGGED, 10), Port(2, UNTAGGED, 10), Port(3, UNTAGGED, 20))
    assert network.out(1, frame(A, B)) == {2: UNTAG, 3: tag(10)}
    assert network.out(2, frame(B, "02:00:00:00:00:0c")) == {1: tag(10), 3: tag(10)}


def test_a_native_vlan_is_carried_even_when_trunks_do_not_list_it() -> None:
    network = Network(Port(1, UNTAGGED, 10, frozenset((20,))), Port(2))
    assert network.out(2, frame(A, B, vlan=",dl_vlan=10")) == {1: UNTAG}


def test_packets_of_no_vlan_do_not_leave_by_ports_with_a_native_one() -> None:
    network = Network(Port(1), Port(2, UNTAGGED, 10), Port(3, TAGGED, 10), Port(4))
    assert network.out(1, frame(A, B)) == {4: UNTAG}


def test_priority_tags_survive_trunks_and_not_access_ports() -> None:
    network = Network(Port(1), Port(2), Port(3, VlanMode.ACCESS, 0))
    assert network.out(1, frame(A, B, vlan=",dl_vlan=0,dl_vlan_pcp=5")) == {
        2: tag(0xA000),
        3: UNTAG,
    }


def test_a_tag_of_vlan_zero_without_priority_is_taken_off() -> None:
    assert Network(Port(1), Port(2)).out(1, frame(A, B, vlan=",dl_vlan=0")) == {2: UNTAG}


def test_an_inner_tag_is_payload() -> None:
    packet = frame(A, B, vlan=",dl_vlan=10")
    double = packet[:16] + b"\x81\0\0\x63" + packet[16:]
    network = Network(Port(1), Port(2, VlanMode.ACCESS, 10))
    assert network.out(1, double) == {2: tag(0x63)}


def test_a_tag_cut_short_is_dropped() -> None:
    partial = frame(A, B)[:12] + b"\x81\0\0\x0a\x12"
    assert Network(Port(1), Port(2)).send(1, partial).drops == [Drop.VLAN_INGRESS]


def test_no_flood_ports_get_what_is_known_to_be_behind_them() -> None:
    network = Network(Port(1), Port(2, flood=False), Port(3))
    assert set(network.out(1, frame(A, B))) == {3}
    network.send(2, frame(B, A))
    assert set(network.out(1, frame(A, B))) == {2}
