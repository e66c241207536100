"""Gateways by flows: between a VNI and a VLAN, between VNIs, and to an IP network outside."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from gossamer.topology.check import run_checks
from gossamer.topology.load import load
from tests.system.test_topology import Net
from tests.system.world import Host, until

TOPOLOGY = """\
name: gws
bridges:
  underlay: {}
  wire: {}
hosts:
  h1:
    ports: [{bridge: underlay, address: 192.0.2.1/24}]
  h3:
    ports:
      - {bridge: underlay, address: 192.0.2.3/24}
      - {bridge: wire, mtu: 1450}
    bridges:
      br-ex: {devices: [eth1]}
networks:
  blue:
    kind: vxlan
    id: 5001
    gateways: [{host: h3, bridge: br-ex, vlan: 30}]
  red: {kind: geneve, id: 5002, l2_population: true}
  outside: {kind: flat, bridge: br-ex}
instances:
  blue1:
    host: h1
    ports: [{network: blue, addresses: [10.0.1.11/24, "fd00:1::11/64"]}]
    gateway: 10.0.1.1
    routes: ["::/0 via fd00:1::1"]
  red1:
    host: h1
    ports: [{network: red, addresses: [10.0.2.11/24, "fd00:2::11/64"]}]
    gateway: 10.0.2.1
    routes: ["::/0 via fd00:2::1"]
  red3:
    host: h3
    ports: [{network: red, address: 10.0.2.13/24}]
    gateway: 10.0.2.1
  gw:
    host: h3
    ports:
      - {network: blue, addresses: [10.0.1.1/24, "fd00:1::1/64"]}
      - {network: red, addresses: [10.0.2.1/24, "fd00:2::1/64"]}
      - {network: outside, address: 203.0.113.1/24}
    gateway: 203.0.113.254
    forward: true
    route_by_flows: true
  isp:
    ports:
      - {bridge: wire, address: 203.0.113.254/24, mtu: 1450}
    routes: [10.0.0.0/8 via 203.0.113.1]
  printer:
    ports: [{bridge: wire, vlan: 30, address: 10.0.1.30/24, mtu: 1450}]
    gateway: 10.0.1.1
expect:
  - blue1 -> red1: reachable
  - red1 -> blue1: reachable
  - red3 -> isp: reachable
  - isp -> blue1: reachable
  - blue1 -> printer: reachable
  - printer -> blue1: reachable
  - printer -> red1: reachable
"""


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    """Two hosts, the second with gateways of both layers."""
    host = Host(Path(mkdtemp(prefix="host", dir="/run")))
    host.start()
    it = Net(host)
    it.up(TOPOLOGY)
    yield it
    it.down()
    host.end()


def ping(net: Net, source: str, *arguments: str) -> str:
    """One request; where an answer should come, all the time it may need is waited for."""
    command = ("ping", "-n", "-c", "1", "-W", "20", *arguments)
    return net.tools.in_netns(f"gws-{source}", *command).stdout


def packets(net: Net, host: str, bridge: str, match: str) -> int:
    """Packets of the flows whose text has a match in it."""
    at = net.tools.at(f"gws-{host}")
    flows = at.ofctl("dump-flows", f"unix:{at.rundir}/{bridge}.mgmt").splitlines()
    found = [re.search(r"n_packets=(\d+)", line) for line in flows if match in line]
    assert found, f"no flow with {match}"
    return sum(int(f[1]) for f in found if f)


def test_both_gateways_carry_what_they_should(net: Net) -> None:
    outcomes = run_checks(load(net.path), net.tools)
    assert [o for o in outcomes if not o.ok] == []


def test_instances_have_the_mtu_that_fits_into_their_tunnels(net: Net) -> None:
    def mtu(instance: str) -> int:
        shown = net.tools.run("ip", "-o", "-n", f"gws-{instance}", "link", "show", "eth0")
        return int(shown.split(" mtu ")[1].split()[0])

    assert [mtu(i) for i in ("blue1", "red1", "gw")] == [1450] * 3
    at = net.tools.at("gws-h1")
    told = at.vsctl("--columns=status", "--bare", "find", "interface", "type=geneve")
    assert "tunnel_mtu=1450" in told
    # the longest packet passes, one octet more does not leave the instance
    assert "1 received" in ping(net, "red3", "-M", "do", "-s", "1422", "10.0.2.11")
    assert "0 received" in ping(net, "red3", "-W", "1", "-M", "do", "-s", "1423", "10.0.2.11")


def test_packets_between_networks_are_routed_by_flows_and_lose_one_hop(net: Net) -> None:
    before = packets(net, "h3", "br-int", "nw_dst=10.0.2.11")
    assert "ttl=63" in ping(net, "blue1", "10.0.2.11")
    assert "ttl=63" in ping(net, "blue1", "fd00:2::11")
    assert until(lambda: packets(net, "h3", "br-int", "nw_dst=10.0.2.11") > before)


def test_a_packet_at_its_last_hop_is_answered_with_an_error(net: Net) -> None:
    assert "From 10.0.1.1 icmp_seq=1 Time to live exceeded" in ping(net, "blue1", "-t", "1", "10.0.2.11")
    assert "From fd00:1::1 icmp_seq=1 Time exceeded" in ping(net, "blue1", "-t", "1", "fd00:2::11")
    assert "bytes from" in ping(net, "blue1", "-t", "2", "10.0.2.11")


def test_a_receiver_that_is_not_there_is_answered_with_an_error(net: Net) -> None:
    assert "Destination Host Unreachable" in ping(net, "red3", "10.0.1.99")


def test_the_router_itself_answers(net: Net) -> None:
    assert "ttl=64" in ping(net, "red1", "10.0.1.1")


def test_arp_for_the_router_is_answered_on_the_senders_own_host(net: Net) -> None:
    def asked() -> int:
        net.tools.run("ip", "-n", "gws-red1", "neigh", "flush", "all")
        before = packets(net, "h1", "br-tun", "arp_tpa=10.0.2.1,")
        assert "ttl=64" in ping(net, "red1", "10.0.2.1")
        assert until(lambda: packets(net, "h1", "br-tun", "arp_tpa=10.0.2.1,") > before)
        return packets(net, "h1", "br-tun", "arp_tpa=10.0.2.1,") - before

    # It asks again where the answer waits for a processor: not each time.
    assert until(lambda: asked() == 1)


def test_neighbour_solicitations_are_answered_on_the_senders_own_host(net: Net) -> None:
    """And by the flow table: no solicitation leaves the host."""

    def ask() -> tuple[int, int]:
        net.tools.run("ip", "-n", "gws-red1", "neigh", "flush", "all")
        answered = packets(net, "h1", "br-tun", "nd_target=fd00:2::1,")
        copied = packets(net, "h1", "br-tun", "table=22,")
        assert "ttl=64" in ping(net, "red1", "fd00:2::1")
        assert until(lambda: packets(net, "h1", "br-tun", "nd_target=fd00:2::1,") > answered)
        return (packets(net, "h1", "br-tun", "nd_target=fd00:2::1,") - answered,
                packets(net, "h1", "br-tun", "table=22,") - copied)  # fmt: skip

    # An instance that asks for routers meanwhile is copied: not each time.
    assert until(lambda: ask() == (1, 0))
    shown = net.tools.run("ip", "-n", "gws-red1", "neigh", "show", "fd00:2::1")
    mac = net.tools.run("ip", "netns", "exec", "gws-gw", "cat", "/sys/class/net/eth1/address").strip()
    assert mac in shown


def listening(instance: str, what: str) -> subprocess.Popen[str]:
    """tcpdump on eth0 of an instance, once it hears."""
    dump = subprocess.Popen(
        ["ip", "netns", "exec", f"gws-{instance}", "tcpdump", "-nei", "eth0", "--immediate-mode", "-l", what],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert dump.stderr is not None
    while "listening on" not in (line := dump.stderr.readline()):
        assert line, "tcpdump does not listen"
    return dump


REFLECTED = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
mac = bytes.fromhex(sys.argv[1].replace(":", ""))
for _ in range(5):
    s.send(b"\\xff" * 6 + mac + b"\\x88\\xb5" + bytes(50))
"""


