"""Tunnels to the kernel's VXLAN device: understood, learned, kept apart; and kept over restarts, and in number."""

from __future__ import annotations

import os
import re
import signal
import subprocess
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
    settle,
)
from tests.system.world import Host


@pytest.fixture
def host(tunnel_host: Host) -> Host:
    """A daemon with a bridge br0 and an instance `a` on it."""
    return tunnel_host


@pytest.fixture
def peer(shared_host: Host) -> Iterator[Peer]:
    """A machine with the kernel's tunnels."""
    it = Peer()
    yield it
    it.end()


def kernel_vxlan(peer: Peer, *options: str, vni: int = 5001, inner: str = PEER_INNER) -> str:
    """A VXLAN device of the peer's kernel with the inner address; its name."""
    name = f"vx{vni}"
    peer.ip("link", "add", name, "type", "vxlan", "id", str(vni), "dstport", "4789", *options)
    peer.ip("link", "set", name, "mtu", "1400", "up")
    peer.addresses(name, f"{inner}/24")
    return name


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_the_kernels_vxlan_device_and_we_understand_each_other(
    host: Host, peer: Peer, ipv6: bool
) -> None:
    ours, theirs = (OUR_IP6, PEER_IP6) if ipv6 else (OUR_IP, PEER_IP)
    device = kernel_vxlan(peer, "remote", ours, "local", theirs, *(["udp6zerocsumrx"] if ipv6 else []))
    add_tunnel(host, "br0", "tun0", "vxlan", f'remote_ip="{theirs}"', f'local_ip="{ours}"', "key=5001")
    with captured() as capture:
        settle(host)
        assert inner_ping(host, "a", PEER_INNER) == 3
        assert inner_ping(host, "a", PEER_INNER, 2, "-s", "1300") == 2
        host.check("ip", "-n", "a", "neigh", "flush", "all")
        peer.ip("neigh", "flush", "dev", device)
        assert peer.ping(OUR_INNER) == 3
    assert capture.complaints() == []
    assert len(capture.fields("vxlan.vni == 5001 && icmp", "frame.number")) >= 2 * (3 + 2 + 3)


def test_the_kernel_learns_where_we_are_and_we_learn_where_it_is(host: Host, peer: Peer) -> None:
    device = kernel_vxlan(peer, "local", PEER_IP, "learning")
    # It knows nobody: what it floods goes nowhere until we have spoken.
    add_tunnel(host, "br0", "tun0", "vxlan", "remote_ip=flow", f"local_ip={OUR_IP}", "key=flow")
    host.ofctl("--bundle", "replace-flows", "br0", "-", stdin=LEARNING)
    assert peer.ping(OUR_INNER, 1) == 0
    settle(host)
    assert inner_ping(host, "a", PEER_INNER) == 3
    fdb = peer.attempt("bridge", "fdb", "show", "dev", device).stdout
    mac = host.check("ip", "netns", "exec", "a", "cat", "/sys/class/net/eth0/address").strip()
    assert f"{mac} dst {OUR_IP}" in fdb
    learned = host.ofctl("dump-flows", "br0", "table=20")
    assert "dl_dst=" in learned and "0xc0000202" in learned
    # Now it finds us by what it learned, without flooding.
    assert peer.ping(OUR_INNER) == 3


LEARNING = f"""\
table=0,priority=1,in_port=tun0,actions=learn(table=20,hard_timeout=300,priority=1,\
NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_NX_TUN_IPV4_SRC[]->NXM_NX_TUN_IPV4_DST[],\
load:NXM_NX_TUN_ID[]->NXM_NX_TUN_ID[],output:OXM_OF_IN_PORT[]),output:va
table=0,priority=0,actions=resubmit(,20)
table=20,priority=0,actions=resubmit(,22)
table=22,actions=set_field:{PEER_IP}->tun_dst,set_field:5001->tun_id,output:tun0
"""


