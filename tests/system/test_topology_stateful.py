"""Protected ports among others: VLANs, trunks, broadcasts, spoofed senders, and the commands."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

import pytest

from tests.system.frames import udp
from tests.system.peer import IS_PEER, Cloud
from tests.system.world import Netns

TWO_BRIDGES: Final = """\
name: mix
bridges: {left: {}, right: {}}
patches: [{between: [left, right], trunks: [10, 20]}]
instances:
  heard: {ports: [{bridge: left, vlan: 10, addresses: [10.1.0.1/24, "fd00::1/64"], allow: [udp/5353, tcp/80]}]}
  deaf: {ports: [{bridge: left, vlan: 10, address: 10.1.0.2/24, allow: [tcp/80 from 10.1.0.0/29]}]}
  near: {ports: [{bridge: left, vlan: 10, addresses: [10.1.0.3/24, "fd00::3/64"]}]}
  far: {ports: [{bridge: right, vlan: 10, addresses: [10.1.0.4/24, "fd00::4/64"]}]}
  alien: {ports: [{bridge: left, vlan: 20, address: 10.1.0.5/24}]}
  robot: {ports: [{bridge: left, vlan: 20, address: 10.1.0.6/24, egress: [tcp/80 to 10.1.0.5], allow: []}]}
expect:
  - far -> heard tcp/80: reachable
  - near -> heard tcp/80: reachable
  - near -> heard tcp/81: blocked
  - far -> deaf tcp/80: reachable
  - deaf -> far tcp/9999: reachable
  - heard -> deaf tcp/80: reachable
  - heard -> deaf icmp: blocked
  - alien -> heard: blocked
  - alien -> robot icmp: blocked
  - robot -> alien tcp/80: reachable
  - robot -> alien tcp/81: blocked
  - far -> near: reachable
"""


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    it = Cloud()
    it.up(TWO_BRIDGES)
    yield it
    it.end()


def _hear(ns: Netns, own: str) -> subprocess.Popen[str]:
    """Print what is sent to UDP port 5353, until it is ended."""
    it = ns.start(sys.executable, "-u", "-c", _LISTENER, own)
    assert it.stdout is not None and it.stdout.readline() == "ready\n"
    return it


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


_LISTENER: Final = """
import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
s.bind(("", 5353))
m = socket.inet_aton("224.0.0.251") + socket.inet_aton(sys.argv[1])
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, m)
print("ready")
while True:
    print(s.recv(100).decode())
"""
_SPEAKER: Final = """
import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))
for address in ("10.1.0.255", "224.0.0.251"):
    for port in (5353, 5354):
        s.sendto(f"{address} {port}".encode(), (address, port))
"""


@pytest.mark.parametrize(("speaker", "own"), [("far", "10.1.0.4"), ("near", "10.1.0.3"), ("deaf", "10.1.0.2")])
def test_broadcasts_and_multicasts_reach_whom_a_rule_allows_them(
    cloud: Cloud, speaker: str, own: str
) -> None:
    names = ("heard", "deaf", "near", "far", "alien")
    listeners = {
        n: _hear(cloud.netns(n), f"10.1.0.{i}") for i, n in enumerate(names, 1) if n != speaker
    }
    cloud.netns(speaker).run(sys.executable, "-c", _SPEAKER, own)
    both = ["10.1.0.255 5353", "224.0.0.251 5353"]
    wanted = {n: [] if n in ("deaf", "alien") else both for n in listeners}
    got = {n: [_line(listeners[n]) for _ in lines] for n, lines in wanted.items()}
    time.sleep(0.5)  # for what should not come
    for n, process in listeners.items():
        process.terminate()
        got[n] += process.communicate(timeout=60)[0].split("\n")[:-1]
    assert {n: sorted(lines) for n, lines in got.items()} == wanted


_ANSWERS: Final = """
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", int(sys.argv[1])))
print("ready", flush=True)
while True:
    data, who = s.recvfrom(65535)
    s.sendto(b"%d" % len(data), who)
