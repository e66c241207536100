"""Stateful rules and translated addresses: what a file may say, and the flows it becomes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gossamer.errors import TopologyError
from gossamer.topology.allow import Rule, parse_rule, port_masks
from gossamer.topology.expectation import address_between, expectations
from gossamer.topology.load import load
from gossamer.topology.membership import Member, members
from gossamer.topology.model import Topology
from gossamer.topology.policy import policy_flows
from gossamer.topology.resources import resources
from gossamer.topology.security import link_local
from gossamer.topology.stages import Stage, zones
from gossamer.topology.translations import translations

CLOUD = """\
name: cloud
bridges:
  inside: {}
  outside: {}
security_groups:
  web:
    allow: [tcp/80, icmp]
  admin:
    allow: [tcp/22 from 10.0.0.0/24]
    egress: [udp/53]
instances:
  web:
    ports:
      - bridge: inside
        address: 10.0.0.10/24
        mac: 02:00:00:00:00:10
        security_groups: [web]
        floating: 203.0.113.10
    gateway: 10.0.0.1
  db:
    ports:
      - bridge: inside
        addresses: [10.0.0.20/24, "fd00::20/64"]
        security_groups: [admin]
        allow: [tcp/5432 from group web]
    gateway: 10.0.0.1
  router:
    ports:
      - {bridge: inside, addresses: [10.0.0.1/24, "fd00::1/64"]}
      - bridge: outside
        addresses: [203.0.113.1/24, "2001:db8::1/64"]
        snat: [203.0.113.20-203.0.113.23, "2001:db8::20"]
    forward: true
  internet:
    ports: [{bridge: outside, address: 203.0.113.100/24}]
expect:
  - internet -> web tcp/80: reachable
  - internet -> web tcp/22: blocked
  - internet -> web icmp: reachable