def test_tenants_of_the_same_addresses_never_meet(host: Host, peer: Peer) -> None:
    """Two VNIs to one peer, the same address at both ends of each."""
    kernel_vxlan(peer, "remote", OUR_IP, "local", PEER_IP, vni=5001)
    other = "tenant"
    host.check("ip", "netns", "add", other)
    other_vxlan = ("link", "add", "vx5002", "netns", other, "type", "vxlan", "id", "5002",
                   "dstport", "4789", "remote", OUR_IP, "local", PEER_IP)  # fmt: skip
    peer.ip(*other_vxlan)
    host.check("ip", "-n", other, "link", "set", "vx5002", "mtu", "1400", "up")
    host.check("ip", "-n", other, "addr", "add", f"{PEER_INNER}/24", "dev", "vx5002")
    host.vsctl("add-br", "br1")
    host.netns("b", f"{OUR_INNER}/24", "br1")
    host.check("ip", "-n", "b", "link", "set", "eth0", "mtu", "1400")
    try:
        for bridge, vni in (("br0", 5001), ("br1", 5002)):
            add_tunnel(host, bridge, f"tun{vni}", "vxlan", f"remote_ip={PEER_IP}", f"key={vni}")
        settle(host)
        before = echoes(host, peer.name), echoes(host, other)
        assert inner_ping(host, "a", PEER_INNER, 5) == 5
        assert (echoes(host, peer.name) - before[0], echoes(host, other) - before[1]) == (5, 0)
        assert inner_ping(host, "b", PEER_INNER, 7) == 7
        assert (echoes(host, peer.name) - before[0], echoes(host, other) - before[1]) == (5, 7)
    finally:
        host.vsctl("del-br", "br1")
        host.forget("b")
        host.check("ip", "netns", "del", other)


def echoes(host: Host, netns: str) -> int:
    """Echo requests that a namespace has received (RFC 4293)."""
    lines = host.check("ip", "netns", "exec", netns, "cat", "/proc/net/snmp").splitlines()
    names, values = (line.split() for line in lines if line.startswith("Icmp:"))
    return int(values[names.index("InEchos")])


# -- the daemon comes and goes -------------------------------------------------------------------------


def test_no_packet_of_a_tunnel_is_lost_when_the_daemon_is_killed_and_starts_again(
    host: Host, peer: Peer
) -> None:
    kernel_vxlan(peer, "remote", OUR_IP, "local", PEER_IP)
    add_tunnel(host, "br0", "tun0", "vxlan", f"remote_ip={PEER_IP}", f"local_ip={OUR_IP}", "key=5001")
    settle(host)
    process = subprocess.Popen(
        ["ip", "netns", "exec", "a", "ping", "-n", "-i", "0.01", "-W", "1", PEER_INNER],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(0.3)
    host.kill()
    time.sleep(0.5)
    host.start()
    host.vsctl("set", "bridge", "br0", "external_ids:seen=yes")
    time.sleep(0.5)
    host.check("ovs-appctl", "--timeout=10", "exit")
    time.sleep(0.3)
    host.start()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=10)
    sent, received = re.search(r"(\d+) packets transmitted, (\d+) received", said).groups()  # type: ignore[union-attr]
    assert int(sent) > 200
    assert int(sent) - int(received) <= 1, said[-300:]  # the last one may still be on its way


# -- many --------------------------------------------------------------------------------------------


def test_a_thousand_tunnels_are_set_up_in_ten_seconds(host: Host, peer: Peer) -> None:
    kernel_vxlan(peer, "remote", OUR_IP, "local", PEER_IP)
    arguments: list[str] = []
    for i in range(1, 1000):
        remote = f"198.51.{100 + i // 250}.{i % 250 + 1}"
        arguments += ["--", "add-port", "br0", f"t{i}", "--", "set", "interface", f"t{i}", "type=vxlan",
                      f"options:remote_ip={remote}", f"options:key={i}"]  # fmt: skip
    began, used = time.monotonic(), cpu_s(host.pid)
    host.check("ovs-vsctl", "--timeout=60", *arguments[1:])
    took, used = time.monotonic() - began, cpu_s(host.pid) - used
    add_tunnel(host, "br0", "tun0", "vxlan", f"remote_ip={PEER_IP}", f"local_ip={OUR_IP}", "key=5001")
    # Not to all of them: NORMAL would send a copy to each.
    flows = "in_port=va,actions=output:tun0\nin_port=tun0,actions=output:va\n"
    host.ofctl("--bundle", "replace-flows", "br0", "-", stdin=flows)
    settle(host)
    assert inner_ping(host, "a", PEER_INNER) == 3
    errors = host.vsctl("--columns=name", "--bare", "find", "interface", "type=vxlan", "error!=[]")
    assert errors == ""
    print(f"1,000 tunnels in {took:.1f} s, of which the daemon worked {used:.1f} s")
    # Of ten seconds: the rest is for ovs-vsctl and the database, and for a machine that is busy.
    assert used < 5


def cpu_s(pid: int) -> float:
    """What a process has worked (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
