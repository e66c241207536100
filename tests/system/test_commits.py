"""Bundles flip all rules of a bridge while each packet is the first of its connection."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import mkdtemp

import pytest
from bench.outage import outages_ms

from tests.system.watched_daemon import stretches
from tests.system.world import Host, Netns, until

FLIPS = 200
HUGE = 100_000
NOTES = "stretches"
_OF = ("-O", "OpenFlow14")

SENDER = """
import itertools, random, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in itertools.cycle(random.sample(range(1, 65536), 65535)):
    s.sendto(b"x", ("10.0.0.2", port))
"""
"""UDP to all ports in turn: more connections than the cache has paths."""


def rules(k: int, ports: list[str], end: str) -> list[str]:
    """A whole state: what table 0 marks, the others ask for, and what no state knows goes to the
    third host."""
    flows = [
        f"table=0,priority=9,udp,in_port={ports[0]},udp_dst={bit}/1,"
        f"actions=set_field:{k}->reg0,goto_table:1"
        for bit in (0, 1)
    ]
    flows += [
        f"table=1,priority={k % 50 + 1},reg0={k},udp,udp_dst={n}/3,actions=resubmit(,2)"
        for n in range(4)
    ]
    # Another mask each time.
    flows += [f"table=2,reg0={k},ip,nw_dst=10.0.0.0/{8 + k % 16},actions=resubmit(,3)"]
    # One asks for the whole port, so that no connection takes another's path.
    flows += [f"table=3,reg0={k},{more}actions={end}" for more in ("", "udp,udp_dst=7,")]
    return flows + strays(ports)


def bundle(host: Host, k: int, ports: list[str]) -> None:
    lines = [f"flow delete table={t}" for t in range(4)]
    lines += ["group delete", f"group add group_id={k},type=all,bucket=output:{ports[1]}"]
    lines += [f"flow add {text}" for text in rules(k, ports, f"group:{k}")]
    host.check("ovs-ofctl", *_OF, "bundle", "br0", "-", stdin="\n".join(lines))


def replacement(host: Host, k: int, ports: list[str]) -> None:
    lines = rules(k, ports, f"output:{ports[1]}")
    host.check(
        "ovs-ofctl", *_OF, "--bundle", "replace-flows", "br0", "-", stdin="\n".join(lines)
    )


def strays(ports: list[str]) -> list[str]:
    """What no state knows goes to the third host."""
    lost = [f"table={t},priority=0,in_port={ports[0]},udp,actions=output:{ports[2]}" for t in range(4)]
    return [*lost, f"table=0,priority=0,in_port={ports[0]},arp,actions=output:{ports[1]}"]


def counters(host: Host, ports: list[str]) -> tuple[int, int, int]:
    """What came from the first port, and left by the two others."""
    text = host.ofctl("dump-ports", "br0")
    found = {
        p: (int(rx), int(tx))
        for p, rx, tx in re.findall(r"port +(\w+): rx pkts=(\d+).*?tx pkts=(\d+)", text, re.S)
    }
    a, b, c = (found[port] for port in ports)
    return a[0], b[1], c[1]


@pytest.fixture
def host() -> Iterator[Host]:
    """A running daemon without bridges, which notes how long it looks at no link."""
    it = Host(Path(mkdtemp(prefix="host", dir="/run")))
    it.start("tests.system.watched_daemon", str(it.rundir / NOTES))
    yield it
    it.end()


@pytest.fixture
def three(host: Host, two_hosts: tuple[Host, Netns, Netns]) -> tuple[Host, Netns, list[str]]:
    """Three hosts, of which the first may send."""
    _, a, b = two_hosts
    c = host.netns("c", "10.0.0.3/24", "br0")
    host.ofctl("del-flows", "br0")
    for netns in (a, b, c):
        netns.run("sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1")
    mac = b.run("cat", "/sys/class/net/eth0/address").stdout.strip()
    a.run("ip", "neigh", "replace", "10.0.0.2", "lladdr", mac, "dev", "eth0")
    ports = [host.vsctl("get", "interface", n.device, "ofport") for n in (a, b, c)]
    return host, a, ports


def test_first_packets_meet_rules_of_one_commit(three: tuple[Host, Netns, list[str]]) -> None:
    host, a, ports = three
    bundle(host, 1, ports)
    before = counters(host, ports)
    sender = a.start(sys.executable, "-c", SENDER)
    try:
        for k in range(2, 2 + FLIPS):
            (replacement if k % 5 == 0 else bundle)(host, k, ports)
    finally:
        sender.kill()
        sender.wait()

    def passed() -> tuple[int, ...]:
        return tuple(n - m for n, m in zip(counters(host, ports), before, strict=True))

    until(lambda: passed()[0] == passed()[1])
    came, left, lost = passed()
    assert came > 50 * FLIPS, "there was hardly any traffic"
    assert (left, lost) == (came, 0), host.check("ovs-appctl", "coverage/show")


def test_a_group_follows_its_link_while_a_huge_bundle_is_committed(
    three: tuple[Host, Netns, list[str]], tmp_path: Path
) -> None:
    host, a, (pa, pb, pc) = three
    b, c = Netns("b", "vb"), Netns("c", "vc")
    mac = b.run("cat", "/sys/class/net/eth0/address").stdout.strip()
    c.run("ip", "link", "set", "eth0", "address", mac)
    c.run("ip", "addr", "add", "10.0.0.2/24", "dev", "eth0")
    host.ofctl("-O", "OpenFlow13", "add-group", "br0", "group_id=1,type=ff,"
               f"bucket=watch_port:{pb},output:{pb},bucket=watch_port:{pc},output:{pc}")  # fmt: skip
    host.ofctl("add-flow", "br0", f"priority=9,in_port={pa},actions=group:1", "-O", "OpenFlow13")
    huge = tmp_path / "huge"
    with huge.open("w") as out:
        out.writelines(
            f"table=7,ip,nw_dst=10.{n >> 16}.{n >> 8 & 255}.{n & 255},actions=output:{n % 50}\n"
            for n in range(HUGE)
        )
    receivers = [n.start(sys.executable, "-m", "bench.outage", "receive") for n in (b, c)]
    for each in receivers:
        assert each.stdout is not None and each.stdout.readline() == "ready\n"
    sender = a.start(sys.executable, "-m", "bench.outage", "send")
    time.sleep(0.5)
    loads: list[tuple[float, float]] = []
    for _ in range(3):
        loaded_s = time.monotonic()
        load = subprocess.Popen(
            ["ovs-ofctl", *_OF, "--bundle", "add-flows", "br0", str(huge)], env=host.environment
        )
        while load.poll() is None:
            b.run("ip", "link", "set", "eth0", "down")
            time.sleep(0.3)
            b.run("ip", "link", "set", "eth0", "up")
            time.sleep(0.3)
        assert load.returncode == 0
        loads.append((loaded_s, time.monotonic()))
        host.ofctl("del-flows", "br0", "table=7")
    assert sender.poll() is None, "nothing was sent to the end"
    for each in (sender, *receivers):
        each.terminate()
    sender.communicate()
    outages = outages_ms([burst for each in receivers for burst in json.loads(each.communicate()[0])])
    assert len(outages) >= 3, "the bundle was committed too soon"
    # Shares of what each load takes, since a machine may be slow.  What a hypervisor takes of a processor
    # counts as the daemon's, but does not come each time; what an earlier load left to do, from the second on.
    seen = list(stretches(host.rundir / NOTES))
    of_loads = [[s for s in seen if begin <= s.began_s < end] for begin, end in loads]
    longest = [max(s.ran_ms for s in each) / sum(s.ran_ms for s in each) for each in of_loads]
    assert median(longest) < 1 / 40, (longest, of_loads)
    shortest_ms = 1e3 * min(end - begin for begin, end in loads)
    assert median(outages) < shortest_ms / 10, outages
    assert outages[-1] < shortest_ms / 2, outages
