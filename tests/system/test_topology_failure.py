"""What goes wrong while a topology is applied is told with file, line and remedy, and taken back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from gossamer.errors import TopologyError
from gossamer.topology import converge
from gossamer.topology.load import load
from tests.system.test_topology import PLAIN, Net, lasting, net

__all__ = ["lasting", "net"]

TWO = """\
bridges:
  tbr0:
    flows:
      - priority=0,actions=NORMAL
      - priority=5,udp,actions=drop
  tbr1: {}
patches:
  - between: [tbr0, tbr1]
instances:
  vm1:
    ports:
      - bridge: tbr0
        address: 10.0.0.1/24
  vm2:
    ports:
      - bridge: tbr1
        address: 10.0.0.2/24
"""


def _line(net: Net, part: str) -> int:
    text = net.path.read_text()
    return text[: text.index(part)].count("\n") + 1


def _fails(net: Net, at: str, *, said: str, remedy: str) -> None:
    """`up` fails at the line that contains `at`, with words and a remedy."""
    with pytest.raises(TopologyError) as e:
        net.up()
    assert said in e.value.message
    assert e.value.place == f"{net.path}:{_line(net, at)}", e.value.message
    assert remedy in e.value.remedy


@pytest.mark.parametrize(
    ("command", "at", "said", "remedy"),
    [
        ("ovs-vsctl add-br tbr1", "  tbr1: {}", "bridge tbr1 already", "ovs-vsctl del-br tbr1"),
        ("ip link add tbr1 type veth peer name other", "  tbr1: {}", "device tbr1 already", "another name"),
        ("ip netns add net-vm2", "  vm2:", "namespace net-vm2 already", "ip netns del net-vm2"),
        ("ovs-vsctl add-br x -- add-port x tbr0-to-tbr1", "between:", "tbr0-to-tbr1 already", "del-port"),
        ("ip link add DEVICE type veth peer name other", "bridge: tbr1", "device DEVICE already", "ip link del"),
        ("ovs-vsctl add-br x -- add-port x DEVICE", "bridge: tbr1", "port DEVICE already", "del-port"),
    ],
)
def test_a_name_that_is_taken_is_told_and_left_to_whom_it_is(
    net: Net, command: str, at: str, said: str, remedy: str
) -> None:
    net.write(TWO)
    device = converge.resources(load(net.path))["port/vm2/0"]["device"]
    net.host.check(*command.replace("DEVICE", device).split())
    before = net.leftovers()
    try:
        _fails(net, at, said=said.replace("DEVICE", device), remedy=remedy)
        assert net.leftovers() == before
        assert converge.known(net.host.rundir) == []
    finally:
        for bridge in net.host.vsctl("list-br").split():
            net.host.vsctl("del-br", bridge)
        net.host.attempt("ip", "link", "del", "other")
        net.host.attempt("ip", "netns", "del", "net-vm2")


@pytest.mark.parametrize(
    ("was", "now", "at", "said", "remedy"),
    [
        ("priority=5,udp,actions=drop", "priority=5,udp,actions=fly", "actions=fly", "fly", "ovs-actions"),
        ("priority=5,udp,actions=drop", "priority=5,updown,actions=drop", "updown", "updown", "ovs-fields"),
        ("priority=5,udp,actions=drop", "actions=group:9", "group:9", "group the bridge does not have", ""),
        ("priority=5,udp,actions=drop", "tp_dst=80,actions=drop", "flows:", "missing", "tcp before tp_dst"),
        ("  tbr1: {}", "  tbr1:\n    devices:\n      - nodev7", "- nodev7", "no device nodev7", "ip link"),
        ("10.0.0.2/24\n", "10.0.0.2/24\n    nat: eth0\n    gateway: 10.0.0.1\n    routes: [10.0.0.0/8 via 10.0.0.1]\n",
         "", "", ""),
    ],
)  # fmt: skip
def test_what_is_refused_is_told_and_taken_back(
    net: Net, was: str, now: str, at: str, said: str, remedy: str
) -> None:
    if not at:
        assert net.up(TWO.replace(was, now))  # the last row is right: the others fail for what they say
        return
    nothing = net.leftovers()
    net.write(TWO.replace(was, now))
    _fails(net, at, said=said, remedy=remedy)
    assert net.leftovers() == nothing
    assert converge.known(net.host.rundir) == []
    net.up(TWO)
    flows = net.host.ofctl("--no-stats", "dump-flows", "tbr0")
    net.edit(was, now)
    net.edit("10.0.0.1/24", "10.0.0.7/24")
    _fails(net, at, said=said, remedy=remedy)
    net.write(TWO)
    assert net.up() == [], "everything is as it was before"
    assert net.host.ofctl("--no-stats", "dump-flows", "tbr0") == flows


def test_an_address_that_does_not_fit_is_told_at_its_line(net: Net) -> None:
    before = net.leftovers()
    net.write(PLAIN.replace("address: 10.0.0.2/24", 'addresses:\n          - 10.0.0.2/24\n          - "::1/64"'))
    _fails(net, '- "::1', said="ip address replace ::1/64 dev eth0", remedy="address of one host")
    assert net.leftovers() == before


def test_the_command_tells_an_error_in_two_lines(net: Net) -> None:
    net.write(TWO.replace("actions=drop", "actions=fly"))
    done = net.run("up", str(net.path))
    assert done.returncode == 1
    what, remedy = done.stderr.strip().splitlines()
    assert what.startswith(f"gossamer: {net.path}:5: ")
    assert remedy.startswith("remedy: ")


def _begin(net: Net) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gossamer.cli.main", "up", str(net.path)],
        env=net.host.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _caught(net: Net, happened: Callable[[], bool], number: signal.Signals) -> subprocess.Popen[str]:
    """An `up` that was ended in the middle: where it was done before we came to look, another one."""
    before = net.path.read_text()
    for _ in range(5):
        process = _begin(net)
        if _when(process, happened):
            process.send_signal(number)
            process.send_signal(number)  # once more, of impatience
        process.communicate(timeout=120)
        if process.returncode:
            return process
        net.down()
        net.write(before)
    raise AssertionError("it is always done before it can be ended")


def _when(process: subprocess.Popen[str], happened: Callable[[], bool]) -> bool:
    """Whether something happened while the process still ran."""
    deadline = time.monotonic() + 60
    while not happened():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return True


def _many(instances: int) -> str:
    lines = ["bridges: {tbr0: {}}", "instances:"]
    for i in range(1, instances + 1):
        lines.append(f"  vm{i}: {{ports: [{{bridge: tbr0, address: 10.0.0.{i}/24}}]}}")
    return "\n".join(lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seen", ["net-vm1", "net-vm5"])
def test_an_interrupted_up_takes_back_what_it_did(net: Net, number: signal.Signals, seen: str) -> None:
    before = net.leftovers()
    net.write(_many(12))
    process = _caught(net, lambda: os.path.exists(f"/run/netns/{seen}"), number)
    assert process.returncode == 130
    assert net.leftovers() == before
    assert converge.known(net.host.rundir) == []


@pytest.mark.parametrize("seen", ["net-vm1", "net-vm4", "net-vm9"])
def test_a_killed_up_is_finished_by_the_next_one(net: Net, seen: str) -> None:
    net.write(_many(10))
    _caught(net, lambda: os.path.exists(f"/run/netns/{seen}"), signal.SIGKILL)
    net.up()
    assert net.drift() == []
    assert len(net.host.vsctl("list-ports", "tbr0").split()) == 10


def test_what_a_killed_up_made_is_removed_by_down(net: Net) -> None:
    before = net.leftovers()
    net.write(_many(10))
    _caught(net, lambda: os.path.exists("/run/netns/net-vm5"), signal.SIGKILL)
    net.down()
    assert net.leftovers() == before


def test_a_killed_change_is_finished_by_the_next_up(net: Net) -> None:
    changed = _many(10).replace("bridge: tbr0, address: 10.0.0.", "bridge: tbr0, vlan: 7, address: 10.1.0.")
    for _ in range(5):
        net.up(_many(10))
        net.write(changed)
        process = _begin(net)
        _when(process, lambda: "tag: 7" in net.host.vsctl("show"))
        process.kill()
        process.communicate()
        if process.returncode:
            break
    assert process.returncode, "it is always done before it can be ended"
    net.up()
    assert net.drift() == []
    assert net.host.vsctl("show").count("tag: 7") == 10


def test_two_ups_at_once_do_one_after_the_other(net: Net) -> None:
    net.write(_many(8))
    first, second = _begin(net), _begin(net)
    assert first.wait(120) == second.wait(120) == 0
    outputs = {(p.communicate()[0].splitlines() or [""])[-1] for p in (first, second)}
    assert "net: nothing to change" in outputs
    assert net.drift() == []


def test_a_daemon_that_is_gone_is_said_to_be(net: Net) -> None:
    net.up(PLAIN)
    net.host.attempt("ovs-appctl", "--timeout=100", "exit", "--cleanup")
    state = converge.known(net.host.rundir)[0]
    with pytest.raises(TopologyError) as e:
        converge.down(state, net.tools)
    assert "gossamerd" in e.value.remedy
    net.host.start()
    converge.down(state, net.tools)
    assert converge.known(net.host.rundir) == []