"""


def _load(tmp_path: Path, text: str = CLOUD) -> Topology:
    path = tmp_path / "cloud.yaml"
    path.write_text(text)
    return load(path)


def _matching(flows: list[str], stage: Stage, *parts: str) -> list[str]:
    return [f for f in flows if f.startswith(f"table={int(stage)},") and all(p in f for p in parts)]


def test_the_file_of_the_manual_is_right(tmp_path: Path) -> None:
    manual = (Path(__file__).resolve().parents[3] / "docs" / "security-groups.md").read_text()
    topology = _load(tmp_path, manual.partition("```yaml\n")[2].partition("```")[0])
    assert len(expectations(topology)) == 2
    for stage in Stage:
        assert f"\n| {int(stage)} |" in manual, stage


@pytest.mark.parametrize(
    ("text", "protocol", "ports", "peer"),
    [
        ("tcp/22 from 10.0.0.0/24", "tcp", (22, 22), "10.0.0.0/24"),
        ("tcp/8000-8080 from any", "tcp", (8000, 8080), None),
        ("udp/53", "udp", (53, 53), None),
        ("  icmp   from  fd00::/64 ", "icmp", None, "fd00::/64"),
        ("any from 192.0.2.7", "any", None, "192.0.2.7/32"),
        ("sctp", "sctp", None, None),
    ],
)
def test_a_rule_is_read(
    text: str, protocol: str, ports: tuple[int, int] | None, peer: str | None
) -> None:
    rule = parse_rule(text, "in")
    assert (rule.protocol, rule.ports) == (protocol, ports)
    assert (str(rule.network) if rule.network else None) == peer
    assert parse_rule("tcp/1 from group web", "in") == Rule("tcp", (1, 1), None, "web")


@pytest.mark.parametrize(("first", "last"), [(1, 65535), (80, 80), (8000, 8080), (1, 6), (65534, 65535)])
def test_a_range_of_ports_becomes_masks_that_match_it_and_nothing_else(first: int, last: int) -> None:
    pairs = list(port_masks(first, last))
    matched = {p for p in range(65536) for value, mask in pairs if p & mask == value}
    assert matched == set(range(first, last + 1))
    assert len(pairs) <= 30


@pytest.mark.parametrize(
    ("was", "wrong", "line", "remedy"),
    [
        ("tcp/80, icmp", "tcp/80, tcp/0", 7, "1 to 65535"),
        ("tcp/80, icmp", "tcp/80, icmp/8", 7, "stand alone"),
        ("tcp/80, icmp", "tcp/99-9", 7, "smaller one first"),
        ("tcp/80, icmp", "http", 7, "tcp/22"),
        ("tcp/80, icmp", "tcp/80 to 10.0.0.0/24", 7, "egress"),
        ("tcp/80, icmp", "tcp/80 from group wbe", 7, "web, admin"),
        ("udp/53]", "udp/53 from 10.0.0.1]", 10, "(to)"),
        ("from 10.0.0.0/24", "from 10.0.0.1/24", 9, "from any"),
        ("    allow: [tcp/80, icmp]", "    alow: [tcp/80]", 7, "'allow'"),
        ("    allow: [tcp/80, icmp]", "    allow: tcp/80", 7, "a dash"),
        ("[web]", "[wbe]", 17, "web, admin"),
        ("floating: 203.0.113.10", "floating: 198.51.100.1", 18, "forward: true"),
        ("floating: 203.0.113.10", "floating: 203.0.113.1", 18, "nobody has"),
        ("floating: 203.0.113.10", "floating: 203.0.113.10/24", 18, "without a prefix"),
        ("floating: 203.0.113.10", 'floating: "2001:db8::10"', 18, "fd00::10/64"),
        ("floating: 203.0.113.10", "floating: 203.0.113.255", 18, "that network"),
        ("203.0.113.20-203.0.113.23", "203.0.113.90-203.0.113.110", 32, "nobody has"),
        ("203.0.113.20-203.0.113.23", "203.0.113.250-203.0.113.255", 32, "that network"),
        ("203.0.113.20-203.0.113.23", "203.0.113.0", 32, "that network"),
        ("    allow: [tcp/80, icmp]", "    allow:", 7, "or [] for none"),
        ("    egress: [udp/53]", "    egress:", 10, "or [] for none"),
        ("[tcp/5432 from group web]", "# - tcp/5432 from group web", 25, "or [] for none"),
        ("security_groups: [admin]", "egress:", 24, "or [] for none"),
        ("floating: 203.0.113.10", "floating: [203.0.113.10, 203.0.113.10]", 18, "of its own"),
        ("mac: 02", "trunks: [3, 4]\n        mac: 02", 16, "access port"),
        ("  inside: {}", "  inside: {flows: ['actions=drop']}", 3, "patch"),
        ("  inside: {}", "  inside: {controllers: ['tcp:127.0.0.1']}", 3, "patch"),
        ("203.0.113.20-203.0.113.23", "203.0.113.20-203.0.113.3", 32, "smaller"),
        ("203.0.113.20-203.0.113.23", "198.51.100.1", 32, "203.0.113.0/24"),
        ("203.0.113.20-203.0.113.23", "somewhere", 32, "203.0.113.1"),
        ("203.0.113.20-203.0.113.23", "203.0.113.20, 203.0.113.30", 32, "one range"),
        ("    forward: true", "    forward: true\n    nat: eth1", 32, "one of them"),
        ("web tcp/80: reachable", "web tcp/80: 1 Mbit/s", 37, "udp 1 Mbit/s"),
        ("web tcp/80: reachable", "web http: reachable", 37, "tcp/80"),
        ("web tcp/80: reachable", "web tcp/99999: reachable", 37, "tcp/80"),
    ],
)
def test_a_mistake_names_its_line_and_the_remedy(
    tmp_path: Path, was: str, wrong: str, line: int, remedy: str
) -> None:
    assert was in CLOUD
    with pytest.raises(TopologyError) as e:
        _load(tmp_path, CLOUD.replace(was, wrong, 1))
    assert e.value.place.endswith(f":{line}"), (e.value.place, e.value.message)
    assert remedy in e.value.remedy, (e.value.message, e.value.remedy)


@pytest.mark.parametrize("key", ["allow", "egress", "security_groups"])
def test_a_port_is_protected_by_an_empty_list(tmp_path: Path, key: str) -> None:
    text = CLOUD.replace("        security_groups: [web]\n", f"        {key}: []\n")
    assert text != CLOUD
    topology = _load(tmp_path, text)
    assert topology.instances["web"].ports[0].protected
    flows = policy_flows(topology, "inside")
    assert _matching(flows, Stage.RECEIVER, "dl_dst=02:00:00:00:00:10", "NXM_NX_REG7")
    assert not _matching(flows, Stage.RECEIVER_RULES, '="web.eth0"')


def test_only_a_router_hides_others(tmp_path: Path) -> None:
    text = CLOUD.replace("    forward: true\n", "").replace("        floating: 203.0.113.10\n", "")
    with pytest.raises(TopologyError, match="only a router"):
        _load(tmp_path, text)


def test_two_routers_need_a_gateway_to_choose_between_them(tmp_path: Path) -> None:
    second = """\
  other:
    ports: [{bridge: inside, address: 10.0.0.2/24}, {bridge: outside, address: 203.0.113.2/24}]
    forward: true
