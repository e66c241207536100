"""Tunnels over more than a wire: routers, several uplinks, routes by mark, tunnels in tunnels, and
programs that are replaced while packets flow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.system.sequence import Flood, assert_all_arrived
from tests.system.tunnel_world import OUR_INNER, PEER_INNER, add_tunnel, inner_ping, run, settle
from tests.system.world import Host, Netns, other_programs, until

OURS, THEIRS = "203.0.113.1", "198.51.100.2"
"""Where the tunnels end: addresses of lo, as hosts of routed fabrics have them."""
WAYS: Final = ("r1", "r2")
FLOWS: Final = 64


class Fabric:
    """Two ways from here to the other machine `far`, each over a router, with equal cost."""

    def __init__(self) -> None:
        run("sysctl", "-q", "-w", "net.ipv4.fib_multipath_hash_policy=1")  # ports count
        run("ip", "netns", "add", "far")
        run("ip", "addr", "add", f"{OURS}/32", "dev", "lo")
        self.far("ip", "link", "set", "lo", "up")
        self.far("ip", "addr", "add", f"{THEIRS}/32", "dev", "lo")
        for n, way in enumerate(WAYS, 1):
            run("ip", "netns", "add", way)
            for here, netns, net in ((f"up{n}", None, f"10.1.{n}"), (f"eth{n}", "far", f"10.2.{n}")):
                run("ip", "link", "add", here, "type", "veth", "peer", "name", here, "netns", way)
                if netns:
                    run("ip", "link", "set", here, "netns", netns)
                run("ip", "-n", way, "addr", "add", f"{net}.2/24", "dev", here)
                run("ip", "-n", way, "link", "set", here, "up")
                where = ("-n", netns) if netns else ()
                run("ip", *where, "addr", "add", f"{net}.1/24", "dev", here)
                run("ip", *where, "link", "set", here, "up")
            run("ip", "netns", "exec", way, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
            # Only what a test sends is to be counted.
            run("sysctl", "-q", "-w", f"net.ipv6.conf.up{n}.disable_ipv6=1")
            run("ip", "netns", "exec", way, "sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1")
            run("ip", "-n", way, "route", "add", OURS, "via", f"10.1.{n}.1")
            run("ip", "-n", way, "route", "add", THEIRS, "via", f"10.2.{n}.1")
            self.far("ip", "route", "append", OURS, "via", f"10.2.{n}.2", "metric", str(n))
        self.both()
        self.far("ip", "link", "add", "vx0", "type", "vxlan", "id", "77", "dstport", "4789",
                 "remote", OURS, "local", THEIRS)  # fmt: skip
        self.far("ip", "addr", "add", f"{PEER_INNER}/24", "dev", "vx0")
        self.far("ip", "link", "set", "vx0", "mtu", "1400", "up")

    def far(self, *command: str) -> str:
        """A command on the other machine."""
        return run("ip", "netns", "exec", "far", *command)

    def both(self) -> None:
        """Packets to the other machine go by both ways."""
        hops = [a for n in (1, 2) for a in ("nexthop", "via", f"10.1.{n}.2", "dev", f"up{n}")]
        run("ip", "route", "replace", THEIRS, *hops)

    def sent(self) -> list[int]:
        """Packets that left by each way."""
        base = Path("/sys/class/net")
        return [int((base / f"up{n}/statistics/tx_packets").read_text()) for n in (1, 2)]

    def end(self) -> None:
        """Take it away."""
        for n in (1, 2):
            run("ip", "link", "del", f"up{n}")
        for name in ("far", *WAYS):
            run("ip", "netns", "del", name)
        run("ip", "addr", "del", f"{OURS}/32", "dev", "lo")


@pytest.fixture(scope="module")
def fabric() -> Iterator[Fabric]:
    it = Fabric()
    yield it
    it.end()


@pytest.fixture(scope="module")
def machine(shared_host: Host, fabric: Fabric) -> Host:
    """The daemon with a bridge br0, and an instance `a`; no tunnel yet."""
    shared_host.vsctl("add-br", "br0")
    shared_host.netns("a", f"{OUR_INNER}/24", "br0")
    shared_host.check("ip", "-n", "a", "link", "set", "eth0", "mtu", "1400")
    return shared_host


@pytest.fixture
def tunnel(machine: Host) -> Iterator[Host]:
    """With a tunnel `t` to the other machine."""
    add_tunnel(machine, "br0", "t", "vxlan", f"remote_ip={THEIRS}", f"local_ip={OURS}", "key=77")
    yield machine
    machine.vsctl("--if-exists", "del-port", "t")
    machine.ofctl("del-flows", "br0")
    machine.ofctl("add-flow", "br0", "priority=0,actions=NORMAL")


def _send_flows(target: str) -> int:
    """A datagram each of many flows from `a`; how many arrived at the other machine."""
    script = (
        "import socket,sys,time\n"
        "for port in range(20000, 20000 + int(sys.argv[2])):\n"
        "    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "    s.bind(('', port)); s.sendto(b'x', (sys.argv[1], 4444)); time.sleep(0.002)\n"
    )
    receiver = Netns("far", "vx0").start(
        "python3", "-c",
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.bind(('', 4444)); s.settimeout(30); n = 0\nprint('ready', flush=True)\n"
        f"try:\n    while n < {FLOWS}: s.recv(9); n += 1\nexcept TimeoutError: pass\nprint(n)",
    )  # fmt: skip
    assert receiver.stdout is not None
    assert receiver.stdout.readline() == "ready\n"
    done = Netns("a", "va").run("python3", "-c", script, target, str(FLOWS))
    assert done.returncode == 0, done.stderr
    return int(receiver.communicate(timeout=90)[0])


def test_flows_are_spread_over_equal_ways_and_over_what_is_left_of_them(
    tunnel: Host, fabric: Fabric
) -> None:
    settle(tunnel)
    before = fabric.sent()
    assert _send_flows(PEER_INNER) == FLOWS
    shares = [now - then for now, then in zip(fabric.sent(), before, strict=True)]
    assert min(shares) > FLOWS // 5, shares
    run("ip", "link", "set", "up2", "down")
    try:
        before = fabric.sent()
        assert _send_flows(PEER_INNER) == FLOWS
        assert fabric.sent()[1] == before[1]
    finally:
        run("ip", "link", "set", "up2", "up")
        fabric.both()
    assert until(lambda: inner_ping(tunnel, "a", PEER_INNER) == 3)


def test_what_comes_back_may_come_by_another_uplink(tunnel: Host, fabric: Fabric) -> None:
    run("ip", "route", "replace", THEIRS, "via", "10.1.2.2", "dev", "up2")
    try:
        settle(tunnel)
        before = fabric.sent()
        assert inner_ping(tunnel, "a", PEER_INNER) == 3  # answers take the first way
        after = fabric.sent()
        assert after[1] - before[1] >= 3
    finally:
        fabric.both()


def test_a_router_that_takes_less_is_heard_and_told_on(tunnel: Host, fabric: Fabric) -> None:
    """The routers' links take 1,300 bytes: what does not fit is answered once we know."""
    for n, way in enumerate(WAYS, 1):
        run("ip", "-n", way, "link", "set", f"eth{n}", "mtu", "1300")
    try:
        said: list[str] = []

        def told() -> bool:
            words = ("-n", "-c", "6", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1340", PEER_INNER)
            said.append(Netns("a", "va").run("ping", *words).stdout)
            return "Frag needed and DF set (mtu = 1250)" in said[-1]

        assert until(told), said[-1]
        assert inner_ping(tunnel, "a", PEER_INNER, 3, "-M", "do", "-s", "1222") == 3
    finally:
        for n, way in enumerate(WAYS, 1):
            run("ip", "-n", way, "link", "set", f"eth{n}", "mtu", "1500")
        run("ip", "route", "flush", "cache")
        Netns("a", "va").run("ip", "route", "flush", "cache")


def _kernel_routes_by_mark() -> bool:
    """bpf_fib_lookup() asks for the mark since 6.10."""
    major, minor = (int(n) for n in run("uname", "-r").split(".")[:2])
    return (major, minor) >= (6, 10)


@pytest.mark.skipif(not _kernel_routes_by_mark(), reason="needs Linux 6.10")
@pytest.mark.parametrize("by", ["egress_pkt_mark", "pkt_mark"])
def test_outer_packets_take_the_route_of_their_mark(tunnel: Host, fabric: Fabric, by: str) -> None:
    run("ip", "route", "replace", THEIRS, "via", "10.1.1.2", "dev", "up1")
    run("ip", "route", "add", THEIRS, "via", "10.1.2.2", "dev", "up2", "table", "100")
    run("ip", "rule", "add", "fwmark", "7", "lookup", "100")
    try:
        settle(tunnel)
        before = fabric.sent()
        assert inner_ping(tunnel, "a", PEER_INNER) == 3
        assert fabric.sent()[1] - before[1] < 3  # but for what the network itself says
        if by == "egress_pkt_mark":
            tunnel.vsctl("set", "interface", "t", "options:egress_pkt_mark=7")
        else:
            tunnel.ofctl("del-flows", "br0")
            tunnel.ofctl("add-flow", "br0", "in_port=va,actions=set_field:7->pkt_mark,output:t")
            tunnel.ofctl("add-flow", "br0", "in_port=t,actions=output:va")
        settle(tunnel)
        before = fabric.sent()
        assert inner_ping(tunnel, "a", PEER_INNER) == 3
        after = fabric.sent()
        assert after[1] - before[1] >= 3
        assert after[0] - before[0] < 3
    finally:
        run("ip", "rule", "del", "fwmark", "7", "lookup", "100")
        run("ip", "route", "flush", "table", "100")
        fabric.both()


def test_programs_are_replaced_without_losing_a_packet_of_a_tunnel(
    tunnel: Host, tmp_path: Path
) -> None:
    settle(tunnel)
    a, far = Netns("a", "va"), Netns("far", "vx0")
    uplink = "up1"
    before = run("bpftool", "net", "show", "dev", uplink)
    with Flood(a, far, PEER_INNER, 4000) as there, Flood(far, a, OUR_INNER, 4000) as back:
        floods = (there, back)
        assert all(flood.passes(1000) for flood in floods)
        tunnel.kill()
        assert all(flood.passes(1000) for flood in floods), "without a daemon"
        tunnel.environment["PYTHONPATH"] = other_programs(tmp_path)
        tunnel.start()
        replaced = until(lambda: run("bpftool", "net", "show", "dev", uplink) != before)
        assert replaced, "the program is another one now"
        assert all(flood.passes(1000) for flood in floods)
        for flood in floods:
            sent, arrived = flood.end()
            assert_all_arrived(sent, arrived)
