"""What somebody changes by hand is seen, told and put right by the next `up`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.test_topology import Net, lasting
from tests.system.world import Host, Netns

__all__ = ["lasting"]

TEXT = """\
name: net
bridges:
  tbr0:
    other_config: {mac-aging-time: 60}
    flows:
      - priority=5,tcp,tp_dst=80,actions=drop
      - priority=0,actions=NORMAL
      - table=1,priority=3,ip,idle_timeout=1,actions=drop
  tbr1: {}
patches:
  - between: [tbr0, tbr1]
    trunks: [10, 20]
instances:
  vm1:
    ports:
      - bridge: tbr0
        vlan: 10
        addresses: [10.0.0.1/24, "fd00::1/64"]
        rate: 10 Mbit/s
        burst: 1000
    gateway: 10.0.0.9
    routes: [10.7.0.0/16 via 10.0.0.8]
  vm2:
    ports: [{bridge: tbr1, trunks: [10, 30]}]
  router:
    ports: [{bridge: tbr1, vlan: 10, address: 10.0.0.9/24}]
    forward: true
    nat: eth0
"""


@pytest.fixture(scope="module")
def net(lasting: Host) -> Iterator[Net]:
    """A topology that is up; each test leaves it as it found it, repaired."""
    it = Net(lasting)
    it.up(TEXT)
    yield it
    it.down()


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("ovs-vsctl set port VM1 tag=30", "vlan is 30 instead of 10"),
        ("ovs-vsctl clear port VM1 tag", "vlan is none instead of 10"),
        ("ovs-vsctl set port VM1 vlan_mode=native-tagged", "mode is native-tagged instead of none"),
        ("ovs-vsctl set port VM2 trunks=10", "trunks is 10 instead of 10, 30"),
        ("ovs-vsctl set interface VM1 ingress_policing_rate=0", "rate in kbit/s is 0 instead of 10000"),
        ("ovs-vsctl set interface VM1 ingress_policing_burst=1", "burst in kbit is 1 instead of 1000"),
        ("ovs-vsctl del-port VM1", "port VM1 on bridge tbr0 is missing"),
        ("ovs-vsctl del-port VM1 -- add-port tbr1 VM1 tag=10", "bridge is tbr1 instead of tbr0"),
        ("ovs-vsctl del-port tbr0-to-tbr1", "patch port tbr0-to-tbr1 is missing"),
        ("ovs-vsctl set interface tbr0-to-tbr1 options:peer=x", "the peer of tbr0-to-tbr1 is x"),
        ("ovs-vsctl set port tbr1-to-tbr0 trunks=7", "trunks of tbr1-to-tbr0 is 7 instead of 10, 20"),
        ("ovs-vsctl set port tbr1-to-tbr0 tag=7", "tag of tbr1-to-tbr0 is 7 instead of none"),
        ("ovs-vsctl set bridge tbr0 other_config:mac-aging-time=9", "mac-aging-time=9"),
        ("ovs-vsctl set bridge tbr1 other_config:x=y", "other_config is x=y instead of none"),
        ("ovs-vsctl set-fail-mode tbr1 secure", "fail_mode is secure instead of standalone"),
        ("ovs-vsctl set-controller tbr1 tcp:127.0.0.1:1", "controllers is tcp:127.0.0.1:1"),
        ("ovs-vsctl del-br tbr0", "bridge tbr0 is missing"),
        ("ovs-vsctl del-br tbr0 -- del-br tbr1", "bridge tbr1 is missing"),
        ("ovs-ofctl del-flows tbr0", "flow priority=5,tcp,tp_dst=80 actions=drop is missing"),
        ("ovs-ofctl del-flows tbr1", "flow priority=0 actions=NORMAL is missing"),
        ("ovs-ofctl add-flow tbr1 priority=7,udp,actions=drop", "priority=7,udp actions=drop is not in"),
        ("ovs-ofctl mod-flows tbr0 actions=drop", "flow priority=0 actions=NORMAL is missing"),
        ("ip -n net-vm1 addr del 10.0.0.1/24 dev eth0", "address 10.0.0.1/24 is missing"),
        ("ip -n net-vm1 addr del fd00::1/64 dev eth0", "address fd00::1/64 is missing"),
        ("ip -n net-vm1 addr add 10.0.0.5/24 dev eth0", "address 10.0.0.5/24 is not in the file"),
        ("ip -n net-vm1 link set eth0 address 02:00:00:00:00:99", "mac is 02:00:00:00:00:99 instead of"),
        ("ip -n net-vm1 link set eth0 mtu 1300", "mtu is 1300 instead of 1500"),
        ("ip link set VM1 mtu 1300", "mtu of VM1 is 1300 instead of 1500"),
        ("ip link set VM1 down", "device VM1 is off instead of on"),
        ("ip -n net-vm1 link set eth0 down", "device eth0 is off instead of on"),
        ("ip -n net-vm1 link set lo down", "device lo is off instead of on"),
        ("ip -n net-vm1 route del default", "route 0.0.0.0/0 via 10.0.0.9 is missing"),
        ("ip -n net-vm1 route replace default via 10.0.0.7", "route 0.0.0.0/0 via 10.0.0.9 is missing"),
        ("ip -n net-vm1 route del 10.7.0.0/16", "route 10.7.0.0/16 via 10.0.0.8 is missing"),
        ("ip netns exec net-router sysctl -qw net.ipv4.ip_forward=0", "forwarding of IPv4 is off"),
        ("ip netns exec net-vm1 sysctl -qw net.ipv6.conf.all.forwarding=1", "forwarding of IPv6 is on"),
        ("ip netns exec net-router nft flush ruleset", "nat is none instead of eth0"),
        ("ip netns del net-vm1", "namespace net-vm1 is missing"),
        ("ip link del VM1", "device eth0 (VM1 outside) is missing"),
        ("ip -n net-vm1 link del eth0", "device eth0 (VM1 outside) is missing"),
    ],
)
def test_a_change_by_hand_is_seen_and_put_right(net: Net, command: str, what: str) -> None:
    devices = {"VM1": net.device("vm1"), "VM2": net.device("vm2")}
    for name, device in devices.items():
        command, what = command.replace(name, device), what.replace(name, device)
    before = net.host.ofctl("dump-ports-desc", "tbr0")
    net.host.check(*command.split())
    assert what in "\n".join(net.drift())
    steps = net.up()
    assert {str(s.verb) for s in steps} == {"repair"}
    assert what in "\n".join(t for s in steps for t in s.texts)
    assert net.drift() == []
    assert net.up() == []
    assert net.host.ofctl("dump-ports-desc", "tbr0").count("addr:") == before.count("addr:")


def test_a_namespace_that_was_made_again_by_hand_is_filled_again(net: Net) -> None:
    net.host.check("ip", "netns", "del", "net-vm1")
    net.host.check("ip", "netns", "add", "net-vm1")
    net.up()
    assert net.drift() == []


def test_everything_removed_by_hand_is_made_again(net: Net) -> None:
    net.host.vsctl("del-br", "tbr0", "--", "del-br", "tbr1")
    for name in ("vm1", "vm2", "router"):
        net.host.check("ip", "netns", "del", f"net-{name}")
    assert net.up()
    assert net.drift() == []
    assert Netns("net-vm1", "").ping("10.0.0.9", 2) == 2


def test_what_nobody_declared_is_left_alone(net: Net) -> None:
    net.host.check("ip", "-n", "net-vm1", "route", "add", "10.99.0.0/16", "via", "10.0.0.9")
    net.host.check("ip", "-n", "net-vm2", "addr", "add", "10.5.0.1/24", "dev", "eth0")
    net.host.vsctl("add-port", "tbr1", "extra", "--", "set", "interface", "extra", "type=internal")
    assert net.drift() == []
    assert net.up() == []
    assert "10.99.0.0/16" in net.host.check("ip", "-n", "net-vm1", "route")
    net.host.vsctl("del-port", "extra")


def test_flows_of_a_controller_and_learnt_ones_are_left_alone(net: Net) -> None:
    net.edit("  tbr1: {}", '  tbr1: {controllers: ["tcp:127.0.0.1:1"], flows: ["priority=1,actions=NORMAL"]}')
    net.up()
    net.host.ofctl("add-flow", "tbr1", "priority=9,udp,actions=drop")
    assert net.drift() == []
    net.host.ofctl("del-flows", "tbr1", "udp")
    net.host.ofctl("--strict", "del-flows", "tbr1", "priority=1")
    net.host.ofctl("add-flow", "tbr1", "priority=9,udp,actions=drop")
    assert net.drift() == ["flow priority=1 actions=NORMAL is missing"]
    net.up()
    flows = net.host.ofctl("--no-stats", "dump-flows", "tbr1")
    assert "priority=9,udp" in flows and "priority=1 actions=NORMAL" in flows
    net.edit("priority=1,actions", "priority=2,actions")
    net.up()
    flows = net.host.ofctl("--no-stats", "dump-flows", "tbr1")
    assert "priority=1 " not in flows and "priority=2 " in flows and "priority=9,udp" in flows
    net.up(TEXT)
    assert net.drift() == []


def test_flows_that_are_right_keep_their_counters(net: Net) -> None:
    ping = ("ip", "netns", "exec", "net-vm1", "ping", "-n", "-c1", "10.0.0.9")
    net.host.check(*ping)
    net.host.ofctl("add-flow", "tbr0", "priority=70,icmp6,actions=drop")
    net.up()
    (normal,) = (f for f in net.host.ofctl("dump-flows", "tbr0").splitlines() if "NORMAL" in f)
    assert "n_packets=0," not in normal
