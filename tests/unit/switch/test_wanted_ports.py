"""Of what the database asks for, only what is another row is looked at again."""

from __future__ import annotations

from gossamer.switch.config import InterfaceConfig, PortConfig
from gossamer.switch.wanted_ports import WantedPorts


def row(name: str, *interfaces: InterfaceConfig) -> PortConfig:
    return PortConfig(name, interfaces or (InterfaceConfig(name),))


def test_a_bridge_has_its_own_interface_whether_or_not_it_is_asked_for() -> None:
    wanted = WantedPorts("br0")
    assert wanted.take(()).changed == {"br0"}
    own = row("br0", InterfaceConfig("br0", type="internal", ofport=65534))
    assert wanted.take((own,)).changed == {"br0"}
    assert wanted.interfaces["br0"] == (own, own.interfaces[0])
    difference = wanted.take(())
    assert (difference.changed, difference.gone) == ({"br0"}, []), "it never goes"


def test_rows_that_are_the_same_objects_have_not_changed() -> None:
    wanted, a, b = WantedPorts("br0"), row("a"), row("b")
    wanted.take((a, b))
    difference = wanted.take((a, b, row("c")))
    assert (difference.changed, difference.gone, difference.rows) == ({"c"}, [], set())


def test_a_bond_that_loses_a_member_says_which_interface_went_and_which_row_is_another() -> None:
    wanted = WantedPorts("br0")
    x, y = InterfaceConfig("x", ofport_request=7), InterfaceConfig("y", ofport_request=8)
    wanted.take((row("bond", x, y), row("a")))
    assert wanted.requests == {"x": 7, "y": 8}
    difference = wanted.take((row("bond", x), row("a")))
    assert difference.gone == ["y"] and difference.rows == {"bond", "a"}
    assert difference.changed == {"x", "a"}
    assert wanted.requests == {"x": 7} and set(wanted.interfaces) == {"x", "a", "br0"}
