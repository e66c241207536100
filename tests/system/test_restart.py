"""The datapath outlives the daemon: no packet is lost, and new flows go on being forwarded."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest

from tests.system.sequence import Flood, Ping, assert_all_arrived, end, stopping
from tests.system.world import Host, Netns, until

ROUNDS = int(os.environ.get("GOSSAMER_RESTARTS", "3"))
"""20 in the long run: make nightly-restart."""
RATE = 10_000
"""Packets a second of the steady flood."""

Pair = tuple[Host, Netns, Netns]


@pytest.fixture
def host(cleared_host: Host) -> Host:
    """One daemon for all tests here."""
    return cleared_host


PIPELINE = """
table=0,priority=10,arp,actions=resubmit(,2)
table=0,priority=10,ipv6,actions=resubmit(,2)
table=0,priority=10,ip,actions=resubmit(,1)
table=1,priority=10,icmp,actions=resubmit(,2)
table=1,priority=10,udp,tp_dst=4500,actions=resubmit(,2)
table=1,priority=10,tcp,actions=resubmit(,2)
table=2,priority=10,in_port=1,actions=output:2
table=2,priority=10,in_port=2,actions=output:1
"""
"""No packet passes unless all three tables are whole."""


@pytest.mark.parametrize("flows", ["NORMAL", "three tables and 5,000 flows"])
def test_killing_and_restarting_the_daemon_loses_no_packet(two_hosts: Pair, flows: str) -> None:
    host, a, b = two_hosts
    if flows != "NORMAL":
        others = (f"table=1,tcp,nw_src=172.16.{n >> 8}.{n & 255},actions=drop" for n in range(5000))
        host.ofctl("del-flows", "br0")
        host.ofctl("add-flows", "br0", "-", stdin=PIPELINE + "\n".join(others) + "\n")
    assert a.ping("10.0.0.2", 1) == 1
    missing = lost(a, b), lost(b, a)  # what was sent before the ports were there
    with (
        stopping(b.iperf3_server()) as server,
        stopping(a.start("iperf3", "-c", "10.0.0.2", "-t", "600", "-b", "200M", "-J")) as stream,
        Ping(a, "10.0.0.2", "-f") as ping,
        Flood(a, b, "10.0.0.2", RATE) as flood,
    ):
        for _ in range(ROUNDS):
            assert flood.passes(RATE // 4) and ping.passes(25)
            host.kill()
            assert flood.passes(RATE // 4) and ping.passes(25), "without a daemon"
            host.start()
        assert flood.passes(RATE // 4) and ping.passes(25)
        sent, arrived = flood.end()
        asked, answered = ping.end()
        streamed = json.loads(end(stream, signal.SIGINT))
        server.wait(timeout=60)
    print(ROUNDS, "rounds:", sent, "numbered packets:", arrived, asked, "echo requests")
    assert_all_arrived(sent, arrived)
    assert answered == asked
    assert streamed["end"]["sum_sent"]["bytes"] > ROUNDS * 1_000_000, streamed
    # Every frame that left one side reached the other: ping's, TCP's, ARP's.  (TCP's own count of
    # retransmissions includes probes it sends when a busy machine is slow to acknowledge.)
    assert until(lambda: (lost(a, b), lost(b, a)) == missing), (lost(a, b), lost(b, a), missing)


def lost(source: Netns, target: Netns) -> int:
    """Frames that left one side and did not reach the other, read while none is on its way.

    (An ARP probe or the last of a TCP connection would else be in one counter and not in the other.)
    """

    def both() -> tuple[int, int]:
        return counters(source, "tx"), counters(target, "rx")

    def still() -> bool:
        seen.append(both())
        return seen[-1] == seen[-2]

    seen = [both()]
    assert until(still), seen
    return seen[-1][0] - seen[-1][1]


def counters(ns: Netns, direction: str) -> int:
    """Packets of eth0; redirect_peer() counts them since Linux 6.8."""
    return int(ns.run("cat", f"/sys/class/net/eth0/statistics/{direction}_packets").stdout)


def test_new_flows_are_forwarded_while_the_daemon_is_dead(two_hosts: Pair) -> None:
    host, a, b = two_hosts
    host.ofctl("del-flows", "br0")
    host.ofctl("add-flows", "br0", "-", stdin="""
table=0,arp,actions=NORMAL
table=0,ip,actions=resubmit(,1)
table=1,tcp,tp_dst=8080,actions=NORMAL
table=1,tcp,tp_src=8080,actions=NORMAL
""")  # fmt: skip
    host.kill()
    # Addresses nobody has spoken to before: ARP, learning and classification all by the kernel.
    for ns, address in ((a, "10.0.0.11/24"), (b, "10.0.0.12/24")):
        ns.run("ip", "addr", "add", address, "dev", "eth0")
    server = b.iperf3_server(8080)
    done = a.run("iperf3", "-c", "10.0.0.12", "-B", "10.0.0.11", "-p", "8080", "-n", "10M")
    server.wait(timeout=60)
    assert done.returncode == 0, done.stdout
    assert a.ping("10.0.0.12", 1) == 0  # ICMP is not allowed by any flow, dead daemon or not
    host.start()
    dump = host.ofctl("dump-flows", "br0")
    assert "tp_dst=8080" in dump
    counted = re.search(r"n_packets=(\d+).*tp_dst=8080", dump)
    assert counted is not None
    assert int(counted[1]) > 3, "counters go on across the restart"


def test_flows_and_port_numbers_survive_and_changes_made_meanwhile_are_found(
    two_hosts: Pair,
) -> None:
    host, a, _ = two_hosts
    host.ofctl("add-flow", "br0", "cookie=0x1234,priority=7,tcp,actions=drop")
    host.vsctl("add-port", "br0", "gone", "--", "set", "interface", "gone", "type=internal")
    host.vsctl("add-br", "br9")
    before = host.vsctl("get", "interface", "vb", "ofport")
    host.kill()
    host.check("ovs-vsctl", "--no-wait", "set", "port", "va", "tag=10", "--", "del-port", "gone",
               "--", "del-br", "br9")  # fmt: skip
    host.start()
    for name in ("gone", "br9"):
        assert host.attempt("ip", "link", "show", name).returncode != 0, name
    assert "cookie=0x1234" in host.ofctl("dump-flows", "br0")
    assert host.vsctl("get", "interface", "vb", "ofport") == before
    assert a.ping("10.0.0.2", 2) == 0, "the port is in another VLAN now"
