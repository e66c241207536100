"""Matches become keys, actions become programs."""

from __future__ import annotations

import pytest

from gossamer.datapath import layout
from gossamer.datapath.compile import cache_bits, compile_actions, key_shape, parse_depth, split
from gossamer.datapath.layout import ParseDepth, RuleOp
from gossamer.errors import DatapathError
from gossamer.pipeline.action import Output, RegMove, SetField, SubField
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.match import match


def _ops(*actions: object) -> list[int]:
    program = compile_actions(actions, lambda data: 0)  # type: ignore[arg-type]
    return [layout.OP.unpack(op)[0] for op in program.ops]


def test_a_five_tuple_needs_a_short_key() -> None:
    m = match(eth_type=0x800, nw_proto=6, ip_src=1, ip_dst=2, tcp_src=3, tcp_dst=4)
    shape = key_shape(m.mask)
    assert layout.KEY_CLASSES[shape.key_class] <= 7
    key = shape.key(b"\1\0\0\0", m.value)
    assert len(key) == 4 + 4 * layout.KEY_CLASSES[shape.key_class]
    assert key[:4] == b"\1\0\0\0"


def test_keys_differ_where_values_differ() -> None:
    shape = key_shape(match(eth_type=0x800, ip_src=0).mask)
    a = shape.key(bytes(4), match(eth_type=0x800, ip_src=1).value)
    b = shape.key(bytes(4), match(eth_type=0x800, ip_src=2).value)
    assert a != b


def test_registers_are_no_reason_to_tell_packets_apart() -> None:
    assert cache_bits(match(reg0=5, metadata=7).mask, 0) == 0
    assert cache_bits(match(in_port=5).mask, 0) != 0


def test_layer_two_matches_spare_the_parser_the_rest() -> None:
    assert parse_depth(match(eth_dst=1, vlan_vid=0x1005).mask) is ParseDepth.L2
    assert parse_depth(match(eth_type=0x800, ip_src=1).mask) is ParseDepth.L4


def test_an_output_is_one_operation() -> None:
    assert _ops(Output(3)) == [RuleOp.OUTPUT]


def test_what_an_action_reads_decides_the_path() -> None:
    move = RegMove(SubField(BY_NAME["eth_src"], 0, 16), SubField(BY_NAME["reg0"], 0, 16))
    program = compile_actions((move,), lambda data: 0)
    assert program.reads & BY_NAME["eth_src"].full_mask


def test_a_long_program_is_cut_so_that_each_piece_can_name_the_next() -> None:
    ops = [bytes(16)] * 200
    pieces = split(ops)
    assert sum(map(len, pieces)) == 200
    assert all(len(p) < layout.LARGE_OPS for p in pieces)


def test_a_match_of_too_many_words_is_refused_with_a_remedy() -> None:
    wide = match(**{f.name: 0 for f in BY_NAME.values() if f.prerequisite.name == "none"})
    everything = wide.mask | match(eth_type=0x86DD, ipv6_src=0, ipv6_dst=0, nw_proto=58,
                                   icmpv6_type=135, nd_target=0).mask  # fmt: skip
    with pytest.raises(DatapathError) as e:
        key_shape(everything)
    assert e.value.remedy


def test_setting_an_address_writes_it_whole() -> None:
    mac = BY_NAME["eth_dst"]
    program = compile_actions((SetField(mac, 0x0200000000AA, (1 << 48) - 1),), lambda data: 0)
    assert program.writes & mac.full_mask == mac.full_mask
