"""A topology file that is wrong is told with file, line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.errors import TopologyError
from gossamer.topology.expectation import expectations
from gossamer.topology.load import load
from gossamer.topology.model import Topology, parse_rate_bps
from gossamer.topology.names import default_mac, veth_name
from gossamer.topology.resources import resources

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
    ports: [{bridge: br0, rate: 2 Mbit/s, address: 10.0.0.2/24}]
expect:
  - vm1 -> vm2: blocked
"""

RICH = """\
bridges:
  br0:
  br1:
    flows:
      - priority=1,actions=NORMAL
    controllers: ["tcp:127.0.0.1:6653"]
    other_config:
      mac-aging-time: 60
      flag: true
    devices: [eth9]
  br2: {fail_mode: secure}
patches:
  - between: [br0, br1]
    trunks: [10]
  - between: [br1, br2]
instances:
  vm1:
    ports:
      - bridge: br0
        address: 10.0.0.1/24
        vlan: 10
        mac: 02:00:00:00:00:AA
      - bridge: br1
        addresses: [10.1.0.1/24, "fd00::1/64"]
        mtu: 1400
    gateway: 10.0.0.254
    routes:
      - 10.9.0.0/16 via 10.1.0.7
  vm2:
    ports:
      - bridge: br0
        address: 10.0.0.2/24
        vlan: 10
expect: []
"""


def _load(tmp_path: Path, text: str, name: str = "t.yaml") -> Topology:
    path = tmp_path / name
    path.write_text(text)
    return load(path)


def _line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def test_the_examples_are_right() -> None:
    for path in (Path(__file__).resolve().parents[3] / "examples").glob("*.yaml"):
        topology = load(path)
        assert expectations(topology)
        assert resources(topology)


def test_the_file_of_the_manual_is_right(tmp_path: Path) -> None:
    manual = (Path(__file__).resolve().parents[3] / "docs" / "cli.md").read_text()
    topology = _load(tmp_path, manual.partition("```yaml\n")[2].partition("```")[0])
    assert len(expectations(topology)) == 5
    assert resources(topology)["routing/vm3"]["nat"] == "eth1"


def test_whatever_a_file_may_say_is_understood(tmp_path: Path) -> None:
    topology = _load(tmp_path, RICH)
    made = resources(topology)
    assert made["bridge/br1"]["other_config"] == {"mac-aging-time": "60", "flag": "true"}
    assert made["port/vm1/0"]["mac"] == "02:00:00:00:00:aa"
    assert made["port/vm1/0"]["mtu"] == 1500
    assert made["port/vm1/1"]["addresses"] == ["10.1.0.1/24", "fd00::1/64"]
    assert made["flows/br0"]["flows"] == ["priority=0,actions=NORMAL"]
    assert made["flows/br2"]["flows"] == []
    assert made["flows/br1"]["shared"]


