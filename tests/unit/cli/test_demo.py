"""Which examples the demonstration shows."""

from __future__ import annotations

import pytest

from gossamer.cli.demo import chosen
from gossamer.errors import GossamerError


def test_an_example_goes_by_its_file_and_by_its_topology() -> None:
    everything = chosen(())
    assert len(everything) > 5
    for name in ("web-behind-floating-address", "web-floating"):
        assert [path.stem for path in chosen((name,))] == ["web-behind-floating-address"]
    assert [path.stem for path in chosen(("two-vlans", "campus"))] == ["campus", "two-vlans"]


def test_an_example_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(GossamerError) as raised:
        chosen(("two-vlan",))
    assert "'two-vlan'" in raised.value.message
    assert "two-vlans" in (raised.value.remedy or "")
