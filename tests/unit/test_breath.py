"""Long work lets others have their turn."""

from __future__ import annotations

from gossamer.breath import in_parts, let_go


def test_all_things_come_in_order_with_breaths_between_them() -> None:
    seen: list[int | str] = []
    for thing in in_parts(range(3000), lambda: seen.append("breath")):
        seen.append(thing)
    assert [thing for thing in seen if thing != "breath"] == list(range(3000))
    assert [i for i, thing in enumerate(seen) if thing == "breath"] == [1024, 2049]


def test_a_list_is_emptied_a_part_at_a_time() -> None:
    things: list[object] = list(range(2500))
    left: list[int] = []
    let_go(things, lambda: left.append(len(things)))
    assert left == [1476, 452] and not things