@pytest.mark.parametrize(
    ("was", "wrong", "line", "remedy"),
    [
        ("vlan: 10", "vlann: 10", 8, "'vlan'"),
        ("vlan: 10", "vlan: 5000", 8, "smaller"),
        ("vlan: 10", "vlan: ten", 8, "a number"),
        ("vlan: 10", "vlan:", 8, "take the line out"),
        ("bridge: br0\n        vlan", "bridge: br1\n        vlan", 7, "br0"),
        ("10.0.0.1/24", "10.0.0.1/240", 9, "10.0.0.1/24"),
        ("10.0.0.1/24", "10.0.0.1", 9, "10.0.0.1/24"),
        ("10.0.0.1/24", "10.0.0.0/24", 9, "10.0.0.1 and 10.0.0.254"),
        ("10.0.0.1/24", "224.0.0.1/24", 9, "its own"),
        ("2 Mbit/s", "2 megs", 11, "1 Mbit/s"),
        ("2 Mbit/s", "0 Mbit/s", 11, "no limit"),
        ("rate: 2 Mbit/s", "burst: 7", 11, "rate"),
        ("vm1 -> vm2: blocked", "vm1 -> vm9: blocked", 13, "vm1"),
        ("vm1 -> vm2: blocked", "vm1 -> vm2: maybe", 13, "reachable"),
        ("vm1 -> vm2: blocked", "vm1 -> vm1: blocked", 13, "different"),
        (", address: 10.0.0.2/24", "", 13, "address"),
        ("10.0.0.2/24", "fd00::1/64", 13, "one kind"),
        ("  br0: {}", "  br0: {}\n   bad", 4, "indentation"),
        ("  vm2:", "  vm1:", 10, "name of its own"),
        ("  vm2:", "  VM2:", 10, "small letters"),
        ("  vm2:", "  2:", 10, "small letters"),
        ("    ports: [{", "    prots: [{", 11, "'ports'"),
        ("{bridge: br0, rate", "{rate", 11, "bridge"),
        ("vlan: 10", "vlan: 10\n        trunks: [20]", 9, "native-untagged"),
        ("vlan: 10", "vlan: 10\n        mode: trunk", 8, "native-untagged"),
        ("vlan: 10", "mode: access", 8, "vlan: 10"),
        ("vlan: 10", "mac: 01:00:00:00:00:01", 8, "even"),
        ("vlan: 10", "mac: nonsense", 8, "02:00:00:00:00:01"),
        ("vlan: 10", "mtu: 100", 8, "larger"),
        ("vlan: 10", "mode: half", 8, "docs"),
        ("vlan: 10", "address: 10.0.0.9/24", 9, "name of its own"),
        ("  br0: {}", "  br0: []", 3, "{}"),
        ("  br0: {}", "  br0: {flows: actions=drop}", 3, "[...]"),
        ("  br0: {}", "  br0: {controllers: [nowhere]}", 3, "tcp:127.0.0.1:6653"),
        ("  br0: {}", "  br0: {flows: [nonsense]}", 3, "actions"),
        ("  br0: {}", "  br0: {flows: ['# actions=drop']}", 3, "one flow"),
        ("  br0: {}", "  br0: {flows: ['in_port=vm7.eth0,actions=drop']}", 3, "vm1.eth0, vm2.eth0"),
        ("  br0: {}", "  br0: {flows: ['tcp,actions=drop', 'tcp actions=NORMAL']}", 3, "priorities"),
        ("  br0: {}", "  br0: {devices: [br0]}", 3, "patches"),
        ("  br0: {}", "  br0: {devices: [lo]}", 3, "ip link"),
        ("  - vm1 -> vm2: blocked", "  vm1 -> vm2", 12, "a dash"),
        ("name: small", "name: [small]", 1, "quotes"),
        ("name: small", "nmae: small", 1, "'name'"),
        ("expect:", "patches: [{between: [br0, br0]}]\nexpect:", 12, "another"),
        ("expect:", "patches: [{between: [br0, br7]}]\nexpect:", 12, "br0"),
        ("expect:", "patches: [{between: [br0]}]\nexpect:", 12, "between"),
        ("  vm2:", "    gateway: 10.7.0.1\n  vm2:", 10, "10.0.0.0/24"),
        ("  vm2:", "    gateway: 10.0.0.1\n  vm2:", 10, "another host"),
        ("  vm2:", "    gateway: router\n  vm2:", 10, "10.0.0.254"),
        ("  vm2:", "    nat: eth3\n  vm2:", 10, "eth0"),
        ("  vm2:", "    routes: [somewhere]\n  vm2:", 10, "via"),
        ("  vm2:", "    routes: [10.9.0.1/16 via 10.0.0.2]\n  vm2:", 10, "via"),
        ("  vm2:", "    routes: [10.9.0.0/16 via 10.0.0.2/24]\n  vm2:", 10, "via"),
        ("  vm2:", "    routes: ['fd00::/64 via 10.0.0.2']\n  vm2:", 10, "one IP version"),
    ],
)
def test_a_mistake_names_its_line_and_the_remedy(
    tmp_path: Path, was: str, wrong: str, line: int, remedy: str
) -> None:
    assert was in GOOD
    with pytest.raises(TopologyError) as e:
        _load(tmp_path, GOOD.replace(was, wrong, 1))
    assert e.value.place.endswith(f":{line}"), (e.value.place, e.value.message)
    assert remedy in e.value.remedy, (e.value.message, e.value.remedy)


