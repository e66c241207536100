"""What controllers choose for tables, and what they hear of them and of each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from running_switch import RunningSwitch, Watching, bridge
from tests.system.world import until

from gossamer.switch.config import FlowTableConfig


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[RunningSwitch]:
    running = RunningSwitch(tmp_path)
    running.apply()
    yield running
    running.stop()


@pytest.mark.parametrize("version", [14, 15])
def test_a_table_tells_when_it_fills_up_and_when_it_has_room_again(
    switch: RunningSwitch, version: int
) -> None:
    switch.apply(bridge(flow_tables={7: FlowTableConfig(flow_limit=10)}))
    switch.ofctl("del-flows", "br0")
    switch.ofctl("mod-table", "br0", "7", "vacancy:20,80", version=14)
    shown = switch.ofctl("dump-table-desc", "br0", version=version)
    assert "vacancy=on vacancy_down=20% vacancy_up=80% vacancy=100%" in shown
    switch.ofctl("mod-table", "br0", "7", "evict", version=14)
    shown = switch.ofctl("dump-table-desc", "br0", version=version)
    assert "eviction=on eviction_flags=OTHER|IMPORTANCE|LIFETIME\n   vacancy=on" in shown
    with Watching(switch, "monitor", "br0", "65534", version=version) as monitor:
        sessions = switch.switch.bridges["br0"].controllers.sessions
        assert until(lambda: any(s.feed.miss_send_len for s in switch.sessions()))

        def listen() -> None:
            for session in sessions():
                session.feed.config = replace(session.feed.config, table_status=0b11000)

        switch.call(listen)
        for n in range(9):
            switch.ofctl("add-flow", "br0", f"table=7,in_port={n + 1},actions=drop")
        assert monitor.shows(r"OFPT_TABLE_STATUS .*reason=VACANCY_DOWN")
        switch.ofctl("del-flows", "br0", "table=7")
        assert monitor.shows(r"OFPT_TABLE_STATUS .*reason=VACANCY_UP")


def test_what_table_mods_chose_survives_a_restart(tmp_path: Path) -> None:
    first = RunningSwitch(tmp_path)
    first.apply()
    first.ofctl("mod-table", "br0", "3", "vacancy:20,80", version=14)
    first.ofctl("mod-table", "br0", "4", "evict", version=14)
    before = first.ofctl("dump-table-desc", "br0", version=14)
    first.kill()
    second = RunningSwitch(tmp_path)
    second.apply()
    assert second.ofctl("dump-table-desc", "br0", version=14) == before
    assert "vacancy_down=20%" in before and "eviction=on" in before
    second.stop()


def test_other_controllers_hear_of_group_and_meter_mods(switch: RunningSwitch) -> None:
    with Watching(switch, "monitor", "br0", "65534", version=14) as monitor:
        sessions = switch.switch.bridges["br0"].controllers.sessions
        assert until(lambda: any(s.feed.miss_send_len for s in switch.sessions()))

        def listen() -> None:
            for session in sessions():
                session.feed.config = replace(session.feed.config, requestforward=0b11)

        switch.call(listen)
        switch.ofctl("add-group", "br0", "group_id=1,type=all,bucket=output:2", version=13)
        assert monitor.shows(r"OFPT_REQUESTFORWARD .*reason=group_mod")
        switch.ofctl("add-meter", "br0", "meter=1,kbps,band=type=drop,rate=5", version=13)
        assert monitor.shows(r"OFPT_REQUESTFORWARD .*reason=meter_mod")


def test_a_packet_out_of_openflow_15_brings_metadata_along(switch: RunningSwitch) -> None:
    switch.ofctl("add-flow", "br0", "priority=9,metadata=0x55,reg3=7,actions=output:3")
    switch.call(switch.datapath.packets.sent.clear)
    packet = "in_port=1,metadata=0x55,reg3=7,packet=112233445566aabbccddeeff0800,actions=table"
    switch.ofctl("packet-out", "br0", packet, version=15)
    names = {p.port_id: n for n, p in switch.switch.bridges["br0"].ports.ports.items()}
    assert [names[port_id] for port_id, _ in switch.datapath.packets.sent] == ["v3"]


@pytest.mark.parametrize("version", [10, 13, 15])
def test_what_is_not_configured_is_told_and_connections_are_flushed(
    switch: RunningSwitch, version: int
) -> None:
    for command in ("dump-ipfix-bridge", "dump-ipfix-flow"):
        out = switch.ofctl(command, "br0", version=version, check=False)
        assert "NXST_NOT_CONFIGURED" in out, out
    for argv in (("ct-flush-zone", "br0", "5"), ("ct-flush", "br0"), ("ct-flush", "br0", "zone=3")):
        assert switch.ofctl(*argv, version=version) == ""
    switch.ofctl("show", "br0", version=version)  # whatever was sent before is done when it is answered
    assert switch.datapath.conntrack.flushed == [5, None, 3]
