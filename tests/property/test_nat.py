"""Translation of addresses in the kernel, packet by packet, checksums computed anew each time."""

from __future__ import annotations

import pytest

from tests.property.nat_world import INSIDE, OUTSIDE, NatWorld
from tests.property.wire import (
    ACK,
    ICMP,
    ICMP6,
    SYN,
    UDP,
    echo,
    echo_segment,
    error,
    frame,
    network,
    see,
    tcp,
    udp,
    udp_segment,
)

FAMILIES = [
    pytest.param("10.0.0.1", "192.0.2.9", "198.51.100.1", id="ipv4"),
    pytest.param("fd00::1", "2001:db8::9", "2001:db8:1::1", id="ipv6"),
]


@pytest.mark.parametrize(("inside", "server", "outside"), FAMILIES)
@pytest.mark.parametrize("packet", [tcp, udp])
def test_a_source_is_translated_there_and_back(
    world: NatWorld, inside: str, server: str, outside: str, packet: type
) -> None:
    literal = f"[{outside}]" if ":" in outside else outside
    world.nat(f"src={literal}")
    state, seen = world.through(INSIDE, packet(inside, 4000, server, 80))
    assert state == {"trk", "new", "snat"}
    assert seen.right and seen.way == (outside, 4000, server, 80)
    flags = {"flags": SYN | ACK, "seq": 5000, "ack": 1001} if packet is tcp else {}
    state, seen = world.through(OUTSIDE, packet(server, 80, outside, 4000, **flags))
    assert state == {"trk", "est", "rpl", "dnat"}
    assert seen.right and seen.way == (server, 80, inside, 4000)


@pytest.mark.parametrize(("inside", "server", "outside"), FAMILIES)
def test_a_destination_is_translated_with_its_port_there_and_back(
    world: NatWorld, inside: str, server: str, outside: str
) -> None:
    literal = f"[{server}]" if ":" in server else server
    world.nat(f"dst={literal}:8080")
    state, seen = world.through(INSIDE, tcp(inside, 4000, outside, 80))
    assert state == {"trk", "new", "dnat"}
    assert seen.right and seen.way == (inside, 4000, server, 8080)
    state, seen = world.through(
        OUTSIDE, tcp(server, 8080, inside, 4000, SYN | ACK, seq=5000, ack=1001)
    )
    assert state == {"trk", "est", "rpl", "snat"}
    assert seen.right and seen.way == (outside, 80, inside, 4000)


def test_a_port_in_use_is_not_given_twice(world: NatWorld) -> None:
    world.nat("src=198.51.100.1")
    ports = set()
    for host in range(1, 41):
        _, seen = world.through(INSIDE, udp(f"10.0.0.{host}", 4000, "192.0.2.9", 53))
        assert seen.right and seen.src == "198.51.100.1"
        ports.add(seen.sport)
    assert len(ports) == 40
    _, seen = world.through(INSIDE, udp("10.0.0.50", 4000, "192.0.2.10", 53))
    assert seen.sport == 4000, "towards another server it is free"


@pytest.mark.parametrize(("inside", "server", "outside"), FAMILIES)
def test_who_is_not_translated_begins_nothing_whose_answers_are_anothers(
    world: NatWorld, inside: str, server: str, outside: str
) -> None:
    ip, literal = ("ipv6", f"[{outside}]") if ":" in outside else ("ip", outside)
    world.nat(f"src={literal}")
    source = f"ipv6_src={outside}" if ip == "ipv6" else f"nw_src={outside}"
    world.flows(f"table=0,priority=40000,in_port=1,{ip},{source},actions=ct(commit,zone=5,table=1)")
    world.through(INSIDE, udp(inside, 4000, server, 53))
    world.dropped(INSIDE, udp(outside, 4000, server, 53), "ct_nat_full")
    state, seen = world.through(OUTSIDE, udp(server, 53, outside, 4000))
    assert (state, seen.way) == ({"trk", "est", "rpl", "dnat"}, (server, 53, inside, 4000))
    state, seen = world.through(INSIDE, udp(outside, 4001, server, 53))
    assert (state, seen.way) == ({"trk", "new"}, (outside, 4001, server, 53))
    world.datapath.conntrack.flush()
    state, _ = world.through(INSIDE, udp(outside, 4000, server, 53))
    assert state == {"trk", "new"}


