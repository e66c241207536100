"""Real programs through connection tracking and NAT: by a rule, by a floating address, behind source NAT."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import pytest

from tests.system.peer import IS_PEER, Cloud
from tests.system.world import Netns, pings, until

CLOUD: Final = """\
name: prog
bridges: {inside: {}, outside: {}}
security_groups:
  served:
    allow: [tcp/21, udp/69, tcp/8080, tcp/9090, tcp/5201, udp/5201, udp/33434-33534, icmp]
instances:
  server:
    ports:
      - bridge: inside
        addresses: [10.0.0.10/24, "fd00:a::10/64"]
        security_groups: [served]
        floating: [203.0.113.10, "2001:db8::10"]
    gateway: 10.0.0.1
    routes: ["::/0 via fd00:a::1"]
  insider:
    ports:
      - bridge: inside
        addresses: [10.0.0.20/24, "fd00:a::20/64"]
        allow: []
    gateway: 10.0.0.1
    routes: ["::/0 via fd00:a::1"]
  router:
    ports:
      - {bridge: inside, addresses: [10.0.0.1/24, "fd00:a::1/64"]}
      - bridge: outside
        addresses: [203.0.113.1/24, "2001:db8::1/64"]
        snat: [203.0.113.20-203.0.113.21, "2001:db8::20"]
    forward: true
  outsider:
    ports: [{bridge: outside, addresses: [203.0.113.100/24, "2001:db8::100/64"]}]
