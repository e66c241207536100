"""Flow records: what is counted, when it is reported, and how it stands in messages."""

from __future__ import annotations

from gossamer.export.ipfix import MAX_MESSAGE, TEMPLATE_INTERVAL_S, IpfixExporter
from gossamer.export.observation import Interface, Observation, TunnelPort, TunnelType
from gossamer.pipeline.fields import put_slot
from gossamer.pipeline.flow_syntax import compose, parse_flow
from gossamer.pipeline.packet import parse
from tests.unit.export.reading import Collector, Message, number, values

NOW = 1_700_000_000.0
TCP = "tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_ttl=64,nw_tos=72,tp_src=1000,tp_dst=80,tcp_flags=2"
VMWARE = 6876


class World:
    """An exporter, and what a collector hears of it."""

    def __init__(self, active_timeout_s: int = 60, max_flows: int = 100) -> None:
        self.sent: list[Message] = []
        self._collector = Collector()
        self.exporter = IpfixExporter(active_timeout_s, max_flows, self._hear)

    def _hear(self, data: bytes) -> int:
        assert len(data) <= MAX_MESSAGE
        self.sent.append(self._collector.read(data))
        return 0

    @property
    def records(self) -> list[list[tuple[tuple[int, int], bytes]]]:
        return [record for message in self.sent for record in message.records]


def seen(flow: str = TCP, **more: object) -> Observation:
    frame = compose(parse_flow(flow).match)
    known: dict[str, object] = {
        "key": parse(frame, 1), "n_bytes": len(frame), "domain": 5, "point": 9,
        "ingress": Interface(3, "vm1"),
    }  # fmt: skip
    return Observation(**(known | more))  # type: ignore[arg-type]


def test_a_flow_is_reported_when_its_time_is_over() -> None:
    world = World(active_timeout_s=60)
    world.exporter.observe(seen(), NOW)
    world.exporter.observe(seen(n_bytes=154), NOW + 10)
    assert world.exporter.next_s() == NOW + 60
    world.exporter.run(NOW + 59.9)
    assert not world.sent
    world.exporter.run(NOW + 60)
    ((message,), (record,)) = world.sent, world.records
    assert (message.domain, message.sequence) == (5, 0)
    assert number(record, 138) == 9
    assert (number(record, 10), values(record, 82)) == (3, [b"vm1"])
    assert (number(record, 8), number(record, 12)) == (0x0A000001, 0x0A000002)
    assert (number(record, 7), number(record, 11), number(record, 4)) == (1000, 80, 6)
    assert (number(record, 5), number(record, 195), number(record, 196)) == (72, 18, 2)
    assert (number(record, 192), number(record, 60), number(record, 61)) == (64, 4, 0)
    assert number(record, 136) == 2
    first = len(compose(parse_flow(TCP).match))
    assert (number(record, 2), number(record, 352)) == (2, first + 154)
    assert number(record, 1) == first - 14 + 140
    assert number(record, 198) == (first - 14) ** 2 + 140**2
    assert (number(record, 25), number(record, 26)) == (first - 14, 140)
    assert (number(record, 218), number(record, 219)) == (2, 0)
    export_us = message.export_s * 1_000_000
    assert export_us - number(record, 158) == NOW * 1_000_000
    assert export_us - number(record, 159) == (NOW + 10) * 1_000_000
    assert world.exporter.next_s() is None


def test_flows_are_told_apart_by_what_a_record_says_of_them() -> None:
    world = World()
    for flow in (TCP, TCP.replace("80", "81"), TCP.replace("nw_ttl=64", "nw_ttl=63"), TCP):
        world.exporter.observe(seen(flow), NOW)
    world.exporter.observe(seen(ingress=Interface(4, "vm2")), NOW)
    world.exporter.observe(seen(point=10), NOW)
    world.exporter.flush(NOW + 1)
    assert sorted(number(r, 2) for r in world.records) == [1, 1, 1, 1, 2]
    assert {number(r, 136) for r in world.records} == {4}


def test_what_has_no_room_is_reported_at_once_the_oldest_first() -> None:
    world = World(max_flows=2)
    for port in (1, 2, 3):
        world.exporter.observe(seen(TCP.replace("80", str(port))), NOW + port)
    assert [(number(r, 11), number(r, 136)) for r in world.records] == [(1, 5)]
    statistics = world.exporter.statistics()
    assert (statistics.flows, statistics.current_flows, statistics.packets) == (3, 2, 3)