def test_a_range_of_ports_is_used_up_before_anybody_is_refused(world: NatWorld) -> None:
    world.nat("src=198.51.100.1:5000-5099")
    ports = set()
    for host in range(100):
        _, seen = world.through(INSIDE, udp(f"10.0.0.{host}", 4000, "192.0.2.9", 53))
        ports.add(seen.sport)
    assert ports == set(range(5000, 5100))
    world.dropped(INSIDE, udp("10.0.0.200", 4000, "192.0.2.9", 53), "ct_nat_full")
    assert world.datapath.conntrack.count == 100, "no connection without a port"


def test_the_last_ports_of_a_long_range_are_found_by_who_asks_again(world: NatWorld) -> None:
    world.nat("src=198.51.100.1:6000-6999")
    ports = set()
    for number in range(1000):
        asked = tcp(f"10.0.{number // 250}.{number % 250}", 4000, "192.0.2.9", 80)
        for _ in range(400):
            out = world.send(INSIDE, asked)
            if out:
                ports.add(see(out[0].data).sport)
                break
    assert ports == set(range(6000, 7000))


def test_a_port_is_free_again_when_its_connection_has_expired(world: NatWorld) -> None:
    world.nat("src=198.51.100.1:5000-5003")
    for host in range(4):
        world.through(INSIDE, udp(f"10.0.0.{host}", 4000, "192.0.2.9", 53))
    world.dropped(INSIDE, udp("10.0.0.9", 4000, "192.0.2.9", 53), "ct_nat_full")
    conntrack = world.datapath.conntrack
    conntrack.config.set_now_ns(conntrack.config.now_ns() + 61_000_000_000)
    _, seen = world.through(INSIDE, udp("10.0.0.9", 4000, "192.0.2.9", 53))
    assert seen.right and 5000 <= seen.sport <= 5003


def test_a_port_is_not_taken_from_a_connection_without_translation(world: NatWorld) -> None:
    world.flows("table=0,priority=20,ip,nw_src=198.51.100.1,actions=ct(commit,zone=5),output:2")
    world.nat("src=198.51.100.1")
    world.send(INSIDE, udp("198.51.100.1", 4000, "192.0.2.9", 53))
    _, seen = world.through(INSIDE, udp("10.0.0.1", 4000, "192.0.2.9", 53))
    assert seen.sport != 4000 and seen.right


def test_addresses_of_a_range_are_all_used(world: NatWorld) -> None:
    world.nat("src=198.51.100.1-198.51.100.4")
    used = {
        world.through(INSIDE, udp(f"10.0.0.{host}", 4000, "192.0.2.9", 53))[1].src
        for host in range(40)
    }
    assert used == {f"198.51.100.{n}" for n in range(1, 5)}


def test_persistent_gives_a_host_the_same_address_always(world: NatWorld) -> None:
    world.nat("src=198.51.100.1-198.51.100.99,persistent")
    used = {
        world.through(INSIDE, udp("10.0.0.1", 4000, f"192.0.2.{server}", 53))[1].src
        for server in range(1, 20)
    }
    assert len(used) == 1


def test_nat_without_commit_does_nothing_to_what_is_not_known(world: NatWorld) -> None:
    world.nat("src=198.51.100.1")
    state, seen = world.through(OUTSIDE, udp("192.0.2.9", 53, "198.51.100.1", 4000))
    assert state == {"trk", "new"} and seen.way == ("192.0.2.9", 53, "198.51.100.1", 4000)


@pytest.mark.parametrize(("inside", "server", "outside"), FAMILIES)
def test_pings_are_translated_and_identifiers_in_use_change(
    world: NatWorld, inside: str, server: str, outside: str
) -> None:
    literal = f"[{outside}]" if ":" in outside else outside
    world.nat(f"src={literal}")
    state, seen = world.through(INSIDE, echo(inside, server, 77))
    assert state == {"trk", "new", "snat"}
    assert seen.right and (seen.src, seen.sport) == (outside, 77)
    second = inside[:-1] + "2"
    _, seen = world.through(INSIDE, echo(second, server, 77))
    assert seen.right and seen.src == outside and seen.sport != 77
    state, back = world.through(OUTSIDE, echo(server, outside, seen.sport, reply=True))
    assert state == {"trk", "est", "rpl", "dnat"}
    assert back.right and (back.dst, back.sport) == (second, 77)


