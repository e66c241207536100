"""Hosts and virtual networks: what is made of them, and which mistakes are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.errors import TopologyError
from gossamer.topology.load import load
from gossamer.topology.model import Topology
from gossamer.topology.networks import (
    largest_mtu,
    local_vlans,
    mtu_of,
    overhead,
    tunnels_of,
)
from gossamer.topology.place import document_path
from gossamer.topology.resources import resources

TWO_HOSTS = """\
name: net
bridges:
  lan: {}
  wire: {}
hosts:
  h1:
    ports:
      - {bridge: lan, address: 192.0.2.1/24}
      - {bridge: wire}
    bridges:
      br-ex: {devices: [eth1]}
  h2:
    ports:
      - {bridge: lan, address: 192.0.2.2/24}
      - {bridge: wire}
    bridges:
      br-ex: {devices: [eth1]}
networks:
  blue: {kind: vxlan, id: 5001}
  red: {kind: gre, id: 7}
  office: {kind: vlan, id: 30, bridge: br-ex}
instances:
  a1:
    host: h1
    ports:
      - {network: blue, address: 10.0.0.1/24}
      - {network: office, address: 10.3.0.1/24}
  a2:
    host: h2
    ports:
      - {network: blue, address: 10.0.0.2/24}
  b1:
    host: h1
    ports:
      - {network: red, address: 10.0.0.1/24}
  b2:
    host: h2
    ports:
      - {network: red, address: 10.0.0.2/24}
expect:
  - a1 -> a2: reachable
