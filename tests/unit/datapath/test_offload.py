"""What hardware would have made of packets, checked against sums done another way."""

from __future__ import annotations

import struct

import pytest

from gossamer.datapath.offload import on_the_wire

_ETHERNET = bytes.fromhex("0200000000020200000000010800")
_ETHERNET6 = _ETHERNET[:12] + b"\x86\xdd"
_SRC, _DST = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))


def ones_sum(data: bytes) -> int:
    """One's complement sum, as a remainder: 2^16 is 1 modulo 0xffff."""
    if len(data) % 2:
        data += b"\0"
    return int.from_bytes(data, "big") % 0xFFFF


def pseudo(proto: int, length: int) -> bytes:
    return _SRC + _DST + struct.pack("!HH", proto, length)


def ipv4(proto: int, payload: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 7, 0, 64, proto, 0, _SRC, _DST)
    checksum = 0xFFFF - ones_sum(head)
    return head[:10] + checksum.to_bytes(2, "big") + head[12:] + payload


def tcp(payload: bytes, checksum: int, flags: int = 0x18) -> bytes:
    return (
        struct.pack("!HHIIBBHHH", 1000, 80, 0xFFFFFFF0, 5, 0x50, flags, 100, checksum, 0) + payload
    )


def begun(proto: int, length: int) -> int:
    """What a sender leaves to hardware: the sum of the pseudo header."""
    return ones_sum(pseudo(proto, length))


def is_right(frame: bytes) -> bool:
    ip = frame[14:]
    length = int.from_bytes(ip[2:4], "big")
    layer4 = ip[20:length]
    return ones_sum(ip[:20]) == 0 and ones_sum(pseudo(ip[9], len(layer4)) + layer4) == 0


def test_a_checksum_that_is_only_begun_is_done() -> None:
    frame = _ETHERNET + ipv4(6, tcp(b"hello", begun(6, 25)))
    assert not is_right(frame)
    (out,) = on_the_wire(frame)
    assert is_right(out)
    assert out[:50] == frame[:50] and out[52:] == frame[52:]


def test_a_checksum_that_is_done_or_wrong_stays_as_it_is() -> None:
    (right,) = on_the_wire(_ETHERNET + ipv4(6, tcp(b"hello", begun(6, 25))))
    assert on_the_wire(right) == [right]
    wrong = right[:50] + b"\x12\x34" + right[52:]
    assert on_the_wire(wrong) == [wrong]


def test_padding_behind_the_packet_is_not_summed() -> None:
    frame = _ETHERNET + ipv4(17, struct.pack("!HHHH", 5, 6, 9, begun(17, 9)) + b"x") + b"\xff" * 17
    (out,) = on_the_wire(frame)
    assert is_right(out) and out.endswith(b"x" + b"\xff" * 17)


def test_a_udp_checksum_of_none_stays_none() -> None:
    frame = _ETHERNET + ipv4(17, struct.pack("!HHHH", 5, 6, 9, 0) + b"x")
    assert on_the_wire(frame) == [frame]


def test_a_train_becomes_its_segments() -> None:
    payload = bytes(range(250)) * 10
    frame = _ETHERNET + ipv4(6, tcp(payload, begun(6, 20 + len(payload)), flags=0x99))
    parts = on_the_wire(frame, 1000)
    assert [len(p) - 54 for p in parts] == [1000, 1000, 500]
    assert all(is_right(p) for p in parts)
    assert b"".join(p[54:] for p in parts) == payload
    sequences = [int.from_bytes(p[38:42], "big") for p in parts]
    assert sequences == [0xFFFFFFF0, (0xFFFFFFF0 + 1000) % 2**32, (0xFFFFFFF0 + 2000) % 2**32]
    # CWR in the first only, FIN and PSH in the last only (RFC 3168, 6.1.2)
    assert [p[47] for p in parts] == [0x90, 0x10, 0x19]
    assert [int.from_bytes(p[18:20], "big") for p in parts] == [7, 8, 9]


def test_ipv6_is_summed_by_its_own_pseudo_header() -> None:
    addresses = bytes(15) + b"\1" + bytes(15) + b"\2"
    payload = b"y" * 2000
    start = ones_sum(addresses + struct.pack("!IHBB", 2020, 0, 0, 6))
    head = struct.pack("!IHBB", 6 << 28, 20 + len(payload), 6, 64) + addresses
    parts = on_the_wire(_ETHERNET6 + head + tcp(payload, start), 1500)
    assert len(parts) == 2
    for part in parts:
        layer4 = part[54:]
        assert int.from_bytes(part[18:20], "big") == len(layer4)
        assert ones_sum(addresses + struct.pack("!IHBB", len(layer4), 0, 0, 6) + layer4) == 0


@pytest.mark.parametrize("length", [0, 5, 14, 20, 33, 40])
def test_what_is_cut_short_is_left_alone(length: int) -> None:
    frame = (_ETHERNET + ipv4(6, tcp(b"hello", begun(6, 25))))[:length]
    assert on_the_wire(frame, 1000) == [frame]
