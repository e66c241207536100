"""`gossamer up`, `down`, `check` and `trace` on real namespaces, and what others of these tests stand on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from gossamer.topology import converge
from gossamer.topology.command import Tools
from gossamer.topology.converge import Step
from gossamer.topology.load import load
from tests.system.world import Host

PLAIN = """\
name: net
bridges:
  tbr0: {}
instances:
  vm1:
    ports:
      - bridge: tbr0
        vlan: 10
        address: 10.0.0.1/24
  vm2:
    ports:
      - bridge: tbr0
        vlan: 10
        address: 10.0.0.2/24
expect:
  - vm1 -> vm2: reachable
"""


class Net:
    """A topology file on a host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.tools = Tools(host.rundir)
        self.folder = Path(mkdtemp(prefix="topology", dir="/run"))
        self.path = self.folder / "net.yaml"

    def write(self, text: str) -> Path:
        """What the file says from now on."""
        self.path.write_text(text)
        return self.path

    def edit(self, was: str, now: str) -> None:
        """Change the file in one place."""
        text = self.path.read_text()
        assert was in text
        self.path.write_text(text.replace(was, now, 1))

    def up(self, text: str | None = None) -> list[Step]:
        """`up`, in this process."""
        if text is not None:
            self.write(text)
        return converge.up(load(self.path), self.path, self.tools)

    def drift(self) -> list[str]:
        """What `status` shows as changed by hand, as text."""
        return [
            text
            for state in converge.known(self.host.rundir)
            for step in converge.drift(state, self.tools)
            for text in step.texts
        ]

    def down(self) -> None:
        """Take everything down."""
        for state in converge.known(self.host.rundir):
            converge.down(state, self.tools)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command `gossamer`."""
        return self.host.attempt(sys.executable, "-m", "gossamer.cli.main", *arguments)

    def device(self, instance: str) -> str:
        """The host's end of an instance's eth0."""
        ports = self.host.vsctl("--columns=name", "-f", "csv", "-d", "bare", "--no-heading", "list", "port")
        return next(p for p in ports.split() if p.startswith(f"{instance}-") and p.endswith(".0"))

    def leftovers(self) -> list[str]:
        """Bridges, namespaces and devices that are there."""
        namespaces = [line.split()[0] for line in self.host.check("ip", "netns", "list").splitlines()]
        links = json.loads(self.host.check("ip", "-j", "link", "show"))
        return [
            *self.host.vsctl("list-br").split(),
            *namespaces,
            *(link["ifname"] for link in links if link["ifname"] != "lo"),
        ]


@pytest.fixture(scope="module")
def lasting() -> Iterator[Host]:
    """A daemon for all tests of a file: to start one takes longer than most of them."""
    it = Host(Path(mkdtemp(prefix="host", dir="/run")))
    it.start()
    yield it
    it.end()


@pytest.fixture
def net(lasting: Host) -> Iterator[Net]:
    """A host on which nothing is up yet, and nothing is left afterwards."""
    it = Net(lasting)
    before = it.leftovers()
    yield it
    it.down()
    assert it.leftovers() == before


def test_up_twice_changes_nothing_the_second_time_and_down_leaves_nothing(net: Net) -> None:
    before = net.leftovers()
    assert {s.key for s in net.up(PLAIN)} >= {"bridge/tbr0", "port/vm1/0", "flows/tbr0"}
    assert net.up() == []
    assert net.drift() == []
    net.down()
    assert net.leftovers() == before
    assert converge.known(net.host.rundir) == []


def test_an_edit_changes_what_it_says_and_no_more(net: Net) -> None:
    net.up(PLAIN)
    net.edit("vlan: 10\n        address: 10.0.0.2/24", "vlan: 20\n        address: 10.0.0.3/24")
    steps = net.up()
    assert [(s.verb, s.key) for s in steps] == [("update", "port/vm2/0")]
    assert net.drift() == []
    net.write(net.path.read_text().partition("  vm2:")[0])
    assert [(s.verb, s.key) for s in net.up()] == [
        ("delete", "routing/vm2"), ("delete", "port/vm2/0"), ("delete", "instance/vm2"),
    ]  # fmt: skip
    assert net.up() == []


def test_mac_and_mtu_go_back_to_their_defaults_when_their_lines_go(net: Net) -> None:
    net.up(PLAIN)
    shown = json.loads(net.host.check("ip", "-n", "net-vm1", "-j", "link", "show", "eth0"))[0]
    net.edit("        vlan: 10", "        vlan: 10\n        mac: 02:00:00:00:00:77\n        mtu: 1400")
    net.up()
    changed = json.loads(net.host.check("ip", "-n", "net-vm1", "-j", "link", "show", "eth0"))[0]
    assert (changed["address"], changed["mtu"]) == ("02:00:00:00:00:77", 1400)
    outside = Path(f"/sys/class/net/{net.device('vm1')}/mtu")
    assert outside.read_text() == "1400\n"
    net.up(PLAIN)
    again = json.loads(net.host.check("ip", "-n", "net-vm1", "-j", "link", "show", "eth0"))[0]
    assert (again["address"], again["mtu"]) == (shown["address"], 1500)
    assert outside.read_text() == "1500\n"


def test_a_port_moves_to_another_bridge(net: Net) -> None:
    net.up(PLAIN.replace("  tbr0: {}", "  tbr0: {}\n  tbr1: {}"))
    net.edit("vm2:\n    ports:\n      - bridge: tbr0", "vm2:\n    ports:\n      - bridge: tbr1")
    assert [s.key for s in net.up()] == ["port/vm2/0"]
    assert net.host.vsctl("port-to-br", net.device("vm2")) == "tbr1"
    assert net.up() == []


def test_a_bridge_is_renamed_with_all_that_is_on_it(net: Net) -> None:
    net.up(PLAIN)
    net.write(PLAIN.replace("tbr0", "tbr9"))
    net.up()
    assert net.host.vsctl("list-br") == "tbr9"
    assert net.up() == []
    assert net.run("check").returncode == 0


def test_two_topologies_are_up_side_by_side(net: Net) -> None:
    net.up(PLAIN)
    other = net.folder / "other.yaml"
    other.write_text(PLAIN.replace("name: net", "name: other").replace("tbr0", "tbr1"))
    converge.up(load(other), other, net.tools)
    assert net.up() == []
    assert net.drift() == []
    assert net.run("down").returncode == 1  # which of the two?
    assert net.run("down", "other").returncode == 0
    assert net.run("check").returncode == 0


def test_two_files_of_one_name_in_two_folders_are_not_one_topology(net: Net) -> None:
    text = PLAIN.removeprefix("name: net\n")
    net.up(text)
    folder = net.folder / "b"
    folder.mkdir()
    (folder / "net.yaml").write_text(text.replace("10.0.0", "10.7.0"))
    done = net.run("up", str(folder / "net.yaml"))
    assert done.returncode == 1
    assert str(net.path) in done.stderr and "name:" in done.stderr
    assert net.drift() == []


def test_ipv6_routers_and_patches_work(net: Net) -> None:
    net.up("""\
