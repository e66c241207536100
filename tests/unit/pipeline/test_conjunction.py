"""Conjunctive matches in a table."""

from __future__ import annotations

from gossamer.pipeline import action as act
from gossamer.pipeline.fields import get_slot
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import match
from gossamer.pipeline.result import Result
from tests.unit.pipeline.test_execute import out, rule, run, set_field

SRC, OTHER_SRC, DST = 0x0A000001, 0x0A000009, 0x0A000002


def part(conj_id: int, clause: int, priority: int = 10, n: int = 2, **on: int) -> Flow:
    action = act.Conjunction(conj_id, clause, n)
    return rule(action, priority=priority, on=match(eth_type=0x0800, **on))


def found(conj_id: int, port: int, priority: int = 1) -> Flow:
    return rule(act.Output(port), priority=priority, on=match(conj_id=conj_id))


def both(conj_id: int, priority: int = 10) -> list[Flow]:
    return [
        part(conj_id, 0, priority, ip_src=SRC),
        part(conj_id, 1, priority, ip_dst=DST),
    ]


def via(*flows: Flow) -> list[int]:
    result: Result = run(*flows)
    return out(result)


def test_a_packet_that_meets_every_clause_is_found_by_the_number_of_the_conjunction() -> None:
    flows = (*both(7), found(7, 2))
    result = run(*flows)
    assert out(result) == [2]
    assert result.flows == [flows[2]]
    assert get_slot(result.key, "conj_id") == 0


def test_one_alternative_of_each_clause_is_enough() -> None:
    assert via(part(7, 0, ip_src=OTHER_SRC), *both(7), found(7, 2)) == [2]


def test_a_clause_that_is_not_met_leaves_the_packet_to_other_flows() -> None:
    missed = (part(7, 0, ip_src=SRC), part(7, 1, ip_dst=SRC), found(7, 2))
    assert via(*missed) == []
    assert via(*missed, rule(act.Output(3), priority=2)) == [3]


def test_clauses_must_be_met_at_one_priority() -> None:
    flows = (part(7, 0, 10, ip_src=SRC), part(7, 1, 11, ip_dst=DST), found(7, 2))
    assert via(*flows) == []


def test_a_flow_of_the_same_priority_or_a_higher_one_decides_before_a_conjunction() -> None:
    assert via(*both(7), found(7, 2), rule(act.Output(3), priority=10)) == [3]
    assert via(*both(7), found(7, 2), rule(act.Output(3), priority=9)) == [3]
    assert via(*both(7), found(7, 2, priority=9), rule(act.Output(3), priority=8)) == [2]


def test_a_conjunction_that_leads_nowhere_leaves_the_packet_to_lower_ones() -> None:
    assert via(*both(7, 20), *both(8, 10), found(8, 2)) == [2]


def test_one_flow_may_be_part_of_several_conjunctions() -> None:
    shared = rule(
        act.Conjunction(7, 0, 2),
        act.Conjunction(8, 0, 2),
        priority=10,
        on=match(eth_type=0x0800, ip_src=SRC),
    )
    assert via(shared, part(8, 1, ip_dst=DST), found(7, 3), found(8, 2)) == [2]


def test_a_lower_flow_of_the_same_match_decides_where_the_conjunction_is_not_met() -> None:
    below = rule(act.Output(3), priority=5, on=match(eth_type=0x0800, ip_src=SRC))
    assert via(part(7, 0, ip_src=SRC), below) == [3]


def test_the_found_flow_may_narrow_the_match_further() -> None:
    narrow = rule(act.Output(2), on=match(conj_id=7, eth_type=0x0800, nw_proto=17))
    assert via(*both(7), narrow, rule(set_field("reg0", 1), priority=0)) == []
