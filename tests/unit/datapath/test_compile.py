"""Actions become programs."""

from __future__ import annotations

from gossamer.datapath import layout
from gossamer.datapath.compile import compile_actions
from gossamer.datapath.operations import RuleOp
from gossamer.pipeline.action import Output, RegMove, SetField, SubField
from gossamer.pipeline.fields import BY_NAME


def _ops(*actions: object) -> list[int]:
    program = compile_actions(actions, lambda data: 0)  # type: ignore[arg-type]
    return [layout.OP.unpack(op)[0] for op in program.ops]


def test_an_output_is_one_operation() -> None:
    assert _ops(Output(3)) == [RuleOp.OUTPUT]


def test_what_an_action_reads_decides_the_path() -> None:
    move = RegMove(SubField(BY_NAME["eth_src"], 0, 16), SubField(BY_NAME["reg0"], 0, 16))
    program = compile_actions((move,), lambda data: 0)
    assert program.reads & BY_NAME["eth_src"].full_mask


def test_setting_an_address_writes_it_whole() -> None:
    mac = BY_NAME["eth_dst"]
    program = compile_actions((SetField(mac, 0x0200000000AA, (1 << 48) - 1),), lambda data: 0)
    assert program.writes & mac.full_mask == mac.full_mask
