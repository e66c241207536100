"""What is counted is what is in use."""

from __future__ import annotations

from gossamer.datapath.footprint import Footprint


def test_bits_stay_until_the_last_that_has_them_goes() -> None:
    footprint = Footprint()
    footprint.add(0b0011, 0b0100)
    footprint.add(0b0011, 0b0100)
    footprint.add(0b1000, 0, {100, 200})
    assert (footprint.reads, footprint.writes) == (0b1011, 0b0100)
    footprint.discard(0b0011, 0b0100)
    assert (footprint.reads, footprint.writes) == (0b1011, 0b0100)
    footprint.discard(0b0011, 0b0100)
    assert (footprint.reads, footprint.writes) == (0b1000, 0)
    assert footprint.lengths == {100, 200}
    footprint.discard(0b1000, 0, {200, 100})
    assert (footprint.reads, footprint.writes, footprint.lengths) == (0, 0, set())


def test_the_revision_changes_with_the_sum_and_not_with_every_count() -> None:
    footprint = Footprint()
    footprint.add(1, 2)
    before = footprint.revision
    footprint.add(1, 2)
    footprint.discard(1, 2)
    assert footprint.revision == before
    footprint.discard(1, 2)
    assert footprint.revision != before
