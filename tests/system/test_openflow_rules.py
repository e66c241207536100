"""Groups, meters and learned flows on a running daemon, with real packets."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.system.world import PATIENTLY, Host, Netns, echo_replies, until

_OF = ("-O", "OpenFlow15")


@pytest.fixture
def host(cleared_host: Host) -> Host:
    """One daemon for all tests here."""
    return cleared_host


def flows(host: Host, *what: str) -> list[str]:
    out = host.ofctl("-O", "OpenFlow13", "--no-stats", "dump-flows", "br0", *what)
    return [line.strip() for line in out.splitlines() if "actions=" in line]


def wait_for(condition: Callable[[], object]) -> None:
    assert until(condition), "it did not come true in time"


def port_of(host: Host, netns: Netns) -> str:
    return host.vsctl("get", "interface", netns.device, "ofport")


def test_a_group_of_all_forwards_and_counts(two_hosts: tuple[Host, Netns, Netns]) -> None:
    host, a, b = two_hosts
    pa, pb = port_of(host, a), port_of(host, b)
    host.ofctl(*_OF, "add-group", "br0", f"group_id=1,type=all,bucket=output:{pb}")
    host.ofctl(*_OF, "add-group", "br0", f"group_id=2,type=indirect,bucket=output:{pa}")
    host.ofctl("del-flows", "br0")
    host.ofctl(*_OF, "add-flow", "br0", f"in_port={pa},actions=group:1")
    host.ofctl(*_OF, "add-flow", "br0", f"in_port={pb},actions=group:2")
    assert a.ping("10.0.0.2") == 3
    out = host.ofctl(*_OF, "dump-group-stats", "br0", "group_id=1")
    found = re.search(r"ref_count=1,packet_count=(\d+).*bucket0:packet_count=(\d+)", out)
    assert found and int(found[1]) >= 3 and int(found[2]) >= 3, out


def test_groups_meters_and_learned_flows_survive_sigkill(
    two_hosts: tuple[Host, Netns, Netns],
) -> None:
    host, a, b = two_hosts
    pa, pb = port_of(host, a), port_of(host, b)
    host.ofctl("del-flows", "br0")
    host.ofctl(*_OF, "add-group", "br0", f"group_id=1,type=all,bucket=output:{pb}")
    host.ofctl(*_OF, "add-meter", "br0", "meter=3,pktps,stats,band=type=drop,rate=1000")
    host.ofctl(*_OF, "add-flow", "br0", f"in_port={pa},actions=meter:3,group:1")
    host.ofctl(*_OF, "add-flow", "br0",
               f"in_port={pb},actions=learn(table=5,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[]),output:{pa}")  # fmt: skip
    assert a.ping("10.0.0.2") == 3
    wait_for(lambda: len(flows(host, "table=5")) == 1)
    groups = host.ofctl(*_OF, "dump-groups", "br0")
    meters = host.ofctl(*_OF, "dump-meters", "br0")
    before = flows(host)
    host.kill()
    assert a.ping("10.0.0.2") == 3
    host.start()
    assert host.ofctl(*_OF, "dump-groups", "br0") == groups
    assert host.ofctl(*_OF, "dump-meters", "br0") == meters
    assert sorted(flows(host)) == sorted(before)
    assert a.ping("10.0.0.2") == 3
    out = host.ofctl(*_OF, "dump-group-stats", "br0")
    found = re.search(r"packet_count=(\d+)", out)
    assert found and int(found[1]) >= 9, out


def test_a_flow_is_learned_and_ends_in_its_time(two_hosts: tuple[Host, Netns, Netns]) -> None:
    host, a, b = two_hosts
    pa, pb = port_of(host, a), port_of(host, b)
    host.ofctl("del-flows", "br0")
    # What is not known yet goes to the other port; what was learned wins.
    host.ofctl("add-flow", "br0", f"priority=1,in_port={pa},actions=output:{pb}")
    host.ofctl(
        "add-flow", "br0", f"priority=1,in_port={pb},actions=learn(table=0,priority=9,cookie=0x77,"
        f"hard_timeout=4,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),output:{pa}"
    )  # fmt: skip
    found: list[str] = []

    def learned_now() -> list[str]:
        """It ends in its time, so that a machine may be too slow to see it."""
        assert a.ping("10.0.0.2", 1, *PATIENTLY) == 1
        found.extend(flows(host, "cookie=0x77/-1"))
        return found

    wait_for(learned_now)
    (learned,) = found
    assert f"dl_dst={b.mac}" in learned and f"actions=output:{pb}" in learned
    assert a.ping("10.0.0.2") == 3
    # From here on it has nothing to say, not even to ask for routers, that would refresh the flow.
    b.run("ip", "link", "set", "eth0", "down")
    wait_for(lambda: flows(host, "cookie=0x77/-1") == [])


def test_a_fast_failover_group_follows_the_link(two_hosts: tuple[Host, Netns, Netns]) -> None:
    host, a, b = two_hosts
    c = host.netns("c", "10.0.0.2/24", "br0")
    pa, pb, pc = (port_of(host, n) for n in (a, b, c))
    for n in (b, c):
        n.run("ip", "link", "set", "eth0", "address", "02:00:00:00:00:99")
    host.ofctl("del-flows", "br0")
    host.ofctl(*_OF, "add-group", "br0", "group_id=1,type=ff,"
               f"bucket=watch_port:{pb},output:{pb},bucket=watch_port:{pc},output:{pc}")  # fmt: skip
    host.ofctl(*_OF, "add-flow", "br0", f"in_port={pa},actions=group:1")
    host.ofctl(*_OF, "add-flow", "br0", f"priority=1,actions=output:{pa}")
    assert a.ping("10.0.0.2") == 3
    counted = c.start("ping", "-n", "-c", "1", "-W", "1", "10.0.0.77")
    counted.wait()

    def through(bucket: int) -> int:
        out = host.ofctl(*_OF, "dump-group-stats", "br0", "group_id=1")
        found = re.search(rf"bucket{bucket}:packet_count=(\d+)", out)
        assert found, out
        return int(found[1])

    b.run("ip", "link", "set", "eth0", "down")
    wait_for(lambda: a.ping("10.0.0.2", 1))
    assert a.ping("10.0.0.2") == 3
    assert through(1) >= 4
    before = through(0)
    b.run("ip", "link", "set", "eth0", "up")
    wait_for(lambda: a.ping("10.0.0.2", 1) and through(0) > before)
    assert a.ping("10.0.0.2") == 3


def test_a_meter_limits_and_counts(two_hosts: tuple[Host, Netns, Netns]) -> None:
    host, a, b = two_hosts
    pa, pb = port_of(host, a), port_of(host, b)
    host.ofctl("del-flows", "br0")
    host.ofctl(*_OF, "add-meter", "br0", "meter=1,pktps,burst,stats,band=type=drop,rate=5,burst_size=5")
    host.ofctl(*_OF, "add-flow", "br0", f"priority=9,icmp,in_port={pa},actions=meter:1,output:{pb}")
    host.ofctl(*_OF, "add-flow", "br0", f"priority=1,in_port={pa},actions=output:{pb}")
    host.ofctl(*_OF, "add-flow", "br0", f"priority=1,in_port={pb},actions=output:{pa}")
    assert a.ping("10.0.0.2", count=1) == 1
    before, began = echo_replies(a.run), time.monotonic()
    a.run("ping", "-n", "-q", "-c", "60", "-i", "0.01", "-W", "1", "10.0.0.2")
    took_s = time.monotonic() - began
    out = host.ofctl(*_OF, "meter-stats", "br0")
    found = re.search(r"flow_count:1 packet_in_count:(\d+).*\n0: packet_count:(\d+)", out)
    assert found and int(found[1]) == 61, out
    passed = 60 - int(found[2])
    # What the bucket held, or a little less, and five a second.
    assert 4 <= passed <= 6 + 5 * took_s
    wait_for(lambda: echo_replies(a.run) - before == passed)


def test_a_packet_waits_at_a_controller(two_hosts: tuple[Host, Netns, Netns]) -> None:
    host, a, b = two_hosts
    pa, pb = port_of(host, a), port_of(host, b)
    host.ofctl("del-flows", "br0")
    host.ofctl("add-flow", "br0", f"priority=1,in_port={pb},actions=output:{pa}")
    host.ofctl("add-flow", "br0", f"priority=1,in_port={pa},actions=output:{pb}")
    assert a.ping("10.0.0.2") == 3
    host.ofctl("add-flow", "br0",
               f"priority=9,icmp,in_port={pa},actions=set_field:7->reg1,ct(table=1,zone=7)")  # fmt: skip
    host.ofctl("add-flow", "br0", "table=1,reg1=7,actions=resubmit(,2),resubmit(,4)")
    host.ofctl("add-flow", "br0", "table=2,actions=controller(pause),set_field:9->reg2")
    host.ofctl("add-flow", "br0", f"table=4,icmp,ct_state=+trk,reg1=7,reg2=9,actions=output:{pb}")
    assert a.ping("10.0.0.2", count=1) == 0
    controller = subprocess.Popen(
        ["ovs-ofctl", "monitor", "br0", "resume", "64"],
        env=host.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: a.ping("10.0.0.2", 1))
        assert a.ping("10.0.0.2", 3, *PATIENTLY) == 3
    finally:
        controller.kill()
        controller.wait()


def test_a_fin_shortens_the_timeouts_of_a_flow(two_hosts: tuple[Host, Netns, Netns]) -> None:
    host, a, b = two_hosts
    pa, pb = port_of(host, a), port_of(host, b)
    host.ofctl("del-flows", "br0")
    host.ofctl("add-flow", "br0", "priority=1,actions=NORMAL")
    host.ofctl("add-flow", "br0",
               f"idle_timeout=60,tcp,in_port={pa},actions=fin_timeout(idle_timeout=1),output:{pb}")  # fmt: skip
    host.ofctl("add-flow", "br0", f"idle_timeout=60,tcp,in_port={pb},actions=output:{pa}")
    server = b.start(sys.executable, "-c", _SERVER)
    wait_for(lambda: b.listens(7777))
    assert len(flows(host)) == 3
    assert a.run(sys.executable, "-c", _CLIENT).stdout == "hello\n"
    server.wait(60)
    wait_for(lambda: len(flows(host)) == 2)
    (left,) = flows(host, "tcp")
    assert f"in_port={pb}" in left and "idle_timeout=60" in left


_SERVER = """
import socket
s = socket.create_server(("", 7777))
c, _ = s.accept()
c.sendall(b"hello")
c.close()
"""
_CLIENT = """
import socket
c = socket.create_connection(("10.0.0.2", 7777), 60)
print(c.recv(10).decode())
c.close()
"""


def test_sigkill_in_the_middle_of_bundles_leaves_one_of_them_whole(
    two_hosts: tuple[Host, Netns, Netns],
) -> None:
    host, a, b = two_hosts
    pa, pb = port_of(host, a), port_of(host, b)
    host.ofctl("del-flows", "br0")
    host.ofctl("add-flow", "br0", f"in_port={pb},actions=output:{pa}")
    script = host.rundir / "bundles"
    n = 0
    for pause in (0.31, 0.43, 0.57, 0.7):
        script.write_text(
            "\n".join(
                f"printf 'flow delete table=1\\ngroup delete\\n"
                f"group add group_id={k},type=all,bucket=output:{pb}\\n"
                f"flow add table=1,reg0={k},actions=group:{k}\\n"
                f"flow add priority=9,in_port={pa},actions=set_field:{k}->reg0,resubmit(,1)\\n'"
                " | ovs-ofctl --timeout=60 -O OpenFlow14 bundle br0 - || exit 0"
                for k in range(n + 1, n + 200)
            )
        )
        n += 200
        changing = subprocess.Popen(["sh", str(script)], env=host.environment,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        wait_for(lambda: "group_id" in host.ofctl("-O", "OpenFlow13", "dump-groups", "br0"))
        time.sleep(pause)
        host.kill()
        changing.wait(120)
        host.start()
        groups = host.ofctl("-O", "OpenFlow13", "dump-groups", "br0")
        (group_id,) = re.findall(r"group_id=(\d+)", groups)
        assert flows(host, "table=1") == [f"table=1, reg0={int(group_id):#x} actions=group:{group_id}"]
        assert a.ping("10.0.0.2") == 3
