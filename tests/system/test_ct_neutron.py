"""The rules of OpenStack's Open vSwitch firewall driver (Neutron): its tables, registers, zones and conjunctions.

Tables 60 (which port), 71 and 72 (what a port sends), 73 (is it for a port here), 81 and 82 (what a port gets),
91 to 94 (accepted and dropped), as its manual describes them; written from that, for the ports of this test.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import pytest

from tests.system.peer import IS_PEER, PeerHost
from tests.system.world import Host, Netns, until

VLAN: Final = 644
OTHER_VLAN: Final = 645
_ND: Final = (130, 131, 132, 135, 136)
_COMMON: Final = """\
table=0,priority=0,actions=resubmit(,60)
table=60,priority=0,actions=NORMAL
table=71,priority=0,actions=resubmit(,93)
table=72,priority=50,ct_state=+inv+trk,actions=resubmit(,93)
table=72,priority=0,actions=resubmit(,93)
table=73,priority=0,actions=resubmit(,93)
table=81,priority=0,actions=resubmit(,93)
table=82,priority=50,ct_state=+inv+trk,actions=resubmit(,93)
table=82,priority=0,actions=resubmit(,93)
table=91,priority=1,actions=resubmit(,94)
table=92,priority=0,actions=drop
table=93,priority=0,actions=drop
table=94,priority=1,actions=NORMAL
"""


@dataclass(frozen=True)
class Port:
    """A port under the firewall."""

    ns: Netns
    ofport: int
    vlan: int
    address: str


def port_flows(port: Port) -> Iterator[str]:
    """What the driver installs for any port."""
    p, mac, net = port.ofport, port.ns.mac, port.vlan
    zone = "zone=NXM_NX_REG6[0..15]"
    mark = f"ct(commit,{zone},exec(load:0x1->NXM_NX_CT_MARK[]))"
    load = f"load:{p}->NXM_NX_REG5[],load:{net}->NXM_NX_REG6[]"
    yield f"table=60,priority=100,in_port={p},actions={load},resubmit(,71)"
    yield f"table=60,priority=90,dl_vlan={net},dl_dst={mac},actions={load},strip_vlan,resubmit(,81)"
    sent = f"reg5={p},in_port={p}"
    for kind in _ND:
        yield f"table=71,priority=95,{sent},icmp6,icmp_type={kind},actions=resubmit(,94)"
        yield f"table=81,priority=100,reg5={p},icmp6,icmp_type={kind},actions=output:{p}"
    yield f"table=71,priority=95,{sent},dl_src={mac},arp,arp_spa={port.address},actions=resubmit(,94)"
    yield f"table=71,priority=80,{sent},udp,tp_src=68,tp_dst=67,actions=resubmit(,73)"
    yield f"table=71,priority=70,{sent},udp,tp_src=67,tp_dst=68,actions=resubmit(,93)"
    yield f"table=71,priority=70,{sent},icmp6,icmp_type=134,actions=resubmit(,93)"
    yield (f"table=71,priority=65,ct_state=-trk,{sent},dl_src={mac},ip,nw_src={port.address},"
           f"actions=ct(table=72,{zone})")  # fmt: skip
    yield f"table=71,priority=10,ct_state=-trk,{sent},actions=resubmit(,93)"
    for state in ("+est-rel-rpl", "+new-est"):
        yield f"table=72,priority=74,ct_state={state},ip,reg5={p},actions=resubmit(,73)"
    yield f"table=73,priority=100,reg6={net},dl_dst={mac},actions=load:{p}->NXM_NX_REG5[],resubmit(,81)"
    yield f"table=73,priority=90,ct_state=+new-est,ip,reg5={p},actions=ct(commit,{zone}),resubmit(,91)"
    yield f"table=73,priority=80,reg5={p},actions=resubmit(,94)"
    yield f"table=81,priority=100,arp,reg5={p},actions=output:{p}"
    yield f"table=81,priority=95,udp,reg5={p},tp_src=67,tp_dst=68,actions=output:{p}"
    yield f"table=81,priority=90,ct_state=-trk,ip,reg5={p},actions=ct(table=82,{zone})"
    yield f"table=81,priority=80,ct_state=+trk,reg5={p},actions=resubmit(,82)"
    for table, accept in ((72, "resubmit(,94)"), (82, f"output:{p},resubmit(,92)")):
        known = f"ct_zone={net},ct_mark=0,reg5={p}"
        yield f"table={table},priority=50,ct_mark=0x1,reg5={p},actions=resubmit(,93)"
        yield f"table={table},priority=50,ct_state=+est-rel+rpl,{known},actions={accept}"
        yield f"table={table},priority=50,ct_state=-new-est+rel-inv,{known},actions={accept}"
        yield f"table={table},priority=40,ct_state=-est,reg5={p},actions=resubmit(,93)"
        yield f"table={table},priority=40,ct_state=+est,ip,reg5={p},actions={mark}"


def rule_flows(port: Port, match: str) -> Iterator[str]:
    """A rule for what comes in."""
    p = port.ofport
    yield (f"table=82,priority=77,ct_state=+est-rel-rpl,{match},reg5={p},"
           f"actions=output:{p},resubmit(,92)")  # fmt: skip
    yield (f"table=82,priority=77,ct_state=+new-est,{match},reg5={p},"
           f"actions=ct(commit,zone=NXM_NX_REG6[0..15]),output:{p},resubmit(,92)")  # fmt: skip


def group_flows(port: Port, protocol: str, members: list[str], conj: int) -> Iterator[str]:
    """A rule for what comes from members of a group: a conjunction for each state."""
    p = port.ofport
    for state, number, accept in (
        ("+est-rel-rpl", conj, ""), ("+new-est", conj + 1, "ct(commit,zone=NXM_NX_REG6[0..15]),"),
    ):  # fmt: skip
        for member in members:
            yield (f"table=82,priority=73,ct_state={state},ip,reg6={port.vlan},nw_src={member},"
                   f"actions=conjunction({number},1/2)")  # fmt: skip
        yield f"table=82,priority=73,ct_state={state},{protocol},reg5={p},actions=conjunction({number},2/2)"
        yield (f"table=82,priority=73,conj_id={number},ct_state={state},ip,reg5={p},"
               f"actions=load:{number}->NXM_NX_REG7[],{accept}output:{p},resubmit(,92)")  # fmt: skip


class Cloud:
    """Two ports of one tenant, one of another with the same addresses, and a host behind another bridge."""

    def __init__(self) -> None:
        self.host: Host = (PeerHost if IS_PEER else Host)(Path(mkdtemp(prefix="neutron", dir="/run")))
        self.host.start()
        self.host.vsctl("add-br", "br-int")
        self.vm1 = self._port("vm1", "10.0.0.1", VLAN)
        self.vm2 = self._port("vm2", "10.0.0.2", VLAN)
        self.other1 = self._port("oth1", "10.0.0.1", OTHER_VLAN)
        self.other2 = self._port("oth2", "10.0.0.2", OTHER_VLAN)
        self.host.vsctl("add-br", "br-ex")
        for here, there in (("int", "ex"), ("ex", "int")):
            self.host.vsctl("add-port", f"br-{here}", f"to-{there}", "--", "set", "interface", f"to-{there}",
                            "type=patch", f"options:peer=to-{here}")  # fmt: skip
        self.remote = self.host.netns("remote", "10.0.0.9/24", "br-ex", tag=str(VLAN))
        ports = (self.vm1, self.vm2, self.other1, self.other2)
        flows = [_COMMON, *(f for p in ports for f in port_flows(p)), *rule_flows(self.vm2, "tcp,tp_dst=8080")]
        flows += [*rule_flows(self.other2, "icmp"), *group_flows(self.vm2, "icmp", ["10.0.0.1", "10.0.0.7"], 18)]
        self.host.ofctl("del-flows", "br-int")
        self.host.ofctl("--bundle", "add-flows", "br-int", "-", stdin="\n".join(flows) + "\n")

    def _port(self, name: str, address: str, vlan: int) -> Port:
        ns = self.host.netns(name, f"{address}/24", "br-int", tag=str(vlan))
        return Port(ns, int(self.host.vsctl("get", "interface", ns.device, "ofport")), vlan, address)

    def connections(self, zone: int) -> str:
        """What dump-conntrack has of a zone."""
        return self.host.appctl("dpctl/dump-conntrack", f"zone={zone}")


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    it = Cloud()
    yield it
    it.host.end()


def _connects(client: Netns, address: str, port: int, patience_s: float = 30) -> bool:
    script = f"s = socket.create_connection(('{address}', {port}), {patience_s}); s.sendall(b'x'); s.recv(1)"
    return client.run(sys.executable, "-c", f"import socket; {script}").returncode == 0


def _stays_out(client: Netns, address: str, port: int) -> bool:
    """TCP repeats its first packet after one second."""
    return not _connects(client, address, port, 2.5)


@pytest.fixture
def echo(cloud: Cloud) -> Iterator[None]:
    server = cloud.vm2.ns.start(sys.executable, "-c", _ECHO)
    assert until(lambda: cloud.vm2.ns.listens(8081))
    yield
    server.kill()
    server.communicate()


_ECHO: Final = """
import socket, threading
def serve(s):
    while True:
        peer = s.accept()[0]
        threading.Thread(target=talk, args=(peer,), daemon=True).start()
