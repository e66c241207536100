"""How rules are keyed."""

from __future__ import annotations

import pytest

from gossamer.datapath import layout
from gossamer.datapath.key_shape import key_shape
from gossamer.errors import DatapathError
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.match import match


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


def test_a_match_of_too_many_words_is_refused_with_a_remedy() -> None:
    wide = match(**{f.name: 0 for f in BY_NAME.values() if f.prerequisite.name == "none"})
    everything = wide.mask | match(eth_type=0x86DD, ipv6_src=0, ipv6_dst=0, nw_proto=58,
                                   icmpv6_type=135, nd_target=0).mask  # fmt: skip
    with pytest.raises(DatapathError) as e:
        key_shape(everything)
    assert e.value.remedy
