"""Outer packets in fragments, sent and put together, against the kernel's VXLAN device and Open vSwitch."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.tunnel_world import (
    OUR_INNER,
    OUR_IP,
    OUR_IP6,
    PEER_INNER,
    PEER_IP,
    PEER_IP6,
    Peer,
    add_tunnel,
    captured,
    inner_ping,
    kernel_vxlan,
    settle,
)
from tests.system.world import Host, Netns, until

UNDERLAY_MTU = 1300


@pytest.fixture
def peer() -> Iterator[Peer]:
    it = Peer(mtu=UNDERLAY_MTU)
    yield it
    it.end()


def join(host: Host, a: Netns, peer: Peer, ipv6: bool) -> None:
    """A tunnel that may be cut up, to the peer's kernel, which cuts up what does not fit."""
    kernel_vxlan(peer, *(["udp6zerocsumrx"] if ipv6 else []), ipv6=ipv6, mtu=1500)
    remote = PEER_IP6 if ipv6 else PEER_IP
    add_tunnel(host, "br0", "vx0", "vxlan", f'remote_ip="{remote}"', "key=77", "df_default=false")
    settle(host)
    assert a.ping(PEER_INNER) == 3


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_packets_too_big_for_the_underlay_pass_in_fragments_both_ways(
    shared_host: Host, a: Netns, peer: Peer, ipv6: bool
) -> None:
    join(shared_host, a, peer, ipv6)
    if ipv6:
        # Over IPv6 the kernel's device tells the sender what fits, and cuts up nothing outside.
        peer.ping(OUR_INNER, 1, "-s", "1472")
    with captured() as capture:
        # up to what fits into no packet of the inner network either: fragments in fragments
        for size in (1472, 1200, 1252 if ipv6 else 1272, 4000):
            assert inner_ping(shared_host, "a", PEER_INNER, 3, "-s", str(size)) == 3, size
        assert peer.ping(OUR_INNER, 3, "-s", "1472") == 3
    assert capture.complaints() == []
    for source in (OUR_IP6,) if ipv6 else (OUR_IP, PEER_IP):
        where = f"ipv6.src == {source} && ipv6.fraghdr" if ipv6 else f"ip.src == {source} && ip.flags.mf == 1"
        assert len(capture.fields(where, "frame.number")) >= 3 * 3
    assert capture.fields("icmp.type == 3 || icmpv6.type == 1", "frame.number") == []


SEND = """
import socket, sys
kind, address, data = sys.argv[1], sys.argv[2], bytes.fromhex(sys.stdin.read())
family = socket.AF_INET6 if ":" in address else socket.AF_INET
if kind == "gre":
    s = socket.socket(family, socket.SOCK_RAW, 47)
else:
    s = socket.socket(family, socket.SOCK_DGRAM)
for _ in range(5):
    s.sendto(data, (address, 0 if kind == "gre" else 4789))
"""
"""Sends what is too big in fragments: Linux sets no 'don't fragment' in datagrams that must be cut."""


