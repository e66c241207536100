"""Packets that the datapath holds for connections with a helper: read them, let them go on.

docs/conntrack.md (Helpers) tells the whole way of such a packet.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from gossamer.datapath.conntrack.connection import Connection
from gossamer.datapath.offload import on_the_wire, with_payload
from gossamer.errors import DatapathError
from gossamer.pipeline.action_ct import CT_ALG_FTP, CT_ALG_TFTP
from gossamer.pipeline.conntrack.expected import Expectation
from gossamer.pipeline.conntrack.sequences import SequenceShift
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.pipeline.fields import ETH_IPV6, IP_TCP, IP_UDP, get_slot
from gossamer.pipeline.packet import dissect
from gossamer.switch.alg.ftp import LOWEST_PORT, Speaker
from gossamer.switch.alg.reading import Reading, read_ftp, read_tftp
from gossamer.switch.alg.tftp import is_request

if TYPE_CHECKING:
    from gossamer.datapath.settings import Punt
    from gossamer.switch.contract import Datapath

log = logging.getLogger(__name__)

EXPECTED_FOR_S: Final = 300.0
_SPEAKERS: Final = 8192
_SEGMENT: Final = 1200
"""Payload of the segments that a long packet goes on as: no path has less room (RFC 8200, 5)."""
_SEQUENCE: Final = 1 << 32
_PORTS: Final = 1 << 16
_PORTS_TRIED: Final = 256
_FTP_DATA: Final = 20
"""The port that servers connect from (RFC 959, 3.3)."""


class Helpers:
    """All helpers of a datapath."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._speakers: OrderedDict[tuple[bytes, bool], Speaker] = OrderedDict()
        self._expected: deque[tuple[float, Expectation]] = deque()
        """Those that were written, the oldest first, with when they end."""
        self._inherited = False

    def held(self, punt: Punt, now_s: float) -> None:
        """Read a packet that is held, and let it go on, changed where it must be."""
        frame = punt.data
        connection, reply = self._connection(_tuple(punt.key))
        if connection is not None:
            frame = self._read(connection, reply, frame, now_s)
        for part in on_the_wire(frame, _SEGMENT):
            try:
                self._datapath.packets.let_go_on(punt, part)
            except DatapathError as e:
                # Its port is gone, or the kernel short of memory: TCP sends it again.
                log.info("port=%d: a packet with a helper is lost: %s", punt.in_port_id, e)

    def _connection(self, seen: Tuple) -> tuple[Connection | None, bool]:
        """The connection a packet belongs to, and whether it is the server's; translated or not."""
        conntrack = self._datapath.conntrack
        found = conntrack.find(seen) or conntrack.find(seen.reversed())
        reply = found is not None and seen in (found.reply, found.orig.reversed())
        return found, reply

    def _read(self, connection: Connection, reply: bool, frame: bytes, now_s: float) -> bytes:
        h = dissect(frame, 0)
        if h.l4_proto == IP_UDP and connection.alg == CT_ALG_TFTP and not reply:
            payload = frame[h.l4 + 8 : h.l4_end]
            if is_request(payload):
                self._follow(connection, read_tftp(connection, payload), now_s)
            return frame
        if h.l4_proto != IP_TCP or connection.alg != CT_ALG_FTP:
            return frame
        payload = frame[h.l4 + (frame[h.l4 + 12] >> 4) * 4 : h.l4_end]
        sequence = int.from_bytes(frame[h.l4 + 4 : h.l4 + 8], "big")
        found = self._speaker(connection, reply).hear(sequence, payload)
        reading = read_ftp(connection, reply, payload, found, partial(self._port, connection))
        self._follow(connection, reading, now_s)
        if reading.payload == payload:
            return frame
        self._shift(connection, reply, sequence, len(reading.payload) - len(payload))
        return with_payload(frame, reading.payload)

    def _port(self, connection: Connection, first: Tuple) -> int | None:
        """The port of `first`, or the next one that is no other connection's."""
        own = first.dport
        for n in range(_PORTS_TRIED):
            port = LOWEST_PORT + (own - LOWEST_PORT + n) % (_PORTS - LOWEST_PORT)
            if self._is_free(connection, replace(first, dport=port)):
                return port
        return None

    def _is_free(self, connection: Connection, first: Tuple) -> bool:
        """Whether nobody but this connection expects such a packet, or has it.

        Which port it comes from is known of FTP's servers alone; clients see
        to it themselves that their ports differ.
        """
        conntrack = self._datapath.conntrack
        expected = conntrack.expectations.of(first)
        if expected is not None:
            return expected.parent == connection.orig
        there = conntrack.find(replace(first, sport=_FTP_DATA))
        return there is None or there.parent == connection.orig

    def _speaker(self, connection: Connection, reply: bool) -> Speaker:
        who = (connection.key, reply)
        speaker = self._speakers.get(who)
        if speaker is None:
            speaker = self._speakers[who] = Speaker(from_client=not reply)
            if len(self._speakers) > _SPEAKERS:
                self._speakers.popitem(last=False)
        self._speakers.move_to_end(who)
        return speaker

    def _follow(self, connection: Connection, reading: Reading, now_s: float) -> None:
        for what in reading.refused:
            log.warning("zone=%d: refused: %s", connection.zone, what)
        for expectation in reading.expectations:
            self._datapath.conntrack.expectations.add(expectation)
            self._expected.append((now_s + EXPECTED_FOR_S, expectation))

    def _shift(self, connection: Connection, reply: bool, sequence: int, longer: int) -> None:
        """Have what follows a segment move by as much as that became longer.

        A segment that was sent again has moved it already.
        """
        conntrack = self._datapath.conntrack
        shifts = list(conntrack.sequences.shifts(connection))
        last = shifts[reply]
        ahead = (sequence - last.until) % _SEQUENCE
        if last == SequenceShift() or 0 < ahead < _SEQUENCE // 2:
            shifts[reply] = SequenceShift(sequence, last.after, last.after + longer)
        elif not ahead:
            shifts[reply] = SequenceShift(sequence, last.before, last.before + longer)
        if shifts[reply] != last:
            conntrack.sequences.set_shifts(connection, shifts[0], shifts[1])

    def sweep(self, now_s: float) -> None:
        """End expectations whose time is over; call about once a second."""
        conntrack = self._datapath.conntrack
        if not self._inherited:
            self._inherited = True
            # An earlier daemon's: how old they are is not known.
            self._expected.extend((now_s + EXPECTED_FOR_S, e) for e in conntrack.expectations)
        while self._expected and self._expected[0][0] <= now_s:
            _, expectation = self._expected.popleft()
            if all(expectation.first != later.first for _, later in self._expected):
                conntrack.expectations.remove(expectation)


def _tuple(key: int) -> Tuple:
    """The tuple of a packet with this key, in the zone it is tracked in."""
    src, dst, length = ("nw_src", "nw_dst", 4)
    if get_slot(key, "eth_type") == ETH_IPV6:
        src, dst, length = ("ipv6_src", "ipv6_dst", 16)
    return Tuple(
        get_slot(key, src).to_bytes(length, "big"),
        get_slot(key, dst).to_bytes(length, "big"),
        get_slot(key, "nw_proto"),
        get_slot(key, "tp_src"),
        get_slot(key, "tp_dst"),
        get_slot(key, "ct_zone"),
    )
