"""Python and bpf/*.h number operations, and the bits that go with them, alike."""

from __future__ import annotations

import re
from enum import IntEnum, IntFlag
from pathlib import Path

import pytest

from gossamer.datapath import operations
from gossamer.datapath.operations import CtDo, Group, Need, PopMpls, RuleOp, SetSlot

BPF = Path(__file__).resolve().parents[3] / "bpf"


def test_rule_operations_are_numbered_alike() -> None:
    text = (BPF / "program.h").read_text()
    body = text[text.index("enum rule_op") : text.index("};", text.index("enum rule_op"))]
    names = re.findall(r"^\tOP_(\w+)", body, re.M)
    assert names == [op.name for op in RuleOp]


def test_slots_of_the_action_set_are_numbered_alike() -> None:
    text = (BPF / "action_set.h").read_text()
    body = text[text.index("enum set_slot") : text.index("};", text.index("enum set_slot"))]
    assert "SET_GROUP = SET_FIRST_LAST" in body
    names = [name for name in re.findall(r"^\tSET_(\w+)", body, re.M) if name != "FIRST_LAST"]
    last = names.pop()
    assert names == [slot.name for slot in list(SetSlot)[:-1]] + ["SLOTS"]
    assert [slot.value for slot in list(SetSlot)[:-1]] == list(range(len(names) - 1))
    assert f"SET_{last} = {SetSlot[last].value}" in body
    assert f">> {operations.OP_SLOT_SHIFT} & 15" in (BPF / "program.h").read_text()


def _defined(header: str, name: str) -> int:
    found = re.search(
        rf"^#define {name}\s+\(?(\w+)(?: << (\d+)\))?", (BPF / header).read_text(), re.M
    )
    assert found, name
    return int(found[1], 0) << int(found[2] or 0)


@pytest.mark.parametrize(
    ("header", "prefix", "numbers"),
    [
        ("program.h", "NEEDS", Need),
        ("program.h", "POP", PopMpls),
        ("ct_work.h", "CT_DO", CtDo),
        ("state.h", "GROUP", Group),
    ],
)
def test_what_goes_with_operations_is_numbered_alike(
    header: str, prefix: str, numbers: type[IntEnum] | type[IntFlag]
) -> None:
    for member in numbers:
        assert _defined(header, f"{prefix}_{member.name}") == member


@pytest.mark.parametrize("name", ["OP_WRITE", "OP_WRITES", "CT_ZONE_IN_WORD"])
def test_a_flag_of_operations_is_the_same_in_c_and_python(name: str) -> None:
    assert _defined("program.h", name) == getattr(operations, name)
