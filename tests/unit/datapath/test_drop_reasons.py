"""A drop is shown under the name by which the kernel counted it."""

from __future__ import annotations

import re
from pathlib import Path

from gossamer.datapath.drop_reasons import DROP_REASONS

BPF = Path(__file__).resolve().parents[3] / "bpf"


def test_drop_reasons_are_named_in_the_order_of_the_enum() -> None:
    text = (BPF / "drop.h").read_text()
    body = text[text.index("enum drop_reason") : text.index("DROP_REASONS\n")]
    names = re.findall(r"^\tDROP_(\w+)", body, re.M)
    assert [n.lower() for n in names] == list(DROP_REASONS)