@pytest.mark.parametrize(("inside", "server", "outside"), FAMILIES)
@pytest.mark.parametrize("what", ["tcp", "udp", "echo"])
@pytest.mark.parametrize("limit", [1000, 28])
def test_an_error_about_a_translated_packet_reaches_its_sender_as_he_sent_it(
    world: NatWorld, inside: str, server: str, outside: str, what: str, limit: int
) -> None:
    if ":" in inside and limit < 1000:
        limit = 60
    literal = f"[{outside}]:6000-6010" if ":" in outside else f"{outside}:6000-6010"
    world.nat(f"src={literal}")
    router = "203.0.113.7" if ":" not in inside else "2001:db8:2::7"
    make = {"tcp": tcp, "udp": udp}.get(what)
    sent = make(inside, 4000, server, 80) if make else echo(inside, server, 77)
    out = world.send(INSIDE, sent)[0].data
    state, seen = world.through(OUTSIDE, error(router, outside, out, limit))
    assert state == {"trk", "rel", "rpl", "dnat"}
    assert (seen.src, seen.dst) == (router, inside)
    assert seen.quoted is not None
    whole = seen.quoted.segment == see(sent).segment[: len(seen.quoted.segment)]
    assert whole, "the quotation is what was sent"
    assert seen.quoted.way == see(sent).way
    head = 20 if seen.proto == ICMP else 40
    # The quoted IP header is whole again, and the error's own checksum right.
    assert seen.segment[8 : 8 + head][:2] == sent[14:16]
    assert see(frame(network(seen.src, seen.dst, seen.proto, seen.segment)), whole=True).proto in (
        ICMP,
        ICMP6,
    )
    assert _error_is_right(seen.src, seen.dst, seen.proto, seen.segment)


def _error_is_right(src: str, dst: str, proto: int, segment: bytes) -> bool:
    from tests.property.wire import with_checksum

    return with_checksum(src, dst, proto, segment) == segment


def test_an_error_about_an_unknown_packet_is_invalid(world: NatWorld) -> None:
    world.nat("src=198.51.100.1")
    stray = udp("198.51.100.1", 1, "192.0.2.9", 2)
    state, seen = world.through(OUTSIDE, error("203.0.113.7", "198.51.100.1", stray))
    assert state == {"trk", "inv"} and seen.dst == "198.51.100.1"


SIZE = 800


def fragments(
    src: str, dst: str, proto: int, datagram: bytes, identifier: int = 7
) -> list[bytes]:
    """A datagram in frames of fragments."""
    pieces = [(at, datagram[at : at + SIZE]) for at in range(0, len(datagram), SIZE)]
    return [
        frame(
            network(
                src, dst, proto, piece,
                identifier=identifier, offset=at, more=at + SIZE < len(datagram),
            )
        )
        for at, piece in pieces
    ]  # fmt: skip


@pytest.mark.parametrize(("inside", "server", "outside"), FAMILIES)
@pytest.mark.parametrize("what", ["udp", "echo"])
def test_fragments_follow_their_first_one_and_are_whole_again(
    world: NatWorld, inside: str, server: str, outside: str, what: str
) -> None:
    literal = f"[{outside}]" if ":" in outside else outside
    world.nat(f"src={literal}")
    v4 = ":" not in inside
    if what == "udp":
        world.through(INSIDE, udp("10.0.0.9" if v4 else "fd00::9", 4000, server, 53))
        datagram = udp_segment(inside, 4000, server, 53, bytes(range(256)) * 10)
        proto = UDP
    else:
        world.through(INSIDE, echo("10.0.0.9" if v4 else "fd00::9", server, 77))
        datagram = echo_segment(inside, server, 77, reply=False, data=bytes(range(256)) * 10)
        proto = ICMP if v4 else ICMP6
    parts: list[bytes] = []
    for piece in fragments(inside, server, proto, datagram):
        state, seen = world.through(INSIDE, piece, whole=False)
        assert state == {"trk", "new", "snat"} and seen.right
        assert (seen.src, seen.dst) == (outside, server)
        parts.append(seen.segment)
    seen = see(frame(network(outside, server, proto, b"".join(parts))))
    assert seen.right, "the checksum in the first covers all"
    assert seen.sport not in (4000, 77), "which was taken"
    # Back again, in fragments too.
    if what == "udp":
        answer = udp_segment(server, 53, outside, seen.sport, bytes(range(256)) * 10)
    else:
        answer = echo_segment(server, outside, seen.sport, reply=True, data=bytes(2560))
    parts = []
    for piece in fragments(server, outside, proto, answer):
        state, back = world.through(OUTSIDE, piece, whole=False)
        assert state == {"trk", "est", "rpl", "dnat"}
        assert (back.src, back.dst) == (server, inside)
        parts.append(back.segment)
    assert see(frame(network(server, inside, proto, b"".join(parts)))).right


