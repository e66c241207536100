"""Ports on the wire: descriptions and counters (OpenFlow 1.0.0, 5.2.1; 1.3.5, 7.2.1; 1.4.1, 7.2.1)."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final

from gossamer.openflow import message as m
from gossamer.openflow.frame import duration, frame, multipart, pieces
from gossamer.openflow.message import PortDesc, PortStats, Version
from gossamer.openflow.oxm import port_to_16
from gossamer.openflow.port_mod import CONFIG11

_PORT10: Final = Struct(">H6s16sIIIIII")
_PORT11: Final = Struct(">I4x6s2x16sIIIIIIII")
_PORT14: Final = Struct(">IH2x6s2x16sIIHH4xIIIIII")
_NOT_COUNTED: Final = 0xFFFFFFFFFFFFFFFF


def features10(features: int) -> int:
    """OpenFlow 1.1's port features in 1.0's bits (40 Gbit/s and more have none)."""
    return features & 0x7F | (features >> 4) & 0xF80


def port_desc(p: PortDesc, version: int) -> bytes:
    """A port description."""
    name = p.name.encode()[:15].ljust(16, b"\0")
    if version == Version.V10:
        rates = (features10(f) for f in (p.curr, p.advertised, p.supported, p.peer))
        return _PORT10.pack(
            port_to_16(p.number), p.hw_addr, name, p.config, p.state & m.STATE_LINK_DOWN, *rates
        )
    config = p.config & CONFIG11
    rates11 = (p.curr, p.advertised, p.supported, p.peer, p.curr_speed, p.max_speed)
    if version < Version.V14:
        return _PORT11.pack(p.number, p.hw_addr, name, config, p.state, *rates11)
    return _PORT14.pack(p.number, _PORT14.size, p.hw_addr, name, config, p.state, 0, 32, *rates11)


def port_desc_replies(ports: Iterable[PortDesc], version: int, xid: int) -> list[bytes]:
    """OFPMP_PORT_DESC."""
    records = (port_desc(p, version) for p in ports)
    return [multipart(version, 13, xid, body, more) for body, more in pieces(records)]


def port_status(reason: int, p: PortDesc, version: int, xid: int) -> bytes:
    """OFPT_PORT_STATUS: 0 added, 1 deleted, 2 modified."""
    return frame(version, 12, xid, bytes((reason,)) + bytes(7) + port_desc(p, version))


def _count(value: int | None) -> bytes:
    return (_NOT_COUNTED if value is None else value).to_bytes(8, "big")


def _port_stats(p: PortStats, version: int) -> bytes:
    common = b"".join(
        _count(v)
        for v in (
            p.rx_packets, p.tx_packets, p.rx_bytes, p.tx_bytes, p.rx_dropped, p.tx_dropped,
            p.rx_errors, p.tx_errors,
        )
    )  # fmt: skip
    errors = b"".join(
        _count(v) for v in (p.rx_frame_err, p.rx_over_err, p.rx_crc_err, p.collisions)
    )
    seconds, nanos = duration(p.duration_s)
    age = seconds.to_bytes(4, "big") + nanos.to_bytes(4, "big")
    if version == Version.V10:
        return port_to_16(p.number).to_bytes(2, "big") + bytes(6) + common + errors
    number = p.number.to_bytes(4, "big")
    if version < Version.V14:
        tail = age if version == Version.V13 else b""
        return number + bytes(4) + common + errors + tail
    ethernet = b"\0\0" + (40).to_bytes(2, "big") + bytes(4) + errors
    body = number + age + common + ethernet
    return (4 + len(body)).to_bytes(2, "big") + bytes(2) + body


def port_stats_replies(stats: Iterable[PortStats], version: int, xid: int) -> list[bytes]:
    """OFPMP_PORT_STATS."""
    records = (_port_stats(p, version) for p in stats)
    return [multipart(version, 4, xid, body, more) for body, more in pieces(records)]