"""
_ASKS: Final = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.bind(("", int(sys.argv[1])))
s.settimeout(float(sys.argv[4]))
for length in map(int, sys.argv[5:]):
    s.sendto(bytes(length), (sys.argv[2], int(sys.argv[3])))
    try:
        print(s.recv(100).decode())
    except TimeoutError:
        print("nothing")
"""


def _ask(
    ns: Netns, sport: int, address: str, dport: int, *lengths: int, wait_s: int = 30
) -> list[str]:
    """How much of each datagram whoever listens there says he got."""
    words = map(str, (sport, address, dport, wait_s, *lengths))
    return ns.run(sys.executable, "-c", _ASKS, *words).stdout.split()


@pytest.mark.skipif(IS_PEER, reason="its tables see fragments together, and not all of them")
@pytest.mark.parametrize("address", ["10.1.0.1", "fd00::1"])
def test_datagrams_in_fragments_are_judged_by_their_ports(cloud: Cloud, address: str) -> None:
    heard, far = cloud.netns("heard"), cloud.netns("far")
    listeners = [heard.start(sys.executable, "-c", _ANSWERS, str(port)) for port in (5353, 5354)]
    try:
        assert all(x.stdout and x.stdout.readline() == "ready\n" for x in listeners)
        # Whole ones before and after: fragments neither begin nor end what they may not.
        assert _ask(far, 4000, address, 5353, 6000, 10, 6000, 10) == ["6000", "10", "6000", "10"]
        assert _ask(far, 4000, address, 5354, 6000, 10, wait_s=1) == ["nothing", "nothing"]
    finally:
        for listener in listeners:
            listener.kill()
            listener.communicate()


@pytest.mark.skipif(IS_PEER, reason="its tables see fragments together, and not all of them")
@pytest.mark.parametrize(("address", "ports"), [("10.1.0.3", (67, 68)), ("fd00::3", (547, 546))])
def test_nobody_gives_out_addresses_by_dhcp_in_fragments(
    cloud: Cloud, address: str, ports: tuple[int, int]
) -> None:
    heard, near = cloud.netns("heard"), cloud.netns("near")
    server, client = ports
    listener = near.start(sys.executable, "-c", _ANSWERS, str(client))
    try:
        assert listener.stdout is not None and listener.stdout.readline() == "ready\n"
        assert _ask(heard, 4000, address, client, 3000) == ["3000"]
        assert _ask(heard, server, address, client, 3000, 10, wait_s=1) == ["nothing", "nothing"]
    finally:
        listener.kill()
        listener.communicate()


@pytest.mark.skipif(IS_PEER, reason="its tables see fragments together, and not all of them")
def test_what_tables_see_of_fragments_is_looked_after(cloud: Cloud) -> None:
    assert "nx-match" in cloud.host.ofctl("get-frags", "left")
    assert "normal" in cloud.host.ofctl("get-frags", "right")
    cloud.host.ofctl("set-frags", "left", "normal")
    (step,) = cloud.up(TWO_BRIDGES)
    assert (step.key, step.texts) == ("flows/left", ("fragments is normal instead of nx-match",))
    assert "nx-match" in cloud.host.ofctl("get-frags", "left")


def test_nobody_else_speaks_from_the_address_of_a_protected_port(cloud: Cloud) -> None:
    far, near, heard = (cloud.netns(n) for n in ("far", "near", "heard"))
    assert far.ping("10.1.0.3", 2) == 2
    near.run("ip", "link", "set", "eth0", "address", heard.mac)
    try:
        assert near.ping("10.1.0.4", 2) == 0
        assert heard.ping("10.1.0.4", 2) == 2, "frames for heard still reach it"
    finally:
        near.run("ip", "link", "set", "eth0", "address", "02:00:00:00:77:03")


def test_the_expectations_hold(cloud: Cloud) -> None:
    cloud.up(TWO_BRIDGES)
    outcomes = cloud.check()
    assert [(o.source, o.target, o.measured) for o in outcomes if not o.ok] == []
    assert len(outcomes) == 12


