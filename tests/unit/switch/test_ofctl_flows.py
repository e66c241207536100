"""Flows through the real ovs-ofctl, in every version it speaks.

What is expected here is what Open vSwitch 3.1 answered to the same commands.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_datapath import FakeDatapath
from running_switch import RunningSwitch, bridge

VERSIONS = (10, 11, 12, 13, 14, 15)


@pytest.mark.parametrize("version", VERSIONS)
def test_flows_are_added_shown_changed_and_deleted(switch: RunningSwitch, version: int) -> None:
    def ofctl(*argv: str) -> str:
        return switch.ofctl(*argv, version=version)

    ofctl("add-flow", "br0", "cookie=0x11,priority=5,ip,nw_src=10.0.0.0/8,actions=output:2")
    ofctl("add-flow", "br0", "priority=6,in_port=1,actions=normal")
    out = ofctl("--no-stats", "dump-flows", "br0")
    assert "priority=5,ip,nw_src=10.0.0.0/8 actions=output:2" in out
    assert "priority=6,in_port=1 actions=NORMAL" in out
    ofctl("mod-flows", "br0", "ip,nw_src=10.0.0.0/8,actions=output:3")
    assert any("actions=output:3" in line for line in switch.flows())
    ofctl("--strict", "del-flows", "br0", "priority=5,ip,nw_src=10.0.0.0/8")
    # Up to OpenFlow 1.1 every addition resets counters.
    flag = "reset_counts " if version <= 11 else ""
    assert switch.flows() == [f"{flag}priority=6,in_port=1 actions=NORMAL"]
    ofctl("del-flows", "br0")
    assert switch.flows() == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_cookie_is_changed_by_a_modify_in_openflow_10_alone(
    switch: RunningSwitch, version: int
) -> None:
    switch.ofctl("add-flow", "br0", "cookie=0x22,in_port=1,actions=1", version=13)
    switch.ofctl("mod-flows", "br0", "cookie=0x33,in_port=1,actions=4", version=version)
    expected = 0x33 if version == 10 else 0x22
    assert switch.flows() == [f"cookie={expected:#x}, in_port=1 actions=output:4"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_modify_of_nothing_adds_up_to_openflow_11(switch: RunningSwitch, version: int) -> None:
    switch.ofctl("mod-flows", "br0", "in_port=1,actions=4", version=version)
    switch.ofctl("--strict", "mod-flows", "br0", "in_port=2,actions=4", version=version)
    assert len(switch.flows()) == (2 if version <= 11 else 0)


def test_a_modify_that_looks_for_a_cookie_changes_those_flows_alone(
    switch: RunningSwitch,
) -> None:
    for version in (10, 13):
        switch.ofctl("del-flows", "br0")
        switch.ofctl("add-flow", "br0", "cookie=1,in_port=1,actions=1", version=version)
        switch.ofctl("add-flow", "br0", "cookie=2,in_port=2,actions=1", version=version)
        switch.ofctl("mod-flows", "br0", "cookie=2/-1,actions=9", version=version)
        flows = "\n".join(switch.flows())
        assert "in_port=1 actions=output:1" in flows and "in_port=2 actions=output:9" in flows


def test_deletes_filter_by_cookie_table_and_output(switch: RunningSwitch) -> None:
    for n, actions in enumerate(("1", "2", "local", "controller", "write_actions(output:2)")):
        flow = f"cookie={n},table={n},actions={actions}"
        switch.ofctl("add-flow", "br0", flow)

    def left(what: str) -> int:
        switch.ofctl("del-flows", "br0", what)
        return len(switch.flows())

    assert left("out_port=7") == 5
    assert left("out_port=2") == 3
    assert left("table=2,out_port=1") == 3
    assert left("out_port=local") == 2
    assert left("cookie=0/-1") == 1
    assert left("out_group=1") == 1
    assert left("table=2") == 1
    assert left("table=3") == 0


def test_overlap_is_refused_only_where_it_is_asked_and_real(switch: RunningSwitch) -> None:
    switch.ofctl("add-flow", "br0", "priority=5,in_port=1,actions=1")
    switch.ofctl("add-flow", "br0", "check_overlap,priority=6,actions=2")
    switch.ofctl("add-flow", "br0", "check_overlap,priority=5,in_port=2,actions=2")
    switch.ofctl("add-flow", "br0", "check_overlap,priority=5,in_port=1,actions=2")
    error = switch.ofctl("add-flow", "br0", "check_overlap,priority=5,actions=2", check=False)
    assert "OFPFMFC_OVERLAP" in error and "ADD priority=5 check_overlap actions=output:2" in error
    assert len(switch.flows()) == 3


@pytest.mark.parametrize("version", VERSIONS)
def test_the_switchs_own_table_is_not_for_controllers(switch: RunningSwitch, version: int) -> None:
    for command, argument in (
        ("add-flow", "table=254,actions=1"),
        ("mod-flows", "table=254,actions=1"),
        ("del-flows", "table=254"),
    ):
        out = switch.ofctl(command, "br0", argument, version=version, check=False)
        assert "OFPBRC_EPERM" in out
    switch.ofctl("add-flow", "br0", "table=253,actions=1", version=version)
    assert len(switch.flows()) == 1


def test_a_full_table_refuses_or_evicts(tmp_path: Path) -> None:
    from gossamer.switch.config import FlowTableConfig

    running = RunningSwitch(tmp_path)
    limited = FlowTableConfig("small", flow_limit=2)
    running.apply(bridge(flow_tables={1: limited}))
    for n in (1, 2, 2):
        running.ofctl("add-flow", "br0", f"table=1,in_port={n},idle_timeout={n * 100},actions=1")
    out = running.ofctl("add-flow", "br0", "table=1,in_port=3,actions=1", check=False)
    assert "OFPFMFC_TABLE_FULL" in out
    evicting = FlowTableConfig("small", flow_limit=2, evict_when_full=True)
    running.apply(bridge(flow_tables={1: evicting}))
    running.ofctl("add-flow", "br0", "table=1,in_port=3,actions=1")
    assert [f for f in running.flows() if "in_port=1" in f] == []
    assert '"small"' in running.ofctl("dump-tables", "br0", version=12)
    running.stop()


def test_a_datapath_that_is_full_refuses_just_the_flows_that_do_not_fit(tmp_path: Path) -> None:
    running = RunningSwitch(tmp_path, FakeDatapath(max_flows=3))
    running.apply()
    lines = "".join(f"in_port={n},actions=1\n" for n in range(1, 6))
    out = running.ofctl("add-flows", "br0", "-", stdin=lines, check=False)
    assert "OFPFMFC_TABLE_FULL" in out
    running.ofctl("del-flows", "br0", "in_port=1")
    running.ofctl("add-flow", "br0", "in_port=9,actions=1")
    assert len(running.flows()) == 3
    out = running.ofctl("--bundle", "add-flows", "br0", "-", stdin=lines, version=14, check=False)
    assert "OFPBFC_MSG_FAILED" in out and len(running.flows()) == 3
    running.stop()


def test_a_replaced_flow_counts_on_unless_a_reset_is_asked_for(switch: RunningSwitch) -> None:
    datapath = switch.datapath

    def packets() -> str:
        return switch.ofctl("dump-aggregate", "br0").split("packet_count=")[1].split()[0]

    def add(text: str, version: int) -> None:
        switch.ofctl("add-flow", "br0", text, version=version)

    def use() -> None:
        flow = next(iter(switch.switch.bridges["br0"].tables))
        switch.call(lambda: datapath.count(flow, 5, 500, flow.created_s))

    add("in_port=1,actions=1", 13)
    use()
    assert packets() == "5"
    add("in_port=1,actions=2", 13)
    assert packets() == "5"
    switch.ofctl("mod-flows", "br0", "in_port=1,actions=3")
    assert packets() == "5"
    switch.ofctl("mod-flows", "br0", "reset_counts,in_port=1,actions=3")
    assert packets() == "0"
    use()
    add("reset_counts,in_port=1,actions=2", 13)
    assert packets() == "0"
    use()
    add("in_port=1,actions=2", 10)
    assert packets() == "0"


def test_files_of_flows_are_replaced_and_compared(switch: RunningSwitch, tmp_path: Path) -> None:
    flows = tmp_path / "flows"
    flows.write_text("in_port=1,actions=9\nin_port=9,actions=1\ntable=7,tcp,actions=drop\n")
    switch.ofctl("add-flows", "br0", "-", stdin="in_port=1,actions=8\nin_port=2,actions=8\n")
    diff = switch.ofctl("diff-flows", "br0", str(flows), check=False).splitlines()
    assert sorted(diff) == [
        "+in_port=1 actions=output:9",
        "+in_port=9 actions=output:1",
        "+table=7 tcp actions=drop",
        "-in_port=1 actions=output:8",
        "-in_port=2 actions=output:8",
    ]
    switch.ofctl("replace-flows", "br0", str(flows))
    assert switch.ofctl("diff-flows", "br0", str(flows)) == ""
    assert len(switch.flows()) == 3


def test_many_flows_arrive_and_are_dumped_in_pieces(switch: RunningSwitch) -> None:
    lines = "".join(f"priority={1 + n % 7},ip,nw_dst=10.0.{n >> 8}.{n & 255},actions=1\n"
                    for n in range(5000))  # fmt: skip
    switch.ofctl("--bundle", "add-flows", "br0", "-", stdin=lines, version=14)
    assert len(switch.flows()) == 5000
    assert "flow_count=5000" in switch.ofctl("dump-aggregate", "br0")
    assert "flow_count=1" in switch.ofctl("dump-aggregate", "br0", "ip,nw_dst=10.0.1.1")
    assert switch.datapath.transactions < 20
    switch.ofctl("del-flows", "br0")
    assert not switch.datapath.bridges[1].flows
