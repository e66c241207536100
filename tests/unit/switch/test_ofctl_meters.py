"""Meters through the real ovs-ofctl; what is expected is what Open vSwitch 3.1 answered."""

from __future__ import annotations

import re

import pytest
from running_switch import RunningSwitch

from gossamer.pipeline.meter import Band, BandType, Meter, MeterFlag

VERSIONS = (13, 14, 15)
DROP = "band=type=drop,rate=1000"


def refusal(switch: RunningSwitch, *argv: str) -> str:
    out = switch.ofctl(*argv, check=False)
    found = re.search(r"OFPT_ERROR.*?: (OFP\w+)", out)
    assert found, out
    return found[1]


@pytest.mark.parametrize("version", VERSIONS)
def test_meters_are_added_shown_changed_and_deleted(switch: RunningSwitch, version: int) -> None:
    meters = switch.datapath.bridges[1].meters
    switch.ofctl("add-meter", "br0", f"meter=1,pktps,burst,stats,{DROP},burst_size=5",
                 version=version)  # fmt: skip
    assert meters[1] == Meter(
        1,
        MeterFlag.PKTPS | MeterFlag.BURST | MeterFlag.STATS,
        (Band(BandType.DROP, 1000, 5),),
    )
    switch.ofctl("mod-meter", "br0", "meter=1,kbps,band=type=dscp_remark,rate=7,prec_level=1",
                 version=version)  # fmt: skip
    assert meters[1].bands == (Band(BandType.DSCP_REMARK, 7, 0, 1),)
    out = switch.ofctl("dump-meters", "br0", "meter=1", version=version)
    assert "meter=1 kbps bands=\ntype=dscp_remark rate=7 prec_level=1" in out
    switch.ofctl("add-meter", "br0", f"meter=2,kbps,{DROP}", version=version)
    switch.ofctl("del-meters", "br0", "meter=1", version=version)
    assert set(meters) == {2}
    switch.ofctl("del-meters", "br0", version=version)
    assert not meters


def test_the_errors_are_those_of_the_specification(switch: RunningSwitch) -> None:
    switch.ofctl("add-meter", "br0", f"meter=1,kbps,{DROP}")
    again = f"meter=1,kbps,{DROP}"
    assert refusal(switch, "add-meter", "br0", again) == "OFPMMFC_METER_EXISTS"
    unknown = f"meter=2,kbps,{DROP}"
    assert refusal(switch, "mod-meter", "br0", unknown) == "OFPMMFC_UNKNOWN_METER"
    both = f"meter=3,kbps,pktps,{DROP}"
    assert refusal(switch, "add-meter", "br0", both) == "OFPMMFC_BAD_FLAGS"
    assert refusal(switch, "dump-meters", "br0", "meter=9") == "OFPMMFC_UNKNOWN_METER"
    assert refusal(switch, "meter-stats", "br0", "meter=9") == "OFPMMFC_UNKNOWN_METER"
    assert refusal(switch, "add-flow", "br0", "actions=meter:9,2") == "OFPMMFC_INVALID_METER"
    many = ",bands=" + ",".join(f"type=drop,rate={n}" for n in range(1, 10))
    assert refusal(switch, "add-meter", "br0", f"meter=4,kbps{many}") == "OFPMMFC_OUT_OF_BANDS"
    switch.datapath.max_groups = 1
    assert refusal(switch, "add-meter", "br0", unknown) == "OFPMMFC_OUT_OF_METERS"
    switch.ofctl("del-meters", "br0", "meter=77")  # one that is not there is no error


@pytest.mark.parametrize("version", VERSIONS)
def test_statistics_count_flows_and_bands(switch: RunningSwitch, version: int) -> None:
    switch.ofctl("add-meter", "br0", f"meter=1,kbps,{DROP},type=drop,rate=2000")
    switch.ofctl("add-flow", "br0", "in_port=1,actions=meter:1,2")
    switch.ofctl("add-flow", "br0", "in_port=2,actions=meter:1,2", version=version)
    out = switch.ofctl("meter-stats", "br0", "meter=1", version=version)
    assert "meter:1 flow_count:2 packet_in_count:9 byte_in_count:900" in out
    assert "1: packet_count:3 byte_count:300" in out


def test_features_tell_bands_and_limits(switch: RunningSwitch) -> None:
    out = switch.ofctl("meter-features", "br0")
    assert "max_meter:16384 max_bands:8" in out
    assert "band_types: drop dscp_remark" in out and "kbps pktps burst stats" in out


def test_a_meter_takes_the_flows_that_use_it_along(switch: RunningSwitch) -> None:
    switch.ofctl("add-meter", "br0", f"meter=1,kbps,{DROP}")
    switch.ofctl("add-flow", "br0", "in_port=1,actions=meter:1,2")
    switch.ofctl("add-flow", "br0", "in_port=2,actions=2")
    switch.ofctl("del-meters", "br0", "meter=1")
    assert switch.flows() == ["in_port=2 actions=output:2"]


def test_the_switchs_own_meters_can_be_set(switch: RunningSwitch) -> None:
    for name in ("slowpath", "controller"):
        switch.ofctl("add-meter", "br0", f"meter={name},pktps,{DROP}")
        assert f"meter={name} pktps" in switch.ofctl("dump-meters", "br0")


def send(switch: RunningSwitch, actions: str, number: int) -> None:
    """Packets at once: a process for each would take longer than a meter needs to fill."""
    packet = f"packet-out in_port=1,packet=112233445566aabbccddeeff0800,actions={actions}\n"
    switch.ofctl("bundle", "br0", "-", stdin=number * packet, version=14)


def test_the_controllers_meter_limits_packet_ins_and_counts_them(switch: RunningSwitch) -> None:
    switch.ofctl("add-meter", "br0", "meter=controller,pktps,burst,stats,band=type=drop,rate=1,"
                 "burst_size=2")  # fmt: skip
    assert not switch.datapath.bridges[1].meters
    send(switch, "controller", 5)
    out = switch.ofctl("meter-stats", "br0")
    found = re.search(r"meter:controller .*packet_in_count:5 byte_in_count:70.*\n0: packet_count:(\d)", out)
    assert found and int(found[1]) in (2, 3), out
    switch.ofctl("mod-meter", "br0", "meter=controller,pktps,band=type=drop,rate=9")
    assert "packet_in_count:0" in switch.ofctl("meter-stats", "br0")


def test_a_controller_action_may_name_its_meter(switch: RunningSwitch) -> None:
    switch.ofctl("add-meter", "br0", "meter=5,pktps,burst,band=type=drop,rate=1,burst_size=2")
    switch.ofctl("add-flow", "br0", "in_port=1,actions=controller(meter_id=5)")
    send(switch, "table", 5)
    # The test's datapath adds 9 packets of 900 bytes, of which 3 met the band.
    out = switch.ofctl("meter-stats", "br0", "meter=5")
    found = re.search(r"packet_in_count:14 byte_in_count:970.*\n0: packet_count:(\d)", out)
    assert found and int(found[1]) in (5, 6), out