expect:"""
    both = CLOUD.replace("expect:", second)
    assert translations(_load(tmp_path, both))["router", 1].floating
    moved = both.replace("    gateway: 10.0.0.1\n", "", 1)
    with pytest.raises(TopologyError, match=r"router eth1 or other eth1") as e:
        _load(tmp_path, moved)
    assert "gateway" in e.value.remedy


def test_a_bridge_without_stateful_ports_keeps_its_one_flow(tmp_path: Path) -> None:
    plain = _load(tmp_path, "bridges: {br0: {}}\ninstances: {a: {ports: [{bridge: br0}]}}")
    assert policy_flows(plain, "br0") == []
    assert resources(plain)["flows/br0"]["flows"] == ["priority=0,actions=NORMAL"]


def test_each_rule_is_one_flow_for_each_port_it_holds_for(tmp_path: Path) -> None:
    flows = policy_flows(_load(tmp_path), "inside")
    web = _matching(flows, Stage.RECEIVER_RULES, 'reg5="web.eth0"')
    assert [re.sub(r"^.*-rpl,|,actions.*$", "", f) for f in web] == [
        "tcp,tp_dst=80", "tcp6,tp_dst=80", "icmp", "icmp6",
    ]  # fmt: skip
    db = _matching(flows, Stage.RECEIVER_RULES, 'reg5="db.eth0"')
    assert [re.sub(r"^.*-rpl,|,actions.*$", "", f) for f in db] == [
        "tcp,nw_src=10.0.0.10,tp_dst=5432",  # the one member of the group
        "tcp,nw_src=10.0.0.0/24,tp_dst=22",
    ]
    # Nothing is said of what web may begin; db may ask for names only.
    (free,) = _matching(flows, Stage.SENDER_RULES, 'in_port="web.eth0"')
    assert "tp_dst" not in free
    assert len(_matching(flows, Stage.SENDER_RULES, 'in_port="db.eth0"', "tp_dst=53")) == 2


def test_a_protected_port_speaks_from_its_own_addresses_only(tmp_path: Path) -> None:
    flows = policy_flows(_load(tmp_path), "inside")
    sent = _matching(flows, Stage.SENDER, 'in_port="web.eth0"', "ct(")
    assert [re.sub(r"^.*dl_src=|,actions.*$", "", f) for f in sent] == [
        "02:00:00:00:00:10,ip,nw_src=10.0.0.10",
        "02:00:00:00:00:10,ipv6,ipv6_src=fe80::ff:fe00:10",
    ]
    assert _matching(flows, Stage.SENDER, 'in_port="web.eth0",actions=drop')
    assert _matching(flows, Stage.SENDER, "reg6=0,dl_src=02:00:00:00:00:10,actions=drop")
    assert str(link_local("02:00:00:00:00:10")) == "fe80::ff:fe00:10"


def test_no_two_flows_have_one_match_and_each_names_ports_of_its_bridge(tmp_path: Path) -> None:
    topology = _load(tmp_path)
    for bridge, own in (("inside", {"web.eth0", "db.eth0", "router.eth0"}), ("outside", {"router.eth1"})):
        flows = policy_flows(topology, bridge)
        assert len({f.partition(",actions=")[0] for f in flows}) == len(flows)
        assert set(re.findall(r'"([^"]+)"', " ".join(flows))) <= own
        assert set(resources(topology)[f"flows/{bridge}"]["ports"]) == set(
            re.findall(r'"([^"]+)"', " ".join(flows))
        )


def test_the_router_translates_on_the_bridge_outside(tmp_path: Path) -> None:
    topology = _load(tmp_path)
    flows = policy_flows(topology, "outside")
    (inwards,) = _matching(flows, Stage.TARGET_NAT_RULES, "nw_dst=203.0.113.10,ct_state=+trk+new")
    assert "nat(dst=10.0.0.10)" in inwards
    (outwards,) = _matching(flows, Stage.SOURCE_NAT_RULES, "nw_src=10.0.0.10,ct_state=+trk+new")
    assert "nat(src=203.0.113.10)" in outwards
    # The router finds its neighbours as before: that is no connection.
    assert len(_matching(flows, Stage.SOURCE_NAT, "icmp6", "priority=60")) > 5
    hidden = _matching(flows, Stage.SOURCE_NAT_RULES, "priority=20", "nat(src=")
    assert ["203.0.113.20-203.0.113.23" in f or "2001:db8::20" in f for f in hidden] == [True, True]
    answered = _matching(flows, Stage.TARGET_NAT, "arp_op=1")
    assert [re.sub(r"^.*arp_tpa=|,actions.*$", "", f) for f in answered] == ["203.0.113.10", "203.0.113.20/30"]
    # IPv6 is answered for by the router's own kernel.
    assert resources(topology)["port/router/1"]["answers"] == ["2001:db8::20/128"]


def test_a_client_outside_is_sent_to_the_floating_address(tmp_path: Path) -> None:
    topology = _load(tmp_path)
    assert address_between(topology, "internet", "web") == "203.0.113.10"
    assert address_between(topology, "db", "web") == "10.0.0.10"
    assert [(e.to, e.kind) for e in expectations(topology)] == [
        ("web tcp/80", "reachable"), ("web tcp/22", "blocked"), ("web icmp", "reachable"),
    ]  # fmt: skip


def test_broadcasts_reach_protected_ports_by_their_rules_only(tmp_path: Path) -> None:
    text = CLOUD.replace("allow: [tcp/80, icmp]", "allow: [tcp/80, udp/5353]")
    flows = policy_flows(_load(tmp_path, text), "inside")
    for flow in _matching(flows, Stage.RECEIVER, "priority=60"):
        assert 'clone(load:"web.eth0"' in flow.replace("strip_vlan,", "")
        assert "db.eth0" not in flow
        assert 'output:"router.eth0"' in flow and "output:LOCAL" in flow
    heard = _matching(flows, Stage.GROUPCAST, "reg5=")
    assert [f.partition("-> ")[0] for f in heard] and all("tp_dst=5353" in f for f in heard)


@pytest.mark.parametrize(
    ("member", "forms"),
    [
        (Member("a", 0, None), {0: "untagged", 10: "tagged"}),
        (Member("a", 10, frozenset()), {0: None, 10: "untagged", 20: None}),
        (Member("a", None, frozenset({10})), {0: None, 10: "tagged", 20: None}),
        (Member("a", 10, frozenset({20})), {10: "untagged", 20: "tagged", 30: None}),
    ],
)
def test_a_port_carries_a_vlan_with_or_without_its_tag(member: Member, forms: dict[int, str]) -> None:
    assert {vlan: member.form(vlan) for vlan in forms} == forms


def test_members_of_a_bridge_are_its_ports_patches_devices_and_itself(tmp_path: Path) -> None:
    topology = _load(
        tmp_path,
        """\
