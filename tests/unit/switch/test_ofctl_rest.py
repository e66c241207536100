"""All that ovs-ofctl does beside flows: descriptions, ports, bundles, monitors, packet-outs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_switch import RunningSwitch, Watching, bridge
from tests.system.world import until

from gossamer.datapath.settings import PortStatistics
from gossamer.devices.counters import DeviceErrors
from gossamer.openflow.message import PacketInFormat
from gossamer.pipeline.fields import put_slot
from gossamer.pipeline.world import Fragments
from gossamer.switch.world import world_of

VERSIONS = (10, 11, 12, 13, 14, 15)
PACKET = "112233445566aabbccddeeff0800"


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[RunningSwitch]:
    running = RunningSwitch(tmp_path)
    running.apply(bridge(dp_desc="a test"))
    yield running
    running.stop()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_switch_describes_itself_and_its_ports(switch: RunningSwitch, version: int) -> None:
    out = switch.ofctl("show", "br0", version=version)
    assert "dpid:0000000000000001" in out and "n_tables:254, n_buffers:0" in out
    assert "1(v1): addr:00:00:00:00:00:01" in out and "LOCAL(br0)" in out
    assert "current:    10GB-FD COPPER" in out
    out = switch.ofctl("dump-desc", "br0", version=version)
    assert "Manufacturer: Gossamer" in out and "DP Description: a test" in out
    switch.ofctl("probe", "br0", version=version)
    assert "bytes from br0" in switch.ofctl("ping", "br0", version=version)
    assert "table 0:" in switch.ofctl("dump-tables", "br0", version=version)


@pytest.mark.parametrize("version", VERSIONS)
def test_tables_see_of_fragments_what_is_asked_for(switch: RunningSwitch, version: int) -> None:
    def handling() -> list[object]:
        shown = switch.ofctl("get-frags", "br0", version=version).strip()
        (there,) = switch.datapath.bridges.values()
        view = switch.call(lambda: world_of(switch.switch).bridges["br0"].fragments)
        return [shown, there.fragments, view]

    assert handling() == ["normal", Fragments.NORMAL, Fragments.NORMAL]
    for name, value in (("drop", Fragments.DROP), ("nx-match", Fragments.NX_MATCH)):
        switch.ofctl("set-frags", "br0", name, version=version)
        assert handling() == [name, value, value]
    refused = switch.ofctl("set-frags", "br0", "reassemble", version=version, check=False)
    assert "setting fragment handling mode failed" in refused
    assert handling() == ["nx-match", Fragments.NX_MATCH, Fragments.NX_MATCH]


def test_what_tables_see_of_fragments_survives_the_daemon(tmp_path: Path) -> None:
    first = RunningSwitch(tmp_path)
    first.apply()
    first.ofctl("set-frags", "br0", "nx-match")
    first.kill()
    second = RunningSwitch(tmp_path, first.datapath)
    second.apply()
    assert second.ofctl("get-frags", "br0").strip() == "nx-match"
    second.stop()


@pytest.mark.parametrize("version", VERSIONS)
def test_port_counters_are_shown(switch: RunningSwitch, version: int) -> None:
    port = switch.switch.bridges["br0"].ports.ports["v2"]
    counters = PortStatistics(1, 22, 3, 4, 55, 6)
    switch.call(lambda: switch.datapath.port_counters.update({port.port_id: counters}))
    assert port.link is not None
    switch.devices.wire_errors[port.link.ifindex] = DeviceErrors(7, 8, 9, 10, 11, 12, 13)
    out = switch.ofctl("dump-ports", "br0", "2", version=version)
    assert "port  2: rx pkts=1, bytes=22, drop=3, errs=7, frame=12, over=10, crc=11" in out
    assert "tx pkts=4, bytes=55, drop=6, errs=8, coll=9" in out
    (told,) = switch.call(lambda: list(switch.switch.read_statistics()))
    assert told["v2"] == {
        "rx_packets": 1, "rx_bytes": 22, "rx_dropped": 3, "rx_errors": 7, "rx_frame_err": 12,
        "rx_over_err": 10, "rx_crc_err": 11, "rx_missed_errors": 13,
        "tx_packets": 4, "tx_bytes": 55, "tx_dropped": 6, "tx_errors": 8, "collisions": 9,
    }  # fmt: skip
    assert "1 ports" in out
    assert "0 ports" in switch.ofctl("dump-ports", "br0", "77", version=version)
    assert "4 ports" in switch.ofctl("dump-ports", "br0", version=version)


@pytest.mark.parametrize("version", VERSIONS)
def test_port_mods_reach_datapath_and_device(switch: RunningSwitch, version: int) -> None:
    flooding = version == 10
    switch.ofctl("mod-port", "br0", "v1", "no-forward", version=version)
    switch.ofctl("mod-port", "br0", "v1", "no-packet-in", version=version)
    switch.ofctl("mod-port", "br0", "v1", "down", version=version)
    if flooding:
        switch.ofctl("mod-port", "br0", "v1", "no-flood", version=version)
    settings = switch.datapath.port_named("v1")
    assert not (settings.forward or settings.packet_in or settings.up)
    assert settings.flood is not flooding
    assert not switch.devices.links["v1"].admin_up
    assert "PORT_DOWN" in switch.ofctl("show", "br0", version=version)


def test_a_port_has_no_queues_of_its_own(switch: RunningSwitch) -> None:
    assert "0 queues" in switch.ofctl("queue-stats", "br0")
    assert "BAD_PORT" in switch.ofctl("queue-stats", "br0", "77", check=False)
    assert "BAD_QUEUE" in switch.ofctl("queue-stats", "br0", "ALL", "5", check=False)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_bundle_takes_effect_whole_or_not_at_all(switch: RunningSwitch, version: int) -> None:
    switch.ofctl("del-flows", "br0")
    good = (
        "in_port=1,actions=2\nin_port=2,actions=1\ndelete in_port=1\nmodify in_port=2,actions=5\n"
    )
    switch.ofctl("--bundle", "add-flows", "br0", "-", stdin=good, version=max(version, 13))
    assert switch.flows() == ["in_port=2 actions=output:5"]
    before = switch.datapath.transactions
    bad = (
        "in_port=3,actions=7\ndelete\ncheck_overlap,in_port=9,actions=1\ncheck_overlap,actions=1\n"
    )
    out = switch.ofctl(
        "--bundle", "add-flows", "br0", "-", stdin=bad, version=max(version, 13), check=False
    )
    assert "Error OFPFMFC_OVERLAP for: OFPT_FLOW_MOD" in out
    assert "Error OFPBFC_MSG_FAILED for: " in out
    assert switch.flows() == ["in_port=2 actions=output:5"]
    assert switch.datapath.transactions == before


def test_a_bundle_may_hold_packet_outs(switch: RunningSwitch) -> None:
    text = (
        "flow add in_port=4,actions=5\n"
        f"packet-out in_port=1,packet={PACKET},actions=output:2\n"
        "flow delete in_port=9\n"
    )
    switch.ofctl("bundle", "br0", "-", stdin=text, version=14)
    assert "in_port=4 actions=output:5" in switch.flows()
    port_id = switch.switch.bridges["br0"].ports.ports["v2"].port_id
    assert switch.datapath.packets.sent == [(port_id, bytes.fromhex(PACKET))]


def test_stale_bundles_are_forgotten_and_wrong_ones_refused(switch: RunningSwitch) -> None:
    from gossamer.switch import bundle as bundle_module
    from gossamer.switch.session import Session

    session = Session(switch.switch.bridges["br0"], service=True)
    bundles = bundle_module.Bundles(session)
    bundles._open(1, 3)
    bundles.run(time.monotonic() + 5)
    assert bundles._open_one(1, 3)
    bundles.run(time.monotonic() + bundle_module.IDLE_S + 1)
    with pytest.raises(Exception, match="BUNDLE_FAILED_BAD_ID"):
        bundles._open_one(1, 3)


@pytest.mark.parametrize("version", VERSIONS)
def test_packet_outs_leave_by_the_ports_their_actions_name(
    switch: RunningSwitch, version: int
) -> None:
    def sent(actions: str, in_port: str = "local") -> list[str]:
        switch.call(switch.datapath.packets.sent.clear)
        packet = f"in_port={in_port},packet={PACKET},actions={actions}"
        switch.ofctl("packet-out", "br0", packet, version=version)
        names = {p.port_id: n for n, p in switch.switch.bridges["br0"].ports.ports.items()}
        return sorted(names[port_id] for port_id, _ in switch.datapath.packets.sent)

    assert sent("output:2") == ["v2"], "by a port that is down"
    switch.call(lambda: switch.devices.change("br0", admin_up=True))
    until(lambda: switch.switch.bridges["br0"].ports.ports["br0"].admin_up)
    assert sent("output:2") == ["v2"]
    assert sent("all") == ["v1", "v2", "v3"]
    assert sent("normal") == ["v1", "v2", "v3"]
    assert sent("normal", "1") == ["br0", "v2", "v3"]
    switch.ofctl("mod-port", "br0", "v3", "no-forward", version=version)
    assert sent("all", "1") == ["br0", "v2"]
    switch.ofctl("add-flow", "br0", "priority=9,in_port=2,actions=output:1", version=version)
    assert sent("table", "2") == ["v1"]
    assert sent("drop") == []


def test_a_controller_action_in_a_packet_out_comes_back_as_a_packet_in(
    switch: RunningSwitch,
) -> None:
    with Watching(switch, "monitor", "br0", "65534") as monitor:
        assert until(lambda: switch.sessions())
        packet = f"in_port=2,packet={PACKET},actions=controller"
        assert until(lambda: any(s.feed.miss_send_len for s in switch.sessions()))
        switch.ofctl("packet-out", "br0", packet)
        assert monitor.shows(r"OFPT_PACKET_IN .*total_len=14 in_port=2 \(via packet_out|action\)")


@pytest.mark.parametrize("packet_in_format", ["nxt_packet_in2", "standard"])
def test_punts_become_packet_ins_with_the_flows_cookie(
    switch: RunningSwitch, packet_in_format: str
) -> None:
    from gossamer.datapath.settings import Punt

    switch.ofctl("add-flow", "br0", "table=3,cookie=0xabc,priority=7,in_port=2,actions=controller")
    flow = next(f for f in switch.switch.bridges["br0"].tables if f.table_id == 3)
    key = put_slot(put_slot(0, "in_port", 2), "reg3", 0x55)
    punt = Punt(1, 1, 1, 0, 3, flow.flow_id, 0, 10, 14, key, bytes.fromhex(PACKET)[:10])
    wanted = PacketInFormat[packet_in_format.upper()]
    with Watching(switch, "-P", packet_in_format, "monitor", "br0", "65534") as monitor:
        # It asks for the format and for packets in one message each.
        assert until(
            lambda: any(
                s.feed.miss_send_len and s.feed.packet_in_format is wanted
                for s in switch.sessions()
            )
        )
        switch.call(lambda: switch.datapath.packets.punts.append(punt))
        assert monitor.shows(r"table_id=3 cookie=0xabc total_len=14 reg3=0x55,in_port=2"), (
            monitor.seen
        )
        assert "(via action) data_len=10" in monitor.seen


@pytest.mark.parametrize("version", [10, 14, 15])
def test_flow_monitors_see_what_others_change(switch: RunningSwitch, version: int) -> None:
    switch.ofctl("del-flows", "br0")
    switch.ofctl("add-flow", "br0", "in_port=9,actions=1")
    with Watching(switch, "monitor", "br0", "watch:", version=version) as monitor:
        assert monitor.shows("in_port=9 actions=output:1"), monitor.seen
        switch.ofctl("add-flow", "br0", "in_port=1,cookie=5,actions=2")
        assert monitor.shows(r"event=ADDED table=0 cookie=0x5 in_port=1 actions=output:2")
        switch.ofctl("mod-flows", "br0", "in_port=1,actions=3")
        assert monitor.shows(r"event=MODIFIED table=0 cookie=0x5 in_port=1 actions=output:3")
        switch.ofctl("del-flows", "br0", "in_port=1")
        assert monitor.shows(r"event=DELETED reason=delete table=0 cookie=0x5 in_port=1")


def test_expired_flows_are_told_to_those_who_asked(switch: RunningSwitch) -> None:
    with Watching(switch, "monitor", "br0", "65534") as monitor:
        assert until(lambda: any(s.feed.miss_send_len for s in switch.sessions()))
        switch.ofctl("add-flow", "br0", "in_port=1,cookie=7,hard_timeout=1,send_flow_rem,actions=2")
        switch.ofctl("add-flow", "br0", "in_port=2,hard_timeout=1,actions=2")
        assert monitor.shows(r"OFPT_FLOW_REMOVED .*in_port=1 reason=hard table_id=0 cookie:0x7")
        assert "in_port=2" not in monitor.seen
    assert until(lambda: not any("in_port" in flow for flow in switch.flows()))


def test_ports_that_come_and_go_are_told(switch: RunningSwitch) -> None:
    with Watching(switch, "monitor", "br0", "65534") as monitor:
        assert until(lambda: any(s.feed.miss_send_len for s in switch.sessions()))
        switch.call(lambda: switch.devices.vanish("v3"))
        assert monitor.shows(r"OFPT_PORT_STATUS .*DEL: 3\(v3\)")
        switch.call(lambda: switch.devices.appear("v3", "00:00:00:00:00:03"))
        assert monitor.shows(r"ADD: 3\(v3\)")
        switch.ofctl("mod-port", "br0", "v2", "no-forward")
        assert monitor.shows(r"MOD: 2\(v2\).*\n +config: +NO_FWD")


def test_a_packet_out_through_the_tables_counts_learns_and_passes_groups(
    switch: RunningSwitch,
) -> None:
    switch.ofctl("del-flows", "br0")
    switch.ofctl("add-group", "br0", "group_id=1,type=all,bucket=output:2,bucket=output:3")
    switch.ofctl("add-flow", "br0", "in_port=1,actions=learn(table=4,NXM_OF_ETH_DST[]="
                 "NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),group:1")  # fmt: skip
    switch.datapath.packets.sent.clear()
    switch.ofctl("packet-out", "br0", f"in_port=1,packet={PACKET},actions=table")
    assert len(switch.datapath.packets.sent) == 2
    out = switch.ofctl("dump-flows", "br0", "table=0")
    assert "n_packets=1, n_bytes=14," in out
    assert any("table=4" in flow and "actions=output:1" in flow for flow in switch.flows())
    assert "packet_count=1 byte_count=14" in switch.ofctl("dump-aggregate", "br0", "table=0")
