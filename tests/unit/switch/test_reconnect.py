"""How often a controller is tried, and when it is given up."""

from __future__ import annotations

from gossamer.switch.reconnect import Reconnect, State


def test_the_first_attempt_is_made_at_once() -> None:
    assert Reconnect(8.0, 5.0).should_connect(1000.0)


def test_failures_back_off_up_to_the_maximum() -> None:
    clock, now, waits = Reconnect(8.0, 5.0), 1000.0, []
    for _ in range(6):
        clock.connecting(now)
        clock.disconnected(now, "Connection refused")
        waits.append(clock.backoff_until_s - now)
        assert not clock.should_connect(now)
        now = clock.backoff_until_s
        assert clock.should_connect(now)
    assert waits == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert clock.status(now)["last_error"] == "Connection refused"


def test_a_long_connection_ends_the_backoff() -> None:
    clock = Reconnect(8.0, 5.0)
    for now in (0.0, 1.0, 3.0):
        clock.connecting(now)
        clock.disconnected(now, "")
    clock.connecting(7.0)
    clock.connected(7.1)
    clock.disconnected(500.0, "")
    assert clock.backoff_until_s == 501.0


def test_a_silent_peer_is_probed_and_then_given_up() -> None:
    clock = Reconnect(8.0, 5.0)
    clock.connecting(10.0)
    clock.connected(10.0)
    assert not clock.wants_probe(14.9, 10.0)
    assert clock.wants_probe(15.0, 10.0)
    assert clock.state is State.IDLE and not clock.wants_probe(16.0, 10.0)
    assert not clock.is_dead(19.9)
    assert clock.is_dead(20.0)


def test_an_answer_to_the_probe_keeps_the_connection() -> None:
    clock = Reconnect(8.0, 5.0)
    clock.connected(10.0)
    assert clock.wants_probe(15.0, 10.0)
    clock.received(15.5)
    assert clock.state is State.ACTIVE and not clock.is_dead(30.0)
    assert clock.next_s(15.5) == 20.5


def test_without_probing_a_silent_peer_is_left_alone() -> None:
    clock = Reconnect(8.0, 0.0)
    clock.connected(10.0)
    assert not clock.wants_probe(1e9, 10.0)
    assert clock.next_s(10.0) is None


def test_an_attempt_that_hangs_is_over_after_a_while() -> None:
    clock = Reconnect(8.0, 5.0)
    clock.connecting(10.0)
    assert not clock.attempt_is_over(10.9)
    assert clock.attempt_is_over(11.0)
