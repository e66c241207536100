"""Groups through the real ovs-ofctl.

What is expected here is what Open vSwitch 3.1 answered to the same commands,
but for loops, which it does not look for.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fake_datapath import FakeDatapath
from running_switch import RunningSwitch

from gossamer.errors import DatapathError, UnsupportedActionError
from gossamer.pipeline.group import Group

VERSIONS = (10, 11, 12, 13, 14, 15)


def groups(switch: RunningSwitch) -> dict[int, Group]:
    return switch.datapath.bridges[1].groups


def dumped(switch: RunningSwitch, version: int = 15) -> list[str]:
    out = switch.ofctl("dump-groups", "br0", version=version)
    return [line.strip() for line in out.splitlines()[1:]]


def refusal(switch: RunningSwitch, *argv: str, version: int = 15) -> str:
    out = switch.ofctl(*argv, version=version, check=False)
    found = re.search(r"OFPT_ERROR.*?: (OFP\w+)", out)
    assert found, out
    return found[1]


@pytest.mark.parametrize("version", VERSIONS)
def test_groups_are_added_shown_changed_and_deleted(switch: RunningSwitch, version: int) -> None:
    switch.ofctl("add-group", "br0", "group_id=1,type=all,bucket=output:1,bucket=output:2",
                 version=version)  # fmt: skip
    assert dumped(switch, 13) == [
        "group_id=1,type=all,bucket=actions=output:1,bucket=actions=output:2"
    ]
    switch.ofctl("mod-group", "br0", "group_id=1,type=indirect,bucket=output:3", version=version)
    assert dumped(switch, 13) == ["group_id=1,type=indirect,bucket=actions=output:3"]
    assert len(groups(switch)[1].buckets) == 1
    switch.ofctl("--may-create", "mod-group", "br0", "group_id=2,type=select,bucket=output:3")
    assert set(groups(switch)) == {1, 2}
    switch.ofctl("del-groups", "br0", "group_id=1", version=version)
    assert set(groups(switch)) == {2}
    switch.ofctl("del-groups", "br0", version=version)
    assert groups(switch) == {} and dumped(switch) == []


def test_the_errors_are_those_of_the_specification(switch: RunningSwitch) -> None:
    switch.ofctl("add-group", "br0", "group_id=1,type=all,bucket=output:1")
    again = "group_id=1,type=all,bucket=output:2"
    assert refusal(switch, "add-group", "br0", again) == "OFPGMFC_GROUP_EXISTS"
    assert refusal(switch, "mod-group", "br0", "group_id=9,type=all") == "OFPGMFC_UNKNOWN_GROUP"
    own = "group_id=3,type=all,bucket=group:3"
    assert refusal(switch, "add-group", "br0", own) == "OFPGMFC_LOOP"
    assert refusal(switch, "add-flow", "br0", "actions=group:55") == "OFPBAC_BAD_OUT_GROUP"
    assert refusal(switch, "mod-flows", "br0", "actions=group:55", version=11) == (
        "OFPBAC_BAD_OUT_GROUP"
    )
    unknown = "group_id=9,command_bucket_id=last,bucket=output:1"
    assert refusal(switch, "insert-buckets", "br0", unknown) == "OFPGMFC_UNKNOWN_GROUP"
    assert dumped(switch) == ["group_id=1,type=all,bucket=bucket_id:0,actions=output:1"]


def test_a_loop_over_several_groups_is_refused_whichever_closes_it(switch: RunningSwitch) -> None:
    switch.ofctl("add-group", "br0", "group_id=1,type=all,bucket=group:2")
    switch.ofctl("add-group", "br0", "group_id=2,type=all,bucket=group:3,bucket=output:1")
    closing = "group_id=3,type=all,bucket=output:1,bucket=group:1"
    assert refusal(switch, "add-group", "br0", closing) == "OFPGMFC_LOOP"
    switch.ofctl("add-group", "br0", "group_id=3,type=all,bucket=output:1")
    insertion = "group_id=3,command_bucket_id=last,bucket=bucket_id:7,group:1"
    assert refusal(switch, "insert-buckets", "br0", insertion) == "OFPGMFC_LOOP"
    assert len(groups(switch)[3].buckets) == 1


def test_buckets_are_inserted_and_removed_one_by_one(switch: RunningSwitch) -> None:
    def insert(where: str, bucket_id: int) -> None:
        switch.ofctl("insert-buckets", "br0",
                     f"group_id=1,command_bucket_id={where},bucket=bucket_id:{bucket_id},output:1",
                     version=15)  # fmt: skip

    def ids() -> list[int]:
        return [bucket.bucket_id for bucket in groups(switch)[1].buckets]

    switch.ofctl("add-group", "br0", "group_id=1,type=all", version=15)
    insert("last", 10)
    insert("first", 11)
    insert("11", 12)
    insert("last", 13)
    assert ids() == [11, 12, 10, 13]
    twice = "group_id=1,command_bucket_id=last,bucket=bucket_id:12,output:1"
    assert refusal(switch, "insert-buckets", "br0", twice) == "OFPGMFC_BUCKET_EXISTS"
    nowhere = "group_id=1,command_bucket_id=99,bucket=bucket_id:1,output:1"
    assert refusal(switch, "insert-buckets", "br0", nowhere) == "OFPGMFC_UNKNOWN_BUCKET"
    remove = "group_id=1,command_bucket_id="
    assert refusal(switch, "remove-buckets", "br0", f"{remove}99") == "OFPGMFC_UNKNOWN_BUCKET"
    switch.ofctl("remove-buckets", "br0", f"{remove}12", version=15)
    assert ids() == [11, 10, 13]
    switch.ofctl("remove-buckets", "br0", f"{remove}first", version=15)
    switch.ofctl("remove-buckets", "br0", f"{remove}last", version=15)
    assert ids() == [10]
    switch.ofctl("remove-buckets", "br0", f"{remove}all", version=15)
    assert dumped(switch) == ["group_id=1,type=all"]


def test_a_group_takes_the_flows_that_send_to_it_along(switch: RunningSwitch) -> None:
    for n in (1, 2):
        switch.ofctl("add-group", "br0", f"group_id={n},type=all,bucket=output:{n}")
    switch.ofctl("add-flow", "br0", "in_port=1,actions=group:1")
    switch.ofctl("add-flow", "br0", "table=3,in_port=2,actions=write_actions(group:1)")
    switch.ofctl("add-flow", "br0", "in_port=3,actions=group:2")
    out = switch.ofctl("dump-flows", "br0", "out_group=1")
    assert out.count("actions=") == 2 and "group:2" not in out
    switch.ofctl("del-groups", "br0", "group_id=1")
    assert switch.flows() == ["in_port=3 actions=group:2"]
    switch.ofctl("del-flows", "br0", "out_group=2")
    assert switch.flows() == []
    assert len(switch.datapath.bridges[1].flows) == 0


def test_a_modified_flow_refers_to_its_new_group_alone(switch: RunningSwitch) -> None:
    for n in (1, 2):
        switch.ofctl("add-group", "br0", f"group_id={n},type=all,bucket=output:{n}")
    switch.ofctl("add-flow", "br0", "in_port=1,actions=group:1")
    switch.ofctl("mod-flows", "br0", "in_port=1,actions=group:2")
    switch.ofctl("del-groups", "br0", "group_id=1")
    assert switch.flows() == ["in_port=1 actions=group:2"]
    switch.ofctl("del-groups", "br0", "group_id=2")
    assert switch.flows() == []


@pytest.mark.parametrize("version", [10, 11, 13, 15])
def test_statistics_count_references_and_buckets(switch: RunningSwitch, version: int) -> None:
    switch.ofctl("add-group", "br0", "group_id=1,type=all,bucket=output:1,bucket=output:2")
    switch.ofctl("add-group", "br0", "group_id=2,type=all,bucket=group:1")
    switch.ofctl("add-flow", "br0", "in_port=1,actions=group:1")
    out = switch.ofctl("dump-group-stats", "br0", "group_id=1", version=version)
    assert "group_id=1" in out and "group_id=2" not in out
    assert "ref_count=2,packet_count=14,byte_count=1400" in out
    assert "bucket1:packet_count=7,byte_count=700" in out
    assert "group_id=2" in switch.ofctl("dump-group-stats", "br0", version=version)
    assert "group_id" not in switch.ofctl("dump-group-stats", "br0", "group_id=7", version=version)


def test_features_tell_the_four_types(switch: RunningSwitch) -> None:
    out = switch.ofctl("dump-group-features", "br0")
    assert "Types:  0xf" in out and "Capabilities:  0xf" in out
    assert out.count("max_groups=0x10000") == 4


def test_a_select_group_keeps_its_method(switch: RunningSwitch) -> None:
    switch.ofctl("add-group", "br0", "group_id=1,type=select,selection_method=hash,"
                 "fields(ip_src=255.255.0.0,tcp_src),bucket=weight:3,output:1", version=15)  # fmt: skip
    shown = dumped(switch)[0]
    assert "selection_method=hash" in shown and "ip_src=255.255.0.0" in shown
    assert "tcp_src" in shown and "weight:3" in shown


def test_a_group_the_datapath_has_no_room_for_is_refused_alone(switch: RunningSwitch) -> None:
    switch.datapath.max_groups = 2
    many = "\n".join(f"group_id={n},type=all,bucket=output:1" for n in (1, 2, 3))
    out = switch.ofctl("add-groups", "br0", "-", stdin=many, check=False)
    assert "OFPGMFC_OUT_OF_GROUPS" in out
    assert set(groups(switch)) == {1, 2} and len(dumped(switch)) == 2


def test_a_bundle_of_groups_and_flows_is_one_transaction(switch: RunningSwitch) -> None:
    switch.ofctl("add-group", "br0", "group_id=9,type=all,bucket=output:1")
    before = switch.datapath.transactions
    good = "group group_id=1,type=all,bucket=output:1\nflow in_port=1,actions=group:1\n"
    switch.ofctl("bundle", "br0", "-", stdin=good, version=14)
    assert switch.datapath.transactions == before + 1
    assert set(groups(switch)) == {1, 9} and switch.flows() == ["in_port=1 actions=group:1"]
    bad = "group delete\ngroup group_id=2,type=all\nflow in_port=2,actions=group:77\n"
    out = switch.ofctl("bundle", "br0", "-", stdin=bad, version=14, check=False)
    assert "BAD_OUT_GROUP" in out
    assert switch.datapath.transactions == before + 1
    assert set(groups(switch)) == {1, 9} and switch.flows() == ["in_port=1 actions=group:1"]


def test_a_bundle_the_datapath_refuses_leaves_groups_as_they_were(
    switch: RunningSwitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch.ofctl("add-group", "br0", "group_id=1,type=all,bucket=output:1")
    old = groups(switch)[1]

    def refuse(*_: object) -> None:
        raise DatapathError("full")

    monkeypatch.setattr(switch.datapath, "insert_flows", refuse)
    changes = (
        "group modify group_id=1,type=all,bucket=output:3\n"
        "group add group_id=2,type=all,bucket=output:1\n"
        "flow in_port=1,actions=group:2\n"
    )
    out = switch.ofctl("bundle", "br0", "-", stdin=changes, version=14, check=False)
    assert "MSG_FAILED" in out
    assert groups(switch) == {1: old}
    assert dumped(switch, 13) == ["group_id=1,type=all,bucket=actions=output:1"]


def test_groups_and_meters_survive_sigkill(tmp_path: Path) -> None:
    first = RunningSwitch(tmp_path)
    first.apply()
    first.ofctl("add-group", "br0", "group_id=1,type=all,bucket=output:1")
    first.ofctl("add-group", "br0", "group_id=2,type=ff,bucket=watch_port:1,output:1")
    first.ofctl("add-meter", "br0", "meter=5,kbps,band=type=drop,rate=1000")
    first.ofctl("add-flow", "br0", "in_port=1,actions=meter:5,group:1")
    first.ofctl("mod-group", "br0", "group_id=1,type=all,bucket=output:3")
    first.ofctl("add-group", "br0", "group_id=3,type=all")
    first.ofctl("del-groups", "br0", "group_id=3")
    first.kill()
    datapath = FakeDatapath()
    second = RunningSwitch(tmp_path, datapath)
    second.apply()
    assert dumped(second, 13) == [
        "group_id=1,type=all,bucket=actions=output:3",
        "group_id=2,type=ff,bucket=watch_port:1,actions=output:1",
    ]
    assert set(datapath.bridges[1].groups) == {1, 2} and set(datapath.bridges[1].meters) == {5}
    assert "in_port=1 actions=meter:5,group:1" in second.flows()
    second.stop()


def test_a_snapshot_holds_groups_and_meters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gossamer.switch.journal.MIN_COMPACTION_BYTES", 1000)
    first = RunningSwitch(tmp_path)
    first.apply()
    first.ofctl("add-meter", "br0", "meter=5,kbps,band=type=drop,rate=1000")
    first.ofctl("add-group", "br0", "group_id=1,type=all,bucket=output:1")
    for _ in range(3):
        lines = "\n".join("group_id=1,type=all,bucket=output:1" for _ in range(60))
        first.ofctl("--bundle", "mod-group", "br0", "-", stdin=lines, version=14)
    journal = first.switch.bridges["br0"].rules.journal
    assert first.call(lambda: journal.path.stat().st_size) < 20_000
    first.kill()
    second = RunningSwitch(tmp_path)
    second.apply()
    assert dumped(second, 13) == ["group_id=1,type=all,bucket=actions=output:1"]
    assert "meter=5" in second.ofctl("dump-meters", "br0")
    second.stop()


def test_an_action_the_datapath_does_not_have_is_a_bad_action(
    switch: RunningSwitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UnsupportedActionError("there is no such action")

    monkeypatch.setattr(switch.datapath, "insert_flows", refuse)
    assert refusal(switch, "add-flow", "br0", "actions=output:2") == "OFPBAC_BAD_TYPE"
    assert switch.flows() == []
