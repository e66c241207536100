"""Tunnels of ours against the kernel's VXLAN device: sizes, offloads, copies, underlays, restarts."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.sequence import Flood, Ping, assert_all_arrived
from tests.system.tunnel_world import (
    OUR_INNER,
    OUR_IP,
    PEER_INNER,
    PEER_IP,
    PEER_IP6,
    Peer,
    add_tunnel,
    captured,
    inner_ping,
    kernel_vxlan,
    run,
    settle,
)
from tests.system.world import PATIENTLY, Host, Netns, until


@pytest.fixture
def peer() -> Iterator[Peer]:
    it = Peer()
    yield it
    it.end()


def our_vxlan(host: Host, remote: str = PEER_IP, bridge: str = "br0") -> None:
    add_tunnel(host, bridge, "vx0", "vxlan", f"remote_ip={remote}", "key=77")


def drops(host: Host) -> dict[str, int]:
    """Counters of drops."""
    found = re.findall(r"^drop_(\w+).*?/sec\s+total: (\d+)$", host.appctl("coverage/show"), re.M)
    return {name: int(n) for name, n in found}


def transmitted(device: str) -> tuple[int, int]:
    """(packets, bytes) that left by a device of this namespace."""
    base = Path(f"/sys/class/net/{device}/statistics")
    return tuple(int((base / f"tx_{what}").read_text()) for what in ("packets", "bytes"))  # type: ignore[return-value]


@pytest.mark.parametrize("ipv6", [False, True])
def test_tcp_keeps_its_large_segments_through_a_tunnel(
    shared_host: Host, a: Netns, peer: Peer, ipv6: bool
) -> None:
    kernel_vxlan(peer, ipv6=ipv6)
    our_vxlan(shared_host, PEER_IP6 if ipv6 else PEER_IP)
    shared_host.check("ip", "-n", "a", "link", "set", "eth0", "mtu", "1400")
    settle(shared_host)
    assert a.ping(PEER_INNER) == 3
    server = Netns(peer.name, "up0").iperf3_server()
    packets, octets = transmitted("up0")
    done = a.run("iperf3", "-c", PEER_INNER, "-n", "200M")
    server.wait(timeout=60)
    assert done.returncode == 0, done.stderr
    after_packets, after_octets = transmitted("up0")
    assert after_octets - octets > 200_000_000
    # cut into segments they would have 1,450 bytes each
    assert (after_octets - octets) / (after_packets - packets) > 6000
    back = a.iperf3_server()
    done = peer.attempt("iperf3", "-c", OUR_INNER, "-n", "200M")
    back.wait(timeout=60)
    assert done.returncode == 0, done.stderr


def test_super_packets_have_right_outer_checksums_where_the_underlay_cuts_them(
    shared_host: Host, a: Netns, peer: Peer
) -> None:
    """Also in the last segment, which is shorter: 3,333 bytes at a time are three segments."""
    _take_no_tunnels("up0")
    peer.attempt("ethtool", "-K", "eth0", "rx", "off")  # so that the peer looks at checksums
    kernel_vxlan(peer, ipv6=True)
    our_vxlan(shared_host, PEER_IP6)
    shared_host.check("ip", "-n", "a", "link", "set", "eth0", "mtu", "1400")
    settle(shared_host)
    assert a.ping(PEER_INNER) == 3
    before = drops(shared_host)
    _send_pieces(a, peer)
    errors = peer.attempt("cat", "/proc/net/snmp6").stdout
    assert re.search(r"Udp6InCsumErrors\s+0\n", errors), errors
    assert "rewrite" not in {name for name, n in drops(shared_host).items() if n != before.get(name, 0)}


def _take_no_tunnels(device: str) -> None:
    """The kernel is to cut super-packets of tunnels before the device gets them, and to sum them."""
    features = ("udp_tnl-segmentation", "udp_tnl-csum-segmentation", "gre-segmentation",
                "gre-csum-segmentation")  # fmt: skip
    run("ethtool", "-K", device, "tx", "off", *(word for f in features for word in (f"tx-{f}", "off")))


def _send_pieces(a: Netns, peer: Peer) -> None:
    """TCP from `a` to the peer, in pieces of some segments and a bit, each sent at once."""
    server = Netns(peer.name, "up0").iperf3_server()
    done = a.run("iperf3", "-c", PEER_INNER, "-n", "5M", "-l", "3333", "-N", "-b", "40M")
    server.wait(timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_super_packets_go_from_one_tunnel_into_another(
    shared_host: Host, a: Netns, peer: Peer
) -> None:
    """VXLAN in VXLAN: the route of the first leads through a bridge of ours that has the second."""
    peer.ip("link", "add", "vx0", "type", "vxlan", "id", "77", "dstport", "4789",
            "remote", OUR_IP, "local", PEER_IP)  # fmt: skip
    peer.ip("link", "set", "vx0", "mtu", "1450", "up")
    peer.addresses("vx0", "10.9.0.2/24")
    peer.ip("link", "add", "vx1", "type", "vxlan", "id", "78", "dstport", "4789",
            "remote", "10.9.0.1", "local", "10.9.0.2")  # fmt: skip
    peer.ip("link", "set", "vx1", "mtu", "1400", "up")
    peer.addresses("vx1", f"{PEER_INNER}/24")
    shared_host.vsctl("add-br", "br-mid")
    try:
        for line in ("addr add 10.9.0.1/24 dev br-mid", "link set br-mid mtu 1450 up"):
            run("ip", *line.split())
        our_vxlan(shared_host, bridge="br-mid")
        add_tunnel(shared_host, "br0", "outermost", "vxlan", "remote_ip=10.9.0.2", "local_ip=10.9.0.1",
                   "key=78")  # fmt: skip
        shared_host.check("ip", "-n", "a", "link", "set", "eth0", "mtu", "1400")
        settle(shared_host)
        _send_pieces(a, peer)
        back = a.iperf3_server()
        done = peer.attempt("iperf3", "-c", OUR_INNER, "-n", "20M")
        back.wait(timeout=60)
        assert done.returncode == 0, done.stderr
    finally:
        shared_host.vsctl("del-br", "br-mid")


_SEND = """
import socket, sys
it = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if sys.argv[2] == "together":
    it.setsockopt(socket.SOL_UDP, 103, 1000)  # UDP_SEGMENT (udp(7))
    it.sendto(bytes(3000), (sys.argv[1], 7777))
