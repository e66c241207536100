"""Real programs through translated addresses, IPv4 and IPv6, from a namespace to another."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from tests.system.world import Host, Netns, pings, until

_RULES = (
    "table=0,priority=1,actions=NORMAL",
    "table=0,priority=10,in_port=1,{ip},actions=ct(commit,zone=1,nat({how}),table=1)",
    "table=0,priority=10,in_port=2,{ip},actions=ct(zone=1,nat,table=1)",
    "table=0,priority=20,icmp6,icmp_type=135,actions=NORMAL",
    "table=0,priority=20,icmp6,icmp_type=136,actions=NORMAL",
    # What is new from outside, and what is invalid, ends here.
    "table=1,priority=10,in_port=1,ct_state=-inv+trk,actions=NORMAL",
    "table=1,priority=10,in_port=2,ct_state=-inv-new+trk,actions=NORMAL",
    "table=1,priority=0,actions=drop",
)


@dataclass(frozen=True)
class Family:
    """Addresses of one family: a client, a server, what each is seen as, and a host behind."""

    ip: str
    client: str
    server: str
    public: str
    virtual: str
    behind: str

    def literal(self, address: str) -> str:
        """In nat(...)."""
        return f"[{address}]" if self.ip == "ipv6" else address


IPV4 = Family("ip", "10.0.0.1", "10.0.0.2", "10.0.0.99", "10.0.0.50", "192.0.2.9")
IPV6 = Family("ipv6", "fd00::1", "fd00::2", "fd00::99", "fd00::50", "fd01::9")
both = pytest.mark.parametrize("family", [IPV4, IPV6], ids=["ipv4", "ipv6"])


@dataclass(frozen=True)
class World:
    """A client on port 1, a server on port 2, a host behind the server."""

    host: Host
    client: Netns
    server: Netns
    behind: Netns

    def translate(self, family: Family, how: str) -> None:
        """Rules that translate what the client begins; what it began before is forgotten."""
        rules = "\n".join(_RULES).format(ip=family.ip, how=how)
        self.host.ofctl("del-flows", "br0")
        self.host.ofctl("add-flows", "br0", "-", stdin=rules + "\n")
        self.host.appctl("dpctl/flush-conntrack")

    def connections(self) -> str:
        """As dpctl dumps them."""
        return self.host.appctl("dpctl/dump-conntrack")


@pytest.fixture(scope="module")
def world(shared_host: Host) -> World:
    """One for all tests here."""
    host = shared_host
    host.vsctl("add-br", "br0")
    a, b = host.netns("a", "10.0.0.1/24", "br0"), host.netns("b", "10.0.0.2/24", "br0")
    behind = host.netns("behind", "192.0.2.9/24")
    # Its other end belongs to the server, which routes.
    host.check("ip", "link", "set", "vbehind", "netns", "b", "name", "eth1")
    for name, line in (
        ("a", "addr add fd00::1/64 dev eth0 nodad"),
        ("b", "addr add fd00::2/64 dev eth0 nodad"),
        ("b", "link set eth1 up"),
        ("b", "addr add 192.0.2.1/24 dev eth1"),
        ("b", "addr add fd01::1/64 dev eth1 nodad"),
        ("behind", "addr add fd01::9/64 dev eth0 nodad"),
        ("a", "route add 192.0.2.0/24 via 10.0.0.2"),
        ("a", "route add fd01::/64 via fd00::2"),
        ("behind", "route add default via 192.0.2.1"),
        ("behind", "-6 route add default via fd01::1"),
        # Nobody has these addresses: who is meant is told, since nobody would answer.
        ("b", f"neigh add 10.0.0.99 lladdr {a.mac} dev eth0"),
        ("b", f"neigh add fd00::99 lladdr {a.mac} dev eth0"),
        ("a", f"neigh add 10.0.0.50 lladdr {b.mac} dev eth0"),
        ("a", f"neigh add fd00::50 lladdr {b.mac} dev eth0"),
    ):
        host.check("ip", "-n", name, *line.split())
    b.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
          "net.ipv6.conf.eth1.disable_ipv6=0")  # fmt: skip
    host.check("ip", "-n", "b", "addr", "replace", "fd01::1/64", "dev", "eth1", "nodad")
    b.run("sysctl", "-q", "-w", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
    # A new link speaks IPv6 only when it knows that its addresses are its own.
    assert until(lambda: b.ping("fd01::9", 1))
    return World(host, a, b, behind)


_SERVER = """
import socket, sys
kind = socket.SOCK_DGRAM if sys.argv[1] == "udp" else socket.SOCK_STREAM
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET, kind)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[2], int(sys.argv[3])))
if kind == socket.SOCK_STREAM:
    s.listen()
