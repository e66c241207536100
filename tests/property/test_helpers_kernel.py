"""Connections with helpers in the kernel: packets held, numbers moved, connections expected."""

from __future__ import annotations

import pytest

from gossamer.datapath.settings import PuntReason
from gossamer.datapath.testrun import Captured
from gossamer.pipeline.conntrack.expected import Expectation
from gossamer.pipeline.conntrack.sequences import SequenceShift
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.pipeline.fields import get_slot
from tests.property.nat_world import INSIDE, OUTSIDE, NatWorld
from tests.property.wire import ACK, PSH, SYN, TCP, packed, see, tcp, udp

CLIENT, SERVER, PUBLIC = "10.0.0.1", "192.0.2.9", "198.51.100.1"


def ftp(world: NatWorld, *, nat: bool = True) -> None:
    """A control connection, its handshake over; the client is seen as PUBLIC."""
    how = f"nat(src={PUBLIC})," if nat else ""
    back = "nat," if nat else ""
    show = "move:NXM_NX_CT_STATE[0..7]->NXM_OF_ETH_SRC[0..7]"
    world.flows(
        f"table=0,in_port=1,tcp,actions=ct(commit,zone=5,alg=ftp,{how}table=1)",
        f"table=0,in_port=1,udp,actions=ct(commit,zone=5,alg=tftp,{how}table=1)",
        f"table=0,in_port=2,ip,actions=ct(zone=5,{back}table=1)",
        f"table=1,in_port=1,actions={show},output:2",
        f"table=1,priority=20,in_port=2,ct_state=+rel+new,actions=ct(commit,zone=5,{back}table=2)",
        f"table=1,priority=10,in_port=2,actions={show},output:1",
        "table=2,actions=move:NXM_NX_CT_STATE[0..7]->NXM_OF_ETH_SRC[0..7],output:1",
    )
    public = PUBLIC if nat else CLIENT
    world.through(INSIDE, tcp(CLIENT, 4000, SERVER, 21, SYN, 1000))
    world.through(OUTSIDE, tcp(SERVER, 21, public, 4000, SYN | ACK, 5000, 1001))
    world.through(INSIDE, tcp(CLIENT, 4000, SERVER, 21, ACK, 1001, 5001))


def only(out: list[Captured]) -> bytes:
    assert len(out) == 1
    assert out[0].punt is None
    return out[0].data


def test_payload_waits_for_the_helper_and_goes_its_way_when_that_has_read_it(
    world: NatWorld,
) -> None:
    ftp(world)
    said = tcp(CLIENT, 4000, SERVER, 21, ACK | PSH, 1001, 5001, b"PORT 10,0,0,1,4,1\r\n")
    held = world.send(INSIDE, said)
    assert len(held) == 1
    punt = held[0].punt
    assert punt is not None
    assert punt.reason == PuntReason.CT_ALG
    assert punt.data == said, "as it came, not as NAT would have it"
    assert (punt.in_port_id, get_slot(punt.key, "ct_zone")) == (world.ports[INSIDE], 5)
    seen = see(only(world.run.go_on(punt, said)))
    assert seen.right and seen.way == (PUBLIC, 4000, SERVER, 21)


def test_packets_without_payload_do_not_wait(world: NatWorld) -> None:
    ftp(world)
    state, seen = world.through(INSIDE, tcp(CLIENT, 4000, SERVER, 21, ACK, 1001, 5001))
    assert "est" in state and seen.right


def test_of_tftp_only_the_request_waits(world: NatWorld) -> None:
    ftp(world)
    request = udp(CLIENT, 4000, SERVER, 69, b"\0\1file\0octet\0")
    held = world.send(INSIDE, request)
    (punt,) = [c.punt for c in held]
    assert punt is not None and punt.reason == PuntReason.CT_ALG
    assert see(only(world.run.go_on(punt, request))).src == PUBLIC


def test_numbers_after_a_longer_text_move_and_acknowledgements_move_back(world: NatWorld) -> None:
    ftp(world)
    conntrack = world.datapath.conntrack
    found = conntrack.find(Tuple(packed(CLIENT), packed(SERVER), TCP, 4000, 21, 5))
    assert found is not None
    # What began at 1001 became 4 bytes longer.
    conntrack.sequences.set_shifts(found, SequenceShift(1001, 0, 4), SequenceShift())

    def numbers(port: int, data: bytes) -> tuple[int, int]:
        _, seen = world.through(port, data)
        assert seen.right
        return int.from_bytes(seen.segment[4:8], "big"), int.from_bytes(seen.segment[8:12], "big")

    assert numbers(INSIDE, tcp(CLIENT, 4000, SERVER, 21, ACK, 1001, 5001)) == (1001, 5001)
    assert numbers(INSIDE, tcp(CLIENT, 4000, SERVER, 21, ACK, 1020, 5001)) == (1024, 5001)
    assert numbers(OUTSIDE, tcp(SERVER, 21, PUBLIC, 4000, ACK, 5001, 1024)) == (5001, 1020)
    assert numbers(OUTSIDE, tcp(SERVER, 21, PUBLIC, 4000, ACK, 5001, 1001)) == (5001, 1001)


