"""Stateful rules with the real tools: what began inside gets its answers, nothing else gets in."""

from __future__ import annotations

import ctypes
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from gossamer.daemon.main import pin_directory
from tests.system import frames
from tests.system.world import Host, Netns, until

_CLONE_NEWNET: Final = 0x40000000
Firewall = tuple[Host, Netns, Netns]

FLOWS = """
table=0,priority=10,arp,actions=NORMAL
table=0,priority=10,icmp6,icmp_type=135,actions=NORMAL
table=0,priority=10,icmp6,icmp_type=136,actions=NORMAL
table=0,priority=5,ip,actions=ct(table=1,zone=7)
table=0,priority=5,ipv6,actions=ct(table=1,zone=7)
table=1,priority=10,ct_state=+trk+est,actions=NORMAL
table=1,priority=10,ct_state=+trk+rel,actions=NORMAL
table=1,priority=10,ct_state=+trk+new,ip,in_port=1,actions=ct(commit,zone=7),NORMAL
table=1,priority=10,ct_state=+trk+new,ipv6,in_port=1,actions=ct(commit,zone=7),NORMAL
table=1,priority=5,ct_state=+trk+inv,actions=drop
"""


@pytest.fixture
def host(cleared_host: Host) -> Iterator[Host]:
    """One daemon for all tests here, and what it limits is as it was."""
    yield cleared_host
    cleared_host.appctl("dpctl/ct-del-limits", "zone=7")
    cleared_host.vsctl("clear", "Open_vSwitch", ".", "datapaths")


@pytest.fixture
def firewall(two_hosts: Firewall) -> Firewall:
    """`a` may begin connections with `b`, `b` may only answer."""
    host, a, b = two_hosts
    host.ofctl("del-flows", "br0")
    host.ofctl("add-flows", "br0", "-", stdin=FLOWS)
    return host, a, b


@contextmanager
def inside(ns: Netns) -> Iterator[None]:
    """This thread in another network namespace."""
    here, there = Path("/proc/thread-self/ns/net"), Path(f"/run/netns/{ns.name}")
    with here.open() as home, there.open() as away:
        _setns(away.fileno())
        try:
            yield
        finally:
            _setns(home.fileno())


