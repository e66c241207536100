"""Matches and the flow table."""

from __future__ import annotations

import random

import pytest

from gossamer.errors import FieldError
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.flow import Flow, FlowTable
from gossamer.pipeline.match import ANY, match

TEN = match(eth_type=0x0800, ip_dst=(0x0A000000, 0xFF000000))
TEN_ONE = match(eth_type=0x0800, ip_dst=0x0A000001)


def test_a_wider_match_covers_a_narrower_one() -> None:
    assert ANY.covers(TEN)
    assert TEN.covers(TEN_ONE)
    assert not TEN_ONE.covers(TEN)


def test_matches_overlap_where_one_packet_could_meet_both() -> None:
    assert TEN.overlaps(match(in_port=1))
    assert not TEN_ONE.overlaps(match(eth_type=0x0800, ip_dst=0x0A000002))


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(FieldError):
        match(eth_type=0x10000)
    with pytest.raises(FieldError):
        match(metadata=(3, 1))
    with pytest.raises(FieldError):
        match(no_such_field=1)


def test_fields_of_a_match_come_out_as_they_went_in() -> None:
    m = match(eth_type=0x0800, nw_proto=17, udp_dst=(0x10, 0xFFF0), vlan_vid=0x100A)
    assert {(f.field.name, f.value, f.mask) for f in m.fields()} == {
        ("eth_type", 0x0800, 0xFFFF),
        ("nw_proto", 17, 0xFF),
        ("udp_dst", 0x10, 0xFFF0),
        ("vlan_vid", 0x100A, 0x1FFF),
    }


def test_a_lookup_finds_what_a_search_through_all_flows_finds() -> None:
    rng = random.Random(1)
    table = FlowTable(0)
    flows = []
    names = ("reg0", "reg1", "metadata", "in_port")
    for priority in rng.sample(range(1000), 200):
        m = ANY
        for name in rng.sample(names, rng.randrange(1, 4)):
            mask = (1 << BY_NAME[name].n_bits) - 1 if name == "in_port" else rng.choice((1, 2, 3))
            m = m.with_field(BY_NAME[name], rng.randrange(4) & mask, mask)
        flow = Flow(0, priority, m, ())
        replaced = table.insert(flow)
        assert replaced is None
        flows.append(flow)
    for _ in range(500):
        key = sum(rng.randrange(4) << BY_NAME[name].shift for name in names)
        matching = [f for f in flows if f.match.matches(key)]
        assert table.lookup(key) is max(matching, key=lambda f: f.priority, default=None)
    for flow in flows[::2]:
        table.remove(flow)
    assert sorted(f.priority for f in table) == sorted(f.priority for f in flows[1::2])


def test_the_same_match_at_the_same_priority_replaces() -> None:
    table = FlowTable(0)
    first, second = Flow(0, 5, TEN, ()), Flow(0, 5, TEN, ())
    table.insert(first)
    assert table.insert(second) is first
    assert table.find_strict(TEN, 5) is second
    assert len(table) == 1


def test_a_loose_search_finds_what_the_match_covers() -> None:
    table = FlowTable(0)
    narrow, other = Flow(0, 1, TEN_ONE, ()), Flow(0, 2, match(eth_type=0x0806), ())
    for flow in (narrow, other):
        table.insert(flow)
    assert table.find_loose(TEN) == [narrow]
    assert set(map(id, table.find_loose(ANY))) == {id(narrow), id(other)}