@pytest.mark.parametrize("padding", [b"\x01\x01", b"\x01"], ids=["even", "odd"])
def test_sack_blocks_move_with_the_acknowledgement(world: NatWorld, padding: bytes) -> None:
    ftp(world)
    conntrack = world.datapath.conntrack
    found = conntrack.find(Tuple(packed(CLIENT), packed(SERVER), TCP, 4000, 21, 5))
    assert found is not None
    conntrack.sequences.set_shifts(found, SequenceShift(1001, 0, -3), SequenceShift())
    edges = (1100).to_bytes(4, "big") + (1200).to_bytes(4, "big")
    options = padding + b"\x05\x0a" + edges
    options += b"\0" * (-len(options) % 4)
    _, seen = world.through(
        OUTSIDE, tcp(SERVER, 21, PUBLIC, 4000, ACK, 5001, 1050, options=options)
    )
    assert seen.right
    assert int.from_bytes(seen.segment[8:12], "big") == 1053
    at = 20 + len(padding) + 2
    moved = [int.from_bytes(seen.segment[at + i : at + i + 4], "big") for i in (0, 4)]
    assert moved == [1103, 1203]


def test_a_connection_that_was_announced_is_related_and_translated_as_its_parent(
    world: NatWorld,
) -> None:
    ftp(world)
    parent = Tuple(packed(CLIENT), packed(SERVER), TCP, 4000, 21, 5)
    first = Tuple(packed(SERVER), packed(PUBLIC), TCP, 0, 1025, 5)
    world.datapath.conntrack.expectations.add(
        Expectation(first, parent, mark=9, label=7, nat=packed(CLIENT), nat_destination=False)
    )
    state, seen = world.through(OUTSIDE, tcp(SERVER, 20, PUBLIC, 1025, SYN, 1))
    assert state == {"trk", "new", "rel", "dnat"}
    assert seen.right and seen.way == (SERVER, 20, CLIENT, 1025)
    data = world.datapath.conntrack.find(Tuple(packed(SERVER), packed(PUBLIC), TCP, 20, 1025, 5))
    assert data is not None
    assert (data.mark, data.label, data.parent) == (9, 7, parent)
    state, seen = world.through(INSIDE, tcp(CLIENT, 1025, SERVER, 20, SYN | ACK, 90, 2))
    assert state == {"trk", "est", "rel", "rpl", "snat"}
    assert seen.right and seen.way == (PUBLIC, 1025, SERVER, 20)
    # The next one from there was not announced.
    state, _ = world.through(OUTSIDE, tcp(SERVER, 21000, PUBLIC, 1025, SYN, 1))
    assert state == {"trk", "new"}


def test_a_connection_that_comes_again_after_its_time_is_translated_again(world: NatWorld) -> None:
    world.nat(f"src={PUBLIC}")
    conntrack = world.datapath.conntrack
    began = conntrack.config.now_ns()
    for n in range(3):
        conntrack.config.set_now_ns(began + n * 100_000_000_000)
        _, seen = world.through(INSIDE, udp(CLIENT, 4000, SERVER, 53))
        assert seen.way == (PUBLIC, 4000, SERVER, 53)
        state, seen = world.through(OUTSIDE, udp(SERVER, 53, PUBLIC, 4000))
        assert "est" in state and seen.way == (SERVER, 53, CLIENT, 4000)


def test_an_announced_port_may_lead_to_another_one_behind_the_translation(world: NatWorld) -> None:
    ftp(world)
    parent = Tuple(packed(CLIENT), packed(SERVER), TCP, 4000, 21, 5)
    first = Tuple(packed(SERVER), packed(PUBLIC), TCP, 0, 1026, 5)
    expectation = Expectation(first, parent, nat=packed(CLIENT), nat_port=1025)
    world.datapath.conntrack.expectations.add(expectation)
    assert world.datapath.conntrack.expectations.of(first) == expectation
    state, seen = world.through(OUTSIDE, tcp(SERVER, 20, PUBLIC, 1026, SYN, 1))
    assert state == {"trk", "new", "rel", "dnat"}
    assert seen.right and seen.way == (SERVER, 20, CLIENT, 1025)
    state, seen = world.through(INSIDE, tcp(CLIENT, 1025, SERVER, 20, SYN | ACK, 90, 2))
    assert state == {"trk", "est", "rel", "rpl", "snat"}
    assert seen.right and seen.way == (PUBLIC, 1026, SERVER, 20)


def test_a_data_connection_gets_another_source_port_where_its_own_is_taken(world: NatWorld) -> None:
    ftp(world)
    parent = Tuple(packed(CLIENT), packed(SERVER), TCP, 4000, 21, 5)
    # The server is already talking to that port of the public address.
    world.flows(
        f"table=0,priority=9,in_port=1,tcp,nw_src=10.0.0.8,actions=ct(commit,zone=5,nat(src={PUBLIC}),table=1)",
        "table=1,priority=30,in_port=1,ct_state=+rel+new,actions=ct(commit,zone=5,nat,table=2)",
    )
    _, seen = world.through(INSIDE, tcp("10.0.0.8", 6000, SERVER, 50000, SYN, 1))
    assert seen.way == (PUBLIC, 6000, SERVER, 50000)
    first = Tuple(packed(CLIENT), packed(SERVER), TCP, 0, 50000, 5)
    world.datapath.conntrack.expectations.add(
        Expectation(first, parent, nat=packed(PUBLIC), nat_destination=True)
    )
    _, seen = world.through(INSIDE, tcp(CLIENT, 6000, SERVER, 50000, SYN, 1))
    assert seen.right and seen.src == PUBLIC
    assert seen.way[1] != 6000
