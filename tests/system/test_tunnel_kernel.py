"""Tunnels to the kernel's VXLAN device: understood, learned, kept apart; and kept over restarts, and in number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.system.sequence import Ping
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
from tests.system.world import Host, Netns, until


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

    def learned() -> bool:
        flows = host.ofctl("dump-flows", "br0", "table=20")
        return "dl_dst=" in flows and "0xc0000202" in flows

    assert until(learned), host.ofctl("dump-flows", "br0", "table=20")
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
    with Ping(Netns("a", "va"), PEER_INNER, "-i", "0.01") as ping:
        assert ping.passes(25)
        host.kill()
        assert ping.passes(25), "without a daemon"
        host.start()
        host.vsctl("set", "bridge", "br0", "external_ids:seen=yes")
        assert ping.passes(25)
        host.appctl("exit")
        assert ping.passes(25), "without a daemon"
        host.start()
        assert ping.passes(25)
        asked, answered = ping.end()
    assert answered == asked


# -- many --------------------------------------------------------------------------------------------


def test_a_thousand_tunnels_take_linear_memory_and_carry_packets(host: Host, peer: Peer) -> None:
    """What they take of time is counted in test_many_ports.py, and measured by bench.tunnels."""
    kernel_vxlan(peer, "remote", OUR_IP, "local", PEER_IP)
    add_tunnel(host, "br0", "tun0", "vxlan", f"remote_ip={PEER_IP}", f"local_ip={OUR_IP}", "key=5001")
    # Not to all of them: NORMAL would send a copy to each.
    flows = "in_port=va,actions=output:tun0\nin_port=tun0,actions=output:va\n"
    host.ofctl("--bundle", "replace-flows", "br0", "-", stdin=flows)
    settle(host)
    _add_many(host, range(1, 100))  # they find room that was there already
    few = memory(host)
    _add_many(host, range(100, 400))
    some = memory(host)
    _add_many(host, range(400, 1000))
    many = memory(host)
    assert inner_ping(host, "a", PEER_INNER) == 3
    errors = host.vsctl("--columns=name", "--bare", "find", "interface", "type=vxlan", "error!=[]")
    assert errors == ""
    for what, at_100, at_400, at_1000 in zip(("daemon", "maps"), few, some, many, strict=True):
        first, later = (at_400 - at_100) / 300, (at_1000 - at_400) / 600
        print(f"{what}: {at_100 >> 10} KiB, {first / 1024:.1f} and then {later / 1024:.1f} KiB a tunnel")
        assert later < max(1.2 * first, 8192)
    # They did go into the tunnel, and came out of it.
    found = re.findall(r"[rt]x pkts=(\d+)", host.ofctl("dump-ports", "br0", "tun0"))
    assert len(found) == 2 and min(map(int, found)) >= 4


def _add_many(host: Host, numbers: Iterable[int]) -> None:
    """Tunnels to as many peers, by one ovs-vsctl."""
    arguments: list[str] = []
    for i in numbers:
        remote = f"198.51.{100 + i // 250}.{i % 250 + 1}"
        arguments += ["--", "add-port", "br0", f"t{i}", "--", "set", "interface", f"t{i}", "type=vxlan",
                      f"options:remote_ip={remote}", f"options:key={i}"]  # fmt: skip
    host.vsctl(*arguments[1:])


def memory(host: Host) -> tuple[int, int]:
    """Bytes that the daemon has in memory, and those of all its maps (proc(5))."""
    at = Path(f"/proc/{host.pid}")
    (resident,) = re.findall(r"VmRSS:\s+(\d+) kB", (at / "status").read_text())
    maps: dict[str, int] = {}
    for info in (at / "fdinfo").iterdir():
        fields = dict(re.findall(r"^(map_id|memlock):\s+(\d+)$", info.read_text(), re.M))
        if "map_id" in fields:
            maps[fields["map_id"]] = int(fields["memlock"])
    return int(resident) << 10, sum(maps.values())
