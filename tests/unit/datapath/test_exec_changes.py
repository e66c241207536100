"""Changes inside of exec(...), none of which reads what another one wrote."""

from __future__ import annotations

import pytest

from gossamer.datapath.exec_changes import unfolded
from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.format import format_actions


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("set_field:0x5->ct_mark", "set_field:0x5->ct_mark"),
        (
            "set_field:0x35->ct_mark,move:NXM_NX_CT_MARK[0..7]->NXM_NX_CT_LABEL[8..15]",
            "load:0x35->NXM_NX_CT_MARK[],load:0x35->NXM_NX_CT_LABEL[8..15]",
        ),
        (
            "load:0x3->NXM_NX_CT_MARK[0..1],move:NXM_NX_CT_MARK[0..3]->NXM_NX_CT_LABEL[0..3]",
            "load:0x3->NXM_NX_CT_MARK[0..1],load:0x3->NXM_NX_CT_LABEL[0..1],"
            "move:NXM_NX_CT_MARK[2..3]->NXM_NX_CT_LABEL[2..3]",
        ),
        (
            "move:NXM_NX_REG0[8..15]->NXM_NX_CT_MARK[0..7],"
            "move:NXM_NX_CT_MARK[4..7]->NXM_NX_CT_LABEL[0..3]",
            "move:NXM_NX_REG0[8..15]->NXM_NX_CT_MARK[0..7],"
            "move:NXM_NX_REG0[12..15]->NXM_NX_CT_LABEL[0..3]",
        ),
    ],
)
def test_a_move_takes_what_was_written_before_it(written: str, meant: str) -> None:
    assert format_actions(unfolded(parse_actions(written))) == meant
