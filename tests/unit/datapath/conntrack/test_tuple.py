"""Tuples of connections as the kernel's maps have them."""

import pytest

from gossamer.datapath.conntrack.tuple import canonical, pack, unpack
from gossamer.datapath.layout import CT_TRANSLATED
from gossamer.pipeline.conntrack.tuple import Tuple

UDP = Tuple(bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)), 17, 1000, 53, 5)
PING = Tuple(bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)), 1, 77, 8 << 8)
PING6 = Tuple(b"\xfd" + bytes(14) + b"\1", b"\xfd" + bytes(14) + b"\2", 58, 77, 128 << 8)


@pytest.mark.parametrize("t", [UDP, PING, PING6])
def test_a_tuple_is_read_as_it_was_written(t: Tuple) -> None:
    assert unpack(pack(t)) == t


def test_the_mark_of_translated_ones_stands_beside_the_family() -> None:
    assert pack(UDP, CT_TRANSLATED)[37] == pack(UDP)[37] | CT_TRANSLATED
    assert unpack(pack(UDP, CT_TRANSLATED)) == UDP


@pytest.mark.parametrize("t", [UDP, PING, PING6])
def test_both_directions_have_one_canonical_tuple(t: Tuple) -> None:
    assert canonical(t)[0] == canonical(t.reversed())[0]
    assert canonical(t)[1] != canonical(t.reversed())[1]


def test_what_is_no_query_of_icmp_has_no_answer_it_could_meet() -> None:
    assert Tuple(UDP.src, UDP.dst, 1, 0, 3 << 8).reversed().dport == 0xFF << 8