def _setns(fd: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def tcp_pair(a: Netns, b: Netns, port: int) -> tuple[socket.socket, socket.socket]:
    """A connection from `a` to `b`: both ends."""
    with inside(b):
        listener = socket.create_server(("10.0.0.2", port))
    with inside(a):
        client = socket.socket()
    client.settimeout(60)
    client.connect(("10.0.0.2", port))
    server, _ = listener.accept()
    server.settimeout(60)
    listener.close()
    return client, server


def speaks(client: socket.socket, server: socket.socket) -> bool:
    """Whether bytes arrive both ways."""
    for one, other in ((client, server), (server, client)):
        one.sendall(b"hello")
        try:
            if other.recv(5, socket.MSG_WAITALL) != b"hello":
                return False
        except TimeoutError:
            return False
    return True


def udp(ns: Netns, address: str, port: int = 0) -> socket.socket:
    """A socket in a namespace."""
    with inside(ns):
        it = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        it.bind((address, port))
    it.settimeout(60)
    return it


def arrives(it: socket.socket, patience_s: float = 30) -> bool:
    """Whether a datagram comes: where it should, all the time it may need is waited for."""
    before_s = it.gettimeout()
    it.settimeout(patience_s)
    try:
        it.recv(100)
    except TimeoutError:
        return False
    finally:
        it.settimeout(before_s)
    return True


def stays_away(it: socket.socket) -> bool:
    """Whether no datagram comes within a second: the kernel brings it at once or never."""
    return not arrives(it, 1)


def upgrade_of_programs(host: Host) -> None:
    """What an upgrade leaves of the pins: the programs are other ones."""
    for pin in pin_directory(host.rundir).glob("program-*"):
        pin.unlink()


def upgrade_of_all_but_connections(host: Host) -> None:
    """As if the layout of all other maps had changed."""
    upgrade_of_programs(host)
    for pin in pin_directory(host.rundir).glob("maps-*/*"):
        pin.unlink()


def test_answers_come_through_and_nothing_that_was_not_asked_for(firewall: Firewall) -> None:
    host, a, b = firewall
    assert a.ping("10.0.0.2") == 3
    assert b.ping("10.0.0.1") == 0
    server = b.iperf3_server()
    done = a.run("iperf3", "-c", "10.0.0.2", "-n", "50M")
    server.wait(timeout=60)
    assert done.returncode == 0, done.stdout
    server = a.iperf3_server()
    refused = b.run("iperf3", "-c", "10.0.0.1", "--connect-timeout", "1000", "-t", "1")
    server.kill()
    assert refused.returncode != 0
    assert re.search(r"tcp,orig=\(src=10.0.0.1,dst=10.0.0.2,.*zone=7", host.appctl("dpctl/dump-conntrack"))


def test_ipv6_is_tracked_alike(firewall: Firewall) -> None:
    _, a, b = firewall
    for ns, address in ((a, "fd00::1/64"), (b, "fd00::2/64")):
        ns.run("ip", "addr", "add", address, "dev", "eth0", "nodad")
    assert a.ping("fd00::2") == 3
    assert b.ping("fd00::1") == 0
    server = b.iperf3_server()
    done = a.run("iperf3", "-6", "-c", "fd00::2", "-n", "50M")
    server.wait(timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "while_dead", [lambda host: None, upgrade_of_programs, upgrade_of_all_but_connections],
    ids=["restart", "upgrade of the programs", "upgrade of all maps but connections"],
)  # fmt: skip
def test_established_connections_outlive_the_daemon(
    firewall: Firewall, while_dead: Callable[[Host], None]
) -> None:
    host, a, b = firewall
    client, server = tcp_pair(a, b, 8000)
    assert speaks(client, server)
    # From here on only what is known to be established can pass.
    host.ofctl("--strict", "del-flows", "br0", "table=1,priority=10,ct_state=+trk+new,ip,in_port=1")
    for _ in range(2):
        host.kill()
        assert speaks(client, server), "without a daemon"
        while_dead(host)
        host.start()
        assert speaks(client, server), "with a new one"
    assert a.ping("10.0.0.2", 1) == 0
    assert "ESTABLISHED" in host.appctl("dpctl/dump-conntrack")


def test_a_connection_ends_when_its_time_is_up(firewall: Firewall) -> None:
    host, a, b = firewall
    host.vsctl("--", "--id=@m", "create", "Datapath", "datapath_version=0",
               "--", "set", "Open_vSwitch", ".", "datapaths:system=@m")  # fmt: skip
    host.vsctl("add-zone-tp", "system", "zone=7", "udp_first=2", "udp_single=2")
    here, there = udp(a, "10.0.0.1", 5000), udp(b, "10.0.0.2", 5001)
    here.sendto(b"question", ("10.0.0.2", 5001))
    assert arrives(there)
    time.sleep(2.5)
    there.sendto(b"late", ("10.0.0.1", 5000))
    assert stays_away(here)

    def answered_in_time() -> bool:
        here.sendto(b"question", ("10.0.0.2", 5001))
        assert arrives(there)
        there.sendto(b"in time", ("10.0.0.1", 5000))
        return arrives(here, 1)

    assert until(answered_in_time), "not even by a machine that gives us two seconds"


def test_a_zone_has_no_more_connections_than_its_limit(firewall: Firewall) -> None:
    host, a, b = firewall
    host.appctl("dpctl/ct-set-limits", "zone=7,limit=3")
    there = udp(b, "10.0.0.2", 5001)
    passed = []
    for port in range(5000, 5006):
        udp(a, "10.0.0.1", port).sendto(b"x", ("10.0.0.2", 5001))
        passed.append(arrives(there, 30 if port < 5003 else 1))
    assert passed == [True] * 3 + [False] * 3
    assert re.search(r"drop_ct_zone_limit.*total: 3", host.appctl("coverage/show"))


def test_a_flood_of_new_connections_pushes_out_none_that_is_established(firewall: Firewall) -> None:
    host, a, b = firewall
    most = host.appctl("dpctl/ct-get-maxconns").strip()
    host.appctl("dpctl/ct-set-maxconns", "64")
    try:
        client, server = tcp_pair(a, b, 8000)
        assert speaks(client, server)
        with inside(a):
            floods = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(500)]
        for number, flood in enumerate(floods):
            flood.sendto(b"x", ("10.0.0.2", 20000 + number))
            flood.close()
        assert speaks(client, server)
        assert int(host.appctl("dpctl/ct-get-nconns")) <= 64
        assert a.ping("10.0.0.2", 1) == 1, "a new one finds room"
    finally:
        host.appctl("dpctl/ct-set-maxconns", most)


def test_what_is_outside_the_window_is_invalid(firewall: Firewall) -> None:
    host, a, b = firewall
    client, server = tcp_pair(a, b, 8000)
    port = client.getsockname()[1]
    before = invalid(host)
    forged = threading.Thread(target=_forge, args=(b, port))
    forged.start()
    forged.join()
    assert until(lambda: invalid(host) > before)
    assert speaks(client, server), "the reset did not reach it"


def invalid(host: Host) -> int:
    """Packets that were dropped as invalid."""
    found = re.search(r"n_packets=(\d+).*ct_state=\+inv\+trk", host.ofctl("dump-flows", "br0"))
    assert found is not None
    return int(found[1])