@pytest.mark.parametrize(
    ("was", "wrong", "part"),
    [
        # Each is wrong in one of several members alike: the line is that of the wrong one.
        ("mtu: 1400", "mtu: 1", "mtu: 1"),
        ("mtu: 1400", "mtu: 1279", "mtu: 1279"),
        ("10.1.0.1/24", "10.1.0.x/24", "addresses:"),
        ("10.9.0.0/16 via", "0.0.0.0/0 via", "0.0.0.0/0"),
        ("  br2: {fail_mode: secure}", "  br2: {fail_mode: open}", "  br2:"),
        ("address: 10.0.0.2/24", "address: 10.0.0.1/24", "address: 10.0.0.1/24\n        vlan: 10\nexpect"),
    ],
)
def test_the_line_is_that_of_the_member_which_is_wrong(
    tmp_path: Path, was: str, wrong: str, part: str
) -> None:
    text = RICH.replace(was, wrong, 1)
    with pytest.raises(TopologyError) as e:
        _load(tmp_path, text)
    assert e.value.place.endswith(f":{_line_of(text, part)}"), (e.value.place, e.value.message)
    assert e.value.remedy


def test_patches_that_make_a_loop_are_refused(tmp_path: Path) -> None:
    text = """\
bridges: {a: {}, b: {}, c: {}}
patches:
  - between: [a, b]
  - between: [b, c]
  - between: [c, a]
"""
    with pytest.raises(TopologyError, match="loop") as e:
        _load(tmp_path, text)
    assert e.value.place.endswith(":5")
    _load(tmp_path, text.replace("c: {}", "c: {flows: ['actions=drop']}"))
    with pytest.raises(TopologyError, match="joined already"):
        _load(tmp_path, text.replace("[b, c]", "[b, a]"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n- b\n",
        "just text",
        "a: &a [*a]\nbridges: {br0: {}}\n",
        "bridges: {br0: {}}\n---\nbridges: {br0: {}}\n",
        "\tbridges: {}",
        "bridges: {br0: {}",
        "bridges: {}",
        "bridges:\n",
        "name: x\n",
        "[" * 3000,
        "bridges: {? [a, b] : {}}",
        "bridges: {br0: {other_config: {a: {b: c}}}}",
    ],
)
def test_what_is_no_topology_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(TopologyError) as e:
        _load(tmp_path, text)
    assert str(tmp_path / "t.yaml") in e.value.place
    assert e.value.remedy


def test_a_file_that_is_not_text_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_bytes(b"bridges:\n  br0: {}\n# \xff\n")
    with pytest.raises(TopologyError, match="UTF-8") as e:
        load(path)
    assert e.value.place.endswith(":3")
    with pytest.raises(TopologyError, match="No such file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(TopologyError, match="Is a directory"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("file", "name"),
    [("net.yaml", "net"), ("My Net.yaml", "my-net"), ("3nodes.yaml", "t-3nodes"), ("ünïc.yaml", "n-c"),
     ("a-very-long-name-of-a-file.yaml", "a-very-long-na")],
)  # fmt: skip
def test_a_topology_without_a_name_has_its_files(tmp_path: Path, file: str, name: str) -> None:
    assert _load(tmp_path, "bridges: {br0: {}}", file).name == name


def test_rates_have_units() -> None:
    assert parse_rate_bps("1 Mbit/s") == 1e6
    assert parse_rate_bps("500 kbit/s") == 5e5
    with pytest.raises(TopologyError):
        parse_rate_bps("1M")


def test_device_names_fit_and_differ() -> None:
    names = {veth_name("t", f"instance-{i}", 0) for i in range(500)}
    assert len(names) == 500
    assert len({veth_name("t", "instance", i) for i in range(1200)}) == 1200
    assert all(len(n) <= 15 for n in names | {veth_name("t", "instance", 1000)})


def test_default_addresses_are_local_and_differ() -> None:
    macs = {default_mac("t", f"vm{i}", 0) for i in range(500)}
    assert len(macs) == 500
    assert all(m.startswith("02:") and len(m) == 17 for m in macs)
