"""Flows expire when they should and not before."""

from __future__ import annotations

from collections.abc import Sequence

from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import ANY
from gossamer.switch.timeouts import Timeouts


def flow(idle: int = 0, hard: int = 0, created: float = 100.0) -> Flow:
    return Flow(
        0, 1, ANY, (), idle_timeout_s=idle, hard_timeout_s=hard, created_s=created,
        modified_s=created,
    )  # fmt: skip


def unused(flows: Sequence[Flow]) -> None:
    """The datapath saw no packet."""


def test_a_hard_timeout_counts_from_the_last_modification() -> None:
    timeouts, subject = Timeouts(), flow(hard=10)
    timeouts.add(subject)
    assert timeouts.next_s == 110.0
    assert timeouts.expired(109.9, unused) == []
    subject.modified_s = 105.0
    timeouts.add(subject)
    assert timeouts.expired(110.0, unused) == []
    assert timeouts.expired(115.0, unused) == [(subject, True)]
    assert timeouts.next_s is None


def test_an_idle_flow_in_use_lives_on() -> None:
    timeouts, subject = Timeouts(), flow(idle=5)
    timeouts.add(subject)

    def used(flows: Sequence[Flow]) -> None:
        assert list(flows) == [subject]
        subject.used_s = 104.0

    assert timeouts.expired(105.0, used) == []
    assert timeouts.next_s == 109.0
    assert timeouts.expired(109.0, unused) == [(subject, False)]


def test_of_both_timeouts_the_hard_one_wins() -> None:
    timeouts, subject = Timeouts(), flow(idle=5, hard=5)
    timeouts.add(subject)
    assert timeouts.expired(200.0, unused) == [(subject, True)]


def test_a_removed_flow_never_expires() -> None:
    timeouts, subject = Timeouts(), flow(hard=1)
    timeouts.add(subject)
    timeouts.discard(subject)
    assert timeouts.expired(500.0, unused) == []


def test_many_modifications_expire_once() -> None:
    timeouts, subject, other = Timeouts(), flow(hard=1), flow(hard=1000)
    timeouts.add(other)
    for _ in range(10):
        timeouts.add(subject)
    assert timeouts.expired(300.0, unused) == [(subject, True)]
    assert len(timeouts) == 1


def test_a_burst_is_taken_in_parts() -> None:
    timeouts = Timeouts()
    for _ in range(25):
        timeouts.add(flow(hard=1))
    sizes = [len(timeouts.expired(300.0, unused, limit=10)) for _ in range(4)]
    assert sizes == [10, 10, 5, 0]