bridges: {a: {devices: [eth9]}, b: {}}
patches: [{between: [b, a], trunks: [10]}]
instances:
  x: {ports: [{bridge: a, vlan: 10, mode: native-tagged, trunks: [20]}]}
  y: {ports: [{bridge: a, vlan: 10, mode: native-untagged}]}
  z: {ports: [{bridge: a, allow: []}]}
""",
    )
    assert list(members(topology, "a")) == [
        Member('"x.eth0"', None, frozenset({10, 20})),
        Member('"y.eth0"', 10, None),
        Member('"z.eth0"', 0, frozenset()),
        Member('"a-to-b"', None, frozenset({10})),
        Member('"eth9"', 0, None),
        Member("LOCAL", 0, None),
    ]


def test_zones_are_the_same_every_time_and_no_two_alike() -> None:
    names = [f"port {n}" for n in range(2000)]
    numbers = zones("t", names)
    assert len(set(numbers.values())) == 2000
    assert all(1 <= z <= 65535 for z in numbers.values())
    # A port more renumbers none that was there.
    assert zones("t", [*names, "one more"]) | {"one more": 0} == {**numbers, "one more": 0}


HOSTS = """\
name: rack
bridges: {underlay: {}}
security_groups:
  web: {allow: [tcp/80, udp/5353]}
