"""Queues of ports: the real tools ask, the kernel's HTB holds the rate."""

from __future__ import annotations

import re
import sys
from typing import Final

import pytest

from tests.system.world import Host, Netns, until

PACKETS: Final = 600
LENGTH: Final = 1200
FRAME: Final = LENGTH + 8 + 20 + 14

_RECEIVER: Final = """
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
s.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS: when the kernel got them, whenever they are read
s.bind(("", int(sys.argv[1])))
s.settimeout(60)
print("ready", flush=True)
came_s = []
while len(came_s) < int(sys.argv[2]):
    _, ((_, _, stamp),), _, _ = s.recvmsg(2048, 100)
    seconds, ns = struct.unpack("qq", stamp)
    came_s.append(seconds + ns / 1e9)
print(came_s[-1] - came_s[0])
"""
_SENDER: Final = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(int(sys.argv[2])):
    s.sendto(bytes(int(sys.argv[3])), ("10.0.0.2", int(sys.argv[1])))
"""


@pytest.fixture
def host(cleared_host: Host) -> Host:
    """One daemon for all tests here."""
    return cleared_host


def send_all(a: Netns, b: Netns, port: int) -> float:
    """Send `PACKETS` to a port of UDP as fast as it goes; over how long they arrived, all of them."""
    receiver = b.start(sys.executable, "-c", _RECEIVER, str(port), str(PACKETS))
    assert receiver.stdout is not None
    assert receiver.stdout.readline() == "ready\n"
    done = a.run(sys.executable, "-c", _SENDER, str(port), str(PACKETS), str(LENGTH))
    out, _ = receiver.communicate(timeout=90)
    assert done.returncode == receiver.returncode == 0, done.stderr + out
    return float(out)


def test_set_queue_holds_some_traffic_back_and_lets_other_pass(
    two_hosts: tuple[Host, Netns, Netns],
) -> None:
    host, a, b = two_hosts
    host.vsctl(
        "set", "port", b.device, "qos=@q", "--",
        "--id=@q", "create", "qos", "type=linux-htb", "other-config:max-rate=1000000000",
        "queues:7=@slow", "--",
        "--id=@slow", "create", "queue", "other-config:max-rate=3000000",
    )  # fmt: skip
    out = host.vsctl("get", "interface", b.device, "ofport")
    host.ofctl("add-flow", "br0", "priority=10,udp,tp_dst=5301,actions=set_queue:7,normal")
    host.ofctl("add-flow", "br0", f"priority=10,udp,tp_dst=5302,actions=enqueue:{out}:7")
    # At 3 Mbit/s they come over two seconds; slower machines only make it more.
    least_s = 0.85 * PACKETS * FRAME * 8 / 3e6
    for number, port in enumerate((5301, 5302), 1):
        assert send_all(a, b, port) > least_s
        assert queued(host)[7] == number * PACKETS
    before = queued(host)
    send_all(a, b, 5303)
    after = queued(host)
    assert after[0] - before[0] >= PACKETS and after[7] == before[7], "others do not wait in that queue"
    classes = host.check("tc", "class", "show", "dev", b.device)
    assert re.search(r"class htb 1:8 .*ceil 3Mbit", classes) and re.search(r"class htb 1:1 .*ceil 1Gbit", classes), classes
    shown = host.appctl("qos/show", b.device)
    assert f"QoS: {b.device} linux-htb" in shown and "Queue 7:\n" in shown and "max-rate: 3000000" in shown


def queued(host: Host) -> dict[int, int]:
    """Packets that went through each queue of the bridge."""
    shown = host.ofctl("queue-stats", "br0")
    found = {int(queue): int(n) for queue, n in re.findall(r"queue (\d+): bytes=\d+, pkts=(\d+)", shown)}
    assert set(found) == {0, 7}, shown
    return found


def test_queues_follow_the_database_and_outlive_the_daemon(
    two_hosts: tuple[Host, Netns, Netns],
) -> None:
    host, a, b = two_hosts
    host.vsctl("set", "port", b.device, "qos=@q", "--", "--id=@q", "create", "qos", "type=linux-htb",
               "queues:1=@one", "--", "--id=@one", "create", "queue", "other-config:max-rate=3000000")  # fmt: skip
    classes = ("tc", "class", "show", "dev", b.device)
    assert "class htb 1:2" in host.check(*classes)
    host.kill()
    assert "ceil 3Mbit" in host.check(*classes)
    host.start()
    queue = host.vsctl("get", "qos", host.vsctl("get", "port", b.device, "qos"), "queues:1")
    host.vsctl("set", "queue", queue, "other-config:max-rate=5000000")
    assert "ceil 5Mbit" in host.check(*classes)
    host.kill()
    host.vsctl("--no-wait", "clear", "port", b.device, "qos")
    host.start()
    assert until(lambda: "htb" not in host.check(*classes)), host.check(*classes)
    assert a.ping("10.0.0.2") == 3


TYPES = {
    "linux-sfq": ("perturb=5", "qdisc sfq 1: root", "perturb 5sec"),
    "linux-codel": ("target=7000", "qdisc codel 1: root", "target 7ms"),
    "linux-fq_codel": ("flows=16", "qdisc fq_codel 1: root", "flows 16"),
    "linux-netem": ("latency=30000", "qdisc netem 1: root", "delay 30ms"),
    "linux-hfsc": ("max-rate=8000000", "qdisc hfsc 1: root", "default 1"),
    "egress-policer": ("cir=1000000", "qdisc tbf 1: root", "rate 8Mbit"),
}


def test_other_types_are_given_to_the_device_or_told_to_be_missing(
    two_hosts: tuple[Host, Netns, Netns],
) -> None:
    """Kernels differ in what they have: a type that this one lacks leaves the device as it was."""
    host, a, b = two_hosts
    there = 0
    for type_, (option, root, shown) in TYPES.items():
        host.vsctl("set", "port", b.device, "qos=@q", "--", "--id=@q", "create", "qos", f"type={type_}",
                   f"other-config:{option}", "queues:3=@three", "--",
                   "--id=@three", "create", "queue", "other-config:max-rate=4000000")  # fmt: skip
        device = host.check("tc", "qdisc", "show", "dev", b.device)
        told = host.vsctl("get", "port", b.device, "status")
        if root in device:
            there += 1
            assert shown in device and told == "{}", (device, told)
            assert f"QoS: {b.device} {type_}" in host.appctl("qos/show", b.device)
            assert a.ping("10.0.0.2") == 3
        else:
            kind = root.split()[1]
            assert f"no queueing discipline {kind}" in told, told
            assert " 1: root" not in device, device
            assert "QoS not configured" in host.appctl("qos/show", b.device)
        classes = host.check("tc", "class", "show", "dev", b.device)
        assert ("class hfsc 1:4" in classes) is (type_ == "linux-hfsc" and root in device), classes
    assert there, "every kernel that runs us has a token bucket"
    host.vsctl("clear", "port", b.device, "qos")
    assert host.vsctl("get", "port", b.device, "status") == "{}"
    assert " 1: root" not in host.check("tc", "qdisc", "show", "dev", b.device)
