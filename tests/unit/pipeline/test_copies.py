"""Groups, clones and the stack: what happens on copies of a packet."""

from __future__ import annotations

import pytest

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.fields import get_slot
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.group import Bucket, Group, GroupType, choose, flow_hash
from gossamer.pipeline.packet import parse
from gossamer.pipeline.result import Reason, Result
from gossamer.pipeline.steps import Drop
from gossamer.pipeline.trace import format_trace
from gossamer.pipeline.world import Bridge, Port, World
from tests.unit.pipeline.test_execute import TCP, out, rule, set_field, sub

PORTS = [Port(1), Port(2), Port(3), Port(4)]


def bucket(*actions: Action, bucket_id: int = 0, **watched: int) -> Bucket:
    return Bucket(actions, bucket_id, **watched)


def run(
    *flows: Flow, groups: tuple[Group, ...] = (), ports: list[Port] = PORTS, packet: bytes = TCP
) -> Result:
    bridge = Bridge("br0", ports, flows, groups={g.group_id: g for g in groups})
    return Pipeline(World([bridge])).run("br0", 1, packet)


def group(kind: GroupType, *buckets: Bucket, group_id: int = 1) -> Group:
    return Group(group_id, kind, buckets)


def ttls(result: Result) -> list[tuple[int, int]]:
    return [(o.ofport, get_slot(parse(o.packet, 0), "nw_ttl")) for o in result.outputs]


def test_every_bucket_of_an_all_group_gets_the_packet_as_it_came_to_the_group() -> None:
    both = group(GroupType.ALL, bucket(act.DecTtl(), act.Output(2)), bucket(act.Output(3)))
    result = run(rule(act.Group(1), act.Output(4)), groups=(both,))
    assert ttls(result) == [(2, 63), (3, 64), (4, 64)]
    assert [(g.group_id, g.buckets) for g in result.groups] == [(1, (0, 1))]


def test_a_bucket_is_run_in_the_order_of_an_action_set() -> None:
    actions = (act.Output(2), act.Output(3), set_field("vlan_vid", 0x100A), act.PushVlan())
    result = run(rule(act.Group(1)), groups=(group(GroupType.INDIRECT, bucket(*actions)),))
    assert out(result) == [3]
    assert get_slot(parse(result.outputs[0].packet, 0), "vlan_tci") == 0x100A


def test_a_bucket_that_says_not_where_to_send_drops() -> None:
    result = run(
        rule(act.Group(1)), groups=(group(GroupType.INDIRECT, bucket(set_field("reg0", 1))),)
    )
    assert (out(result), result.drops) == ([], [Drop.BY_RULE])


def test_fast_failover_takes_the_first_bucket_that_is_live() -> None:
    failover = group(
        GroupType.FAST_FAILOVER,
        bucket(act.Output(2), watch_port=2),
        bucket(act.Output(3), bucket_id=1, watch_group=2),
        bucket(act.Output(4), bucket_id=2, watch_port=4),
    )
    watched = group(GroupType.FAST_FAILOVER, bucket(watch_port=3), group_id=2)
    flow = rule(act.Group(1))

    def via(*down: int) -> list[int]:
        ports = [Port(n, up=n not in down) for n in range(1, 5)]
        return out(run(flow, groups=(failover, watched), ports=ports))

    assert [via(), via(2), via(2, 3), via(2, 3, 4)] == [[2], [3], [4], []]


def test_no_live_bucket_drops_the_copy_and_what_follows_goes_on() -> None:
    dead = group(GroupType.FAST_FAILOVER, bucket(act.Output(2), watch_port=9))
    assert run(rule(act.Group(1)), groups=(dead,)).drops == [Drop.NO_BUCKET]
    assert out(run(rule(act.Group(1), act.Output(3)), groups=(dead,))) == [3]


def test_a_bucket_lives_by_its_port_or_its_group() -> None:
    either = group(GroupType.FAST_FAILOVER, bucket(act.Output(3), watch_port=9, watch_group=2))
    watched = group(GroupType.INDIRECT, bucket(act.Output(2)), group_id=2)
    assert out(run(rule(act.Group(1)), groups=(either, watched))) == [3]


def test_a_select_group_chooses_by_the_hash_and_among_live_buckets() -> None:
    buckets = tuple(bucket(act.Output(n), bucket_id=n, watch_port=n, weight=n) for n in range(2, 5))
    select = group(GroupType.SELECT, *buckets)
    first = choose(enumerate(buckets), flow_hash(parse(TCP, 1), select.hashed, 0))
    assert first is not None
    flow = rule(act.Group(1))
    assert out(run(flow, groups=(select,))) == [first + 2]
    ports = [Port(n, up=n != first + 2) for n in range(1, 5)]
    left = [(i, b) for i, b in enumerate(buckets) if i != first]
    second = choose(left, flow_hash(parse(TCP, 1), select.hashed, 0))
    assert second is not None
    assert out(run(flow, groups=(select,), ports=ports)) == [second + 2]


def test_a_group_that_does_not_exist_ends_its_list_and_not_the_pipeline() -> None:
    caller = rule(act.Resubmit(table_id=1), act.Output(2))
    called = rule(act.Group(7), act.Output(3), table_id=1)
    assert out(run(caller, called)) == [2]


