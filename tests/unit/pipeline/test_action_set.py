"""What an action set, or a bucket, comes to."""

from __future__ import annotations

import pytest

from gossamer.pipeline.action_set import ActionSet
from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.format import format_actions


@pytest.mark.parametrize(
    ("written", "run"),
    [
        ("output:2,group:1,set_field:5->reg0", "set_field:0x5->reg0,group:1"),
        ("output:1,output:2,dec_ttl", "dec_ttl,output:2"),
        ("output:2,ct(commit),ct_clear", "output:2"),
        ("ct(commit),resubmit(,7)", "resubmit(,7)"),
        ("ct_clear,ct(commit)", "ct_clear"),
        ("ct(commit,zone=1),set_field:5->reg0,ct(table=3,zone=2)", "set_field:0x5->reg0,ct(table=3,zone=2)"),
        ("set_field:5->reg0,dec_ttl", "drop"),
    ],
)  # fmt: skip
def test_one_action_comes_last_and_without_one_nothing_is_run(written: str, run: str) -> None:
    assert format_actions(ActionSet(parse_actions(written)).ordered()) == run