"""


@dataclass(frozen=True)
class Way:
    """Who speaks to whom by which address, and as whom it is seen."""

    client: str
    server: str
    address: str
    seen_as: frozenset[str]
    through_router: bool = False


def _way(client: str, server: str, address: str, *seen_as: str, through_router: bool = False) -> Way:
    return Way(client, server, address, frozenset(seen_as), through_router)


WAYS: Final = {
    "rule, IPv4": _way("insider", "server", "10.0.0.10", "10.0.0.20"),
    "rule, IPv6": _way("insider", "server", "fd00:a::10", "fd00:a::20"),
    "floating, IPv4": _way("outsider", "server", "203.0.113.10", "203.0.113.100", through_router=True),
    "floating, IPv6": _way("outsider", "server", "2001:db8::10", "2001:db8::100", through_router=True),
    "snat, IPv4": _way(
        "insider", "outsider", "203.0.113.100", "203.0.113.20", "203.0.113.21", through_router=True
    ),
    "snat, IPv6": _way("insider", "outsider", "2001:db8::100", "2001:db8::20", through_router=True),
}


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    it = Cloud()
    it.up(CLOUD)
    yield it
    it.end()


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


@pytest.fixture
def client(cloud: Cloud, way: Way) -> Netns:
    return cloud.netns(way.client)


@pytest.fixture
def server(cloud: Cloud, way: Way) -> Netns:
    return cloud.netns(way.server)


def _end(process: subprocess.Popen[str]) -> str:
    process.terminate()
    return process.communicate(timeout=60)[0]


def _listening(ns: Netns, port: int) -> None:
    assert until(lambda: ns.listens(port)), f"nothing listens on {port}"


def _url(address: str, rest: str) -> str:
    return f"http://[{address}]{rest}" if ":" in address else f"http://{address}{rest}"


def test_curl_loads_a_file(way: Way, client: Netns, server: Netns, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)
    everywhere = "::" if ":" in way.address else "0.0.0.0"
    http = server.start(
        "python3", "-u", "-m", "http.server", "8080", "--bind", everywhere, "--directory", str(tmp_path)
    )
    try:
        _listening(server, 8080)
        for _ in range(3):
            done = client.run(
                "curl", "-sS", "-m", "90", "-o", str(tmp_path / "got"), _url(way.address, ":8080/file")
            )
            assert done.returncode == 0, done.stderr
            assert hashlib.sha256((tmp_path / "got").read_bytes()).digest() == hashlib.sha256(content).digest()
    finally:
        log = _end(http)
    # http.server logs whom it sees: IPv4 over an IPv6 socket has a prefix.
    seen = set(re.findall(r"^(?:::ffff:)?(\S+) - - .*GET", log, re.MULTILINE))
    assert seen and seen <= way.seen_as, log


def test_ping_is_answered_and_large_ones_too(way: Way, client: Netns, server: Netns) -> None:
    assert client.ping(way.address, 5) == 5
    if IS_PEER and ":" in way.address:
        return  # it does not know the protocol of an IPv6 fragment that is not the first
    # Ten fragments each way.
    assert pings(client.run, way.address, 3, "-s", "14000") == 3


def test_traceroute_hears_of_every_hop(way: Way, client: Netns) -> None:
    done = client.run("traceroute", "-n", "-q", "2", "-w", "20", "-m", "5", way.address)
    hops = [line.split()[1] for line in done.stdout.splitlines()[1:]]
    # An error about a connection to a floating address comes from that address, whoever found it.
    router = {way.address} if way.client == "outsider" else {"10.0.0.1", "fd00:a::1"}
    if way.through_router:
        assert hops[0] in router, done.stdout
    assert hops[-1] == way.address, done.stdout
    assert len(hops) == 1 + way.through_router, done.stdout


@pytest.mark.parametrize("direction", ["", "-R"])
def test_iperf3_sends_tcp_both_ways(way: Way, client: Netns, server: Netns, direction: str) -> None:
    listener = server.iperf3_server()
    command = ["iperf3", "-c", way.address, "-n", "50M", "-J", *([direction] if direction else [])]
    done = client.run(*command)
    listener.communicate(timeout=60)
    assert done.returncode == 0, done.stdout
    # The receiver counts what it has read when it hears that all was sent: buffers hold up to ten megabytes.
    assert json.loads(done.stdout)["end"]["sum_received"]["bytes"] > 10_000_000


def test_iperf3_sends_udp_and_it_arrives(way: Way, client: Netns, server: Netns) -> None:
    listener = server.iperf3_server()
    full = _full_buffers(server)
    done = client.run("iperf3", "-c", way.address, "-u", "-b", "5M", "-l", "1000", "-n", "300K", "-J")
    listener.communicate(timeout=60)
    assert done.returncode == 0, done.stdout
    total = json.loads(done.stdout)["end"]["sum"]
    assert total["packets"] >= 300
    # A receiver that waits for the processor loses what finds its buffer full.
    assert total["lost_packets"] - (_full_buffers(server) - full) <= 3, total


def _full_buffers(ns: Netns) -> int:
    """Datagrams that a namespace had no room for (RFC 4113), of IPv4 and IPv6."""
    shown = ns.run("cat", "/proc/net/snmp", "/proc/net/snmp6").stdout
    names, values = (line.split() for line in shown.splitlines() if line.startswith("Udp: "))
    of_ipv6 = re.search(r"^Udp6RcvbufErrors\s+(\d+)", shown, re.M)
    return int(values[names.index("RcvbufErrors")]) + (int(of_ipv6[1]) if of_ipv6 else 0)


_FTP: Final = """
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
authorizer = DummyAuthorizer()
authorizer.add_anonymous(sys.argv[1], perm="elrw")
FTPHandler.authorizer = authorizer
FTPServer((sys.argv[2], 21), FTPHandler).serve_forever()
"""


@pytest.mark.skipif(IS_PEER, reason="its helpers do not rewrite what a floating address announces over IPv6")
@pytest.mark.parametrize("mode", ["passive", "active"])
def test_ftp_opens_its_data_connections(
    way: Way, client: Netns, server: Netns, mode: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(content := os.urandom(200_000))
    everywhere = "::" if ":" in way.address else "0.0.0.0"
    ftp = server.start("/usr/bin/python3", "-u", "-c", _FTP, str(tmp_path), everywhere)
    try:
        _listening(server, 21)
        url = _url(way.address, "/file").replace("http", "ftp")
        active = ["--ftp-port", "-"] if mode == "active" else []
        done = client.run("curl", "-sS", "-m", "90", *active, "-o", str(tmp_path / "got"), url)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "got").read_bytes() == content
    finally:
        _end(ftp)


def test_tftp_answers_from_another_port(way: Way, client: Netns, server: Netns, tmp_path: Path) -> None:
    files = Path(mkdtemp(prefix="files", dir="/run"))
    files.chmod(0o755)  # the server runs as nobody
    (files / "file").write_bytes(content := os.urandom(20_000))
    tftp = server.start("in.tftpd", "--listen", "--foreground", "--secure", "--address", ":69", str(files))
    try:
        assert until(lambda: server.listens(69, "udp"))
        url = _url(way.address, "/file").replace("http", "tftp")
        done = client.run("curl", "-sS", "-m", "90", "-o", str(tmp_path / "got"), url)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "got").read_bytes() == content
    finally:
        _end(tftp)


def test_what_no_rule_allows_gets_no_answer(cloud: Cloud) -> None:
    server, insider, outsider = (cloud.netns(n) for n in ("server", "insider", "outsider"))
    listener = server.start("python3", "-m", "http.server", "8081", "--bind", "::")
    try:
        _listening(server, 8081)
        tries = [
            ns.start("curl", "-sS", "-m", "2", _url(address, ":8081/"))
            for ns, address in (
                (insider, "10.0.0.10"), (insider, "fd00:a::10"), (outsider, "203.0.113.10"),
                (outsider, "2001:db8::10"),
            )
        ]  # fmt: skip
        for curl in tries:
            curl.communicate()
            assert curl.returncode == 28, "a timeout"
        assert server.ping("10.0.0.20", 2) == 0, "insider lets nothing begin"
        assert server.ping("fd00:a::20", 2) == 0
    finally:
        _end(listener)


def test_hidden_addresses_are_not_reached_by_themselves(cloud: Cloud) -> None:
    outsider = cloud.netns("outsider")
    outsider.run("ip", "route", "add", "10.0.0.0/24", "via", "203.0.113.1")
    outsider.run("ip", "route", "add", "fd00:a::/64", "via", "2001:db8::1")
    try:
        # icmp is allowed by server's rules: it is the router's port that hides it.
        assert outsider.ping("10.0.0.10", 2) == 0
        assert outsider.ping("fd00:a::10", 2) == 0
        assert outsider.ping("203.0.113.10", 2) == 2
    finally:
        outsider.run("ip", "route", "del", "10.0.0.0/24")
        outsider.run("ip", "-6", "route", "del", "fd00:a::/64")


def test_a_host_inside_reaches_a_floating_address_too(cloud: Cloud) -> None:
    assert cloud.netns("insider").ping("203.0.113.10", 3) == 3
    server = cloud.netns("server")
    listener = server.iperf3_server()
    done = cloud.netns("insider").run("iperf3", "-c", "203.0.113.10", "-n", "10M", "-J")
    listener.communicate(timeout=60)
    assert done.returncode == 0, done.stdout


def test_a_protected_port_cannot_speak_for_others(cloud: Cloud) -> None:
    insider, server = cloud.netns("insider"), cloud.netns("server")
    assert insider.ping("10.0.0.10", 1) == 1
    insider.run("ip", "addr", "add", "10.0.0.99/24", "dev", "eth0")
    try:
        done = insider.run("ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "-I", "10.0.0.99", "10.0.0.10")
        assert " 0 received" in done.stdout, done.stdout
        server.run("ip", "neigh", "flush", "dev", "eth0")
        assert insider.ping("10.0.0.10", 1) == 1
        neighbours = server.run("ip", "neigh", "show").stdout
        assert "10.0.0.99" not in neighbours, neighbours
    finally:
        insider.run("ip", "addr", "del", "10.0.0.99/24", "dev", "eth0")


def test_a_rule_taken_out_ends_its_connections_and_no_others(cloud: Cloud) -> None:
    server, outsider = cloud.netns("server"), cloud.netns("outsider")
    echo = server.start("python3", "-u", "-c", _ECHO)
    talker = None
    try:
        _listening(server, 5201)
        talker = subprocess.Popen(
            ["ip", "netns", "exec", outsider.name, "python3", "-u", "-c", _TALKER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert _talk(talker) == "8080 True 5201 True"
        cloud.up(CLOUD.replace("tcp/5201, ", ""))
        assert _talk(talker, answers_of="8080") == "8080 True 5201 False"
        cloud.up(CLOUD)
        # TCP repeats what was lost meanwhile.
        assert _talk(talker) == "8080 True 5201 True"
    finally:
        cloud.up(CLOUD)
        if talker:
            talker.kill()
            talker.communicate()
        _end(echo)


_ECHO: Final = """
import selectors, socket
watched = selectors.DefaultSelector()
for port in (8080, 5201):
    s = socket.create_server(("0.0.0.0", port))
    watched.register(s, selectors.EVENT_READ, True)
