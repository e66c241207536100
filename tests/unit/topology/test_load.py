"""A topology file that is wrong is told with file, line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.errors import TopologyError
from gossamer.topology.load import load
from gossamer.topology.model import expectations, parse_rate_bps
from gossamer.topology.resources import resources, veth_name

GOOD = """\
name: small
bridges:
  br0: {}
instances:
  vm1:
    ports:
      - bridge: br0
        vlan: 10
        address: 10.0.0.1/24
  vm2:
    ports: [{bridge: br0, rate: 2 Mbit/s}]
expect:
  - vm1 -> vm2: blocked
"""


def _load(tmp_path: Path, text: str) -> object:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    return load(path)


def test_the_examples_are_right() -> None:
    for path in (Path(__file__).resolve().parents[3] / "examples").glob("*.yaml"):
        topology = load(path)
        assert expectations(topology)
        assert resources(topology)


@pytest.mark.parametrize(
    ("was", "wrong", "line", "remedy"),
    [
        ("vlan: 10", "vlann: 10", 8, "'vlan'"),
        ("vlan: 10", "vlan: 5000", 8, ""),
        ("bridge: br0\n        vlan", "bridge: br1\n        vlan", 7, "br0"),
        ("10.0.0.1/24", "10.0.0.1/240", 9, "10.0.0.1/24"),
        ("2 Mbit/s", "2 megs", 11, "1 Mbit/s"),
        ("vm1 -> vm2: blocked", "vm1 -> vm9: blocked", 13, "vm1"),
        ("vm1 -> vm2: blocked", "vm1 -> vm2: maybe", 13, "reachable"),
        ("  br0: {}", "  br0: {}\n   bad", 4, "indentation"),
    ],
)
def test_a_mistake_names_its_line_and_the_remedy(
    tmp_path: Path, was: str, wrong: str, line: int, remedy: str
) -> None:
    with pytest.raises(TopologyError) as e:
        _load(tmp_path, GOOD.replace(was, wrong, 1))
    assert e.value.place.endswith(f":{line}"), (e.value.place, e.value.message)
    assert remedy in e.value.remedy


def test_rates_have_units() -> None:
    assert parse_rate_bps("1 Mbit/s") == 1e6
    assert parse_rate_bps("500 kbit/s") == 5e5
    with pytest.raises(TopologyError):
        parse_rate_bps("1M")


def test_device_names_fit_and_differ() -> None:
    names = {veth_name("t", f"instance-{i}", 0) for i in range(50)}
    assert len(names) == 50
    assert all(len(n) <= 15 for n in names)