@pytest.mark.parametrize("kind", ["vxlan", "gre"])
@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_fragments_are_put_together_of_every_kind_and_family(
    shared_host: Host, a: Netns, peer: Peer, kind: str, ipv6: bool
) -> None:
    ours, theirs = (OUR_IP6, PEER_IP6) if ipv6 else (OUR_IP, PEER_IP)
    type_ = "ip6gre" if ipv6 and kind == "gre" else kind
    add_tunnel(shared_host, "br0", "tun0", type_, f'remote_ip="{theirs}"', "key=77")
    shared_host.ofctl("add-flow", "br0", "in_port=tun0,tun_id=77,dl_type=0x88b5,actions=output:va")
    head = "0800000000004d00" if kind == "vxlan" else "200065580000004d"
    frame = a.mac.replace(":", "") + "02000000000188b5" + "5a" * 1486

    def passed() -> int:
        shown = shared_host.ofctl("dump-flows", "br0", "dl_type=0x88b5")
        return sum(int(n) for n in re.findall(r"n_packets=(\d+), n_bytes=\d+[02468], ", shown))

    def send() -> None:
        done = subprocess.run(
            ["ip", "netns", "exec", peer.name, sys.executable, "-c", SEND, kind, ours],
            input=head + frame, text=True, capture_output=True, timeout=90, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    send()
    time.sleep(0.5)  # for what should not come
    assert passed() == 0
    shared_host.vsctl("set", "open_vswitch", ".", "other_config:tunnel-reassembly=true")
    try:
        send()
        assert until(lambda: passed() == 5), passed()
        shown = shared_host.ofctl("dump-flows", "br0", "dl_type=0x88b5")
        assert "n_packets=5, n_bytes=7500" in shown
    finally:
        shared_host.vsctl("remove", "open_vswitch", ".", "other_config", "tunnel-reassembly")
    assert "gsmr" not in shared_host.check("ip", "link", "show")


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_tcp_of_full_size_passes_in_fragments_both_ways(
    shared_host: Host, a: Netns, peer: Peer, ipv6: bool
) -> None:
    join(shared_host, a, peer, ipv6)
    server = Netns(peer.name, "up0").iperf3_server()
    done = a.run("iperf3", "-c", PEER_INNER, "-n", "50M")
    server.wait(timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    back = a.iperf3_server()
    done = peer.attempt("iperf3", "-c", OUR_INNER, "-n", "20M")
    back.wait(timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_who_sends_too_much_out_of_a_tunnel_into_another_is_told_through_the_first(
    shared_host: Host, a: Netns
) -> None:
    peer = Peer()
    try:
        kernel_vxlan(peer, mtu=1500)
        peer.ip("link", "set", "vx0", "mtu", "1450")
        peer.ip("neigh", "add", "10.0.0.9", "lladdr", "02:00:00:00:00:09", "dev", "vx0")
        add_tunnel(shared_host, "br0", "vx0", "vxlan", f"remote_ip={PEER_IP}", "key=77")
        add_tunnel(shared_host, "br0", "gnv0", "geneve", f'remote_ip="{PEER_IP6}"', "key=78")
        shared_host.ofctl("add-flow", "br0", "in_port=vx0,ip,actions=output:gnv0")
        said: list[str] = []

        def told() -> bool:
            words = ("-n", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1422", "10.0.0.9")
            said.append(peer.attempt("ping", *words).stdout)
            return "Frag needed" in said[-1]

        # the far end's device is new here, too
        assert until(told), said[-1]
        assert "From 10.0.0.9 icmp_seq=1 Frag needed and DF set (mtu = 1430)" in said[-1], said[-1]
    finally:
        peer.end()


def test_a_copy_that_is_too_big_for_its_tunnel_is_answered_and_the_others_arrive(
    shared_host: Host, a: Netns
) -> None:
    peer = Peer()
    b = shared_host.netns("b", "10.0.0.9/24", "br0")
    try:
        add_tunnel(shared_host, "br0", "vx0", "vxlan", f"remote_ip={PEER_IP}", "key=77")
        add_tunnel(shared_host, "br0", "vx1", "vxlan", f"remote_ip={PEER_IP}", "key=78")
        shared_host.check("ip", "-n", "a", "neigh", "replace", "10.0.0.9", "lladdr", b.mac, "dev", "eth0")
        shared_host.ofctl("add-flow", "br0", "in_port=va,icmp,actions=set_field:1->nw_ttl,output:vx0,vx1,vb")

        def ping() -> str:
            words = ("-n", "-c", "3", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1472", "10.0.0.9")
            return a.run("ping", *words).stdout

        # the far end's device is new, and its tunnels lead there once the host has a route
        said: list[str] = []
        assert until(lambda: said.append(ping()) or "Frag needed" in said[-1]), said[-1]
        # one answer, though two copies are too big; the next packets the sender holds back itself
        assert said[-1].count("From 10.0.0.9 icmp_seq=1 Frag needed and DF set (mtu = 1450)") == 1, said[-1]
        assert "64 bytes from 10.0.0.9" not in said[-1].replace("1480 bytes", "")
        assert "icmp_seq=1 ttl=64" in said[-1], said[-1]
    finally:
        shared_host.vsctl("del-port", "br0", "vb")
        shared_host.forget("b")
        peer.end()


@pytest.mark.parametrize(
    ("kind", "remote", "options"),
    [
        ("gre", PEER_IP, ("key=77",)),
        ("ip6gre", PEER_IP6, ("key=77", "csum=true")),
        ("geneve", PEER_IP, ("key=77", "csum=true")),
        ("erspan", PEER_IP, ("key=77", "erspan_ver=1", "erspan_idx=3")),
    ],
)
def test_fragments_of_every_kind_are_whole_again_for_others(
    shared_host: Host, a: Netns, peer: Peer, kind: str, remote: str, options: tuple[str, ...]
) -> None:
    """As tshark puts them together, checksums and all."""
    add_tunnel(shared_host, "br0", "t", kind, f'remote_ip="{remote}"', "df_default=false", *options)
    shared_host.check("ip", "-n", "a", "neigh", "replace", PEER_INNER, "lladdr", "02:00:00:00:00:02", "dev", "eth0")
    assert until(lambda: leaves(shared_host)), "nothing leaves by the tunnel"
    with captured() as capture:
        inner_ping(shared_host, "a", PEER_INNER, 4, "-s", "1472")
    # The peer has no such tunnel and says so, with the beginning of the packet.
    assert [c for c in capture.complaints() if "icmpv6:ipv6" not in c[1]] == []
    whole = capture.fields(f"ip.src == {OUR_INNER} && icmp.type == 8 && data.len == 1464", "frame.number")
    assert len(whole) >= 4  # nobody answers, so that each is sent


def leaves(host: Host) -> bool:
    """Whether a packet that the instance sends comes to the underlay: its far end is a new device."""
    sent = Path("/sys/class/net/up0/statistics/tx_bytes")
    before = int(sent.read_text())
    inner_ping(host, "a", PEER_INNER, 1, "-s", "1472")
    return int(sent.read_text()) - before > 1472


def test_packets_leave_in_fragments_while_the_daemon_is_dead_and_come_back_after(
    shared_host: Host, a: Netns, peer: Peer
) -> None:
    kernel_vxlan(peer, mtu=1500)
    add_tunnel(shared_host, "br0", "vx0", "vxlan", f"remote_ip={PEER_IP}", "key=77", "df_default=false")
    settle(shared_host)
    assert inner_ping(shared_host, "a", PEER_INNER, 3, "-s", "1472") == 3
    shared_host.kill()
    try:
        with captured() as capture:
            inner_ping(shared_host, "a", PEER_INNER, 3, "-s", "1472")
        assert len(capture.fields(f"ip.src == {OUR_IP} && ip.flags.mf == 1", "frame.number")) == 3
    finally:
        shared_host.start()
    shared_host.vsctl("set", "bridge", "br0", "external_ids:seen=yes")
    assert inner_ping(shared_host, "a", PEER_INNER, 3, "-s", "1472") == 3