while True:
    for key, _ in watched.select():
        if key.data:
            watched.register(key.fileobj.accept()[0], selectors.EVENT_READ, False)
        else:
            data = key.fileobj.recv(4096)
            if data:
                key.fileobj.sendall(data)
            else:
                watched.unregister(key.fileobj)
                key.fileobj.close()
"""
_TALKER: Final = """
import socket, sys
socks = [(p, socket.create_connection(("203.0.113.10", p), timeout=60)) for p in (8080, 5201)]
owed = {p: 0 for p, _ in socks}
for line in sys.stdin:
    out = []
    for p, s in socks:
        s.settimeout(60 if str(p) in line else 2)
        s.sendall(b"x")
        owed[p] += 1
        try:
            while owed[p]:
                owed[p] -= len(s.recv(owed[p]))
            out += [str(p), "True"]
        except TimeoutError:
            out += [str(p), "False"]
    print(*out, flush=True)
"""


def _talk(talker: subprocess.Popen[str], answers_of: str = "8080 5201") -> str:
    assert talker.stdin is not None and talker.stdout is not None
    talker.stdin.write(f"{answers_of}\n")
    talker.stdin.flush()
    return talker.stdout.readline().strip()


def test_up_again_changes_nothing_and_repairs_what_was_removed_by_hand(cloud: Cloud) -> None:
    assert cloud.up(CLOUD) == []
    before = _flows(cloud)
    cloud.host.ofctl("del-flows", "inside", "table=100")
    cloud.host.ofctl("add-flow", "inside", "table=100,priority=999,actions=NORMAL")
    cloud.host.check("ip", "-n", "prog-router", "addr", "del", "2001:db8::20/128", "dev", "eth1")
    steps = cloud.up(CLOUD)
    assert [(str(s.verb), s.key) for s in steps] == [
        ("repair", "port/router/1"), ("repair", "flows/inside"),
    ]  # fmt: skip
    assert any("2001:db8::20/128" in t for s in steps for t in s.texts)
    assert _flows(cloud) == before
    assert cloud.up(CLOUD) == []


def _flows(cloud: Cloud) -> list[str]:
    return sorted(cloud.host.ofctl("--no-stats", "dump-flows", "inside").splitlines())


def test_an_address_that_is_not_translated_any_more_is_taken_from_the_router(cloud: Cloud) -> None:
    try:
        changed = {s.key for s in cloud.up(CLOUD.replace(', "2001:db8::10"]', "]"))}
        assert changed == {"port/router/1", "flows/outside"}
        shown = cloud.netns("router").run("ip", "-6", "addr", "show", "dev", "eth1").stdout
        assert "2001:db8::10/" not in shown and "2001:db8::20/" in shown
        outsider = cloud.netns("outsider")
        assert outsider.ping("2001:db8::10", 1) == 0
        assert outsider.ping("203.0.113.10", 1) == 1
    finally:
        cloud.up(CLOUD)
