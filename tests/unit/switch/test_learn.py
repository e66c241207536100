"""Flows that packets teach."""

from __future__ import annotations

import pytest
from fake_datapath import FakeDatapath

from gossamer.pipeline.action import FinTimeout, Output, SubField
from gossamer.pipeline.action_learn import Learn, LearnSpec, LearnTo
from gossamer.pipeline.fields import BY_NAME, put
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import ANY
from gossamer.switch.config import FlowTableConfig
from gossamer.switch.flow_event import RemovedReason
from gossamer.switch.learn import shorten, teach
from gossamer.switch.tables import FlowTables


def part(name: str, low: int = 0, n_bits: int = 0) -> SubField:
    return SubField(BY_NAME[name], low, n_bits or BY_NAME[name].n_bits)


def key(**fields: int) -> int:
    out = 0
    for name, value in fields.items():
        out = put(out, BY_NAME[name], value)
    return out


MAC = 0x0A0B0C0D0E0F
SOURCE_TO_DESTINATION = LearnSpec(part("eth_src"), 48, LearnTo.MATCH, part("eth_dst"))
TO_IN_PORT = LearnSpec(part("in_port", n_bits=16), 16, LearnTo.OUTPUT)


@pytest.fixture
def tables() -> FlowTables:
    datapath = FakeDatapath()
    return FlowTables(datapath, datapath.add_bridge("br0"))


def test_a_flow_is_learned_once_refreshed_and_changed(tables: FlowTables) -> None:
    action = Learn((SOURCE_TO_DESTINATION, TO_IN_PORT), 2, idle_timeout=10, hard_timeout=20,
                   priority=7, cookie=0x99, flags=1)  # fmt: skip
    flow = teach(tables, action, key(eth_src=MAC, in_port=1), 100.0, [])
    assert flow is not None
    assert (flow.table_id, flow.priority, flow.cookie, flow.flags) == (2, 7, 0x99, 1)
    assert (flow.idle_timeout_s, flow.hard_timeout_s) == (10, 20)
    assert teach(tables, action, key(eth_src=MAC, in_port=1), 110.0, []) is None
    assert flow.modified_s == 110.0 and tables.tables[2].n_flows == 1
    assert teach(tables, action, key(eth_src=MAC, in_port=2), 111.0, []) is flow
    assert flow.actions == (Output(2),)
    tables.commit()
    # The hard timeout of 20 s is counted from the last lesson, at 111.
    assert tables.timeouts.expired(130.5, lambda flows: flow.__setattr__("used_s", 130.0)) == []
    assert tables.timeouts.expired(131.5, lambda flows: None) == [(flow, True)]


def test_a_limit_counts_the_flows_of_the_cookie(tables: FlowTables) -> None:
    action = Learn((SOURCE_TO_DESTINATION, TO_IN_PORT), 2, cookie=5, limit=2)
    other = Learn((SOURCE_TO_DESTINATION, TO_IN_PORT), 2, cookie=6)
    assert teach(tables, other, key(eth_src=1, in_port=1), 1.0, [])
    learned = [teach(tables, action, key(eth_src=n, in_port=1), 1.0, []) for n in (2, 3, 4)]
    assert [flow is not None for flow in learned] == [True, True, False]


def test_learned_flows_go_with_the_last_that_teaches_them(tables: FlowTables) -> None:
    action = Learn((SOURCE_TO_DESTINATION, TO_IN_PORT), 2, cookie=5, flags=2)
    teachers = [Flow(0, n, ANY, (action,)) for n in (1, 2)]
    for teacher in teachers:
        tables.add(teacher)
    taught = teach(tables, action, key(eth_src=MAC, in_port=1), 1.0, [])
    stranger = Flow(2, 1, ANY, (Output(1),), cookie=6)
    tables.add(stranger)
    tables.commit()
    tables.remove(teachers[0], RemovedReason.DELETE)
    tables.commit()
    assert tables.tables[2].n_flows == 2
    tables.remove(teachers[1], RemovedReason.DELETE)
    tables.commit()
    assert list(tables.tables[2]) == [stranger]
    assert tables.take_unlearned() == [taught]
    assert len(tables.datapath.bridges[1].flows) == 1  # type: ignore[attr-defined]


def test_without_delete_learned_they_stay(tables: FlowTables) -> None:
    action = Learn((SOURCE_TO_DESTINATION, TO_IN_PORT), 2, cookie=5)
    teacher = Flow(0, 1, ANY, (action,))
    tables.add(teacher)
    teach(tables, action, key(eth_src=MAC, in_port=1), 1.0, [])
    tables.commit()
    tables.remove(teacher, RemovedReason.DELETE)
    tables.commit()
    assert tables.tables[2].n_flows == 1


def test_a_teacher_that_comes_back_in_the_same_batch_keeps_what_it_taught(
    tables: FlowTables,
) -> None:
    action = Learn((SOURCE_TO_DESTINATION, TO_IN_PORT), 2, cookie=5, flags=2)
    teacher = Flow(0, 1, ANY, (action,))
    tables.add(teacher)
    teach(tables, action, key(eth_src=MAC, in_port=1), 1.0, [])
    tables.commit()
    tables.remove(teacher, RemovedReason.DELETE)
    tables.add(Flow(0, 1, ANY, (action,)))
    tables.commit()
    assert tables.tables[2].n_flows == 1


@pytest.mark.parametrize(
    ("had", "fin", "has"),
    [((0, 0), (5, 9), (5, 9)), ((3, 30), (5, 9), (3, 9)), ((60, 0), (5, 0), (5, 0))],
)
def test_a_fin_makes_timeouts_shorter_never_longer(
    tables: FlowTables, had: tuple[int, int], fin: tuple[int, int], has: tuple[int, int]
) -> None:
    flow = Flow(0, 1, ANY, (FinTimeout(*fin),), idle_timeout_s=had[0], hard_timeout_s=had[1])
    tables.add(flow)
    assert shorten(tables, flow, FinTimeout(*fin))
    assert (flow.idle_timeout_s, flow.hard_timeout_s) == has
    assert not shorten(tables, flow, FinTimeout(*fin))


def test_a_full_table_that_evicts_makes_room_for_what_is_learned(tables: FlowTables) -> None:
    action = Learn((SOURCE_TO_DESTINATION, TO_IN_PORT), 2, idle_timeout=10)
    table = tables.tables[2]
    table.configure(FlowTableConfig(flow_limit=1))
    evicted: list[Flow] = []
    first = teach(tables, action, key(eth_src=1, in_port=1), 1.0, evicted)
    assert teach(tables, action, key(eth_src=2, in_port=1), 2.0, evicted) is None
    table.configure(FlowTableConfig(flow_limit=1, evict_when_full=True))
    second = teach(tables, action, key(eth_src=2, in_port=1), 3.0, evicted)
    assert evicted == [first] and list(table) == [second]
