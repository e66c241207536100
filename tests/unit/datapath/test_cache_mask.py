"""What tells packets of a bridge apart."""

from __future__ import annotations

from gossamer.datapath.cache_mask import cache_bits, parse_depth
from gossamer.datapath.layout import ParseDepth
from gossamer.pipeline.match import match


def test_registers_are_no_reason_to_tell_packets_apart() -> None:
    assert cache_bits(match(reg0=5, metadata=7).mask, 0) == 0
    assert cache_bits(match(in_port=5).mask, 0) != 0


def test_layer_two_matches_spare_the_parser_the_rest() -> None:
    assert parse_depth(match(eth_dst=1, vlan_vid=0x1005).mask) is ParseDepth.L2
    assert parse_depth(match(eth_type=0x800, ip_src=1).mask) is ParseDepth.L4
