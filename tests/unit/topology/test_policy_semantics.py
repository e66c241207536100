"""What the flows of rules and translated addresses do to packets, by the reference pipeline."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.fields import get_slot
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.flow_syntax import compose, parse_flow
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.packet import parse
from gossamer.pipeline.result import Result
from gossamer.pipeline.world import Bridge, Port, VlanMode, World
from gossamer.topology.load import load
from gossamer.topology.names import default_mac
from gossamer.topology.policy import policy_flows
from gossamer.topology.port_names import numbered

CLOUD = """\
name: cloud
bridges: {inside: {}, outside: {}}
instances:
  web:
    ports:
      - bridge: inside
        vlan: 10
        address: 10.0.0.10/24
        allow: [tcp/80, udp/5353, tcp/22 from 10.0.0.0/24]
        floating: 203.0.113.10
    gateway: 10.0.0.1
  pc: {ports: [{bridge: inside, vlan: 10, address: 10.0.0.30/24}]}
  shut: {ports: [{bridge: inside, vlan: 10, address: 10.0.0.40/24, allow: [], egress: [udp/53]}]}
  trunk: {ports: [{bridge: inside, trunks: [10, 20]}]}
  router:
    ports:
      - {bridge: inside, vlan: 10, address: 10.0.0.1/24}
      - {bridge: outside, address: 203.0.113.1/24, snat: 203.0.113.2}
    forward: true
  internet: {ports: [{bridge: outside, address: 203.0.113.100/24}]}
