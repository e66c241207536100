"""The log of connections, as the daemon writes it where it is asked to."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from tests.system.world import Host, Netns, until

_RULES = """
table=0,priority=1,actions=drop
table=0,priority=5,arp,actions=NORMAL
table=0,priority=10,ip,actions=ct(zone=3,table=1)
table=1,priority=10,ct_state=+est-inv+trk,actions=NORMAL
table=1,priority=9,icmp,ct_state=+new+trk,actions=ct(commit,zone=3),NORMAL
table=1,priority=1,actions=drop
"""


@pytest.fixture
def world(two_hosts: tuple[Host, Netns, Netns]) -> tuple[Host, Netns]:
    host, a, _ = two_hosts
    host.ofctl("del-flows", "br0")
    host.ofctl("add-flows", "br0", "-", stdin=_RULES)
    return host, a


def eventually(condition: Callable[[], object]) -> None:
    assert until(condition), "it did not come true in time"


def udp(netns: Netns, port: int) -> None:
    """A datagram that nobody may send."""
    code = "import socket,sys;socket.socket(2,2).sendto(b'x',('10.0.0.2',int(sys.argv[1])))"
    netns.run("python3", "-S", "-c", code, str(port))


def test_nothing_is_logged_unless_it_is_asked_for(world: tuple[Host, Netns]) -> None:
    host, a = world
    assert a.ping("10.0.0.2", 1) == 1
    udp(a, 53)
    assert "event=" not in host.log()


def test_what_begins_and_what_is_denied_is_logged_with_its_port(world: tuple[Host, Netns]) -> None:
    host, a = world
    host.vsctl("set", "Open_vSwitch", ".", "other_config:conntrack-log=new,denied")
    assert a.ping("10.0.0.2", 1) == 1
    udp(a, 53)
    place = "zone=3 bridge=br0 port=va"
    new = rf"event=new proto=icmp src=10\.0\.0\.1 dst=10\.0\.0\.2 id=\d+ type=8 code=0 {place}"
    denied = (
        rf"event=denied reason=rule proto=udp src=10\.0\.0\.1 dst=10\.0\.0\.2 sport=\d+ dport=53 {place}"
    )
    for line in (new, denied):
        eventually(lambda line=line: len(re.findall(line, host.log())) == 1)


def test_the_end_of_a_connection_is_logged_with_what_it_carried(world: tuple[Host, Netns]) -> None:
    host, a = world
    host.vsctl("set", "Open_vSwitch", ".", "other_config:conntrack-log=end")
    assert a.ping("10.0.0.2", 2) == 2
    host.appctl("dpctl/flush-conntrack", "zone=3")
    eventually(lambda: re.search(r"event=end proto=icmp .* zone=3 packets=2/2 bytes=\d+/\d+", host.log()))
    assert "event=new" not in host.log()


def test_a_flood_is_cut_to_a_line_that_counts_it(world: tuple[Host, Netns]) -> None:
    host, a = world
    host.vsctl("set", "Open_vSwitch", ".", "other_config:conntrack-log=denied",
               "other_config:conntrack-log-rate=5")  # fmt: skip
    began = time.monotonic()
    code = "import socket;s=socket.socket(2,2);[s.sendto(b'x',('10.0.0.2',p)) for p in range(1,401)]"
    a.run("python3", "-S", "-c", code)
    eventually(lambda: re.search(r"event=suppressed n=\d+ rate=5", host.log()))
    lines = len(re.findall("event=denied", host.log()))
    assert lines <= 5 * (time.monotonic() - began + 2)