@pytest.mark.skipif(IS_PEER, reason="the command is ours")
def test_the_commands_tell_of_rules(cloud: Cloud) -> None:
    run = (sys.executable, "-m", "gossamer.cli.main")
    shown = cloud.host.check(*run, "trace", "near", "heard", "--tcp", "80")
    assert "ct(commit" in shown and "NORMAL" in shown, shown
    refused = cloud.host.check(*run, "trace", "near", "heard", "--tcp", "81")
    assert "ct(commit" not in refused, refused
    assert re.search(r"near -> heard: does not arrive\n  left, table \d+, priority=.*: dropped\n", refused)
    assert "mix" in cloud.host.check(*run, "status")


TAGGED: Final = """\
name: tagged
bridges: {lone: {}}
instances:
  plain: {ports: [{bridge: lone, mac: 02:00:00:00:00:01, address: 10.2.0.1/24, allow: [udp/7]}]}
  trunk: {ports: [{bridge: lone, mac: 02:00:00:00:00:02, address: 10.2.0.2/24}]}
"""
_HEARS: Final = """
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind(("eth0", 0))
print("ready", flush=True)
seen = []
while "last" not in seen:
    frame = s.recv(2000)
    if b"mark " in frame:
        seen.append(frame.partition(b"mark ")[2].decode())
print(*seen)
"""


def test_frames_of_other_vlans_do_not_pass_by_the_rules() -> None:
    cloud = Cloud()
    try:
        cloud.up(TAGGED)
        plain, trunk = cloud.netns("plain"), cloud.netns("trunk")
        hears = plain.start(sys.executable, "-c", _HEARS)
        assert hears.stdout is not None and hears.stdout.readline() == "ready\n"
        to, of = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
        tag = bytes.fromhex("81000005")

        def packet(text: str) -> bytes:
            return udp("10.2.0.2", 9, "10.2.0.1", 7, b"mark " + text.encode())[12:]

        frames = (
            to + of + tag + packet("tagged"),
            b"\xff" * 6 + of + tag + packet("tagged broadcast"),
            to + of + packet("last"),
        )
        sends = "import socket,sys;s=socket.socket(17,3);s.bind(('eth0',0));"
        sends += "[s.send(bytes.fromhex(f)) for f in sys.argv[1:]]"
        assert trunk.run(sys.executable, "-c", sends, *(f.hex() for f in frames)).returncode == 0
        assert hears.communicate(timeout=60)[0] == "last\n"
        assert cloud.up(TAGGED) == []
    finally:
        cloud.end()


RACK: Final = """\
name: rack
bridges: {wire: {}}
security_groups:
  web: {allow: [tcp/80, icmp]}
  database: {allow: [tcp/5432 from group web], egress: []}
networks:
  green: {kind: vxlan, id: 100}
  office: {kind: vlan, id: 30, bridge: br-ex}
hosts:
  h1:
    ports: [{bridge: wire, address: 192.0.2.1/24}, {bridge: wire}]
    bridges: {br-ex: {devices: [eth1]}}
  h2:
    ports: [{bridge: wire, address: 192.0.2.2/24}, {bridge: wire}]
    bridges: {br-ex: {devices: [eth1]}}
instances:
  web: {host: h1, ports: [{network: green, address: 10.0.0.1/24, security_groups: [web]}]}
  free: {host: h1, ports: [{network: green, address: 10.0.0.2/24}]}
  db: {host: h2, ports: [{network: green, address: 10.0.0.3/24, security_groups: [database]}]}
  desk: {host: h2, ports: [{network: office, address: 10.9.0.1/24, allow: [tcp/22]}]}
  printer: {ports: [{bridge: wire, vlan: 30, address: 10.9.0.2/24}]}
expect:
  - free -> web tcp/80: reachable
  - db -> web icmp: blocked
  - web -> db tcp/5432: reachable
  - free -> db tcp/5432: blocked
  - db -> free icmp: blocked
  - printer -> desk tcp/22: reachable
  - printer -> desk icmp: blocked
  - desk -> printer icmp: reachable
"""


@pytest.mark.skipif(IS_PEER, reason="hosts run our daemon")
def test_rules_hold_on_hosts_between_which_networks_are_tunnelled() -> None:
    rack = Cloud()
    try:
        rack.up(RACK)
        assert [(o.source, o.target, o.measured) for o in rack.check() if not o.ok] == []
        assert rack.up(RACK) == []
    finally:
        rack.end()