bridges: {tbr0: {}, tbr1: {}, tbr2: {}}
patches: [{between: [tbr0, tbr1]}]
instances:
  vm1:
    ports: [{bridge: tbr0, addresses: [10.0.0.1/24, "fd00::1/64"]}]
    gateway: 10.0.0.254
    routes: ["fd01::/64 via fd00::fe"]
  vm2:
    ports: [{bridge: tbr2, address: "FD01::2/64"}]
    gateway: fd01::fe
  router:
    ports:
      - {bridge: tbr1, addresses: [10.0.0.254/24, "fd00:0::fe/64"]}
      - {bridge: tbr2, address: "fd01::fe/64"}
    forward: true
expect:
  - vm1 -> router: reachable
  - vm1 -> vm2: reachable
""")
    assert net.up() == []
    done = net.run("check", "--json")
    assert done.returncode == 0, done.stdout
    assert [o["ok"] for o in json.loads(done.stdout)] == [True, True]
    assert "tbr0" in net.run("trace", "vm1", "vm2").stdout


def test_flows_name_ports_and_follow_them_when_their_numbers_change(net: Net) -> None:
    net.up(PLAIN.replace("  tbr0: {}", """  tbr0:
    flows:
      - priority=9,in_port=vm1.eth0,actions=output:vm2.eth0
      - priority=9,in_port="vm2.eth0",actions=output:vm1.eth0"""))
    assert net.up() == []
    assert net.run("check").returncode == 0
    device = net.device("vm1")
    net.host.vsctl("set", "interface", device, "ofport_request=77")
    net.host.vsctl("wait-until", "interface", device, "ofport=77")
    assert [s.key for s in net.up()] == ["flows/tbr0"]
    assert "in_port=77" in net.host.ofctl("--no-names", "dump-flows", "tbr0")
    net.host.vsctl("del-port", device)
    net.up()
    assert net.up() == []
    assert net.run("check").returncode == 0


def test_check_says_what_is_not_so(net: Net) -> None:
    net.up(PLAIN.replace("vm1 -> vm2: reachable", "vm1 -> vm2: blocked"))
    done = net.run("check")
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    net.down()
    done = net.run("check", str(net.path))
    assert done.returncode == 1
    assert "vm1 is not up" in done.stderr, "what is not there must not pass for blocked"


def test_what_was_reachable_before_an_edit_is_not_taken_for_reachable(net: Net) -> None:
    net.up(PLAIN)
    assert net.run("check").returncode == 0
    net.edit("vlan: 10\n        address: 10.0.0.2", "vlan: 20\n        address: 10.0.0.2")
    net.edit("reachable", "blocked")
    done = net.run("up", str(net.path), "--check")
    assert done.returncode == 0, done.stdout


def test_trace_tells_a_way_and_why_there_is_none(net: Net) -> None:
    net.up(PLAIN)
    shown = net.run("trace", "vm1", "vm2", "--tcp", "80").stdout
    assert "NORMAL" in shown
    assert "vm1 -> vm2: arrives\n  reaches vm2 by eth0, as tcp 10.0.0.1:40000 -> 10.0.0.2:80\n" in shown
    shown = net.run("trace", "tbr0", "in_port=vm1.eth0,icmp").stdout
    assert re.search(r"^  tbr0: leaves by vm2-\w+\.0$", shown, re.M), shown
    for arguments, said in (
        (("vm1", "vm1"), "different"),
        (("vm1", "vm9"), "vm9"),
        (("tbr0", "foo=1"), "foo"),
        (("nobridge", "in_port=1"), "nobridge"),
    ):
        done = net.run("trace", *arguments)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    net.edit("vlan: 10\n        address: 10.0.0.2", "vlan: 20\n        address: 10.0.0.2")
    assert net.run("up", str(net.path)).returncode == 0
    shown = net.run("trace", "vm1", "vm2").stdout
    assert "vm1 -> vm2: does not arrive\n  vm1 is in VLAN 10 of tbr0, vm2 in 20\n" in shown, shown
    net.host.check("ip", "-n", "net-vm1", "addr", "flush", "dev", "eth0")
    done = net.run("trace", "vm1", "vm2")
    assert "no way to 10.0.0.2" in done.stderr


def test_down_twice_says_that_nothing_is_up(net: Net) -> None:
    net.up(PLAIN)
    assert net.run("down").returncode == 0
    done = net.run("down")
    assert done.returncode == 1
    assert "no topology is up" in done.stderr