networks:
  green: {kind: vxlan, id: 100, gateways: [{host: h1, bridge: br-ex, vlan: 7}]}
  blue: {kind: vlan, id: 30, bridge: br-ex}
hosts:
  h1:
    ports: [{bridge: underlay, address: 192.0.2.1/24}, {bridge: underlay}]
    bridges: {br-ex: {devices: [eth1]}}
  h2:
    ports: [{bridge: underlay, address: 192.0.2.2/24}]
instances:
  a:
    host: h1
    ports: [{network: green, address: 10.0.0.1/24, security_groups: [web]}]
  b:
    host: h1
    ports: [{network: green, address: 10.0.0.2/24}]
  c:
    host: h1
    ports: [{network: blue, address: 10.9.0.3/24, allow: []}]
  d:
    host: h2
    ports: [{network: green, address: 10.0.0.4/24, allow: [any from group web]}]
"""


def test_ports_of_instances_on_hosts_have_rules_on_their_br_int(tmp_path: Path) -> None:
    made = resources(_load(tmp_path, HOSTS))
    flows = made["flows/h1:br-int"]["flows"]
    green, blue = made["port/a/0"]["vlan"], made["port/c/0"]["vlan"]
    # From outside: the VLAN there becomes the host's, and the frame is judged as any other.
    (outside,) = _matching(flows, Stage.ADMIT, "dl_vlan=7", "mod_vlan_vid")
    assert f"mod_vlan_vid:{green},load:{green}->NXM_NX_REG6[],resubmit(,10)" in outside
    assert _matching(flows, Stage.ADMIT, "dl_vlan=30", f"mod_vlan_vid:{blue},")
    assert len(_matching(flows, Stage.ADMIT, "dl_vlan=7,dl_src=")) == 3, "no instance comes from outside"
    assert _matching(flows, Stage.RECEIVER, f"reg6={green},dl_dst={made['port/a/0']['mac']}")
    # Broadcasts go to the tunnels and outside with the host's VLAN, to b without, to a by its rules.
    (group,) = _matching(flows, Stage.RECEIVER, f"priority=60,reg6={green},", "vlan_tci=0x0000")
    assert group.index('output:"b.eth0"') < group.index("mod_vlan_vid") < group.index('output:"br-int-to-br-tun"')
    assert 'clone(load:"a.eth0"' in group
    (rule,) = _matching(made["flows/h2:br-int"]["flows"], Stage.RECEIVER_RULES, 'reg5="d.eth0"')
    assert "nw_src=10.0.0.1," in rule


def test_what_only_ports_of_this_machine_may_have_is_refused_elsewhere(tmp_path: Path) -> None:
    for was, wrong in (
        ("192.0.2.2/24}", "192.0.2.2/24, allow: []}"),
        ("allow: []}", "floating: 203.0.113.7}"),
    ):
        with pytest.raises(TopologyError, match="a port of a host, or of an instance on one"):
            _load(tmp_path, HOSTS.replace(was, wrong, 1))