else:
    for _ in range(3):
        it.sendto(bytes(1000), (sys.argv[1], 7777))
"""


def _not_rewritten(host: Host) -> int:
    """Packets that could not be given the headers they were to have."""
    return drops(host).get("rewrite", 0)


def test_labels_go_into_a_tunnel_with_packets_but_not_with_super_packets(
    shared_host: Host, a: Netns, peer: Peer
) -> None:
    kernel_vxlan(peer)
    our_vxlan(shared_host)
    shared_host.check("ip", "-n", "a", "link", "set", "eth0", "mtu", "1300")
    settle(shared_host)
    assert a.ping(PEER_INNER) == 3
    label = "priority=10,udp,tp_dst=7777,actions=push_mpls:0x8847,output:vx0"
    shared_host.ofctl("add-flow", "br0", label)
    try:
        for how, dropped, arrived in (("together", 1, 0), ("apart", 0, 3)):
            before = _not_rewritten(shared_host)
            with captured() as capture:
                sent = a.run(sys.executable, "-c", _SEND, PEER_INNER, how)
                assert sent.returncode == 0, sent.stderr
            assert until(lambda n=before + dropped: _not_rewritten(shared_host) >= n)
            assert _not_rewritten(shared_host) == before + dropped
            assert len(capture.fields("vxlan && mpls && udp.dstport == 7777", "frame.len")) == arrived
    finally:
        shared_host.ofctl("del-flows", "--strict", "br0", label.partition(",actions")[0])


def test_who_sends_too_much_is_told_what_fits(shared_host: Host, a: Netns, peer: Peer) -> None:
    kernel_vxlan(peer, mtu=1450)
    our_vxlan(shared_host)
    settle(shared_host)
    assert a.ping(PEER_INNER) == 3
    shared_host.check("ip", "-n", "a", "addr", "add", "fd00::1/64", "dev", "eth0", "nodad")
    done = a.run("ping", "-n", "-c", "2", "-W", "1", "-M", "do", "-s", "1472", PEER_INNER)
    assert f"From {PEER_INNER} icmp_seq=1 Frag needed and DF set (mtu = 1450)" in done.stdout
    assert inner_ping(shared_host, "a", PEER_INNER, 3, "-M", "do", "-s", "1422") == 3
    assert inner_ping(shared_host, "a", "fd00::2") == 3
    done = a.run("ping", "-n", "-c", "2", "-W", "1", "-M", "do", "-s", "1452", "fd00::2")
    assert re.search(r"From fd00::2 icmp_seq=1 Packet too big: mtu=1450", done.stdout), done.stdout
    route = a.run("ip", "route", "get", PEER_INNER).stdout
    assert "mtu 1450" in route


def test_tcp_finds_the_size_that_fits(shared_host: Host, a: Netns, peer: Peer) -> None:
    """Super-packets of too large segments are answered as well."""
    kernel_vxlan(peer, mtu=1500)  # accepts what comes, so that only the way there is narrow
    our_vxlan(shared_host)
    settle(shared_host)
    server = Netns(peer.name, "up0").iperf3_server()
    done = a.run("iperf3", "-c", PEER_INNER, "-n", "50M")
    server.wait(timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mtu 1450" in a.run("ip", "route", "get", PEER_INNER).stdout


def test_copies_go_to_all_remotes_and_to_ports_of_ours(
    shared_host: Host, a: Netns, peer: Peer
) -> None:
    """Head-end replication: flooded by NORMAL into two tunnels, and to another instance; none of
    the neighbours is known yet."""
    peer.addresses("eth0", "192.0.2.3/24")
    peer.ip("link", "add", "vx0", "type", "vxlan", "id", "77", "dstport", "4789",
            "remote", OUR_IP, "local", PEER_IP)  # fmt: skip
    peer.ip("link", "add", "vx1", "type", "vxlan", "id", "78", "dstport", "4789",
            "remote", OUR_IP, "local", "192.0.2.3")  # fmt: skip
    for n, device in ((2, "vx0"), (3, "vx1")):
        shared_host.check("ip", "netns", "add", f"p{n}")
        peer.ip("link", "set", device, "netns", f"p{n}")
    try:
        for n, device in ((2, "vx0"), (3, "vx1")):
            for line in (f"addr add 10.0.0.{n}/24 dev {device}",
                         f"link set {device} mtu 1400 up"):  # fmt: skip
                shared_host.check("ip", "-n", f"p{n}", *line.split())
        shared_host.netns("b", "10.0.0.4/24", "br0")
        add_tunnel(shared_host, "br0", "vx0", "vxlan", f"remote_ip={PEER_IP}", "key=77")
        add_tunnel(shared_host, "br0", "vx1", "vxlan", "remote_ip=192.0.2.3", "key=78")
        shared_host.check("ip", "neigh", "flush", "dev", "up0")
        before = drops(shared_host)
        for address in ("10.0.0.2", "10.0.0.3", "10.0.0.4"):
            assert a.ping(address, 3, *PATIENTLY) == 3, address
        assert {k for k in drops(shared_host) if "tunnel" in k} <= {k for k in before if "tunnel" in k}
    finally:
        for n in (2, 3):
            shared_host.attempt("ip", "netns", "del", f"p{n}")
        shared_host.forget("b")


def test_an_uplink_may_be_a_port_of_a_bridge_that_has_the_address(
    shared_host: Host, a: Netns, peer: Peer
) -> None:
    """br-ex has up0 as port and our address on its own device: tunnel packets go through it."""
    kernel_vxlan(peer)
    our_vxlan(shared_host)
    shared_host.vsctl("add-br", "br-ex")
    try:
        shared_host.check("ip", "addr", "flush", "dev", "up0")
        shared_host.vsctl("add-port", "br-ex", "up0")
        shared_host.check("ip", "link", "set", "br-ex", "up")
        shared_host.check("ip", "addr", "add", f"{OUR_IP}/24", "dev", "br-ex")
        peer.ip("neigh", "flush", "dev", "eth0")
        assert until(lambda: a.ping(PEER_INNER, 1))
        assert a.ping(PEER_INNER) == 3
        shared_host.check("ip", "-n", "a", "link", "set", "eth0", "mtu", "1400")
        server = Netns(peer.name, "up0").iperf3_server()
        assert a.run("iperf3", "-c", PEER_INNER, "-n", "20M").returncode == 0
        server.wait(timeout=60)
    finally:
        shared_host.vsctl("del-br", "br-ex")


def test_a_tunnel_that_leads_into_itself_ends(shared_host: Host, a: Netns) -> None:
    """The remote is behind the very bridge that the tunnel belongs to."""
    shared_host.check("ip", "link", "set", "br0", "up")
    shared_host.check("ip", "addr", "add", "198.51.100.1/24", "dev", "br0")
    shared_host.check("ip", "neigh", "add", "198.51.100.2", "lladdr", "02:00:00:00:00:99", "dev", "br0")
    add_tunnel(shared_host, "br0", "vx0", "vxlan", "remote_ip=198.51.100.2", "key=77")
    assert a.ping("10.0.0.200", 2) == 0
    ends = {"tunnel_loop", "nested", "redirect", "tunnel_too_big"}
    assert until(lambda: ends & set(drops(shared_host))), drops(shared_host)
    assert shared_host.appctl("version")


def test_restarts_of_the_daemon_lose_no_packet_of_a_tunnel(
    shared_host: Host, a: Netns, peer: Peer
) -> None:
    kernel_vxlan(peer)
    our_vxlan(shared_host)
    shared_host.check("ip", "-n", "a", "link", "set", "eth0", "mtu", "1400")
    settle(shared_host)
    b = Netns(peer.name, "vx0")
    with Flood(a, b, PEER_INNER, 5000) as flood, Ping(a, PEER_INNER, "-f") as ping:
        for _ in range(3):
            assert flood.passes(1500) and ping.passes(15)
            shared_host.kill()
            assert flood.passes(1500) and ping.passes(15), "without a daemon"
            shared_host.start()
        assert flood.passes(1500) and ping.passes(15)
        sent, arrived = flood.end()
        asked, answered = ping.end()
    assert_all_arrived(sent, arrived)
    assert answered == asked
