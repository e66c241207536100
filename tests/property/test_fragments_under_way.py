"""How many fragments of datagrams that are not whole are under way, and may be."""

from __future__ import annotations

import pytest

from gossamer.datapath.conntrack.config import MAX_FRAGMENTS
from gossamer.datapath.layout import CT_FRAGMENT_EPOCH_NS
from tests.property.nat_world import INSIDE, NatWorld
from tests.property.test_nat import FAMILIES, SIZE, fragments
from tests.property.wire import UDP, udp_segment


def valid(world: NatWorld, pieces: list[bytes]) -> list[bool]:
    """Which fragments were, each sent from inside."""
    return ["inv" not in world.through(INSIDE, piece, whole=False)[0] for piece in pieces]


@pytest.mark.parametrize(("inside", "server", "outside"), FAMILIES)
def test_no_more_fragments_are_under_way_than_there_may_be(
    world: NatWorld, inside: str, server: str, outside: str
) -> None:
    world.nat(f"src={outside}")
    conntrack = world.datapath.conntrack
    datagram = udp_segment(inside, 4000, server, 53, bytes(2 * SIZE))
    before = conntrack.n_fragments

    def became(identifier: int, which: slice) -> list[bool]:
        """Of some of the three fragments of a datagram: which were valid."""
        return valid(world, fragments(inside, server, UDP, datagram, identifier)[which])

    try:
        conntrack.config.max_fragments = before + 2
        assert became(601, slice(0, 2)) == [True, True]
        assert conntrack.n_fragments == before + 2
        assert became(601, slice(2, 3)) == [False], "there is no room for the last one either"
        conntrack.config.max_fragments = before + 3
        assert became(601, slice(2, 3)) == [True]
        assert conntrack.n_fragments == before, "the datagram is whole"
        assert became(602, slice(0, 3)) == [True, True, True]
        conntrack.config.max_fragments = 0
        assert became(603, slice(0, 1)) == [False]
    finally:
        conntrack.config.max_fragments = MAX_FRAGMENTS


@pytest.mark.parametrize(("inside", "server", "outside"), FAMILIES)
def test_a_count_of_fragments_that_falls_short_refuses_none(
    world: NatWorld, inside: str, server: str, outside: str
) -> None:
    world.nat(f"src={outside}")
    conntrack = world.datapath.conntrack
    datagram = udp_segment(inside, 4000, server, 53, bytes(2 * SIZE))
    first = (conntrack.config.now_ns() // CT_FRAGMENT_EPOCH_NS + 10) * CT_FRAGMENT_EPOCH_NS

    def became(identifier: int, epoch: int, which: slice) -> list[bool]:
        """Of some of the three fragments of a datagram in an epoch: which were valid."""
        conntrack.config.set_now_ns(first + epoch * CT_FRAGMENT_EPOCH_NS)
        return valid(world, fragments(inside, server, UDP, datagram, identifier)[which])

    assert became(701, 0, slice(0, 2)) == [True, True]
    # The same place counts those of an epoch that begins: as where two CPUs begin one at once, what
    # was counted is lost, and then taken off when the datagram is whole.
    assert became(702, 4, slice(0, 1)) == [True]
    assert became(701, 2, slice(2, 3)) == [True]
    assert conntrack.n_fragments == 0
    assert became(703, 2, slice(0, 3)) == [True, True, True]