"""
PORTS = {"web.eth0": 1, "pc.eth0": 2, "shut.eth0": 3, "trunk.eth0": 4, "router.eth0": 5, "router.eth1": 6,
         "internet.eth0": 7, "LOCAL": int(OfPort.LOCAL)}  # fmt: skip
NAMES = {number: name for name, number in PORTS.items()}


class Cloud:
    """The two bridges, and packets sent into them."""

    def __init__(self, tmp_path: Path) -> None:
        path = tmp_path / "cloud.yaml"
        path.write_text(CLOUD)
        topology = load(path)
        bridges = []
        for name in topology.bridges:
            ports = [Port(int(OfPort.LOCAL))]
            for instance, declared in topology.instances.items():
                for i, port in enumerate(declared.ports):
                    if port.bridge == name:
                        mode = VlanMode.ACCESS if port.vlan else VlanMode.TRUNK
                        number = PORTS[f"{instance}.eth{i}"]
                        ports.append(Port(number, mode, port.vlan or 0, frozenset(port.trunks)))
            bridges.append(Bridge(name, ports, [_flow(f) for f in policy_flows(topology, name)]))
        self.pipeline = Pipeline(World(bridges))

    def send(self, port: str, text: str, *, to: str | None = None, mac: str | None = None) -> list[str]:
        """Who gets a packet that `port` sends; `to` names the port whose MAC it is for."""
        result = self.result(port, text, to=to, mac=mac)
        return [NAMES[o.ofport] for o in result.outputs]

    def result(self, port: str, text: str, *, to: str | None = None, mac: str | None = None) -> Result:
        """What comes of it."""
        target = _mac(to) if to else "ff:ff:ff:ff:ff:ff"
        match = parse_flow(f"{text},dl_src={mac or _mac(port)},dl_dst={target}").match
        bridge = "outside" if port in ("router.eth1", "internet.eth0") else "inside"
        return self.pipeline.run(bridge, PORTS[port], compose(match))


def _flow(text: str) -> Flow:
    before, _, actions = numbered(text, PORTS).partition(",actions=")
    found = parse_flow(before)
    return Flow(found.table_id or 0, found.priority or 0, found.match, parse_actions(actions))


def _mac(port: str) -> str:
    instance, _, number = port.partition(".eth")
    return default_mac("cloud", instance, int(number))


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return Cloud(tmp_path)


def _tcp(source: str, target: str, sport: int, dport: int, flags: str = "syn") -> str:
    return f"tcp,nw_src={source},nw_dst={target},tp_src={sport},tp_dst={dport},tcp_flags={flags},nw_ttl=64"


def _addresses(result: Result) -> list[tuple[str, str]]:
    out = []
    for output in result.outputs:
        key = parse(output.packet, 0)
        out.append(tuple(".".join(map(str, get_slot(key, s).to_bytes(4, "big"))) for s in ("nw_src", "nw_dst")))
    return [(a, b) for a, b in out]


def test_what_a_rule_allows_comes_in_and_its_replies_go_out(cloud: Cloud) -> None:
    assert "web.eth0" in cloud.send("pc.eth0", _tcp("10.0.0.30", "10.0.0.10", 4000, 80), to="web.eth0")
    assert cloud.send("web.eth0", _tcp("10.0.0.10", "10.0.0.30", 80, 4000, "syn|ack"), to="pc.eth0") == ["pc.eth0"]
    assert cloud.send("pc.eth0", _tcp("10.0.0.30", "10.0.0.10", 4000, 80, "ack"), to="web.eth0") == ["web.eth0"]
    assert cloud.send("pc.eth0", _tcp("10.0.0.30", "10.0.0.10", 4001, 81), to="web.eth0") == []


def test_a_port_that_lets_nothing_begin_gets_answers_to_what_it_began(cloud: Cloud) -> None:
    udp = "udp,nw_src={},nw_dst={},tp_src={},tp_dst={},nw_ttl=64"
    assert cloud.send("pc.eth0", udp.format("10.0.0.30", "10.0.0.40", 53, 5000), to="shut.eth0") == []
    assert cloud.send("shut.eth0", udp.format("10.0.0.40", "10.0.0.30", 5000, 53), to="pc.eth0")
    assert cloud.send("pc.eth0", udp.format("10.0.0.30", "10.0.0.40", 53, 5000), to="shut.eth0") == ["shut.eth0"]
    assert cloud.send("shut.eth0", udp.format("10.0.0.40", "10.0.0.30", 5000, 54), to="pc.eth0") == []


def test_a_trunk_reaches_a_protected_port_by_its_vlan_alone(cloud: Cloud) -> None:
    packet = _tcp("10.0.0.99", "10.0.0.10", 4000, 80)
    assert "web.eth0" in cloud.send("trunk.eth0", f"dl_vlan=10,{packet}", to="web.eth0")
    for tag in ("dl_vlan=20,", "dl_vlan=30,", ""):
        assert "web.eth0" not in cloud.send("trunk.eth0", tag + packet, to="web.eth0")
    # An access port cannot choose another VLAN, and a protected one sends no tags at all.
    assert cloud.send("pc.eth0", f"dl_vlan=20,{packet}", to="web.eth0") == []
    assert cloud.send("shut.eth0", f"dl_vlan=10,{packet}", to="web.eth0") == []


@pytest.mark.parametrize(
    "text",
    [
        _tcp("10.0.0.99", "10.0.0.30", 4000, 53),
        "udp,nw_src=10.0.0.40,nw_dst=10.0.0.30,tp_src=67,tp_dst=68,nw_ttl=64",
        "arp,arp_op=2,arp_spa=10.0.0.1,arp_tpa=10.0.0.30,arp_sha=02:00:00:00:00:01,arp_tha=00:00:00:00:00:00",
        "icmp6,ipv6_src=fe80::1,ipv6_dst=ff02::1,icmp_type=134,icmp_code=0,nw_ttl=255",
        "icmp6,ipv6_src=fe80::1,ipv6_dst=ff02::1,icmp_type=136,icmp_code=0,nd_target=fd00::1,nw_ttl=255",
        "dl_type=0x88cc",
    ],
)
def test_a_protected_port_cannot_pretend(cloud: Cloud, text: str) -> None:
    assert cloud.send("shut.eth0", text, to="pc.eth0") == []
    assert cloud.send("shut.eth0", text) == []


def test_nobody_else_sends_from_its_mac(cloud: Cloud) -> None:
    arp = "arp,arp_op=1,arp_spa=10.0.0.30,arp_tpa=10.0.0.1,arp_sha={0},arp_tha=00:00:00:00:00:00"
    assert cloud.send("pc.eth0", arp.format(_mac("pc.eth0")))
    assert cloud.send("pc.eth0", arp.format(_mac("web.eth0")), mac=_mac("web.eth0")) == []


def test_broadcasts_reach_protected_ports_by_their_rules(cloud: Cloud) -> None:
    udp = "udp,nw_src=10.0.0.30,nw_dst=10.0.0.255,tp_src=9,tp_dst={},nw_ttl=1"
    free = {"trunk.eth0", "router.eth0", "LOCAL"}
    assert set(cloud.send("pc.eth0", udp.format(5353))) == free | {"web.eth0"}
    assert set(cloud.send("pc.eth0", udp.format(5354))) == free
    tags = {o.ofport: get_slot(parse(o.packet, 0), "vlan_tci") & 0xFFF
            for o in cloud.result("pc.eth0", udp.format(5353)).outputs}  # fmt: skip
    assert tags == {1: 0, 4: 10, 5: 0, int(OfPort.LOCAL): 10}
    arp = "arp,arp_op=1,arp_spa=10.0.0.30,arp_tpa=10.0.0.10,arp_sha={0},arp_tha=00:00:00:00:00:00"
    assert set(cloud.send("pc.eth0", arp.format(_mac("pc.eth0")))) == free | {"web.eth0", "shut.eth0"}


def test_a_floating_address_stands_for_the_inner_one_both_ways(cloud: Cloud) -> None:
    result = cloud.result("internet.eth0", _tcp("203.0.113.100", "203.0.113.10", 4000, 80), to="router.eth1")
    assert set(_addresses(result)) == {("203.0.113.100", "10.0.0.10")}
    again = cloud.result("internet.eth0", _tcp("203.0.113.100", "203.0.113.10", 4000, 80), to="router.eth1")
    assert set(_addresses(again)) == {("203.0.113.100", "10.0.0.10")}, "a repeated first packet too"
    answer = cloud.result(
        "router.eth1", _tcp("10.0.0.10", "203.0.113.100", 80, 4000, "syn|ack"), to="internet.eth0"
    )
    assert _addresses(answer) == [("203.0.113.10", "203.0.113.100")]
    own = cloud.result("router.eth1", _tcp("10.0.0.10", "203.0.113.100", 999, 53), to="internet.eth0")
    assert _addresses(own) == [("203.0.113.10", "203.0.113.100")], "it speaks from it too"


def test_others_are_hidden_and_not_reached_by_themselves(cloud: Cloud) -> None:
    out = cloud.result("router.eth1", _tcp("10.0.0.30", "203.0.113.100", 4000, 80), to="internet.eth0")
    assert set(_addresses(out)) == {("203.0.113.2", "203.0.113.100")}
    port = get_slot(parse(out.outputs[0].packet, 0), "tp_src")
    back = cloud.result(
        "internet.eth0", _tcp("203.0.113.100", "203.0.113.2", 80, port, "syn|ack"), to="router.eth1"
    )
    assert _addresses(back) == [("203.0.113.100", "10.0.0.30")]
    for target in ("10.0.0.30", "203.0.113.2"):
        packet = _tcp("203.0.113.100", target, 4321, 80)
        assert cloud.send("internet.eth0", packet, to="router.eth1") == []
    assert cloud.send("internet.eth0", _tcp("203.0.113.100", "203.0.113.1", 5, 22), to="router.eth1")
    # Without the beginning of the connection an inner address does not leave.
    stray = _tcp("10.0.0.30", "203.0.113.100", 4444, 80, "rst")
    assert ("10.0.0.30", "203.0.113.100") not in _addresses(cloud.result("router.eth1", stray, to="internet.eth0"))


def test_translated_addresses_are_answered_for(cloud: Cloud) -> None:
    for address in ("203.0.113.10", "203.0.113.2"):
        result = cloud.result(
            "internet.eth0",
            f"arp,arp_op=1,arp_spa=203.0.113.100,arp_tpa={address},arp_sha={_mac('internet.eth0')},"
            "arp_tha=00:00:00:00:00:00",
        )
        (output,) = result.outputs
        key = parse(output.packet, 0)
        assert output.ofport == PORTS["internet.eth0"]
        assert get_slot(key, "nw_proto") == 2
        assert get_slot(key, "arp_sha") == int(_mac("router.eth1").replace(":", ""), 16)
        assert get_slot(key, "nw_src").to_bytes(4, "big") == bytes(map(int, address.split(".")))
    assert re.fullmatch(r"02(:[0-9a-f]{2}){5}", _mac("router.eth1"))