print("ready", flush=True)
if kind == socket.SOCK_STREAM:
    c, peer = s.accept()
    data = b""
    while len(data) < 200000:
        data += c.recv(65536)
    c.sendall(peer[0].encode() + b" " + str(len(data)).encode())
else:
    data, peer = s.recvfrom(65536)
    s.sendto(peer[0].encode() + b" " + str(len(data)).encode(), peer)
"""
_CLIENT = """
import socket, sys
kind = socket.SOCK_DGRAM if sys.argv[1] == "udp" else socket.SOCK_STREAM
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET, kind)
s.settimeout(60)
s.connect((sys.argv[2], int(sys.argv[3])))
s.sendall(bytes(int(sys.argv[4])))
print(s.recv(1000).decode())
"""


def talk(world: World, kind: str, listen: str, dial: str, port: int, length: int) -> str:
    """What the server says it saw: the client's address, and bytes."""
    server = world.server.start("python3", "-c", _SERVER, kind, listen, "8080")
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    done = world.client.run("python3", "-c", _CLIENT, kind, dial, str(port), str(length))
    server.kill()
    server.communicate()
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@both
def test_tcp_udp_and_large_datagrams_come_from_the_public_address(
    world: World, family: Family
) -> None:
    world.translate(family, f"src={family.literal(family.public)}")
    assert talk(world, "tcp", family.server, family.server, 8080, 200_000) == f"{family.public} 200000"
    assert talk(world, "udp", family.server, family.server, 8080, 100) == f"{family.public} 100"
    # In fragments, there and back.
    assert talk(world, "udp", family.server, family.server, 8080, 20_000) == f"{family.public} 20000"
    assert f"dst={family.public}" in world.connections()


@both
def test_a_virtual_address_and_port_lead_to_the_server(world: World, family: Family) -> None:
    world.translate(family, f"dst={family.literal(family.server)}:8080")
    assert talk(world, "tcp", family.server, family.virtual, 80, 200_000) == f"{family.client} 200000"
    assert talk(world, "udp", family.server, family.virtual, 80, 20_000) == f"{family.client} 20000"


@both
@pytest.mark.parametrize("size", [56, 8000])
def test_ping_large_and_small_through_both_translations(
    world: World, family: Family, size: int
) -> None:
    world.translate(family, f"src={family.literal(family.public)}")
    assert pings(world.client.run, family.server, 3, "-s", str(size)) == 3
    world.translate(family, f"dst={family.literal(family.server)}")
    assert pings(world.client.run, family.virtual, 3, "-s", str(size)) == 3


@both
@pytest.mark.parametrize("how", ["-U", "-I"])
def test_traceroute_sees_each_hop_through_a_translation(
    world: World, family: Family, how: str
) -> None:
    world.translate(family, f"src={family.literal(family.public)}")
    done = world.client.run("traceroute", how, "-n", "-q", "1", "-w", "20", "-m", "4", family.behind)
    hops = re.findall(r"^ *\d+ +(\S+)", done.stdout, re.M)
    assert hops == [family.server, family.behind], done.stdout + done.stderr


@both
def test_segmentation_is_left_to_the_receiver(world: World, family: Family) -> None:
    world.translate(family, f"src={family.literal(family.public)}")
    capture = world.server.start(
        "timeout", "60", "tcpdump", "-nni", "eth0", "-c", "50", "tcp and greater 4000"
    )
    assert capture.stdout is not None
    while "listening on" not in (line := capture.stdout.readline()):
        assert line, "tcpdump does not listen"
    server = world.server.iperf3_server()
    done = world.client.run("iperf3", "-c", family.server, "-n", "200M")
    assert done.returncode == 0, done.stdout + done.stderr
    server.communicate()
    out, _ = capture.communicate()
    assert "50 packets captured" in out, out
    assert family.public in out


def test_a_range_without_a_free_port_is_counted_and_warned_of(world: World) -> None:
    world.translate(IPV4, f"src={IPV4.public}:5000-5001")
    before = int(world.host.appctl("coverage/read-counter", "drop_ct_nat_full"))
    begun = world.host.log().count("no free address and port")
    code = "import socket;[socket.socket(2,2).sendto(b'x',('10.0.0.2',9)) for _ in range(5)]"
    world.client.run("python3", "-S", "-c", code)
    assert int(world.host.appctl("coverage/read-counter", "drop_ct_nat_full")) - before == 3
    assert len(world.connections().splitlines()) == 2
    # At most one a minute: another test may have had the last one.
    assert until(lambda: world.host.log().count("no free address and port") > begun, 100)
    line = re.findall(r"WARN\|.*no free address and port.*", world.host.log())[-1]
    assert "drop_ct_nat_full" in line and "more addresses" in line
