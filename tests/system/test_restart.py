"""The datapath outlives the daemon: no packet is lost, and new flows go on being forwarded."""

from __future__ import annotations

import os
import re
import time

from tests.system.world import Host, Netns

ROUNDS = int(os.environ.get("GOSSAMER_RESTARTS", "4"))
"""20 in the long run: GOSSAMER_RESTARTS=20 make test."""

Pair = tuple[Host, Netns, Netns]


def test_killing_and_restarting_the_daemon_loses_no_packet(two_hosts: Pair) -> None:
    host, a, b = two_hosts
    assert a.ping("10.0.0.2", 1) == 1
    missing = lost(a, b), lost(b, a)  # what was sent before the ports were there
    count = ROUNDS * 1000
    server = b.start("iperf3", "-s", "-1")
    time.sleep(0.4)
    flow = a.start("iperf3", "-c", "10.0.0.2", "-t", str(ROUNDS * 2), "-b", "200M")
    ping = a.start("ping", "-n", "-q", "-i", "0.002", "-c", str(count), "-W", "2", "10.0.0.2")
    for _ in range(ROUNDS):
        time.sleep(0.5)
        host.kill()
        time.sleep(0.3)
        host.start()
    output, _ = ping.communicate(timeout=120)
    found = re.search(r"(\d+) packets transmitted, (\d+) received", output)
    assert found is not None, output
    assert found[1] == found[2] == str(count), output
    report, _ = flow.communicate(timeout=60)
    server.wait(timeout=10)
    assert "sender" in report, report
    # Every frame that left one side reached the other: ping's, TCP's, ARP's.  (TCP's own count of
    # retransmissions includes probes it sends when a busy machine is slow to acknowledge.)
    assert (lost(a, b), lost(b, a)) == missing


def lost(source: Netns, target: Netns) -> int:
    """Frames that left one side and did not reach the other."""
    return counters(source, "tx") - counters(target, "rx")


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
    server = b.start("iperf3", "-s", "-1", "-p", "8080")
    time.sleep(0.4)
    done = a.run("iperf3", "-c", "10.0.0.12", "-B", "10.0.0.11", "-p", "8080", "-t", "1")
    server.wait(timeout=10)
    assert done.returncode == 0, done.stdout
    assert a.ping("10.0.0.12", 1) == 0  # ICMP is not allowed by any flow, dead daemon or not
    host.start()
    dump = host.ofctl("dump-flows", "br0")
    assert "tp_dst=8080" in dump
    counted = re.search(r"n_packets=(\d+).*tp_dst=8080", dump)
    assert counted is not None
    assert int(counted[1]) > 3, "counters go on across the restart"


def test_flows_and_port_numbers_survive_and_changes_made_meanwhile_are_found(two_hosts: Pair) -> None:
    host, a, _ = two_hosts
    host.ofctl("add-flow", "br0", "cookie=0x1234,priority=7,tcp,actions=drop")
    before = host.vsctl("get", "interface", "vb", "ofport")
    host.kill()
    host.check("ovs-vsctl", "--no-wait", "set", "port", "va", "tag=10")
    host.start()
    assert "cookie=0x1234" in host.ofctl("dump-flows", "br0")
    assert host.vsctl("get", "interface", "vb", "ofport") == before
    assert a.ping("10.0.0.2", 2) == 0, "the port is in another VLAN now"
