"""NAT, marks and limits (docs/conntrack.md)."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from gossamer.pipeline.action_ct import Nat
from gossamer.pipeline.conntrack.nat import ports
from gossamer.pipeline.conntrack.tracker import Request, Zone
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.pipeline.steps import Drop
from tests.unit.pipeline.conntrack.tracked import (
    COMMIT,
    OUTSIDE,
    PING,
    SOURCE,
    UDP,
    A,
    B,
    Tracked,
)

SNAT = Request(commit=True, nat=SOURCE)
C = bytes((10, 0, 0, 3))


def test_a_translated_source_is_put_back_in_answers() -> None:
    world = Tracked()
    out = world.see(UDP, SNAT)
    assert out.translated == replace(UDP, src=OUTSIDE)
    back = world.see(out.translated.reversed(), SNAT)
    assert back.translated == UDP.reversed()
    assert (out.state & 0xC0, back.state & 0xC0) == (0x40, 0x80)
    assert back.original == UDP


def test_a_source_port_that_is_taken_becomes_the_next_one() -> None:
    world = Tracked()
    world.see(UDP, SNAT)
    other = world.see(replace(UDP, src=C), SNAT)
    assert other.translated == replace(UDP, src=OUTSIDE, sport=1001)


def test_an_identifier_that_is_taken_becomes_another_one() -> None:
    world = Tracked()
    world.see(PING, SNAT)
    other = world.see(replace(PING, src=C), SNAT)
    assert other.translated == replace(PING, src=OUTSIDE, sport=8)


def test_a_destination_with_ports_is_chosen_from_its_range() -> None:
    world = Tracked()
    nat = Nat(dst=True, addresses=(OUTSIDE, OUTSIDE), ports=(8080, 8081))
    seen = {
        world.see(replace(UDP, sport=sport), Request(commit=True, nat=nat)).translated
        for sport in range(2000, 2030)
    }
    assert {t.dport for t in seen if t} == {8080, 8081}


def test_a_range_that_is_full_drops_the_packet() -> None:
    world = Tracked()
    request = Request(commit=True, nat=replace(SOURCE, ports=(2000, 2001)))
    drops = [world.see(replace(UDP, sport=sport), request).drop for sport in (1, 2, 3)]
    assert drops == [None, None, Drop.CT_NAT_FULL]
    world.now_s += 61
    assert world.see(replace(UDP, sport=3), request).drop is None


def test_persistent_gives_a_client_the_same_address() -> None:
    world = Tracked()
    span = (OUTSIDE, bytes((1, 1, 1, 200)))
    request = Request(commit=True, nat=Nat(src=True, addresses=span, persistent=True))
    seen = {
        world.see(Tuple(A, B, 17, sport, 53), request).translated for sport in range(1024, 1060)
    }
    assert len({t.src for t in seen if t}) == 1


def test_addresses_of_the_other_family_translate_nothing() -> None:
    six = Tuple(bytes(15) + b"\1", bytes(15) + b"\2", 17, 1, 2)
    verdict = Tracked().see(six, SNAT)
    assert (verdict.translated, verdict.state) == (None, 0x21)


def test_a_packet_is_translated_once_in_a_zone() -> None:
    world = Tracked()
    first = world.see(UDP, SNAT)
    assert first.translated is not None
    assert world.see(first.translated, SNAT, before=first.state).translated is None


@pytest.mark.parametrize(("first", "low", "high"), [(5, 1, 10), (700, 600, 1023), (550, 600, 1023)])
def test_ranges_are_tried_in_a_ring(first: int, low: int, high: int) -> None:
    tried = list(ports(first, low, high, 12345))[:10]
    assert tried[0] == first
    assert all(b in (a + 1, low) for a, b in itertools.pairwise(tried))


def test_every_port_of_a_small_range_is_tried_and_no_more_than_256_of_a_large_one() -> None:
    assert sorted(ports(7, 3, 9, 0)) == list(range(3, 10))
    assert len(list(ports(2000, 1024, 65535, 99))) == 256


def test_marks_are_written_bit_by_bit_and_stay_with_the_connection() -> None:
    world = Tracked()
    world.see(UDP, Request(commit=True, mark=(0x50, 0xF0), label=(1, 1)))
    world.see(UDP, Request(commit=True, mark=(0x05, 0x0F)))
    seen = world.see(UDP.reversed(), Request())
    assert (seen.mark, seen.label) == (0x55, 1)


def test_a_zone_takes_no_more_connections_than_its_limit() -> None:
    world = Tracked()
    world.tracker.zones[0] = Zone(limit=1)
    assert world.see(UDP).drop is None
    other = replace(UDP, sport=9)
    assert world.see(other).drop is Drop.CT_ZONE_LIMIT
    assert world.see(other, Request(commit=True, zone=1)).drop is None


def test_what_was_never_answered_goes_before_what_was() -> None:
    world = Tracked()
    world.tracker.maximum = 2
    world.see(UDP)
    world.see(UDP.reversed())
    world.see(replace(UDP, sport=8))
    assert world.see(replace(UDP, sport=9)).drop is None
    assert world.state(UDP) == "est"
    world.see(replace(UDP, sport=9).reversed())
    assert world.see(replace(UDP, sport=10), COMMIT).drop is Drop.CT_FULL