def test_groups_may_be_chained_and_a_chain_in_a_circle_is_void() -> None:
    chain = (
        group(GroupType.ALL, bucket(act.Group(2)), bucket(act.Output(2))),
        group(GroupType.INDIRECT, bucket(act.Output(3)), group_id=2),
    )
    assert out(run(rule(act.Group(1)), groups=chain)) == [3, 2]
    circle = group(GroupType.INDIRECT, bucket(act.Group(1)))
    assert run(rule(act.Output(2), act.Group(1)), groups=(circle,)).drops == [Drop.TOO_DEEP]


def test_an_exit_below_a_bucket_ends_only_the_bucket() -> None:
    both = group(GroupType.ALL, bucket(act.Resubmit(table_id=1)), bucket(act.Output(3)))
    called = rule(act.Output(2), act.Exit(), act.Output(3), table_id=1)
    result = run(rule(act.Group(1), act.Output(4)), called, groups=(both,))
    assert out(result) == [2, 3, 4]


def test_a_group_in_the_action_set_comes_before_an_output() -> None:
    one = group(GroupType.INDIRECT, bucket(act.Output(3)))
    written = act.WriteActions((act.Group(1), act.DecTtl(), act.Output(2)))
    assert ttls(run(rule(written), groups=(one,))) == [(3, 63)]


def test_a_bucket_tells_controllers_that_a_group_sent_it() -> None:
    up = act.Controller()
    one = group(GroupType.INDIRECT, bucket(up))
    assert [p.reason for p in run(rule(act.Group(1)), groups=(one,)).punts] == [Reason.GROUP]
    below = group(GroupType.INDIRECT, bucket(act.Resubmit(table_id=1)))
    result = run(rule(act.Group(1)), rule(up, table_id=1), groups=(below,))
    assert [p.reason for p in result.punts] == [Reason.ACTION]


def test_a_clone_is_undone_with_its_stack_and_its_action_set() -> None:
    inner = (
        act.DecTtl(),
        act.StackPop(sub("reg0")),
        act.Resubmit(table_id=1),
        act.Output(2),
    )
    flow = rule(
        set_field("reg0", 7),
        act.StackPush(sub("reg0")),
        act.Clone(inner),
        act.StackPop(sub("reg1", 16, 16)),
        act.Output(3),
    )
    called = rule(act.WriteActions((act.Output(4),)), table_id=1)
    result = run(flow, called)
    assert ttls(result) == [(2, 63), (4, 63), (3, 64)]
    assert get_slot(result.key, "reg1") == 7 << 16


def test_an_exit_in_a_clone_ends_everything() -> None:
    flow = rule(act.Clone((act.Output(2), act.Exit(), act.Output(3))), act.Output(4))
    assert out(run(flow)) == [2]


def test_the_stack_gives_back_the_last_pushed_first_and_across_tables() -> None:
    flow = rule(
        act.StackPush(sub("tcp_dst")),
        act.StackPush(sub("in_port")),
        act.Resubmit(table_id=1),
        act.StackPop(sub("reg1")),
        act.StackPop(sub("reg2")),
    )
    result = run(flow, rule(act.StackPop(sub("reg0")), table_id=1))
    assert [get_slot(result.key, f"reg{i}") for i in range(3)] == [1, 80, 0]


def test_a_pop_to_fewer_bits_takes_the_lowest_and_one_to_more_clears_the_rest() -> None:
    flow = rule(
        set_field("reg3", 0xFFFF),
        act.StackPush(sub("tcp_dst")),
        act.StackPop(sub("reg0", 8, 4)),
        act.StackPush(sub("reg0", 8, 4)),
        act.StackPop(sub("reg3", 0, 16)),
    )
    result = run(flow)
    assert (get_slot(result.key, "reg0"), get_slot(result.key, "reg3")) == (0, 0)


def test_actset_output_says_where_the_action_set_sends() -> None:
    flow = rule(act.WriteActions((act.Output(3),)), act.GotoTable(1))
    copied = act.RegMove(sub("actset_output"), sub("reg0"))
    assert get_slot(run(flow, rule(copied, table_id=1)).key, "reg0") == 3
    assert get_slot(run(rule(copied)).key, "reg0") == 0xFFFFFFF7


@pytest.mark.parametrize("weight", [0, 1])
def test_a_trace_shows_buckets_and_why_one_was_taken(weight: int) -> None:
    select = group(
        GroupType.SELECT,
        bucket(act.Output(2), watch_port=9),
        bucket(act.DecTtl(), act.Output(3), bucket_id=1, weight=weight),
    )
    bridge = Bridge("br0", PORTS, [rule(act.Group(1))], groups={1: select})
    world = World([bridge])
    text = format_trace(world, Pipeline(world).run("br0", 1, TCP), parse(TCP, 1))
    said = [
        "     -> bucket 0: not live due to port 9",
        *(
            (
                "     -> using bucket 1",
                "    bucket 1",
                "            dec_ttl",
                "            output:3",
            )
            if weight
            else ("     -> bucket 1: not live due to its weight of 0", "     -> no live bucket")
        ),
    ]
    assert "\n".join(said) in text


def test_a_packet_has_four_truncated_copies_at_most() -> None:
    result = run(rule(*(act.OutputTrunc(2, n) for n in (20, 21, 22, 23, 24)), act.OutputTrunc(2, 2000)))
    assert [len(o.packet) for o in result.outputs] == [20, 21, 22, 23, len(result.outputs[-1].packet)]
    assert result.drops == [Drop.PASSES]
