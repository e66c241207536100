"""Meters: who passes, who is dropped or remarked, and whom else it concerns."""

from __future__ import annotations

from gossamer.pipeline import action as act
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.fields import get_slot
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.group import Bucket, Group, GroupType
from gossamer.pipeline.meter import Band, BandType, Meter, MeterFlag
from gossamer.pipeline.packet import parse
from gossamer.pipeline.result import Result
from gossamer.pipeline.steps import Drop
from gossamer.pipeline.world import Bridge, Port, World
from tests.unit.pipeline.test_execute import TCP, out, rule, set_field

NONE, ALL = 0, 0xFFFFFFFF
DROP, REMARK = BandType.DROP, BandType.DSCP_REMARK
AF11, AF12 = set_field("ip_dscp", 10), set_field("ip_dscp", 12)


def bridge(
    *flows: Flow, bands: tuple[Band, ...], flags: MeterFlag = MeterFlag.PKTPS, **more: object
) -> World:
    groups = {1: Group(1, GroupType.ALL, (Bucket((act.Resubmit(table_id=1),)),
                                          Bucket((act.Output(3),))))}  # fmt: skip
    ports = [Port(1), Port(2), Port(3)]
    meters = {1: Meter(1, flags, bands)}
    return World([Bridge("br0", ports, flows, groups=groups, meters=meters)], 100.0)


def send(world: World) -> Result:
    return Pipeline(world).run("br0", 1, TCP)


def tos_of(result: Result) -> list[int]:
    return [get_slot(parse(o.packet, 0), "nw_tos") for o in result.outputs]


def test_a_meter_of_rate_0_drops_and_one_without_limit_passes() -> None:
    flow = rule(act.Meter(1), act.Output(2))
    dropped = send(bridge(flow, bands=(Band(DROP, NONE),)))
    assert (out(dropped), dropped.drops) == ([], [Drop.METER])
    assert [(m.meter_id, m.band) for m in dropped.meters] == [(1, 0)]
    passed = send(bridge(flow, bands=(Band(DROP, ALL),)))
    assert (out(passed), [m.band for m in passed.meters]) == ([2], [None])


def test_a_meter_that_does_not_exist_lets_pass() -> None:
    assert out(send(bridge(rule(act.Meter(9), act.Output(2)), bands=()))) == [2]


def test_a_burst_passes_and_time_refills_it() -> None:
    world = bridge(rule(act.Meter(1), act.Output(2)), bands=(Band(DROP, 10, 3),))
    assert [out(send(world)) for _ in range(5)] == [[2], [2], [2], [], []]
    world.now_s += 0.1
    assert [out(send(world)) for _ in range(2)] == [[2], []]


def test_kilobits_are_counted_by_the_length_of_the_frame() -> None:
    bands = (Band(DROP, 8, 1),)
    world = bridge(rule(act.Meter(1), act.Output(2)), bands=bands, flags=MeterFlag.KBPS)
    # 118 bytes are just under a kilobit: the second takes the bucket into debt.
    assert [out(send(world)) for _ in range(3)] == [[2], [2], []]


def test_of_the_bands_exceeded_the_one_of_the_highest_rate_applies() -> None:
    bands = (Band(DROP, 2, 2), Band(REMARK, 1, 1, 1))
    world = bridge(rule(AF11, act.Meter(1), act.Output(2)), bands=bands)
    results = [send(world) for _ in range(3)]
    assert [tos >> 2 for r in results for tos in tos_of(r)] == [10, 12]
    assert [r.drops for r in results] == [[], [], [Drop.METER]]


def test_what_is_written_behind_a_meter_is_not_remarked() -> None:
    meter, ecn = act.Meter(1), set_field("nw_ecn", 3)
    flow = rule(AF11, meter, ecn, act.Output(2), meter, act.Output(3), AF12, act.Output(2))
    assert tos_of(send(bridge(flow, bands=(Band(REMARK, NONE, 0, 1),)))) == [
        12 << 2 | 3,
        14 << 2 | 3,
        12 << 2 | 3,
    ]


def test_what_a_meter_drops_in_a_bucket_the_other_buckets_still_have() -> None:
    flows = (
        rule(act.Group(1), act.Output(2)),
        rule(act.Meter(1), act.Output(2), table_id=1),
    )
    assert out(send(bridge(*flows, bands=(Band(DROP, NONE),)))) == [3, 2]


def test_a_meter_concerns_copies_made_after_it() -> None:
    flow = rule(act.Meter(1), act.Clone((act.Output(2),)), act.Group(1))
    assert out(send(bridge(flow, bands=(Band(DROP, NONE),)))) == []
