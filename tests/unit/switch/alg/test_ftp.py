"""What an FTP session announces, and what only looks like it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from gossamer.switch.alg.ftp import Announcement, Kind, Speaker, rewrite


def client(payload: bytes, sequence: int = 1000) -> list[Announcement]:
    return Speaker(from_client=True).hear(sequence, payload)


def server(payload: bytes, sequence: int = 1000) -> list[Announcement]:
    return Speaker(from_client=False).hear(sequence, payload)


def test_port_names_an_address_and_a_port() -> None:
    (found,) = client(b"PORT 10,0,0,1,4,210\r\n")
    assert (found.kind, found.address, found.port) == (Kind.PORT, IPv4Address("10.0.0.1"), 1234)


def test_a_command_is_found_in_any_case_and_with_a_bare_newline() -> None:
    assert client(b"port 10,0,0,1,4,210\n")[0].port == 1234


def test_eprt_names_either_family() -> None:
    (four,) = client(b"EPRT |1|132.235.1.2|6275|\r\n")
    (six,) = client(b"EPRT !2!1080::8:800:200C:417A!5282!\r\n")
    assert (four.address, four.port) == (IPv4Address("132.235.1.2"), 6275)
    assert (six.address, six.port, six.bar) == (
        IPv6Address("1080::8:800:200c:417a"),
        5282,
        b"!",
    )


def test_eprt_whose_family_is_not_that_of_its_address_is_none() -> None:
    assert not client(b"EPRT |2|10.0.0.1|6275|\r\n")
    assert not client(b"EPRT |1|::1|6275|\r\n")


@pytest.mark.parametrize(
    "reply",
    [
        b"227 Entering Passive Mode (10,0,0,2,200,10).\r\n",
        b"227 Entering Passive Mode 10,0,0,2,200,10\r\n",
        b"227 =10,0,0,2,200,10\r\n",
    ],
)
def test_227_is_read_however_servers_write_it(reply: bytes) -> None:
    (found,) = server(reply)
    assert (found.kind, found.address, found.port) == (Kind.PASV, IPv4Address("10.0.0.2"), 51210)


def test_229_names_a_port_alone() -> None:
    (found,) = server(b"229 Entering Extended Passive Mode (|||6446|)\r\n")
    assert (found.kind, found.address, found.port) == (Kind.EPSV, None, 6446)


@pytest.mark.parametrize(
    "text",
    [
        b"PORT 10,0,0,256,4,210\r\n",
        b"PORT 10,0,0,1,4\r\n",
        b"PORT 10,0,0,1,4,210,9\r\n",
        b"PORT 10,0,0,1,4,210 x\r\n",
        b"XPORT 10,0,0,1,4,210\r\n",
        b"EPRT |1|10.0.0.1|66000|\r\n",
        b"EPRT |1|10.0.0.1|6275\r\n",
        b"EPRT |1|10.0.0.1!6275|\r\n",
        b"SITE PORT 10,0,0,1,4,210\r\n",
    ],
)
def test_what_is_malformed_announces_nothing(text: bytes) -> None:
    assert not client(text)


def test_a_reply_of_a_client_and_a_command_of_a_server_announce_nothing() -> None:
    assert not client(b"227 Entering Passive Mode (10,0,0,2,200,10).\r\n")
    assert not server(b"PORT 10,0,0,1,4,210\r\n")


def test_part_of_a_line_announces_nothing() -> None:
    speaker = Speaker(from_client=True)
    assert not speaker.hear(1000, b"PORT 10,0,0,1,4,2")
    assert not speaker.hear(1017, b"10\r\n")
    # The next line is whole again.
    assert speaker.hear(1021, b"PORT 10,0,0,1,4,210\r\n")


def test_text_that_begins_a_segment_in_the_middle_of_a_line_announces_nothing() -> None:
    speaker = Speaker(from_client=False)
    assert not speaker.hear(1000, b"220 ready\r\n")
    assert not speaker.hear(1011, b"550 no file ")
    assert not speaker.hear(1023, b"227 x (10,0,0,2,200,10)\r\n")


def test_lines_within_a_reply_announce_nothing() -> None:
    text = b"211-Features:\r\n227 (10,0,0,2,200,10)\r\n211 End\r\n"
    assert not server(text)
    speaker = Speaker(from_client=False)
    assert not speaker.hear(1000, b"230-Welcome\r\n")
    assert not speaker.hear(1013, b"227 (10,0,0,2,200,10)\r\n230 in\r\n")
    assert speaker.hear(1044, b"227 (10,0,0,2,200,10)\r\n")


def test_a_segment_sent_again_announces_the_same_again() -> None:
    speaker = Speaker(from_client=True)
    first = speaker.hear(1000, b"PORT 10,0,0,1,4,210\r\n")
    speaker.hear(1021, b"LIST\r\n")
    assert speaker.hear(1000, b"PORT 10,0,0,1,4,210\r\n") == first


def test_commands_that_came_in_one_segment_are_all_found() -> None:
    text = b"TYPE I\r\nPORT 10,0,0,1,4,210\r\nLIST\r\nPORT 10,0,0,1,4,211\r\n"
    found = client(text)
    assert [f.port for f in found] == [1234, 1235]
    there = IPv4Address("203.0.113.77")
    assert rewrite(text, [(f, there, f.port + 1) for f in found]) == (
        b"TYPE I\r\nPORT 203,0,113,77,4,211\r\nLIST\r\nPORT 203,0,113,77,4,212\r\n"
    )


def test_sequence_numbers_wrap() -> None:
    speaker = Speaker(from_client=True)
    speaker.hear((1 << 32) - 6, b"LIST\r\n")
    assert speaker.hear(0, b"PORT 10,0,0,1,4,210\r\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"EPRT |1|10.0.0.1|6275|\r\n", b"EPRT |1|203.0.113.7|7000|\r\n"),
        (b"PORT 10,0,0,1,4,210\r\n", b"PORT 203,0,113,7,27,88\r\n"),
    ],
)
def test_a_client_is_announced_elsewhere(text: bytes, expected: bytes) -> None:
    (found,) = client(text)
    assert rewrite(text, [(found, IPv4Address("203.0.113.7"), 7000)]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"227 Ok (10,0,0,2,200,10).\r\n", b"227 Ok (203,0,113,7,27,88).\r\n"),
        (b"229 Ok (|||6446|)\r\n", b"229 Ok (|||7000|)\r\n"),
    ],
)
def test_a_server_is_announced_elsewhere(text: bytes, expected: bytes) -> None:
    (found,) = server(text)
    assert rewrite(text, [(found, IPv4Address("203.0.113.7"), 7000)]) == expected
