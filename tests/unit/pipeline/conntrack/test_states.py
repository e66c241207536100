"""States of connections, and the bits that rules see (docs/conntrack.md)."""

from __future__ import annotations

import pytest

from gossamer.pipeline.conntrack.tracker import Request
from gossamer.pipeline.conntrack.tuple import Tuple
from tests.unit.pipeline.conntrack.tracked import (
    ACK,
    COMMIT,
    FIN,
    PING,
    PSH,
    RST,
    SYN,
    TCP,
    UDP,
    A,
    B,
    Tracked,
    handshake,
    segment,
)


def test_what_is_not_committed_stays_new() -> None:
    world = Tracked()
    assert [world.state(UDP, Request()) for _ in range(2)] == ["new", "new"]
    assert world.count == 0


def test_udp_is_established_once_both_have_spoken() -> None:
    world = Tracked()
    assert [world.state(UDP) for _ in range(2)] == ["new", "new"]
    assert world.state(UDP.reversed()) == "est rpl"
    assert world.state(UDP) == "est"


def test_only_questions_of_icmp_begin_a_connection() -> None:
    world = Tracked()
    assert world.state(PING.reversed()) == "inv"
    assert [world.state(PING) for _ in range(2)] == ["new", "new"]
    assert world.state(PING.reversed()) == "est rpl"
    assert world.state(Tuple(A, B, 1, 8, 8 << 8)) == "new"


def test_other_protocols_are_known_by_their_addresses() -> None:
    world = Tracked()
    gre = Tuple(A, B, 47)
    assert [world.state(gre), world.state(gre.reversed())] == ["new", "est rpl"]


def test_zones_know_nothing_of_each_other() -> None:
    world = Tracked()
    handshake(world)
    assert world.state(TCP, Request(commit=True, zone=5), segment(SYN, 100)) == "new"
    assert world.count == 2


def test_tcp_goes_from_handshake_to_close() -> None:
    world = Tracked()
    handshake(world)
    assert world.state(TCP, COMMIT, segment(ACK | PSH, 101, 501, n=100)) == "est"
    assert world.state(TCP, COMMIT, segment(FIN | ACK, 201, 501)) == "est"
    assert world.state(TCP.reversed(), COMMIT, segment(FIN | ACK, 501, 202)) == "est rpl"
    assert world.state(TCP, COMMIT, segment(ACK, 202, 502)) == "est"
    world.now_s += 31
    assert world.count == 0


@pytest.mark.parametrize("flags", [0, FIN, SYN | FIN, SYN | RST, PSH])
def test_flags_that_cannot_be_are_invalid(flags: int) -> None:
    world = Tracked()
    assert world.state(TCP, COMMIT, segment(flags, 100)) == "inv"
    handshake(world)
    assert world.state(TCP, COMMIT, segment(flags, 101, 501)) == "inv"


def test_the_answer_to_a_greeting_begins_nothing() -> None:
    assert Tracked().state(TCP, COMMIT, segment(SYN | ACK, 1, 1)) == "inv"


def test_a_connection_is_met_half_way() -> None:
    world = Tracked()
    assert world.state(TCP, COMMIT, segment(ACK, 100, 500, n=10)) == "new"
    assert world.state(TCP.reversed(), COMMIT, segment(ACK, 500, 110)) == "est rpl"


@pytest.mark.parametrize("seq", [101 + 70_000, 101 - 70_000, 101 + (1 << 31)])
def test_segments_outside_of_the_window_are_invalid(seq: int) -> None:
    world = Tracked()
    handshake(world)
    outside = segment(ACK, seq & 0xFFFFFFFF, 501, n=10)
    assert world.state(TCP, COMMIT, outside) == "inv"
    world.tracker.check_windows = False
    assert world.state(TCP, COMMIT, outside) == "est"


def test_a_reset_must_be_to_the_point() -> None:
    world = Tracked()
    handshake(world)
    assert world.state(TCP, COMMIT, segment(RST, 111, n=0)) == "inv"
    assert world.state(TCP, COMMIT, segment(RST, 101)) == "est"
    world.now_s += 31
    assert world.count == 0


def test_a_connection_that_is_over_begins_again() -> None:
    world = Tracked()
    handshake(world)
    world.state(TCP, COMMIT, segment(RST, 101))
    assert world.state(TCP, COMMIT, segment(SYN, 9000)) == "new"
    assert world.state(TCP.reversed(), COMMIT, segment(SYN | ACK, 70, 9001)) == "est rpl"


def test_errors_are_related_and_move_nothing() -> None:
    world = Tracked()
    assert world.state(UDP.reversed(), error=True) == "inv"
    world.state(UDP)
    assert world.state(UDP.reversed(), error=True) == "rel rpl"
    assert world.state(UDP) == "new"


def test_force_turns_a_connection_round() -> None:
    world = Tracked()
    world.state(UDP)
    forced = Request(commit=True, force=True)
    assert world.state(UDP.reversed(), forced) == "new"
    assert world.state(UDP) == "est rpl"


def test_a_packet_moves_its_connection_once_in_a_zone() -> None:
    world = Tracked()
    first = world.see(UDP)
    again = world.see(UDP, before=first.state)
    assert again.state == first.state
    world.now_s += 59
    assert world.count == 1


@pytest.mark.parametrize(
    ("turns", "seconds"), [((UDP,), 60), ((UDP, UDP), 60), ((UDP, UDP.reversed()), 30), ((PING,), 60)]
)
def test_connections_end_after_their_time(turns: tuple[Tuple, ...], seconds: int) -> None:
    world = Tracked()
    for t in turns:
        world.state(t)
    world.now_s += seconds - 1
    assert world.count == 1
    world.now_s += 1
    assert world.count == 0
    assert world.state(turns[0]) == "new"