def talk(peer):
    while data := peer.recv(100):
        peer.sendall(data)
servers = [socket.create_server(("", p)) for p in (8080, 8081)]
threading.Thread(target=serve, args=(servers[0],), daemon=True).start()
serve(servers[1])
"""


def test_a_rule_lets_its_connections_in_from_here_and_from_other_hosts(cloud: Cloud, echo: None) -> None:
    assert _connects(cloud.vm1.ns, "10.0.0.2", 8080)
    assert _connects(cloud.remote, "10.0.0.2", 8080)
    assert _stays_out(cloud.vm1.ns, "10.0.0.2", 8081)
    assert _stays_out(cloud.remote, "10.0.0.2", 8081)
    assert "dst=10.0.0.2" in cloud.connections(VLAN)
    assert "8081" not in cloud.connections(VLAN)


def test_members_of_a_group_may_by_conjunction_and_others_not(cloud: Cloud) -> None:
    assert cloud.vm1.ns.ping("10.0.0.2") == 3
    assert cloud.remote.ping("10.0.0.2") == 0
    # What vm2 begins is answered; nothing lets vm1 be pinged by others.
    assert cloud.vm2.ns.ping("10.0.0.9") == 3
    assert cloud.vm2.ns.ping("10.0.0.1") == 0


def test_tenants_with_the_same_addresses_have_zones_of_their_own(cloud: Cloud) -> None:
    cloud.host.appctl("dpctl/flush-conntrack")
    assert cloud.other1.ns.ping("10.0.0.2") == 3
    assert "src=10.0.0.1,dst=10.0.0.2" in cloud.connections(OTHER_VLAN)
    assert cloud.connections(VLAN).strip() == ""
    assert _stays_out(cloud.other1.ns, "10.0.0.2", 8080)


def test_errors_about_a_connection_come_back(cloud: Cloud) -> None:
    remote = cloud.remote
    # Nothing listens there: the port unreachable of remote is related to what vm1 sent.
    done = cloud.vm1.ns.run(
        sys.executable, "-c",
        "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(60);"
        "s.connect(('10.0.0.9', 9)); s.send(b'x'); s.recv(1)",
    )  # fmt: skip
    assert "ConnectionRefusedError" in done.stderr, done.stderr
    assert remote.ping("10.0.0.1") == 0


def test_a_rule_that_goes_marks_its_connections_and_ends_them(cloud: Cloud, echo: None) -> None:
    talker = subprocess.Popen(
        ["ip", "netns", "exec", cloud.remote.name, sys.executable, "-u", "-c", _TALKER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    flows = list(rule_flows(cloud.vm2, "tcp,tp_dst=8080"))
    try:
        assert _talk(talker) == "answered"
        for flow in flows:
            cloud.host.ofctl("--strict", "del-flows", "br-int", flow.partition(",actions")[0])
        assert _talk(talker, 3) == "silence"
        marked = [c for c in cloud.connections(VLAN).splitlines() if "mark=1" in c]
        assert len(marked) == 1 and re.search(r"dport=8080", marked[0]), marked
        cloud.host.ofctl("add-flows", "br-int", "-", stdin="\n".join(flows) + "\n")
        assert _connects(cloud.remote, "10.0.0.2", 8080), "new ones may again"
        assert _talk(talker, 3) == "silence", "the marked one may not"
    finally:
        talker.kill()
        talker.communicate()


_TALKER: Final = """
import socket, sys
s = socket.create_connection(("10.0.0.2", 8080), timeout=60)
for line in sys.stdin:
    s.settimeout(float(line))
    try:
        s.sendall(b"x")
        print("answered" if s.recv(1) else "closed", flush=True)
    except TimeoutError:
        print("silence", flush=True)
"""


def _talk(talker: subprocess.Popen[str], patience_s: float = 60) -> str:
    assert talker.stdin is not None and talker.stdout is not None
    talker.stdin.write(f"{patience_s}\n")
    talker.stdin.flush()
    return talker.stdout.readline().strip()
