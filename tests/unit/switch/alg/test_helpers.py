"""A held packet on its way: read, rewritten, let go on with what follows it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest
from test_reading import CLIENT, OUTSIDE, SERVER, connection

from gossamer.datapath.conntrack.connection import Connection
from gossamer.datapath.settings import Punt, PuntReason
from gossamer.errors import DatapathError
from gossamer.pipeline.checksum import internet_sum
from gossamer.pipeline.conntrack.expected import Expectation
from gossamer.pipeline.conntrack.sequences import SequenceShift
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.pipeline.fields import put_slot
from gossamer.pipeline.packet import dissect, parse
from gossamer.switch.alg.helpers import EXPECTED_FOR_S, Helpers


class FakeExpectations:
    """Those that were added; those that were there before."""

    def __init__(self) -> None:
        self.added: list[Expectation] = []
        self.left_over: list[Expectation] = []

    def __iter__(self) -> Iterator[Expectation]:
        return iter(self.left_over)

    def add(self, e: Expectation) -> None:
        self.added.append(e)

    def remove(self, e: Expectation) -> None:
        self.added = [x for x in self.added if x.first != e.first]
        self.left_over = [x for x in self.left_over if x.first != e.first]

    def of(self, first: Tuple) -> Expectation | None:
        return next((e for e in self.added if e.first == first), None)


class FakeSequences:
    """Of the one connection there is."""

    def __init__(self) -> None:
        self.both = [SequenceShift(), SequenceShift()]

    def shifts(self, c: Connection) -> tuple[SequenceShift, SequenceShift]:
        return self.both[0], self.both[1]

    def set_shifts(self, c: Connection, a: SequenceShift, b: SequenceShift) -> None:
        self.both = [a, b]


class FakeConntrack:
    """One connection; what is written about it."""

    def __init__(self, c: Connection) -> None:
        self.connection = c
        self.expectations = FakeExpectations()
        self.sequences = FakeSequences()

    def find(self, t: Tuple) -> Connection | None:
        return self.connection if t in (self.connection.orig, self.connection.reply) else None


class Wire:
    """What is held for a connection's helper, and what of it goes on."""

    def __init__(self, c: Connection) -> None:
        self.conntrack = FakeConntrack(c)
        self.sent: list[bytes] = []
        datapath: Any = SimpleNamespace(conntrack=self.conntrack, packets=SimpleNamespace(let_go_on=self._go_on))
        self.datapath = datapath
        self.helpers = Helpers(datapath)

    def _go_on(self, punt: Punt, packet: bytes) -> None:
        assert punt.in_port_id == 7
        self.sent.append(packet)

    def hold(self, frame: bytes, now_s: float = 0.0) -> list[bytes]:
        key = put_slot(parse(frame, 1), "ct_zone", 3)
        punt = Punt(1, 7, PuntReason.CT_ALG, 0, 0, 0, 0, 0, len(frame), key, frame)
        self.helpers.held(punt, now_s)
        out, self.sent = self.sent, []
        return out


def segment(
    payload: bytes, sequence: int = 1000, *, reply: bool = False, src: str = CLIENT, dst: str = SERVER
) -> bytes:
    sport, dport = (21, 40000) if reply else (40000, 21)
    a, b = (ip_address(x).packed for x in ((dst, src) if reply else (src, dst)))
    tcp = struct.pack("!HHIIBBHHH", sport, dport, sequence, 1, 5 << 4, 0x18, 512, 0, 0)
    length = len(tcp) + len(payload)
    if len(a) == 4:
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 1, 0, 64, 6, 0, a, b)
        return bytes(12) + b"\x08\x00" + head + tcp + payload
    head = struct.pack("!IHBB16s16s", 6 << 28, length, 6, 64, a, b)
    return bytes(12) + b"\x86\xdd" + head + tcp + payload


def packed(address: str) -> bytes:
    return ip_address(address).packed


def payload_of(frame: bytes) -> bytes:
    h = dissect(frame, 0)
    return frame[h.l4 + 20 : h.l4_end]


def assert_sums_hold(frame: bytes) -> None:
    h = dissect(frame, 0)
    assert h.l4_end == len(frame)
    six = frame[h.l3] >> 4 == 6
    if not six:
        assert internet_sum(frame[h.l3 : h.l4]) == 0xFFFF
    addresses = frame[h.l3 + 8 : h.l3 + 40] if six else frame[h.l3 + 12 : h.l3 + 20]
    pseudo = addresses + struct.pack("!HH", 6, h.l4_end - h.l4)
    assert internet_sum(pseudo + frame[h.l4 : h.l4_end]) == 0xFFFF


def test_what_announces_nothing_goes_on_as_it_is() -> None:
    wire = Wire(connection())
    (out,) = wire.hold(segment(b"USER anonymous\r\n"))
    assert payload_of(out) == b"USER anonymous\r\n"
    assert wire.conntrack.expectations.added == []


def test_an_announcement_is_written_before_its_packet_goes_on() -> None:
    wire = Wire(connection())
    (out,) = wire.hold(segment(b"PORT 10,0,0,1,4,210\r\n"))
    assert payload_of(out) == b"PORT 10,0,0,1,4,210\r\n"
    (e,) = wire.conntrack.expectations.added
    assert (e.first.dport, e.first.sport, e.first.zone) == (1234, 0, 3)


