"""What a commit replaced is kept for a while, and goes a part at a time."""

from __future__ import annotations

import pytest

from gossamer.datapath import grace as module
from gossamer.datapath.grace import GRACE_S, Grace, Key

_STEP_S = 0.001
"""What a duty takes here."""


class Clock:
    """Goes on only by what is done."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


class Commits:
    """Commits with duties that note that they were done."""

    def __init__(self, clock: Clock) -> None:
        self.grace = Grace()
        self.done: list[str] = []
        self._clock = clock

    def commit(self, names: str, *keys: Key) -> None:
        self.grace.keep(keys, [lambda n=n: self._do(n) for n in names])  # type: ignore[misc]

    def _do(self, name: str) -> None:
        self._clock.sleep(_STEP_S)
        self.done.append(name)


@pytest.fixture
def commits(clock: Clock) -> Commits:
    return Commits(clock)


def test_duties_wait_until_no_packet_can_be_under_way(clock: Clock, commits: Commits) -> None:
    commits.commit("a", b"k")
    clock.sleep(GRACE_S / 2)
    assert not commits.grace.run()
    assert (commits.done, commits.grace.covers([b"k"])) == ([], True)
    clock.sleep(GRACE_S)
    assert not commits.grace.run()
    assert (commits.done, commits.grace.covers([b"k"])) == (["a"], False)


def test_many_duties_are_done_some_at_a_time_in_their_order(clock: Clock, commits: Commits) -> None:
    commits.commit("abcdefghij")
    clock.sleep(2 * GRACE_S)
    rounds = 1
    while commits.grace.run():
        assert len(commits.done) < 10
        rounds += 1
    assert "".join(commits.done) == "abcdefghij"
    assert 2 < rounds <= 10


def test_a_key_of_a_commit_that_is_half_gone_is_free_when_all_is_done(
    clock: Clock, commits: Commits
) -> None:
    commits.commit("abcdefghij", b"k")
    clock.sleep(2 * GRACE_S)
    assert commits.grace.run()
    assert not commits.grace.covers([b"other"])
    assert len(commits.done) < 10
    # Whoever writes at the key next would have it deleted by the rest of the duties.
    assert not commits.grace.covers([b"k"])
    assert len(commits.done) == 10


def test_what_is_half_gone_takes_no_new_commit_in(clock: Clock, commits: Commits) -> None:
    commits.commit("abcdefghij", b"k")
    clock.sleep(2 * GRACE_S)
    assert commits.grace.run()
    commits.commit("k", b"new")
    while commits.grace.run():
        pass
    assert "".join(commits.done) == "abcdefghij"
    assert commits.grace.covers([b"new"])


def test_settling_does_all_also_what_duties_add(clock: Clock, commits: Commits) -> None:
    waited: list[int] = []
    commits.grace.wait = lambda: waited.append(len(commits.done))  # type: ignore[method-assign]
    commits.grace.add_duty(lambda: commits.commit("b"))
    commits.commit("a")
    assert commits.grace.settle()
    # What was added may have packets of its own to wait for.
    assert (commits.done, waited) == (["a", "b"], [0, 1])
    assert not commits.grace.settle()


def test_long_settling_breathes_between_duties(commits: Commits) -> None:
    seen: list[int] = []
    commits.grace.breathe = lambda: seen.append(len(commits.done))
    commits.commit("abc")
    commits.grace.settle()
    assert seen == [1, 2, 3]


def test_what_is_committed_while_settling_breathes_is_kept(clock: Clock, commits: Commits) -> None:
    def breathe() -> None:
        if len(commits.done) == 1:
            commits.commit("z", b"nested")
            assert commits.grace.covers([b"first", b"x"]), "its duties are not all done"

    commits.grace.breathe = breathe
    commits.commit("abc", b"first")
    commits.grace.settle()
    assert commits.done == ["a", "b", "c", "z"]
