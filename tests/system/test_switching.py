"""Packets through the datapath, driven by Open vSwitch's own tools."""

from __future__ import annotations

import pytest

from tests.system.world import Host, Netns, pings, until

Pair = tuple[Host, Netns, Netns]


@pytest.fixture
def host(cleared_host: Host) -> Host:
    """One daemon for all tests here."""
    return cleared_host


def test_a_new_bridge_switches_like_any_other(two_hosts: Pair) -> None:
    host, a, b = two_hosts
    assert a.ping("10.0.0.2") == 3
    fdb = host.appctl("fdb/show", "br0")
    assert a.mac in fdb
    assert b.mac in fdb
    assert "actions=NORMAL" in host.ofctl("dump-flows", "br0")


def test_vlans_are_isolated_and_trunks_carry_them(host: Host) -> None:
    host.vsctl("add-br", "br0")
    a = host.netns("a", "10.0.0.1/24", "br0", tag="10")
    host.netns("b", "10.0.0.2/24", "br0", tag="20")
    host.netns("c", "10.0.0.3/24", "br0", tag="10")
    assert a.ping("10.0.0.3") == 3
    assert a.ping("10.0.0.2") == 0
    host.vsctl("set", "port", "vb", "tag=10")
    assert a.ping("10.0.0.2") == 3


def test_patch_ports_join_bridges_and_trunks_limit_them(host: Host) -> None:
    for here, there in (("br0", "br1"), ("br1", "br0")):
        host.vsctl("--may-exist", "add-br", here)
        host.vsctl("add-port", here, f"{here}-{there}", "--", "set", "interface",
                   f"{here}-{there}", "type=patch", f"options:peer={there}-{here}")  # fmt: skip
    a = host.netns("a", "10.0.0.1/24", "br0", tag="10")
    host.netns("b", "10.0.0.2/24", "br1", tag="10")
    assert a.ping("10.0.0.2") == 3
    host.vsctl("set", "port", "br0-br1", "trunks=20")
    assert a.ping("10.0.0.2") == 0


def test_the_host_itself_speaks_through_the_internal_port(two_hosts: Pair) -> None:
    host, a, _ = two_hosts
    host.check("ip", "addr", "add", "10.0.0.9/24", "dev", "br0")
    host.check("ip", "link", "set", "br0", "up")
    assert a.ping("10.0.0.9") == 3
    assert pings(host.attempt, "10.0.0.1", 2) == 2


def test_flows_decide_and_count(two_hosts: Pair) -> None:
    host, a, _ = two_hosts
    host.ofctl("del-flows", "br0")
    assert a.ping("10.0.0.2", 1) == 0
    a.run("ip", "neigh", "flush", "dev", "eth0")  # and with it the packet that waits for an answer
    host.ofctl("add-flow", "br0", "arp,actions=FLOOD")
    host.ofctl("add-flow", "br0", "priority=10,icmp,in_port=1,actions=output:2")
    host.ofctl("add-flow", "br0", "priority=10,icmp,in_port=2,actions=output:1")
    assert a.ping("10.0.0.2", 5) == 5
    dump = host.ofctl("dump-flows", "br0", "icmp,in_port=1")
    assert "n_packets=5" in dump
    assert "n_bytes=490" in dump


def test_tables_rewrite_headers_on_the_way(two_hosts: Pair) -> None:
    host, a, b = two_hosts
    host.ofctl("del-flows", "br0")
    host.ofctl("add-flows", "br0", "-", stdin=f"""
table=0,arp,actions=NORMAL
table=0,ip,actions=load:7->NXM_NX_REG0[],resubmit(,5)
table=5,reg0=7,ip,nw_dst=10.0.0.77,actions=mod_nw_dst:10.0.0.2,mod_dl_dst:{b.mac},output:2
table=5,reg0=7,ip,nw_dst=10.0.0.1,actions=mod_nw_src:10.0.0.77,output:1
""")  # fmt: skip
    a.run("ip", "neigh", "add", "10.0.0.77", "lladdr", "02:00:00:00:00:77", "dev", "eth0")
    assert a.ping("10.0.0.77", 3) == 3


def test_tcp_keeps_segmentation_offload(two_hosts: Pair) -> None:
    _, a, b = two_hosts
    server = b.iperf3_server()
    packets, octets = received(b)
    done = a.run("iperf3", "-c", "10.0.0.2", "-n", "100M")
    server.wait(timeout=60)
    assert done.returncode == 0, done.stdout
    more_packets, more_octets = received(b)
    # Segments of up to 64 KiB arrive whole; cut up by the switch none would exceed 1,514 bytes.
    assert (more_octets - octets) / (more_packets - packets) > 2 * 1514


def received(ns: Netns) -> tuple[int, int]:
    """Packets and bytes that came in by eth0."""
    text = ns.run("cat", *(f"/sys/class/net/eth0/statistics/rx_{w}" for w in ("packets", "bytes"))).stdout
    packets, octets = text.split()
    return int(packets), int(octets)


def test_a_packet_of_a_controller_arrives(two_hosts: Pair) -> None:
    host, _, b = two_hosts
    out = host.check(
        "ovs-ofctl", "packet-out", "br0",
        "in_port=LOCAL,packet=ffffffffffff0200000000ee08060001080006040001020000000"
        "0ee0a0000ee0000000000000a000002,actions=output:2",
    )  # fmt: skip
    assert out == ""
    assert until(lambda: "02:00:00:00:00:ee" in b.run("ip", "neigh").stdout), "it asks b for its address"


def test_a_device_that_vanishes_and_reappears_is_a_port_again(two_hosts: Pair) -> None:
    host, a, b = two_hosts
    host.check("ip", "link", "del", "vb")
    assert until(lambda: host.vsctl("get", "interface", "vb", "ofport") == "-1")
    assert "No such device" in host.vsctl("get", "interface", "vb", "error")
    host.check("ip", "link", "add", "vb", "type", "veth", "peer", "name", "eth0", "netns", "b")
    host.check("ip", "link", "set", "vb", "up")
    for line in ("addr add 10.0.0.2/24 dev eth0", "link set eth0 up"):
        b.run("ip", *line.split())
    host.vsctl("wait-until", "interface", "vb", "ofport=2")
    assert a.ping("10.0.0.2") == 3