def _forge(b: Netns, port: int) -> None:
    """A reset with a sequence number far from what the connection has."""
    header = (8000).to_bytes(2, "big") + port.to_bytes(2, "big") + (7).to_bytes(4, "big")
    header += bytes(4) + bytes((0x50, 0x04)) + bytes(6)
    pseudo = bytes((10, 0, 0, 2, 10, 0, 0, 1, 0, 6, 0, 20)) + header
    total = sum(int.from_bytes(pseudo[i : i + 2], "big") for i in range(0, len(pseudo), 2))
    total = (total & 0xFFFF) + (total >> 16)
    check = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    with inside(b), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.sendto(header[:16] + check.to_bytes(2, "big") + header[18:], ("10.0.0.1", 0))


def _from_a_to_b(a: Netns, b: Netns, frame: bytes) -> str:
    """A frame of IP as `a` would send it to `b`, in hexadecimal."""
    return (bytes.fromhex((b.mac + a.mac).replace(":", "")) + frame[12:]).hex()


@pytest.mark.parametrize(
    "actions",
    ["resubmit(,0)", "ct(commit,zone=7,exec(set_field:9->ct_mark)),output:2", "ct(table=1,zone=7)"],
)
def test_a_packet_out_opens_a_connection_that_is_then_answered(
    firewall: Firewall, actions: str
) -> None:
    host, a, b = firewall
    ports = {"resubmit(,0)": 6001, "ct(table=1,zone=7)": 6002}
    port = ports.get(actions, 6000)
    client, server = udp(a, "10.0.0.1", port), udp(b, "10.0.0.2", 7000)
    frame = _from_a_to_b(a, b, frames.udp("10.0.0.1", port, "10.0.0.2", 7000, b"by the controller"))
    server.sendto(b"unasked", ("10.0.0.1", port))
    assert stays_away(client)
    host.ofctl("packet-out", "br0", f"in_port=1,packet={frame},actions={actions}")
    assert server.recv(100) == b"by the controller"
    server.sendto(b"answer", ("10.0.0.1", port))
    assert client.recv(100) == b"answer"
    lines = host.appctl("dpctl/dump-conntrack", "-s").splitlines()
    (line,) = (line for line in lines if f"sport={port}" in line)
    assert "packets=1" in line
    assert ("mark=9" in line) == ("mark" in actions)


def test_a_packet_out_is_translated_by_the_kernels_rules(firewall: Firewall) -> None:
    host, a, b = firewall
    server = udp(b, "10.0.0.2", 7001)
    frame = _from_a_to_b(a, b, frames.udp("10.0.0.1", 6005, "10.0.0.2", 7001, b"translated"))
    # A second ct() of the zone, in another table, neither moves the connection nor translates again.
    host.ofctl("add-flow", "br0", "table=9,ip,actions=ct(zone=8,nat),output:2")
    for then in ("),output:2", ",table=9)"):
        actions = f"ct(commit,zone=8,nat(src=10.0.0.77:5000){then}"
        host.ofctl("packet-out", "br0", f"in_port=1,packet={frame},actions={actions}")
        data, sender = server.recvfrom(100)
        assert (data, sender) == (b"translated", ("10.0.0.77", 5000))
    dump = host.appctl("dpctl/dump-conntrack", "zone=8")
    assert "reply=(src=10.0.0.2,dst=10.0.0.77,sport=7001,dport=5000)" in dump
    assert len(dump.splitlines()) == 1
    assert "connections" not in host.appctl("dpctl/show") + host.appctl("dpctl/dump-flows")


@pytest.mark.parametrize("length", [3500, 9000, 15000])
def test_packet_outs_larger_than_a_page_are_tracked_and_translated(
    firewall: Firewall, length: int
) -> None:
    host, a, b = firewall
    port = 10000 + length % 9000
    payload = bytes(range(250)) * (length // 250)
    frame = _from_a_to_b(a, b, frames.udp("10.0.0.1", port, "10.0.0.2", 7003, payload))
    then = "ct(commit,zone=7,nat(src=10.0.0.77))"
    host.ofctl("packet-out", "br0", f"in_port=1,packet={frame},actions={then}")
    (line,) = (
        line
        for line in host.appctl("dpctl/dump-conntrack", "-s", "zone=7").splitlines()
        if f"sport={port}" in line
    )
    assert f"dport=7003,packets=1,bytes={len(frame) // 2})" in line
    assert "reply=(src=10.0.0.2,dst=10.0.0.77,sport=7003," in line


def test_the_bridge_that_asks_about_connections_is_made_anew_by_a_new_daemon(
    firewall: Firewall,
) -> None:
    host, a, b = firewall
    host.kill()
    host.start()
    server = udp(b, "10.0.0.2", 7002)
    frame = _from_a_to_b(a, b, frames.udp("10.0.0.1", 6009, "10.0.0.2", 7002, b"again"))
    actions = "ct(commit,zone=7),output:2"
    host.ofctl("packet-out", "br0", f"in_port=1,packet={frame},actions={actions}")
    assert server.recv(100) == b"again"
    assert "sport=6009" in host.appctl("dpctl/dump-conntrack", "zone=7")