def test_a_longer_text_moves_what_follows() -> None:
    wire = Wire(connection(seen_as=OUTSIDE))
    (out,) = wire.hold(segment(b"PORT 10,0,0,1,4,210\r\n", 1000))
    assert payload_of(out) == b"PORT 203,0,113,7,4,210\r\n"
    assert_sums_hold(out)
    assert wire.conntrack.sequences.both == [SequenceShift(1000, 0, 3), SequenceShift()]
    wire.hold(segment(b"LIST\r\n", 1021))
    assert wire.conntrack.sequences.both[0] == SequenceShift(1000, 0, 3)
    wire.hold(segment(b"PORT 10,0,0,1,4,211\r\n", 1027))
    assert wire.conntrack.sequences.both[0] == SequenceShift(1027, 3, 6)


def test_a_packet_sent_again_moves_nothing_more() -> None:
    wire = Wire(connection(seen_as=OUTSIDE))
    first = wire.hold(segment(b"PORT 10,0,0,1,4,210\r\n", 1000))
    wire.hold(segment(b"LIST\r\n", 1021))
    assert wire.hold(segment(b"PORT 10,0,0,1,4,210\r\n", 1000)) == first
    assert wire.conntrack.sequences.both[0] == SequenceShift(1000, 0, 3)


def test_a_packet_that_nat_has_translated_already_is_known_too() -> None:
    wire = Wire(connection(seen_as=OUTSIDE))
    (out,) = wire.hold(segment(b"PORT 10,0,0,1,4,210\r\n", src=OUTSIDE))
    assert payload_of(out) == b"PORT 203,0,113,7,4,210\r\n"


def test_replies_of_the_server_are_read_as_such() -> None:
    wire = Wire(connection())
    wire.hold(segment(b"227 Ok (10,0,0,2,200,10)\r\n", reply=True))
    (e,) = wire.conntrack.expectations.added
    assert e.first == replace(connection().orig, sport=0, dport=51210)


def test_ipv6_is_rewritten_with_its_lengths_and_sums() -> None:
    c = connection("fc00:1:2:3::9", "fc00::2", client="fc00::1", server="fc00::2")
    wire = Wire(c)
    (out,) = wire.hold(segment(b"EPRT |2|fc00::1|5282|\r\n", src="fc00::1", dst="fc00::2"))
    assert payload_of(out) == b"EPRT |2|fc00:1:2:3::9|5282|\r\n"
    assert_sums_hold(out)


def test_a_long_packet_goes_on_in_parts() -> None:
    wire = Wire(connection())
    text = b"".join(b"214-line %04d of a long help\r\n" % i for i in range(200))
    parts = wire.hold(segment(text, reply=True))
    assert len(parts) > 3
    assert b"".join(payload_of(p) for p in parts) == text
    for part in parts:
        assert_sums_hold(part)


def test_a_connection_that_is_gone_takes_its_packet_along_unread() -> None:
    wire = Wire(connection())
    frame = segment(b"PORT 10,0,0,5,4,210\r\n", src="10.0.0.5")
    assert payload_of(wire.hold(frame)[0]) == b"PORT 10,0,0,5,4,210\r\n"
    assert wire.conntrack.expectations.added == []


def test_a_port_that_is_gone_loses_the_packet_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = Wire(connection())

    def refuse(punt: Punt, packet: bytes) -> None:
        raise DatapathError("no such device")

    monkeypatch.setattr(wire.datapath.packets, "let_go_on", refuse)
    assert wire.hold(segment(b"PORT 10,0,0,1,4,210\r\n")) == []
    assert len(wire.conntrack.expectations.added) == 1


def test_expectations_end_when_their_time_is_over() -> None:
    wire = Wire(connection())
    wire.hold(segment(b"PORT 10,0,0,1,4,210\r\n", 1000), now_s=0.0)
    wire.hold(segment(b"PORT 10,0,0,1,4,211\r\n", 1021), now_s=10.0)
    wire.helpers.sweep(EXPECTED_FOR_S - 1)
    assert len(wire.conntrack.expectations.added) == 2
    wire.helpers.sweep(EXPECTED_FOR_S + 1)
    assert [e.first.dport for e in wire.conntrack.expectations.added] == [1235]


def test_an_expectation_written_again_ends_later() -> None:
    wire = Wire(connection())
    for now_s, sequence in ((0.0, 1000), (100.0, 1021)):
        wire.hold(segment(b"PORT 10,0,0,1,4,210\r\n", sequence), now_s=now_s)
    wire.helpers.sweep(EXPECTED_FOR_S + 1)
    assert wire.conntrack.expectations.added
    wire.helpers.sweep(EXPECTED_FOR_S + 101)
    assert not wire.conntrack.expectations.added


def test_an_earlier_daemons_expectations_end_too() -> None:
    wire = Wire(connection())
    wire.conntrack.expectations.left_over = [Expectation(connection().orig, connection().orig)]
    wire.helpers.sweep(1000.0)
    assert wire.conntrack.expectations.left_over
    wire.helpers.sweep(1000.0 + EXPECTED_FOR_S)
    assert not wire.conntrack.expectations.left_over


def test_two_clients_behind_one_address_get_different_ports() -> None:
    c = connection(seen_as=OUTSIDE)
    wire = Wire(c)
    other = Expectation(
        Tuple(packed(SERVER), packed(OUTSIDE), 6, 0, 1234, 3), Tuple(b"", b"", 6), nat=b"", nat_port=0
    )
    wire.conntrack.expectations.added.append(other)
    (sent,) = wire.hold(segment(b"PORT 10,0,0,1,4,210\r\n"))
    assert payload_of(sent) == b"PORT 203,0,113,7,4,211\r\n"
    # Said again, it is the same again.
    (again,) = wire.hold(segment(b"PORT 10,0,0,1,4,210\r\n"))
    assert payload_of(again) == payload_of(sent)
    assert wire.conntrack.expectations.added[0] == other
