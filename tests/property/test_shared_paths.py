"""Packets share a cached path only where nothing tells them apart."""

from __future__ import annotations

import pytest

from gossamer.errors import DatapathError
from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.group import Bucket, Group, GroupType
from tests.property.nat_world import INSIDE, NatWorld

FRAME = bytes.fromhex("02000000000202000000000108004500")


def asking(world: NatWorld, *lengths: int) -> None:
    """A group whose buckets ask how long packets are."""
    buckets = tuple(
        Bucket(parse_actions(f"check_pkt_larger({length})->NXM_NX_REG{n}[0],resubmit(,1)"), n)
        for n, length in enumerate(lengths)
    )
    world.datapath.set_group(world.bridge, Group(1, GroupType.ALL, buckets))


def test_packets_that_a_group_tells_apart_by_their_length_share_no_path(world: NatWorld) -> None:
    world.flows("table=0,actions=group:1", "table=1,reg0=1,actions=drop", "table=1,reg0=0,actions=output:2")
    asking(world, 200)
    for size, n in ((100, 1), (300, 0), (100, 1), (300, 0)):
        assert len(world.send(INSIDE, FRAME.ljust(size, b"\0"))) == n


def test_a_group_asks_about_no_more_lengths_than_the_kernel_has_room_for(world: NatWorld) -> None:
    asking(world, *range(100, 108))
    with pytest.raises(DatapathError, match="more than 8 lengths"):
        world.flows("table=0,actions=check_pkt_larger(99)->NXM_NX_REG0[0],output:2")
    with pytest.raises(DatapathError, match="more than 8 lengths"):
        asking(world, *range(100, 109))


def test_a_pass_after_ct_shares_no_path_with_one_that_begins(world: NatWorld) -> None:
    """Table 1 is entered both by ct() and by a resubmit, with and without a register set."""
    world.flows(
        "table=0,in_port=1,ip,actions=set_field:7->reg3,ct(table=1)",
        "table=0,in_port=2,ip,actions=resubmit(,1)",
        "table=1,ct_state=+trk,reg3=7,actions=output:2",
        "table=1,ct_state=-trk,reg3=0,actions=output:1",
    )
    udp = bytes.fromhex("4500001c0001000040110000" "0a000001" "0a000002" "0400003500080000")
    frame = (FRAME[:14] + udp).ljust(60, b"\0")
    for _ in range(3):
        for port, other in ((1, 2), (2, 1)):
            out = world.send(port, frame)
            assert [c.port_id for c in out] == [world.ports[other]]


def test_an_address_stays_where_it_moved_to_whatever_cached_paths_saw_of_it(world: NatWorld) -> None:
    """Open vSwitch learns of cached packets when it revalidates their flow, and moves it back."""
    world.flows("table=0,actions=NORMAL")
    from_host, to_host = (
        bytes.fromhex(text).ljust(60, b"\0")
        for text in ("01005e00000102000000000188b5", "02000000000102000000000288b5")
    )
    for port in (1, 1, 1, 2):
        world.send(port, from_host)
    for _ in range(3):
        assert [c.port_id for c in world.send(1, to_host)] == [world.ports[2]]
    world.send(1, from_host)
    assert not world.send(1, to_host)