"""


def read(tmp_path: Path, text: str) -> Topology:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    return load(path)


def edited(*edits: tuple[str, str]) -> str:
    text = TWO_HOSTS
    for was, now in edits:
        assert was in text
        text = text.replace(was, now, 1)
    return text


def test_a_tunnel_of_each_kind_goes_to_each_host_of_a_common_network(tmp_path: Path) -> None:
    topology = read(tmp_path, TWO_HOSTS)
    assert [(t.name, t.type, str(t.local), str(t.remote)) for t in tunnels_of(topology, "h1")] == [
        ("vxlan-h2", "vxlan", "192.0.2.1", "192.0.2.2"),
        ("gre-h2", "gre", "192.0.2.1", "192.0.2.2"),
    ]


def test_gre_over_ipv6_has_a_type_of_its_own(tmp_path: Path) -> None:
    text = edited(("192.0.2.1/24", '"2001:db8::1/64"'), ("192.0.2.2/24", '"2001:db8::2/64"'))
    topology = read(tmp_path, text)
    assert {t.kind: t.type for t in tunnels_of(topology, "h2")} == {"vxlan": "vxlan", "gre": "ip6gre"}
    assert mtu_of(topology, "blue") == 1500 - 70
    assert mtu_of(topology, "red") == 1500 - 62


@pytest.mark.parametrize(
    ("kind", "family", "octets"),
    [("vxlan", 4, 50), ("gre", 4, 42), ("geneve", 4, 50), ("vxlan", 6, 70), ("gre", 6, 62)],
)
def test_a_tunnel_adds_its_headers_to_every_packet(kind: str, family: int, octets: int) -> None:
    assert overhead(kind, family) == octets


def test_instances_get_the_mtu_that_their_network_carries(tmp_path: Path) -> None:
    found = resources(read(tmp_path, TWO_HOSTS))
    assert [found[f"port/{p}"]["mtu"] for p in ("a1/0", "a1/1", "b1/0")] == [1450, 1500, 1458]
    larger = edited(
        ("address: 192.0.2.1/24}", "address: 192.0.2.1/24, mtu: 9000}"),
        ("address: 192.0.2.2/24}", "address: 192.0.2.2/24, mtu: 1600}"),
    )
    assert largest_mtu(read(tmp_path, larger), "blue") == 1550


def test_a_host_keeps_its_vlans_when_networks_come_and_go(tmp_path: Path) -> None:
    before = local_vlans(read(tmp_path, TWO_HOSTS), "h1")
    more = edited(
        ("networks:\n", "networks:\n  first: {kind: geneve, id: 1}\n"),
        ("  b1:", "  c1:\n    host: h1\n    ports: [{network: first}]\n  b1:"),
    )
    after = local_vlans(read(tmp_path, more), "h1")
    assert set(after) == {"first", "blue", "red", "office"}
    assert {name: after[name] for name in before} == before
    assert len(set(after.values())) == 4


def test_vlans_and_keys_are_translated_both_ways(tmp_path: Path) -> None:
    topology = read(tmp_path, TWO_HOSTS)
    found = resources(topology)
    vlan = local_vlans(topology, "h1")
    tun = found["flows/h1:br-tun"]["flows"]
    assert f"table=4,priority=1,tun_id=5001,actions=mod_vlan_vid:{vlan['blue']},resubmit(,10)" in tun
    assert any(f.startswith(f"table=22,priority=1,dl_vlan={vlan['red']},actions=strip_vlan,load:0x7->") for f in tun)
    assert (
        f"priority=3,in_port=br-int-to-br-ex,dl_vlan=30,actions=mod_vlan_vid:{vlan['office']},NORMAL"
        in found["flows/h1:br-int"]["flows"]
    )
    assert (
        f"priority=4,in_port=br-ex-to-br-int,dl_vlan={vlan['office']},actions=mod_vlan_vid:30,NORMAL"
        in found["flows/h1:br-ex"]["flows"]
    )


def test_with_l2_population_nothing_is_learned_and_arp_is_answered(tmp_path: Path) -> None:
    text = edited(("id: 5001}", "id: 5001, l2_population: true}"), ("id: 7}", "id: 7, l2_population: true}"))
    topology = read(tmp_path, text)
    flows = resources(topology)["flows/h1:br-tun"]["flows"]
    assert not [f for f in flows if "learn(" in f]
    mac = resources(topology)["port/a2/0"]["mac"]
    assert [f for f in flows if f.startswith("table=20,priority=2") and f"dl_dst={mac}" in f]
    assert [f for f in flows if "arp_tpa=10.0.0.2," in f and f"mod_dl_src:{mac}" in f]


def test_with_l2_population_neighbour_solicitations_are_answered(tmp_path: Path) -> None:
    text = edited(
        ("id: 5001}", "id: 5001, l2_population: true}"),
        ("network: blue, address: 10.0.0.2/24", "network: blue, addresses: [10.0.0.2/24, 'fd00::2/64']"),
    )
    topology = read(tmp_path, text)
    flows = resources(topology)["flows/h1:br-tun"]["flows"]
    mac = resources(topology)["port/a2/0"]["mac"]
    (answer,) = [f for f in flows if "nd_target=fd00::2," in f]
    assert f"mod_dl_src:{mac}" in answer
    assert answer.endswith("load:0x88->NXM_NX_ICMPV6_TYPE[],resubmit(,23)")
    assert [f for f in flows if f.startswith("table=23,") and "->NXM_NX_ND_TLL[],IN_PORT" in f]


def test_tenants_may_have_the_same_addresses(tmp_path: Path) -> None:
    assert read(tmp_path, TWO_HOSTS).instances.keys() == {"a1", "a2", "b1", "b2"}
    with pytest.raises(TopologyError, match=r"10.0.0.2 is given twice"):
        read(tmp_path, edited(("network: red, address: 10.0.0.2", "network: blue, address: 10.0.0.2")))


@pytest.mark.parametrize(
    ("was", "now", "message", "line"),
    [
        ("host: h2", "host: h3", "there is no host 'h3'", 29),
        ("network: red", "network: green", "there is no network 'green'", 35),
        ("network: red", "bridge: br-ey", "there is no bridge 'br-ey' on h1", 35),
        ("network: red,", "network: red, vlan: 4,", "a port in a network has no vlan of its own", 35),
        ("    host: h2\n    ports:\n      - {network: blue", "    ports:\n      - {network: blue",
         "only instances on a host can be in a network", 30),
        ("kind: vxlan, id: 5001", "kind: vxlan", "id is missing", 19),
        ("id: 5001", "id: 16777216", "a vxlan network cannot have the id 16777216", 19),
        ("kind: gre, id: 7", "kind: vxlan, id: 5001", "networks blue and red would be one", 20),
        ("id: 7", "id: 7, mtu: 1459", "the way between the hosts carries 1458", 20),
        ("network: red,", "network: red, mtu: 1500,", "does not fit into red, which carries 1458", 35),
        ("bridge: br-ex}", "bridge: br-eth}", "h1 has no bridge br-eth", 21),
        ("devices: [eth1]", "devices: [eth7]", "the host has no device eth7", 11),
        ("devices: [eth1]", "devices: [eth0]", "eth0 has an address", 11),
        ("br-ex: {devices: [eth1]}", "br-ex: {devices: [eth1]}\n      br-int: {}", "br-int of a host in networks is made for it", 12),
        ("192.0.2.2/24", '"2001:db8::2/64"', "tunnels to h1 end at 192.0.2.1", 6),
        ("{bridge: lan, address: 192.0.2.2/24}", "{bridge: lan}", "h2 has no address for tunnels", 13),
        ("id: 5001}", "id: 5001, kindd: 3}", "unknown key 'kindd'", 19),
        ("kind: gre", "kind: stt", "must be vxlan, gre, geneve, vlan or flat", 20),
        ("  a2:", "  h1:", "h1 is a host already", 28),
        ("br-ex: {devices: [eth1]", 'br-ex: {flows: ["actions=drop"], devices: [eth1]',
         "the flows of br-ex are those of its networks", 11),
        ("    bridges:\n      br-ex: {devices: [eth1]}\n  h2", "    bridgs:\n      br-ex: {}\n  h2",
         "unknown key 'bridgs'", 10),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(
    tmp_path: Path, was: str, now: str, message: str, line: int
) -> None:
    with pytest.raises(TopologyError) as e:
        read(tmp_path, edited((was, now)))
    assert message in e.value.message
    assert e.value.place.endswith(f":{line}")
    assert e.value.remedy


def test_two_gateways_into_one_physical_network_would_close_a_loop(tmp_path: Path) -> None:
    gateway = "gateways: [{host: h1, bridge: br-ex, vlan: 9}"
    one = edited(("id: 5001", f"id: 5001, {gateway}]"))
    assert read(tmp_path, one)
    apart = edited(("id: 5001", f"id: 5001, {gateway}, {{host: h2, bridge: br-ex, vlan: 8}}]"))
    assert read(tmp_path, apart)
    both = edited(("id: 5001", f"id: 5001, {gateway}, {{host: h2, bridge: br-ex, vlan: 9}}]"))
    with pytest.raises(TopologyError, match="would meet the same physical network twice"):
        read(tmp_path, both)


def test_what_a_host_has_is_found_in_its_file(tmp_path: Path) -> None:
    topology = read(tmp_path, TWO_HOSTS)
    assert document_path(topology, "bridge/h1:br-ex", "devices[0]") == "hosts.h1.bridges.br-ex.devices[0]"
    assert document_path(topology, "flows/h1:br-tun", "flows[3]") == "hosts.h1"
    assert document_path(topology, "tunnel/h2:vxlan-h1", "") == "hosts.h2"
    assert document_path(topology, "port/h2/0", "mtu") == "hosts.h2.ports[0].mtu"
    assert document_path(topology, "daemon/h2", "") == "hosts.h2"


ROUTED = edited(
    ("expect:", "  gw:\n    host: h1\n    forward: true\n    route_by_flows: true\n    ports:\n"
     "      - {network: blue, address: 10.0.0.254/24}\n      - {network: office, address: 10.3.0.254/24}\n"
     "    gateway: 10.3.0.1\nexpect:"),
)  # fmt: skip


def test_a_router_routes_by_flows_and_leaves_the_rest_to_its_instance(tmp_path: Path) -> None:
    topology = read(tmp_path, ROUTED)
    found = resources(topology)
    flows = found["flows/h1:br-int"]["flows"]
    mac = {name: found[f"port/{name}"]["mac"] for name in ("gw/0", "gw/1", "a1/0", "a2/0", "a1/1")}
    assert f"priority=21,ip,dl_dst={mac['gw/0']},nw_ttl=1,actions=NORMAL" in flows
    assert "table=60,priority=33,ip,reg6=1,nw_dst=10.0.0.254/32,actions=NORMAL" in flows
    # Packets of 1500 octets from the office do not fit into the tunnels of blue: only ICMP can say so.
    assert not [f for f in flows if "nw_dst=10.0.0.2/32" in f]
    default = next(f for f in flows if f.startswith("table=60,priority=1,ip,reg6=1,actions="))
    assert f"mod_dl_src:{mac['gw/1']},mod_dl_dst:{mac['a1/1']},dec_ttl" in default
    even = ROUTED.replace("bridge: br-ex}", "bridge: br-ex, mtu: 1450}")
    flows = resources(read(tmp_path, even))["flows/h1:br-int"]["flows"]
    towards = next(f for f in flows if "nw_dst=10.0.0.2/32" in f)
    assert f"mod_dl_src:{mac['gw/0']},mod_dl_dst:{mac['a2/0']},dec_ttl" in towards
    assert towards.endswith("output:br-int-to-br-tun")


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        ("    forward: true\n", "", "an instance that does not forward is no router"),
        ("    forward: true\n", "    forward: true\n    nat: eth1\n", "they translate no addresses"),
        ("    host: h1\n    forward", "    forward", "flows route between networks, on a host"),
    ],
)
def test_what_flows_cannot_route_is_told(tmp_path: Path, was: str, now: str, message: str) -> None:
    assert was in ROUTED
    with pytest.raises(TopologyError, match=message):
        read(tmp_path, ROUTED.replace(was, now, 1))