@pytest.mark.parametrize("inside", ["10.0.0.1", "fd00::1"])
def test_a_fragment_without_its_first_is_invalid_and_overlaps_are_dropped(
    world: NatWorld, inside: str
) -> None:
    outside = "198.51.100.1" if inside[0] == "1" else "[2001:db8:1::1]"
    server = "192.0.2.9" if inside[0] == "1" else "2001:db8::9"
    world.nat(f"src={outside}")
    datagram = udp_segment(inside, 4000, server, 53, bytes(2000))
    first, second, third = fragments(inside, server, UDP, datagram, 99)
    state, _ = world.through(INSIDE, second, whole=False)
    assert state == {"trk", "inv"}
    state, _ = world.through(INSIDE, first, whole=False)
    assert state == {"trk", "new", "snat"}
    state, _ = world.through(INSIDE, second, whole=False)
    assert "new" in state
    overlap = frame(
        network(inside, server, UDP, bytes(800), identifier=99, offset=1200, more=True)
    )
    world.dropped(INSIDE, overlap, "ct_fragment")
    world.dropped(INSIDE, third, "ct_fragment")


@pytest.mark.parametrize(("inside", "server", "outside"), FAMILIES)
def test_fragments_that_leave_and_come_back_by_another_port_are_tracked_there_too(
    world: NatWorld, inside: str, server: str, outside: str
) -> None:
    back = 3
    world.add_port(back)
    world.flows(
        *(f"table=0,{ip},actions=ct(commit,zone=5,table=1)" for ip in ("ip", "ipv6")),
        "table=1,priority=1,ct_state=-inv,in_port=1,actions=output:3",
        "table=1,priority=1,ct_state=-inv,in_port=3,actions=output:2",
    )
    datagram = udp_segment(inside, 4000, server, 53, bytes(2000))
    pieces = fragments(inside, server, UDP, datagram, 177)
    # Each goes on its way before the next one comes.
    for piece in pieces:
        for port, to in ((INSIDE, back), (back, OUTSIDE)):
            sent = [c.port_id for c in world.send(port, piece)]
            assert sent == [world.ports[to]], world.datapath.drops()
    for port in (INSIDE, back):
        world.dropped(port, pieces[1], "ct_fragment")
    # The next one of that number, of which the other port's came first.
    for port, to in ((back, OUTSIDE), (INSIDE, back)):
        for piece in pieces:
            sent = [c.port_id for c in world.send(port, piece)]
            assert sent == [world.ports[to]], world.datapath.drops()


@pytest.mark.parametrize(("inside", "server", "outside"), FAMILIES)
def test_fragments_are_tracked_as_far_as_that_is_wished(
    world: NatWorld, inside: str, server: str, outside: str
) -> None:
    world.nat(f"src={outside}")
    ipv6 = ":" in inside
    conntrack = world.datapath.conntrack
    before = conntrack.counters()

    def became(identifier: int) -> list[bool]:
        """Of two fragments: which were valid."""
        datagram = udp_segment(inside, 4000, server, 53, bytes(2 * SIZE))
        pieces = fragments(inside, server, UDP, datagram, identifier)[:2]
        return ["inv" not in world.through(INSIDE, piece, whole=False)[0] for piece in pieces]

    try:
        assert became(501) == [True, True]
        conntrack.config.track_fragments(ipv6, False)
        assert became(502) == [False, False]
        conntrack.config.track_fragments(ipv6, True)
        conntrack.config.set_shortest_fragment(ipv6, SIZE + 100)
        assert became(503) == [False, False]
        conntrack.config.set_shortest_fragment(ipv6, SIZE)
        assert became(504) == [True, True]
    finally:
        conntrack.config.track_fragments(ipv6, True)
        conntrack.config.set_shortest_fragment(ipv6, 0)
    counted = conntrack.counters()
    family = "v6" if ipv6 else "v4"
    grown = {
        fate: counted[f"fragments_{family}_{fate}"] - before[f"fragments_{family}_{fate}"]
        for fate in ("accepted", "short")
    }
    assert grown == {"accepted": 4, "short": 2}
