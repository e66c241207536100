"""Topologies of several hosts: each with a daemon, a database and bridges of its own."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from gossamer.topology import converge
from gossamer.topology.check import run_checks
from gossamer.topology.load import load
from gossamer.topology.resources import resources
from tests.system.test_topology import Net
from tests.system.world import Host, until

VLAN = """\
name: hv
bridges:
  wire: {}
hosts:
  h1:
    ports: [{bridge: wire}]
    bridges: {br-ex: {devices: [eth0]}}
  h2:
    ports: [{bridge: wire}]
    bridges: {br-ex: {devices: [eth0]}}
networks:
  office: {kind: vlan, id: 30, bridge: br-ex}
instances:
  a:
    host: h1
    ports: [{network: office, address: 10.0.0.1/24}]
  b:
    host: h2
    ports: [{network: office, address: 10.0.0.2/24}]
expect:
  - a -> b: reachable
"""


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    """A topology of two hosts, up for all tests of the file."""
    host = Host(Path(mkdtemp(prefix="host", dir="/run")))
    host.start()
    it = Net(host)
    before = it.leftovers()
    it.up(VLAN)
    yield it
    it.down()
    assert it.leftovers() == before
    assert list((host.rundir / "hosts").iterdir()) == []
    host.end()


def reachable(net: Net) -> bool:
    return all(o.ok for o in run_checks(load(net.path), net.tools))


def pid_of(net: Net, host: str) -> int:
    return int((net.tools.at(host).rundir / "ovs-vswitchd.pid").read_text())


def test_instances_of_two_hosts_meet_in_a_network(net: Net) -> None:
    assert reachable(net)
    assert net.up() == []
    assert net.drift() == []
    assert net.tools.at("hv-h1").vsctl("list-br").split() == ["br-ex", "br-int"]


def test_status_shows_the_ports_of_every_host(net: Net) -> None:
    shown = json.loads(net.run("status", "--json").stdout)
    assert {(p["host"], p["bridge"]) for p in shown["ports"]} == {
        (None, "wire"), ("hv-h1", "br-int"), ("hv-h1", "br-ex"), ("hv-h2", "br-int"), ("hv-h2", "br-ex"),
    }  # fmt: skip


def test_a_hosts_daemon_that_died_is_told_and_started_again_while_packets_pass(net: Net) -> None:
    os.kill(pid_of(net, "hv-h1"), signal.SIGKILL)
    assert until(lambda: net.drift() == ["its gossamerd does not run"])
    assert reachable(net)
    steps = net.up()
    assert [(str(s.verb), s.key) for s in steps] == [("repair", "daemon/h1")]
    assert reachable(net)
    assert net.up() == []


def test_what_was_changed_by_hand_on_a_host_is_put_right(net: Net) -> None:
    at = net.tools.at("hv-h2")
    at.vsctl("--", "del-port", "br-int", "br-int-to-br-ex")
    at.ofctl("add-flow", f"unix:{at.rundir}/br-int.mgmt", "priority=9,actions=drop")
    assert not reachable(net)
    assert {s.key for s in net.up()} >= {"patch/h2:br-int/br-ex", "flows/h2:br-int"}
    assert reachable(net)


def test_a_host_whose_namespace_was_removed_comes_back(net: Net) -> None:
    net.host.check("ip", "netns", "del", "hv-h2")
    assert any("hv-h2" in text for text in net.drift())
    net.up()
    assert reachable(net)
    assert net.up() == []


def test_an_instance_moves_to_another_host(net: Net) -> None:
    net.edit("    host: h2\n    ports: [{network: office", "    host: h1\n    ports: [{network: office")
    net.up()
    assert reachable(net)
    assert net.tools.at("hv-h2").vsctl("list-br").split() == ["br-ex"]
    net.up(VLAN)
    assert reachable(net)


def test_an_up_that_fails_on_a_host_leaves_that_host_as_it_was(net: Net) -> None:
    before = net.leftovers()
    net.write(VLAN.replace("wire: {}", "wire: {}\n  more: {}").replace(
        "networks:", "  h3:\n    ports: [{bridge: more}]\n"
        "    bridges: {br-x: {flows: ['actions=nonsense']}}\nnetworks:"))  # fmt: skip
    done = net.run("up", str(net.path))
    assert done.returncode == 1
    assert "flows of h3:br-x" in done.stderr and "everything is as it was before" in done.stderr
    assert f"{net.path}:14" in done.stderr
    assert net.leftovers() == before
    assert not (net.host.rundir / "hosts" / "hv-h3").exists()
    net.write(VLAN)
    assert converge.plan(
        converge.State(net.host.rundir, "hv"), resources(load(net.path)), net.tools
    ) == []  # fmt: skip