def test_without_a_cache_each_packet_is_a_flow() -> None:
    for world in (World(active_timeout_s=0), World(max_flows=0)):
        for _ in range(3):
            world.exporter.observe(seen(), NOW)
        assert [number(r, 2) for r in world.records] == [1, 1, 1]
        assert [m.sequence for m in world.sent] == [0, 1, 2]


def test_a_sampled_packet_stands_for_others_and_a_train_for_its_segments() -> None:
    world = World()
    world.exporter.observe(seen(n_bytes=2 * 154, n_packets=2, weight=10), NOW)
    world.exporter.flush(NOW)
    (record,) = world.records
    assert (number(record, 2), number(record, 352)) == (20, 3080)


SHAPES = [
    ("arp,arp_spa=10.0.0.1", {256: 0x0806}, (60, 8, 27, 1)),
    ("udp6,ipv6_src=fe80::1,ipv6_dst=fe80::2,ipv6_label=0x12345,tp_src=5,tp_dst=6",
     {31: 0x12345, 7: 5, 11: 6, 60: 6, 27: 0xFE80 << 112 | 1, 28: 0xFE80 << 112 | 2}, (8, 218)),
    ("icmp,icmp_type=8,icmp_code=3", {176: 8, 177: 3, 4: 1}, (7, 178)),
    ("icmp6,icmp_type=128,icmp_code=1", {178: 128, 179: 1, 4: 58}, (7, 176)),
    ("dl_vlan=10,dl_vlan_pcp=5," + TCP, {58: 10, 243: 10, 244: 5, 240: 18}, ()),
    ("sctp,tp_src=7,tp_dst=8", {7: 7, 11: 8, 4: 132, 240: 14}, (58, 218)),
]  # fmt: skip


def test_each_kind_of_packet_has_the_elements_that_fit() -> None:
    for flow, there, absent in SHAPES:
        world = World(0)
        world.exporter.observe(seen(flow), NOW)
        (record,) = world.records
        assert {element: number(record, element) for element in there} == there, flow
        assert not any(values(record, element) for element in absent), flow


def test_packets_on_their_way_out_say_by_which_port() -> None:
    world = World(0)
    world.exporter.observe(seen(egress=Interface(7, "uplink"), outward=True), NOW)
    (record,) = world.records
    assert (number(record, 61), number(record, 10), number(record, 14)) == (1, 3, 7)
    assert values(record, 82) == [b"vm1", b"uplink"]


def test_tunnels_are_told_in_elements_of_their_own() -> None:
    world = World(0)
    key = put_slot(put_slot(put_slot(seen().key, "tun_id", 77), "tun_src", 1), "tun_dst", 2)
    tunnel = TunnelPort(TunnelType.VXLAN, 3, 4789)
    world.exporter.observe(seen(key=key, tunnel=tunnel, virtual_id=b"rack 1"), NOW)
    (record,) = world.records
    found = [number(record, e, VMWARE) for e in (891, 893, 894, 895, 897)]
    assert found == [1, 1, 2, 17, 4789]
    assert values(record, 892, VMWARE) == [b"\0\0\x4d"]
    assert values(record, 898, VMWARE) == [b"rack 1"]


def test_templates_go_ahead_and_again_after_ten_minutes() -> None:
    world = World(0)
    for at in (0, 1, TEMPLATE_INTERVAL_S - 1, TEMPLATE_INTERVAL_S, TEMPLATE_INTERVAL_S + 1):
        world.exporter.observe(seen(), NOW + at)
    assert [len(m.templates) for m in world.sent] == [1, 0, 0, 1, 0]
    assert len(world.records) == 5


def test_domains_have_templates_and_sequences_of_their_own() -> None:
    world = World(0)
    for domain in (1, 2, 1):
        world.exporter.observe(seen(domain=domain), NOW)
    told = [(m.domain, m.sequence, len(m.templates)) for m in world.sent]
    assert told == [(1, 0, 1), (2, 0, 1), (1, 1, 0)]


def test_many_flows_share_messages_that_fit_a_datagram() -> None:
    world = World(max_flows=1000)
    for port in range(1, 101):
        world.exporter.observe(seen(TCP.replace("80", str(port))), NOW)
    world.exporter.run(NOW + 60)
    assert len(world.records) == 100
    assert {number(r, 11) for r in world.records} == set(range(1, 101))
    assert 2 < len(world.sent) < 25
    done = 0
    for message in world.sent:
        assert message.sequence == done
        done += len(message.records)
