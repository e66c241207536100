"""Port numbers stay where they are."""

from __future__ import annotations

from gossamer.switch.numbering import PortNumbers


def test_ports_are_numbered_in_order_and_a_number_is_not_reused_at_once() -> None:
    numbers = PortNumbers()
    assert [numbers.allocate(n, None, None) for n in "abc"] == [1, 2, 3]
    numbers.release("b", remember=False)
    assert numbers.allocate("d", None, None) == 4


def test_a_port_that_vanished_gets_its_number_back() -> None:
    numbers = PortNumbers()
    numbers.allocate("a", None, None)
    numbers.allocate("b", None, None)
    numbers.release("a", remember=True)
    assert numbers.allocate("c", None, None) == 3
    assert numbers.allocate("a", None, None) == 1


def test_a_request_wins_over_the_number_of_the_database() -> None:
    numbers = PortNumbers()
    assert numbers.allocate("a", 7, 3) == 7
    assert numbers.allocate("b", 7, 3) == 3
    assert numbers.allocate("c", 7, 3) == 8


def test_a_request_out_of_range_is_not_granted() -> None:
    numbers = PortNumbers()
    assert numbers.allocate("a", 65280, None) == 1
    assert numbers.allocate("b", 0, None) == 2


def test_numbers_wrap_around_to_free_ones() -> None:
    numbers = PortNumbers()
    assert numbers.allocate("last", 65279, None) == 65279
    assert numbers.allocate("next", None, None) == 1


def test_another_number_is_wanted_only_where_it_can_be_had() -> None:
    numbers = PortNumbers()
    numbers.allocate("a", None, None)
    numbers.allocate("b", None, None)
    assert numbers.wants_other("a", 5)
    assert not numbers.wants_other("a", 2)
    assert not numbers.wants_other("a", 1)
    assert not numbers.wants_other("a", None)
