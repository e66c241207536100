"""What learn actions make of packets."""

from __future__ import annotations

from gossamer.pipeline import action as act
from gossamer.pipeline.action_learn import Learn, LearnSpec, LearnTo
from gossamer.pipeline.fields import get_slot
from gossamer.pipeline.match import match
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.packet import parse
from gossamer.pipeline.result import Result
from gossamer.pipeline.trace import trace_packet
from gossamer.pipeline.world import Bridge, Port, World
from tests.unit.pipeline.test_execute import TCP, rule, run, sub

SPECS = (
    LearnSpec(0x0800, 16, LearnTo.MATCH, sub("eth_type")),
    LearnSpec(sub("ip_src"), 32, LearnTo.MATCH, sub("ip_dst")),
    LearnSpec(sub("tcp_dst", 0, 4), 4, LearnTo.LOAD, sub("reg1", 8, 4)),
    LearnSpec(7, 32, LearnTo.LOAD, sub("reg2")),
    LearnSpec(sub("in_port", 0, 16), 16, LearnTo.OUTPUT),
)


def learn(*specs: LearnSpec, **more: int) -> Learn:
    return Learn(specs or SPECS, 5, priority=7, cookie=3, hard_timeout=9, **more)


def test_a_learned_flow_has_the_bits_of_the_packet() -> None:
    learning = rule(learn(flags=1))
    result: Result = run(learning)
    (lesson,) = result.learned
    assert (lesson.bridge, lesson.flow) == ("br0", learning)
    flow = lesson.learned
    assert flow.match == match(eth_type=0x0800, ip_dst=0x0A000001)
    assert flow.actions == (
        act.RegLoad(sub("reg1", 8, 4), 80 & 15),
        act.RegLoad(sub("reg2"), 7),
        act.Output(1),
    )
    assert (flow.table_id, flow.priority, flow.cookie, flow.flags) == (5, 7, 3, 1)
    assert (flow.idle_timeout_s, flow.hard_timeout_s) == (0, 9)


def test_nothing_is_applied_here() -> None:
    assert run(rule(learn(), act.Resubmit(table_id=5), act.Output(2))).misses == [("br0", 5)]


def test_an_ingress_port_is_learned_as_openflow_1_0_writes_it() -> None:
    spec = LearnSpec(0xFFFE, 16, LearnTo.MATCH, sub("in_port", 0, 16))
    (lesson,) = run(rule(learn(spec))).learned
    assert lesson.learned.match == match(in_port=int(OfPort.LOCAL))


def test_an_output_to_a_port_that_makes_no_sense_is_left_out() -> None:
    for port, actions in ((0xFFFD, ()), (0xFFFB, (act.Output(int(OfPort.FLOOD)),))):
        (lesson,) = run(rule(learn(LearnSpec(port, 16, LearnTo.OUTPUT)))).learned
        assert lesson.learned.actions == actions


def test_more_than_64_bits_are_set_at_once() -> None:
    spec = LearnSpec(1 << 100, 128, LearnTo.LOAD, sub("ct_label"))
    (lesson,) = run(rule(learn(spec))).learned
    assert lesson.learned.actions == (
        act.SetField(sub("ct_label").field, 1 << 100, (1 << 128) - 1),
    )


def test_a_limit_stops_learning_and_says_so() -> None:
    limited = learn(limit=1, result=sub("reg3", 0, 1))  # type: ignore[arg-type]
    first = run(rule(limited))
    assert (len(first.learned), get_slot(first.key, "reg3")) == (1, 1)
    other = rule(act.Output(2), table_id=5, cookie=3, on=match(eth_type=0x0806))
    full = run(rule(limited), other)
    assert (full.learned, get_slot(full.key, "reg3")) == ([], 0)
    again = run(rule(limited), first.learned[0].learned)
    assert (len(again.learned), get_slot(again.key, "reg3")) == (1, 1)


def test_a_packet_that_is_void_teaches_nothing() -> None:
    assert run(rule(learn(), act.Resubmit(table_id=0))).learned == []


def test_a_trace_shows_what_would_be_learned() -> None:
    world = World([Bridge("br0", [Port(1)], [rule(learn(flags=1))])])
    text, result = trace_packet(world, "br0", 1, TCP)
    assert (
        "     -> table=5 ip,nw_dst=10.0.0.1 priority=7 cookie=0x3 hard=9 send_flow_rem"
        " actions=load:0->NXM_NX_REG1[8..11],load:0x7->NXM_NX_REG2[],output:1\n"
    ) in text
    assert result.learned[0].key & ~0 == result.learned[0].key
    assert parse(TCP, 1) & 1 == result.key & 1
