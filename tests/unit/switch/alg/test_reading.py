"""Which connections a helper expects, and what it sends on, with and without translation."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from gossamer.datapath.conntrack.connection import Connection
from gossamer.datapath.layout import CtFlag
from gossamer.pipeline.conntrack.expected import Expectation
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.switch.alg.ftp import Speaker
from gossamer.switch.alg.reading import Reading, read_ftp, read_tftp

CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
OUTSIDE, SHOWN = "203.0.113.7", "198.51.100.9"
"""What the client's, and the server's address is translated to."""


def tuple_of(src: str, dst: str, sport: int, dport: int, proto: int = 6) -> Tuple:
    return Tuple(ip_address(src).packed, ip_address(dst).packed, proto, sport, dport, 3)


def connection(
    seen_as: str = CLIENT, shown: str = SERVER, *, client: str = CLIENT, server: str = SERVER, proto: int = 6
) -> Connection:
    """From the client, whom the server knows as `seen_as`, to the server, known to it as `shown`."""
    values: dict[str, Any] = {
        "flags": CtFlag(0), "timeout_s": 1.0, "age_s": 1.0, "n_packets": (0, 0), "n_bytes": (0, 0),
        "peers": None, "policy": 0, "alg": 21, "parent": None, "key": b"key",
    }  # fmt: skip
    return Connection(
        orig=tuple_of(client, shown, 40000, 21, proto),
        reply=tuple_of(server, seen_as, 21, 40000, proto),
        mark=5,
        label=6,
        **values,
    )


def read(
    c: Connection, text: bytes, *, reply: bool = False, taken: tuple[int, ...] = ()
) -> Reading:
    """What is made of a text, where ports of translated addresses are taken already."""

    def ports(first: Tuple) -> int | None:
        free = (port for port in range(first.dport, first.dport + 3) if port not in taken)
        return next(free, None)

    said = Speaker(from_client=not reply).hear(1, text)
    return read_ftp(c, reply, text, said, ports)


def expected(
    reading: Reading, c: Connection, src: str, dst: str, port: int, nat: str | None = None, **how: bool
) -> None:
    packed = None if nat is None else ip_address(nat).packed
    first = tuple_of(src, dst, 0, port)
    assert reading.expectations == (
        Expectation(first, c.orig, 5, 6, packed, how.get("source", False)),
    )


def test_a_port_lets_the_server_connect() -> None:
    reading = read(connection(), b"PORT 10,0,0,1,4,210\r\n")
    expected(reading, connection(), SERVER, CLIENT, 1234)
    assert reading.payload == b"PORT 10,0,0,1,4,210\r\n"


def test_227_lets_the_client_connect() -> None:
    reading = read(connection(), b"227 Ok (10,0,0,2,200,10)\r\n", reply=True)
    expected(reading, connection(), CLIENT, SERVER, 51210)


def test_a_translated_client_announces_what_the_server_sees() -> None:
    c = connection(seen_as=OUTSIDE)
    reading = read(c, b"PORT 10,0,0,1,4,210\r\n")
    expected(reading, c, SERVER, OUTSIDE, 1234, nat=CLIENT)
    assert reading.payload == b"PORT 203,0,113,7,4,210\r\n"


def test_a_translated_client_goes_on_translated() -> None:
    c = connection(seen_as=OUTSIDE)
    reading = read(c, b"229 Ok (|||6446|)\r\n", reply=True)
    expected(reading, c, CLIENT, SERVER, 6446, nat=OUTSIDE, source=True)
    assert reading.payload == b"229 Ok (|||6446|)\r\n"


def test_a_translated_server_announces_what_the_client_sees() -> None:
    c = connection(shown=SHOWN)
    reading = read(c, b"227 Ok (10,0,0,2,200,10)\r\n", reply=True)
    expected(reading, c, CLIENT, SHOWN, 51210, nat=SERVER)
    assert reading.payload == b"227 Ok (198,51,100,9,200,10)\r\n"


def test_a_translated_server_connects_translated() -> None:
    c = connection(shown=SHOWN)
    reading = read(c, b"PORT 10,0,0,1,4,210\r\n")
    expected(reading, c, SERVER, CLIENT, 1234, nat=SHOWN, source=True)


def test_ipv6_works_alike() -> None:
    c = connection("fc00::9", "fc00::2", client="fc00::1", server="fc00::2")
    reading = read(c, b"EPRT |2|fc00::1|5282|\r\n")
    expected(reading, c, "fc00::2", "fc00::9", 5282, nat="fc00::1")
    assert reading.payload == b"EPRT |2|fc00::9|5282|\r\n"


def test_nobody_opens_a_way_to_a_third_party() -> None:
    for c in (connection(), connection(seen_as=OUTSIDE), connection(shown=SHOWN)):
        for text, reply in (
            (b"PORT 10,0,0,99,4,210\r\n", False),
            (b"PORT 10,0,0,2,4,210\r\n", False),
            (b"EPRT |1|10.0.0.99|1234|\r\n", False),
            (b"EPRT |2|fc00::1|1234|\r\n", False),
            (b"227 (10,0,0,1,4,210)\r\n", True),
        ):
            reading = read(c, text, reply=reply)
            assert (reading.expectations, reading.payload) == ((), text)
            assert len(reading.refused) == 1


def test_nobody_opens_a_way_to_a_service() -> None:
    reading = read(connection(), b"PORT 10,0,0,1,0,22\r\n")
    assert reading.expectations == ()
    assert reading.refused == ("PORT of port 22",)


def test_a_tftp_server_may_answer_from_any_port() -> None:
    c = connection(seen_as=OUTSIDE, proto=17)
    reading = read_tftp(c, b"\0\1f\0octet\0")
    (e,) = reading.expectations
    assert e.first == tuple_of(SERVER, OUTSIDE, 0, 40000, 17)
    assert (e.nat, e.nat_destination) == (ip_address(CLIENT).packed, False)


def test_a_port_that_another_client_has_becomes_another_one() -> None:
    c = connection(seen_as=OUTSIDE)
    reading = read(c, b"PORT 10,0,0,1,4,210\r\n", taken=(1234, 1235))
    (one,) = reading.expectations
    assert one.first == tuple_of(SERVER, OUTSIDE, 0, 1236)
    assert (one.nat, one.nat_port) == (ip_address(CLIENT).packed, 1234)
    assert reading.payload == b"PORT 203,0,113,7,4,212\r\n"


def test_a_servers_port_is_changed_in_a_text_without_address_too() -> None:
    c = connection(shown=SHOWN)
    reading = read(c, b"229 Ok (|||51210|)\r\n", reply=True, taken=(51210,))
    (one,) = reading.expectations
    assert one.first == tuple_of(CLIENT, SHOWN, 0, 51211)
    assert (one.nat, one.nat_port) == (ip_address(SERVER).packed, 51210)
    assert reading.payload == b"229 Ok (|||51211|)\r\n"


def test_without_translation_a_port_is_nobody_elses() -> None:
    text = b"PORT 10,0,0,1,4,210\r\n"
    reading = read(connection(), text, taken=(1234,))
    expected(reading, connection(), SERVER, CLIENT, 1234)
    assert reading.payload == text


def test_where_no_port_is_free_nothing_is_expected() -> None:
    reading = read(connection(seen_as=OUTSIDE), b"PORT 10,0,0,1,4,210\r\n", taken=(1234, 1235, 1236))
    assert not reading.expectations
    assert reading.refused == ("PORT of port 1234, for which none is free",)


def test_tftp_data_find_the_clients_own_port_behind_a_changed_one() -> None:
    c = connection(seen_as=OUTSIDE, proto=17)
    c = replace(c, reply=replace(c.reply, dport=50000))
    (one,) = read_tftp(c, b"").expectations
    assert one.first == tuple_of(SERVER, OUTSIDE, 0, 50000, 17)
    assert (one.nat, one.nat_port) == (ip_address(CLIENT).packed, 40000)
