"""Changes reach the datapath together or not at all."""

from __future__ import annotations

import pytest
from fake_datapath import FakeDatapath, flow_key

from gossamer.errors import DatapathError
from gossamer.pipeline.action import Output
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import match
from gossamer.switch.flow_event import EventKind, RemovedReason
from gossamer.switch.tables import FlowTables


def flow(n: int, port: int = 1, table_id: int = 0, **more: int) -> Flow:
    return Flow(table_id, 10, match(ip_src=n, eth_type=0x800), (Output(port),), **more)


@pytest.fixture
def datapath() -> FakeDatapath:
    return FakeDatapath(max_flows=100)


@pytest.fixture
def tables(datapath: FakeDatapath) -> FlowTables:
    return FlowTables(datapath, datapath.add_bridge("br0"))


def test_the_datapath_sees_nothing_before_a_commit(
    tables: FlowTables, datapath: FakeDatapath
) -> None:
    tables.add(flow(1))
    assert not datapath.bridges[1].flows and tables.dirty
    tables.commit()
    assert len(datapath.bridges[1].flows) == 1 and not tables.dirty


def test_a_flow_that_came_and_went_never_reaches_the_datapath(
    tables: FlowTables, datapath: FakeDatapath
) -> None:
    first = flow(1)
    tables.add(first)
    tables.remove(first, RemovedReason.DELETE)
    tables.commit()
    assert not datapath.bridges[1].flows


def test_a_replaced_flow_is_removed_and_the_new_one_inserted(
    tables: FlowTables, datapath: FakeDatapath
) -> None:
    old, new = flow(1, port=1), flow(1, port=2)
    tables.add(old)
    tables.commit()
    assert tables.add(new) is old
    tables.commit()
    assert list(datapath.bridges[1].flows.values()) == [(new, (Output(2),))]


def test_rollback_restores_tables_whatever_was_done(
    tables: FlowTables, datapath: FakeDatapath
) -> None:
    kept = [flow(n, hard_timeout_s=9) for n in range(4)]
    for f in kept:
        tables.add(f)
    tables.commit()
    tables.add(flow(0, port=9))
    tables.modify(kept[1], (Output(9),), 5, 1.0)
    tables.remove(kept[2], RemovedReason.DELETE)
    tables.clear_table(tables.tables[0], RemovedReason.DELETE)
    tables.add(flow(3, port=9))
    tables.add(flow(77))
    tables.rollback()
    assert {id(f) for f in tables} == {id(f) for f in kept}
    assert all(f.actions == (Output(1),) and f.cookie == 0 for f in kept)
    assert len(tables.timeouts) == 4 and not tables.dirty
    tables.add(flow(5))
    tables.commit()
    assert len(datapath.bridges[1].flows) == 5


def test_a_datapath_that_refuses_leaves_everything_as_it_was(tables: FlowTables) -> None:
    datapath = tables.datapath
    assert isinstance(datapath, FakeDatapath)
    old = [flow(n) for n in range(99)]
    for f in old:
        tables.add(f)
    tables.commit()
    tables.remove(old[0], RemovedReason.DELETE)
    for n in range(200, 210):
        tables.add(flow(n))
    with pytest.raises(DatapathError):
        tables.commit()
    assert {id(f) for f in tables} == {id(f) for f in old}
    assert set(datapath.bridges[1].flows) == {flow_key(f) for f in old}


def test_a_refused_batch_leaves_the_counters_of_flows_it_would_have_replaced(
    tables: FlowTables,
) -> None:
    datapath = tables.datapath
    assert isinstance(datapath, FakeDatapath)
    old = [flow(n) for n in range(99)]
    for f in old:
        tables.add(f)
    tables.commit()
    datapath.count(old[5], 7, 700, 1.0)
    tables.add(flow(5, port=8), keep_counters=True)
    tables.modify(old[6], (Output(8),), 0, 9.0)
    for n in range(200, 210):
        tables.add(flow(n))
    with pytest.raises(DatapathError):
        tables.commit()
    datapath.read_flow_statistics(old)
    assert old[5].n_packets == 7
    assert {f.actions for f in tables} == {(Output(1),)}
    assert set(datapath.bridges[1].flows) == {flow_key(f) for f in old}
    assert all(actions == (Output(1),) for _, actions in datapath.bridges[1].flows.values())


def test_a_flow_that_replaces_another_counts_on_where_that_is_wanted(
    tables: FlowTables, datapath: FakeDatapath
) -> None:
    old, new, anew = flow(1), flow(1, port=2), flow(1, port=3)
    tables.add(old)
    tables.commit()
    datapath.count(old, 7, 700, 1.0)
    tables.add(new, keep_counters=True)
    tables.commit()
    datapath.read_flow_statistics([new])
    assert new.n_packets == 7 and tables.by_id == {new.flow_id: new}
    tables.add(anew)
    tables.commit()
    datapath.read_flow_statistics([anew])
    assert anew.n_packets == 0 and tables.by_id == {anew.flow_id: anew}
    tables.remove(anew, RemovedReason.DELETE)
    tables.commit()
    assert not datapath.bridges[1].flows and not tables.by_id


def test_only_flows_that_ask_for_it_are_reported_removed(tables: FlowTables) -> None:
    quiet, loud = flow(1), flow(2, flags=1)
    tables.add(quiet)
    tables.add(loud)
    assert tables.commit() == []
    tables.clear_table(tables.tables[0], RemovedReason.DELETE)
    events = tables.commit()
    assert [(e.kind, e.flow) for e in events] == [(EventKind.REMOVED, loud)]


def test_a_removed_flow_is_reported_with_its_last_counters(
    tables: FlowTables, datapath: FakeDatapath
) -> None:
    subject = flow(1, flags=1)
    tables.add(subject)
    tables.commit()
    datapath.count(subject, 3, 300, 50.0)
    tables.remove(subject, RemovedReason.IDLE_TIMEOUT)
    (event,) = tables.commit()
    assert (event.flow.n_packets, event.flow.n_bytes) == (3, 300)
    assert event.reason is RemovedReason.IDLE_TIMEOUT


def test_a_modification_that_changes_nothing_does_not_bother_the_datapath(
    tables: FlowTables, datapath: FakeDatapath
) -> None:
    subject = flow(1)
    tables.add(subject)
    tables.commit()
    datapath.bridges[1].flows.clear()
    tables.modify(subject, (Output(1),), 0, 5.0)
    tables.commit()
    assert not datapath.bridges[1].flows and subject.modified_s == 5.0
