"""Groups and meters reach the datapath together with flows, or not at all."""

from __future__ import annotations

import pytest

from gossamer.errors import DatapathError
from gossamer.switch.numbered import Numbered


class Remote:
    """What the datapath has; it refuses what is too large."""

    def __init__(self) -> None:
        self.values: dict[int, str] = {}
        self.calls = 0

    def put(self, value: str) -> None:
        self.calls += 1
        if len(value) > 5:
            raise DatapathError("too large")
        self.values[int(value[0])] = value

    def drop(self, number: int) -> None:
        self.calls += 1
        self.values.pop(number, None)


@pytest.fixture
def remote() -> Remote:
    return Remote()


@pytest.fixture
def numbered(remote: Remote) -> Numbered[str]:
    it = Numbered(remote.put, remote.drop)
    for value in ("1 a", "2 b"):
        it.set(int(value[0]), value, 5.0)
    commit(it)
    return it


def commit(numbered: Numbered[str]) -> None:
    numbered.hand_over()
    numbered.finish()
    numbered.settle()


def test_only_what_differs_is_handed_over(numbered: Numbered[str], remote: Remote) -> None:
    remote.calls = 0
    numbered.set(1, "1 c", 9.0)
    numbered.set(1, "1 a", 9.0)
    numbered.set(3, "3 c", 9.0)
    numbered.remove(3)
    commit(numbered)
    assert remote.calls == 0 and not numbered.dirty
    numbered.set(1, "1 d", 9.0)
    numbered.remove(2)
    commit(numbered)
    assert remote.values == {1: "1 d"} == numbered.values and remote.calls == 2


def test_one_that_is_changed_stays_as_old_as_it_was(numbered: Numbered[str]) -> None:
    numbered.set(1, "1 z", 9.0)
    entry = numbered.entry(1)
    assert entry is not None and (entry.value, entry.created_s) == ("1 z", 5.0)
    numbered.remove(1)
    numbered.set(1, "1 y", 11.0)
    assert [e.created_s for e in numbered.entries()] == [11.0, 5.0]


def test_what_was_not_handed_over_is_taken_back_here_alone(
    numbered: Numbered[str], remote: Remote
) -> None:
    remote.calls = 0
    numbered.set(1, "1 z", 9.0)
    numbered.set(4, "4 z", 9.0)
    numbered.remove(2)
    numbered.rollback()
    assert numbered.values == {1: "1 a", 2: "2 b"} and remote.calls == 0 and 4 not in numbered


def test_what_was_handed_over_is_taken_back_there_too(
    numbered: Numbered[str], remote: Remote
) -> None:
    numbered.set(1, "1 z", 9.0)
    numbered.set(4, "4 z", 9.0)
    numbered.set(5, "5 is too large", 9.0)
    numbered.remove(2)
    with pytest.raises(DatapathError):
        numbered.hand_over()
    numbered.take_back()
    assert remote.values == {1: "1 a", 2: "2 b"} == numbered.values and not numbered.dirty


def test_what_went_too_early_is_put_back(numbered: Numbered[str], remote: Remote) -> None:
    numbered.remove(2)
    numbered.hand_over()
    numbered.finish()
    assert remote.values == {1: "1 a"}
    numbered.take_back()
    assert remote.values == {1: "1 a", 2: "2 b"} == numbered.values