def test_frames_that_a_loop_outside_brings_back_go_no_further(net: Net) -> None:
    mac = net.tools.run("ip", "netns", "exec", "gws-blue1", "cat", "/sys/class/net/eth0/address").strip()
    dropped = packets(net, "h3", "br-int", f"dl_src={mac} actions=drop")
    dump = listening("blue1", "ether proto 0x88b5")
    net.tools.run("ip", "netns", "exec", "gws-printer", "python3", "-c", REFLECTED, mac)
    assert until(lambda: packets(net, "h3", "br-int", f"dl_src={mac} actions=drop") == dropped + 5)
    time.sleep(0.3)
    dump.terminate()
    assert dump.communicate(timeout=60)[0].strip() == ""
    # The network outside was led astray by what it brought back, until the true one speaks.
    assert "bytes from" in ping(net, "blue1", "10.0.1.30")


def test_a_broadcast_arrives_once_at_everybody(net: Net) -> None:
    """In at the gateway, out to the tunnels and never from a tunnel to another."""
    net.tools.run("ip", "-n", "gws-blue1", "neigh", "flush", "all")
    dump = listening("printer", "arp[6:2] = 1 and arp[24:4] = 0x0a00014d and ether broadcast")
    ping(net, "blue1", "-W", "1", "10.0.1.77")
    assert dump.stdout is not None
    assert "10.0.1.77" in dump.stdout.readline()
    time.sleep(0.5)
    dump.terminate()
    more = dump.communicate(timeout=60)[0].splitlines()
    assert len(more) <= 2  # one for each try; it tries three times


def test_trace_follows_a_packet_from_host_to_host(net: Net) -> None:
    done = net.run("trace", "red1", "red3", "--json")
    assert done.returncode == 0, done.stderr
    stages = json.loads(done.stdout)["legs"]
    assert [(s["host"], s["bridge"]) for s in stages] == [("h1", "br-int"), ("h3", "br-tun")]
    assert "tun_id=5002,tun_src=192.0.2.3,tun_dst=192.0.2.1" not in stages[0]["flow"]
    assert "tun_id=5002,tun_src=192.0.2.1,tun_dst=192.0.2.3" in stages[1]["flow"]
    at = net.tools.at("gws-h3")
    last = stages[1]["trace"]["outputs"]
    assert [(o["bridge"], o["port"].partition("-")[0]) for o in last] == [("br-int", "red3")]
    assert at.vsctl("list-ports", "br-int").count("red3-") == 1
    shown = net.run("trace", "red1", "red3").stdout
    assert "host h1, bridge br-int" in shown and "host h3, bridge br-tun" in shown


def test_trace_follows_a_packet_through_gateways_to_the_outside(net: Net) -> None:
    ping(net, "blue1", "203.0.113.254")
    done = net.run("trace", "blue1", "isp", "--json")
    stages = json.loads(done.stdout)["legs"]
    assert [(s["host"], s["bridge"]) for s in stages] == [
        ("h1", "br-int"), ("h3", "br-tun"), (None, "wire"),
    ]  # fmt: skip
    assert [o["port"].partition("-")[0] for o in stages[2]["trace"]["outputs"]] == ["isp"]
