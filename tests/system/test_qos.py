"""Queues of ports: the real tools ask, the kernel's HTB holds the rate."""

from __future__ import annotations

import json
import re

from tests.system.world import Host, Netns, until


def mbits(a: Netns, b: Netns, port: int) -> float:
    """What UDP at 30 Mbit/s to a port comes to, once a burst is over."""
    server = b.iperf3_server(port)
    try:
        done = a.run("iperf3", "-J", "-u", "-b", "30M", "-l", "1200", "-t", "3", "-O", "1",
                     "-c", "10.0.0.2", "-p", str(port))  # fmt: skip
        out, _ = server.communicate(timeout=90)
    finally:
        server.kill()
    assert done.returncode == 0, done.stdout + out
    end = json.loads(done.stdout)["end"]
    return float(end["sum"]["bits_per_second"] * (1 - end["sum"]["lost_percent"] / 100)) / 1e6


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
    assert 2.4 < mbits(a, b, 5301) < 3.3
    assert 2.4 < mbits(a, b, 5302) < 3.3
    assert mbits(a, b, 5303) > 10, "of the 30 that are sent; a busy receiver loses some"
    stats = host.ofctl("queue-stats", "br0")
    found = {int(q): (int(n), int(p)) for q, n, p in
             re.findall(r"queue (\d+): bytes=(\d+), pkts=(\d+)", stats)}  # fmt: skip
    assert set(found) == {0, 7} and found[7][1] > 1000 and found[0][1] > 5000, stats
    shown = host.appctl("qos/show", b.device)
    assert f"QoS: {b.device} linux-htb" in shown and "Queue 7:\n" in shown and "max-rate: 3000000" in shown


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
    queue = host.vsctl("--bare", "--columns=_uuid", "find", "queue").split()[0]
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
