"""Ingress policing goes on over the death of the daemon: same rate, and no bucket filled anew."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from tests.system.world import Host, Netns

SECONDS = 9
SETTLED_S = 2
"""What a bucket that is full at the start lets through is not the rate."""
PAYLOAD = 1200
FRAME = PAYLOAD + 8 + 20 + 14
"""Policing counts whole frames."""


@pytest.fixture
def policed(host: Host) -> tuple[Host, Netns, Netns, Netns]:
    """Two senders, policed to 1 and 10 Mbit/s with buckets of a whole second, and a sink."""
    host.vsctl("add-br", "br0")
    slow = host.netns("slow", "10.0.0.1/24", "br0")
    fast = host.netns("fast", "10.0.0.2/24", "br0")
    sink = host.netns("sink", "10.0.0.9/24", "br0")
    for ns, kbps in ((slow, 1000), (fast, 10000)):
        host.vsctl("set", "interface", ns.device, f"ingress_policing_rate={kbps}",
                   f"ingress_policing_burst={kbps}")  # fmt: skip
        assert ns.ping("10.0.0.9", 1) == 1
    return host, slow, fast, sink


def test_policed_ports_keep_their_rates_while_the_daemon_dies_and_comes_back(
    policed: tuple[Host, Netns, Netns, Netns],
) -> None:
    host, slow, fast, sink = policed
    servers = [sink.iperf3_server(port, "-J") for port in (5201, 5202)]
    clients = [flood(slow, 5201, "3M"), flood(fast, 5202, "30M")]
    time.sleep(SETTLED_S + 0.5)
    for _ in range(3):
        host.kill()
        time.sleep(0.7)
        host.start()
        time.sleep(0.3)
    for client, server, mbps in zip(clients, servers, (1, 10), strict=True):
        client.communicate(timeout=90)
        seconds = received_mbps(server)
        mean = sum(seconds) / len(seconds)
        # A bucket filled anew by each of three daemons would come to 3/7 more, by one of them to 1/7.
        # (Of single seconds a busy receiver knows little: it counts what it comes to read.)
        assert mean == pytest.approx(mbps, rel=0.1), seconds


def test_a_rate_that_is_changed_while_the_daemon_is_dead_holds_once_it_is_back(
    policed: tuple[Host, Netns, Netns, Netns],
) -> None:
    host, slow, _, sink = policed
    host.kill()
    host.check("ovs-vsctl", "--no-wait", "set", "interface", slow.device, "ingress_policing_rate=4000",
               "ingress_policing_burst=400")  # fmt: skip
    host.start()
    server = sink.iperf3_server(5201, "-J")
    flood(slow, 5201, "12M", 5).communicate(timeout=90)
    seconds = received_mbps(server)
    assert sum(seconds) / len(seconds) == pytest.approx(4, rel=0.1), seconds


def flood(ns: Netns, port: int, rate: str, seconds: int = SECONDS) -> subprocess.Popen[str]:
    """UDP at three times what may pass."""
    return ns.start("iperf3", "-c", "10.0.0.9", "-p", str(port), "-u", "-l", str(PAYLOAD), "-b", rate,
                    "-t", str(seconds))  # fmt: skip


def received_mbps(server: subprocess.Popen[str]) -> list[float]:
    """Of each whole second after the first ones, in Mbit/s of frames."""
    output, _ = server.communicate(timeout=90)
    sums = [i["sum"] for i in json.loads(output)["intervals"]]
    whole = [s for s in sums if s["seconds"] > 0.9]
    return [
        s["packets"] * FRAME * 8 / s["seconds"] / 1e6 - s["lost_packets"] * FRAME * 8 / s["seconds"] / 1e6
        for s in whole[SETTLED_S:]
    ]
