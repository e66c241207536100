"""Groups and meters between bytes and messages, and what ovs-ofctl reads of ours."""

from __future__ import annotations

import pytest

from gossamer.openflow import encode
from gossamer.openflow import message as m
from gossamer.openflow.codec import Context, decode
from gossamer.pipeline import action as act
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.group import Bucket, Group, GroupType
from gossamer.pipeline.meter import Band, BandType, Meter, MeterFlag
from tests.unit.openflow.printed import needs_ofctl, printed

SELECT = Group(
    7,
    GroupType.SELECT,
    (
        Bucket((act.Output(1),), 0, 10),
        Bucket((act.Resubmit(3, 9), act.Output(2)), 1, 20, 2),
    ),
)
FAILOVER = Group(
    8, GroupType.FAST_FAILOVER, (Bucket((act.Output(1),), 0, 0, 1), Bucket((), 1, 0, watch_group=7))
)
ALL = Group(9, GroupType.ALL, (Bucket((act.Output(3),), 0, 0),))
NETWORK = 0xFFFF0000
HASH = Group(
    10,
    GroupType.SELECT,
    (Bucket((act.Output(1),), 4, 1),),
    "hash",
    77,
    NETWORK << BY_NAME["ip_src"].shift | BY_NAME["udp_dst"].full_mask,
    ("ip_src", "udp_dst"),
)


@pytest.mark.parametrize("version", range(1, 7))
@pytest.mark.parametrize("group", [SELECT, FAILOVER, ALL])
def test_a_group_survives_the_wire(version: int, group: Group) -> None:
    wanted = m.GroupMod(m.GroupCommand.ADD, group)
    assert decode(encode.group_mod(wanted, version, 5), Context(version)) == wanted


@pytest.mark.parametrize("version", [1, 6])
def test_a_selection_method_survives_the_wire(version: int) -> None:
    wanted = m.GroupMod(m.GroupCommand.MODIFY, HASH)
    assert decode(encode.group_mod(wanted, version, 5), Context(version)) == wanted


@pytest.mark.parametrize("command", [m.GroupCommand.INSERT_BUCKET, m.GroupCommand.REMOVE_BUCKET])
def test_single_buckets_are_inserted_and_removed_by_number(command: m.GroupCommand) -> None:
    buckets = SELECT.buckets if command is m.GroupCommand.INSERT_BUCKET else ()
    wanted = m.GroupMod(command, Group(7, GroupType.SELECT, buckets), 17)
    assert decode(encode.group_mod(wanted, 6, 5), Context(6)) == wanted


@needs_ofctl
@pytest.mark.parametrize("version", range(1, 7))
def test_ovs_ofctl_reads_our_groups(version: int) -> None:
    text = printed(encode.group_desc_replies([SELECT, FAILOVER], version, 1)[0])
    ids = version in (1, 6)
    first = "bucket_id:0," if ids else ""
    second = "bucket_id:1," if ids else ""
    assert (
        f"group_id=7,type=select,bucket={first}weight:10,actions=output:1,bucket={second}weight:20,"
        "watch_port:2,actions=" in text
    )
    assert f"group_id=8,type=ff,bucket={first}watch_port:1,actions=output:1,bucket=" in text
    assert "watch_group:7,actions=drop" in text


@needs_ofctl
def test_ovs_ofctl_reads_our_selection_method() -> None:
    text = printed(encode.group_desc_replies([HASH], 6, 1)[0])
    assert (
        "group_id=10,type=select,selection_method=hash,selection_method_param=77,"
        "fields(ip_src=255.255.0.0,udp_dst),bucket=bucket_id:4,actions=output:1" in text
    )


@needs_ofctl
@pytest.mark.parametrize("version", range(1, 7))
def test_ovs_ofctl_reads_our_group_statistics_and_features(version: int) -> None:
    stats = m.GroupStats(7, 2, 30, 4000, 1.5, ((10, 1000), (20, 3000)))
    text = printed(encode.group_stats_replies([stats], version, 1)[0])
    duration = "" if version in (2, 3) else "duration=1.5"
    assert "group_id=7," in text and duration in text
    assert (
        "ref_count=2,packet_count=30,byte_count=4000,bucket0:packet_count=10,byte_count=1000,"
        "bucket1:packet_count=20,byte_count=3000" in text
    )
    features = m.GroupFeatures((100, 200, 300, 400))
    text = printed(encode.group_features_replies(features, version, 1)[0])
    assert "fast failover group:" in text
    assert "max_groups=0x190" in text
    assert "Capabilities:  0x7" in text


METER = Meter(
    3,
    MeterFlag.KBPS | MeterFlag.BURST,
    (Band(BandType.DROP, 1000, 100), Band(BandType.DSCP_REMARK, 500, 50, 2)),
)


@pytest.mark.parametrize("version", [4, 5, 6])
def test_a_meter_survives_the_wire(version: int) -> None:
    for command in (m.MeterCommand.ADD, m.MeterCommand.MODIFY):
        wanted = m.MeterMod(command, METER)
        assert decode(encode.meter_mod(wanted, version, 5), Context(version)) == wanted
    delete = m.MeterMod(m.MeterCommand.DELETE, Meter(m.METER_ALL, MeterFlag(0), ()))
    assert decode(encode.meter_mod(delete, version, 5), Context(version)) == delete


@needs_ofctl
@pytest.mark.parametrize("version", [4, 5, 6])
def test_ovs_ofctl_reads_our_meters(version: int) -> None:
    text = printed(encode.meter_config_replies([METER], version, 1)[0])
    assert "meter=3 kbps burst bands=" in text
    assert "type=drop rate=1000 burst_size=100" in text
    assert "type=dscp_remark rate=500 burst_size=50 prec_level=2" in text
    stats = m.MeterStats(3, 1, 5, 600, 2.25, ((1, 60), (0, 0)))
    text = printed(encode.meter_stats_replies([stats], version, 1)[0])
    assert "meter:3 flow_count:1 packet_in_count:5 byte_in_count:600 duration:2.250s" in text
    assert "0: packet_count:1 byte_count:60" in text
    text = printed(encode.meter_features_replies(m.MeterFeatures(65535, 8), version, 1)[0])
    assert "max_meter:65535 max_bands:8 max_color:0" in text
    assert "band_types: drop dscp_remark" in text
    assert "capabilities: kbps pktps burst stats" in text
