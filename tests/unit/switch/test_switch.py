"""The switch as a whole: convergence and commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_datapath import FakeDatapath
from running_switch import RunningSwitch, bridge
from tests.system.world import until

from gossamer.daemon.appctl.fdb import FdbCommands
from gossamer.datapath.settings import FdbEntry
from gossamer.errors import GossamerError
from gossamer.switch.config import (
    BridgeConfig,
    FailMode,
    InterfaceConfig,
    PortConfig,
)


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[RunningSwitch]:
    running = RunningSwitch(tmp_path)
    yield running
    running.stop()


def test_a_new_bridge_forwards_like_any_switch_unless_it_is_secure(
    switch: RunningSwitch,
) -> None:
    switch.apply(bridge("a", 0), bridge("b", 0, fail_mode=FailMode.SECURE))
    assert switch.flows("a") == ["priority=0 actions=NORMAL"]
    assert switch.flows("b") == []
    switch.apply(bridge("a", 0, fail_mode=FailMode.SECURE), bridge("b", 0))
    assert switch.flows("a") == []
    assert switch.flows("b") == ["priority=0 actions=NORMAL"]


def test_applying_the_same_again_leaves_flows_alone(switch: RunningSwitch) -> None:
    switch.apply()
    switch.ofctl("add-flow", "br0", "in_port=1,actions=2")
    switch.apply()
    switch.apply(bridge(ports=2))
    assert "in_port=1 actions=output:2" in switch.flows()


def test_a_bridge_that_is_removed_leaves_nothing(switch: RunningSwitch) -> None:
    switch.apply()
    assert (switch.rundir / "br0.mgmt").exists() and (switch.rundir / "br0.snoop").exists()
    switch.apply(bridge("other", 0))
    assert sorted(p.name for p in switch.rundir.iterdir()) == [
        "other.flows",
        "other.mgmt",
        "other.snoop",
    ]
    assert [b.name for b in switch.datapath.bridges.values()] == ["other"]
    assert "br0" not in switch.devices.links


def test_patch_ports_are_joined_where_both_name_each_other(switch: RunningSwitch) -> None:
    def patch(name: str, peer: str) -> PortConfig:
        return PortConfig(name, (InterfaceConfig(name, "patch", options={"peer": peer}),))

    def peers() -> dict[str, str | None]:
        names = {i: s.name for i, (_, s) in switch.datapath.ports.items()}
        return {
            s.name: names.get(s.patch_peer) if s.patch_peer else None
            for _, s in switch.datapath.ports.values()
            if s.name.startswith("p")
        }

    one = BridgeConfig("one", ports=(patch("p1", "p2"), patch("p3", "p4")))
    switch.apply(one, BridgeConfig("two", ports=(patch("p2", "p1"), patch("p4", "p1"))))
    assert peers() == {"p1": "p2", "p2": "p1", "p3": None, "p4": None}
    switch.apply(one, BridgeConfig("two", ports=(patch("p4", "p3"),)))
    assert peers() == {"p1": None, "p3": "p4", "p4": "p3"}
    packet = "in_port=controller,packet=112233445566aabbccddeeff0800,actions=output:2"
    switch.apply(one, BridgeConfig("two", ports=(patch("p4", "p3"), *bridge("x", 1).ports)))
    switch.ofctl("packet-out", "one", packet)
    port_id = switch.switch.bridges["two"].ports.ports["v1"].port_id
    assert port_id in [i for i, _ in switch.datapath.packets.sent]


def test_the_status_tells_of_ports_and_their_errors(switch: RunningSwitch) -> None:
    ports = (*bridge().ports, PortConfig("nope", (InterfaceConfig("nope"),)))
    status = switch.apply(BridgeConfig("br0", ports=ports)).bridges["br0"]
    assert status.datapath_id == 1
    nope = status.ports["nope"].interfaces["nope"]
    assert (nope.ofport, nope.error) == (
        -1,
        "could not open network device nope (No such device)",
    )
    before = switch.switch.changes
    switch.call(lambda: switch.devices.appear("nope"))
    assert until(lambda: switch.switch.changes > before)
    status = switch.call(switch.switch.status).bridges["br0"]
    assert status.ports["nope"].interfaces["nope"].ofport == 4


def test_commands_say_what_open_vswitch_says(switch: RunningSwitch) -> None:
    switch.apply(bridge(), bridge("br1", 0, datapath_type="netdev"))

    def run(name: str, *argv: str) -> str:
        command = {**switch.switch.commands, **FdbCommands(switch.switch).commands()}[name]
        assert command.min_args <= len(argv) <= command.max_args
        out = switch.call(lambda: command.run(argv))
        assert isinstance(out, str)
        return out

    port_id = switch.switch.bridges["br0"].ports.ports["v2"].port_id
    entry = FdbEntry(10, bytes.fromhex("0a0b0c0d0e0f"), port_id, 12.7)
    switch.datapath.fdb.known[1] = [entry]
    assert run("fdb/show", "br0") == (
        " port  VLAN  MAC                Age\n    2    10  0a:0b:0c:0d:0e:0f   12\n"
    )
    assert run("fdb/add", "br0", "v1", "0", "00:00:00:00:00:77") == ""
    assert run("fdb/stats-show", "br0") == (
        'Statistics for bridge "br0":\n'
        "  Current/maximum MAC entries in the table: 2/8192\n"
        "  Current static MAC entries in the table : 1\n"
        "  Total number of learned MAC entries     : 1\n"
        "  Total number of expired MAC entries     : 0\n"
        "  Total number of evicted MAC entries     : 0\n"
        "  Total number of port moved MAC entries  : 0\n"
    )
    assert run("fdb/flush", "br0") == "table successfully flushed"
    assert run("fdb/show", "br0") == (
        " port  VLAN  MAC                Age\n    1     0  00:00:00:00:00:77  static\n"
    )
    assert run("fdb/del", "br0", "0", "00:00:00:00:00:77") == ""
    assert run("fdb/stats-clear") == "statistics successfully cleared"
    assert "learned MAC entries     : 0\n" in run("fdb/stats-show", "br0")
    assert run("ofproto/list") == "br0\nbr1\n"
    shown = run("dpif/show")
    assert "netdev@ovs-netdev: hit:0 missed:0\n  br1:\n    br1 65534/5: (tap)\n" in shown
    assert "system@ovs-system: hit:0 missed:0\n  br0:\n    br0 65534/1: (internal)\n" in shown
    assert "    v1 1/2: (system)\n" in shown
    for flow in (
        "priority=7,tcp,nw_src=10.0.0.0/8,tp_dst=80,actions=output:1",
        "table=3,reg0=5,actions=controller,write_metadata:5,goto_table:4",
        "table=3,priority=0,actions=drop",
    ):
        switch.ofctl("add-flow", "br1", flow)
    shown = re.sub(r"duration=\d+s", "duration=0s", run("bridge/dump-flows", "br1"))
    assert sorted(shown.splitlines()) == [
        "duration=0s, n_packets=0, n_bytes=0, priority=0,actions=NORMAL",
        "duration=0s, n_packets=0, n_bytes=0, priority=7,tcp,nw_src=10.0.0.0/8,tp_dst=80,"
        "actions=output:1",
        "table_id=3, duration=0s, n_packets=0, n_bytes=0, priority=0,actions=drop",
        "table_id=3, duration=0s, n_packets=0, n_bytes=0, reg0=0x5,"
        "actions=CONTROLLER:65535,write_metadata:0x5,goto_table:4",
    ]
    assert "n_offload_packets=0" in run("bridge/dump-flows", "--offload-stats", "br1")
    with pytest.raises(GossamerError, match="no such bridge"):
        run("fdb/show", "nope")
    with pytest.raises(GossamerError, match="Unknown bridge"):
        run("bridge/dump-flows", "nope")


def test_fake_and_real_datapath_offer_the_same() -> None:
    from gossamer.datapath.datapath import Datapath

    wanted = {n for n in vars(FakeDatapath) if not n.startswith("_")}
    missing = wanted - {n for n in dir(Datapath) if not n.startswith("_")}
    assert missing <= {"count", "port_named", "takeover"}
