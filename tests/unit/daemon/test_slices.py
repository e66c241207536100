"""Long work in the event loop."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from gossamer.daemon import slices as module
from gossamer.daemon.slices import SLICE_S, Slices


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    it = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=it))
    return it


def test_short_work_is_done_at_once() -> None:
    ended: list[str] = []
    Slices().start(iter(range(10)), lambda: ended.append("done"))
    assert ended == ["done"]


def test_long_work_takes_turns_and_no_round_is_long(clock: Clock) -> None:
    slices = Slices()
    ended: list[str] = []
    seen: list[str] = []

    def steps(name: str) -> Iterator[None]:
        for _ in range(20):
            clock.now_s += SLICE_S / 4
            seen.append(name)
            yield

    slices.start(steps("a"), lambda: ended.append("a"))
    slices.start(steps("b"), lambda: ended.append("b"))
    assert not ended
    rounds = 0
    while len(ended) < 2:
        before = len(seen)
        slices.run()
        assert len(seen) - before <= 5
        rounds += 1
    assert rounds > 5
    assert {"a", "b"} == set(seen[len(seen) // 2 - 4 : len(seen) // 2 + 4])


def test_work_that_fails_says_so_and_hinders_no_other() -> None:
    slices = Slices()
    ended: list[str] = []

    def fails() -> Iterator[None]:
        yield
        raise ValueError("broken")

    slices.start(fails(), lambda: ended.append("done"), lambda e: ended.append(str(e)))
    slices.start(iter(()), lambda: ended.append("other"))
    assert ended == ["broken", "other"]
