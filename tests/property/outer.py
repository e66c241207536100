"""Outer headers of tunnels, built and read from the specifications alone.

VXLAN (RFC 7348, draft-smith-vxlan-group-policy, draft-ietf-nvo3-vxlan-gpe), Geneve (RFC 8926), GRE
(RFC 2784, RFC 2890), ERSPAN (draft-foschiano-erspan-03), over IPv4 or IPv6 in Ethernet.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from ipaddress import ip_address

VXLAN, GENEVE, GRE, ERSPAN = "vxlan", "geneve", "gre", "erspan"
TEB = 0x6558
UDP_KINDS = (VXLAN, GENEVE)
PORTS = {4789: VXLAN, 6081: GENEVE}


class Malformed(Exception):
    """Not what the specification says."""


@dataclass(frozen=True)
class Option:
    """Of Geneve."""

    option_class: int
    option_type: int
    data: bytes


@dataclass(frozen=True)
class Outer:
    """All that the outer headers say, and what is inside."""

    kind: str
    source: bytes
    destination: bytes
    inner: bytes
    protocol: int = TEB
    """TEB: an Ethernet frame; else the ethertype of a packet without one."""
    key: int | None = 0
    tos: int = 0
    ttl: int = 64
    df: bool = True
    csum: bool = False
    source_port: int = 40000
    destination_port: int = 0
    gbp: tuple[int, int] | None = None
    """(flags, group)"""
    gpe: bool = False
    oam: bool = False
    options: tuple[Option, ...] = ()
    sequence: int | None = None
    version: int = 0
    """ERSPAN's: 1 with `index`, 2 with `direction` and `hwid`."""
    index: int = 0
    direction: int = 0
    hwid: int = 0
    macs: bytes = field(default=bytes(12), compare=False)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of data that has zeros in its place."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def build(outer: Outer) -> bytes:
    """The whole Ethernet frame."""
    header = {VXLAN: _vxlan, GENEVE: _geneve, GRE: _gre, ERSPAN: _erspan}[outer.kind](outer)
    payload = header + outer.inner
    if outer.kind in UDP_KINDS:
        payload = _udp(outer, payload)
        protocol = 17
    else:
        if outer.csum:
            payload = payload[:4] + struct.pack("!H", checksum(payload)) + payload[6:]
        protocol = 47
    return outer.macs + _ip(outer, protocol, len(payload)) + payload


def _pseudo(outer: Outer, length: int) -> bytes:
    if len(outer.source) == 4:
        return outer.source + outer.destination + struct.pack("!HH", 17, length)
    return outer.source + outer.destination + struct.pack("!II", length, 17)


def _udp(outer: Outer, payload: bytes) -> bytes:
    length = 8 + len(payload)
    ports = outer.source_port, outer.destination_port
    check = 0
    if outer.csum:
        udp = struct.pack("!HHHH", *ports, length, 0) + payload
        check = checksum(_pseudo(outer, length) + udp) or 0xFFFF
    return struct.pack("!HHHH", *ports, length, check) + payload


def _ip(outer: Outer, protocol: int, length: int) -> bytes:
    if len(outer.source) == 4:
        flags = 0x4000 if outer.df else 0
        head = struct.pack("!BBHHHBBH", 0x45, outer.tos, 20 + length, 0, flags, outer.ttl, protocol, 0)
        head += outer.source + outer.destination
        return b"\x08\x00" + head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    first = 6 << 28 | outer.tos << 20
    head = struct.pack("!IHBB", first, length, protocol, outer.ttl)
    return b"\x86\xdd" + head + outer.source + outer.destination


def _vxlan(outer: Outer) -> bytes:
    first = 1 << 27
    if outer.gbp is not None:
        first |= 1 << 31 | outer.gbp[0] << 16 | outer.gbp[1]
    if outer.gpe:
        first |= 1 << 26 | {TEB: 3, 0x800: 1, 0x86DD: 2}[outer.protocol]
    return struct.pack("!II", first, (outer.key or 0) << 8)


def _geneve(outer: Outer) -> bytes:
    options = b"".join(
        struct.pack("!HBB", o.option_class, o.option_type, len(o.data) // 4) + o.data
        for o in outer.options
    )
    critical = any(option.option_type & 0x80 for option in outer.options)
    first = len(options) // 4 << 24 | outer.oam << 23 | critical << 22 | outer.protocol
    return struct.pack("!II", first, (outer.key or 0) << 8) + options


def _gre(outer: Outer) -> bytes:
    flags = outer.csum << 15 | (outer.key is not None) << 13 | (outer.sequence is not None) << 12
    out = struct.pack("!HH", flags, outer.protocol)
    if outer.csum:
        out += bytes(4)
    if outer.key is not None:
        out += struct.pack("!I", outer.key)
    if outer.sequence is not None:
        out += struct.pack("!I", outer.sequence)
    return out


def _erspan(outer: Outer) -> bytes:
    protocol = {1: 0x88BE, 2: 0x22EB}[outer.version]
    out = struct.pack("!HHI", 0x1000, protocol, outer.sequence or 0)
    out += struct.pack("!I", outer.version << 28 | (outer.key or 0))
    if outer.version == 1:
        return out + struct.pack("!I", outer.index)
    return out + struct.pack("!II", 0, outer.hwid << 4 | outer.direction << 3)


def read(frame: bytes, *, strict: bool = True) -> Outer:
    """What a frame says.  Raises Malformed where anything of it is not as specified; what a receiver
    need not look at (reserved bits) counts only where wanted."""
    ethertype = struct.unpack_from("!H", frame, 12)[0]
    values: dict[str, object] = {"macs": frame[:12]}
    if ethertype == 0x800:
        head, rest = frame[14:34], frame[34:]
        first, tos, total, _, flags, ttl, protocol, _ = struct.unpack("!BBHHHBBH", head[:12])
        _check(first == 0x45 and total == 20 + len(rest), "IPv4 length")
        _check(checksum(head) == 0, "IPv4 checksum")
        _check(flags in (0, 0x4000) or (not strict and not flags & 0x3FFF), "IPv4 flags")
        values |= {"tos": tos, "ttl": ttl, "df": bool(flags)}
        source, destination = head[12:16], head[16:20]
    else:
        _check(ethertype == 0x86DD, "ethertype")
        head, rest = frame[14:54], frame[54:]
        word, length, protocol, ttl = struct.unpack("!IHBB", head[:8])
        _check(word >> 28 == 6 and length == len(rest), "IPv6 length")
        values |= {"tos": word >> 20 & 0xFF, "ttl": ttl, "df": True}
        source, destination = head[8:24], head[24:40]
    values |= {"source": source, "destination": destination}
    if protocol == 17:
        sport, dport, length, check = struct.unpack_from("!HHHH", rest)
        _check(length == len(rest), "UDP length")
        if check:
            pseudo = _pseudo(Outer("", source, destination, b""), length)
            _check(checksum(pseudo + rest) == 0, "UDP checksum")
        values |= {"source_port": sport, "destination_port": dport, "csum": bool(check)}
        _check(dport in PORTS, "UDP port")
        kind = PORTS[dport]
        values |= _read_vxlan(rest[8:]) if kind == VXLAN else _read_geneve(rest[8:], strict)
    else:
        _check(protocol == 47, "protocol")
        kind, more = _read_gre(rest, strict)
        values |= more
    return Outer(kind, **values)  # type: ignore[arg-type]


def _check(condition: bool, what: str) -> None:
    if not condition:
        raise Malformed(what)


def _read_vxlan(data: bytes) -> dict[str, object]:
    first, vni = struct.unpack_from("!II", data)
    _check(first >> 27 & 1 == 1 and vni & 0xFF == 0, "VXLAN flags")
    values: dict[str, object] = {"key": vni >> 8, "inner": data[8:]}
    if first >> 31:
        values["gbp"] = (first >> 16 & 0x48, first & 0xFFFF)
        first &= ~0x8048FFFF
    elif first >> 26 & 1:
        values |= {"gpe": True, "protocol": {3: TEB, 1: 0x800, 2: 0x86DD}[first & 0xFF]}
        first &= ~0x040000FF
    _check(first == 1 << 27, "VXLAN reserved bits")
    return values


def _read_geneve(data: bytes, strict: bool) -> dict[str, object]:
    first, vni = struct.unpack_from("!II", data)
    _check(first >> 30 == 0, "Geneve version")
    _check(not strict or (vni & 0xFF == 0 and first >> 16 & 0x3F == 0), "Geneve header")
    length = (first >> 24 & 0x3F) * 4
    raw, options = data[8 : 8 + length], []
    while raw:
        option_class, option_type, words = struct.unpack_from("!HBB", raw)
        _check(not strict or words < 32, "Geneve option")
        words &= 0x1F
        _check(len(raw) >= 4 + 4 * words, "Geneve option")
        options.append(Option(option_class, option_type, raw[4 : 4 + 4 * words]))
        raw = raw[4 + 4 * words :]
    critical = any(option.option_type & 0x80 for option in options)
    _check(not strict or bool(first >> 22 & 1) == critical, "Geneve's critical bit")
    return {
        "key": vni >> 8,
        "oam": bool(first >> 23 & 1),
        "protocol": first & 0xFFFF,
        "options": tuple(options),
        "inner": data[8 + length :],
    }


def _read_gre(data: bytes, strict: bool) -> tuple[str, dict[str, object]]:
    flags, protocol = struct.unpack_from("!HH", data)
    _check(flags & ~0xB000 == 0, "GRE flags")
    at = 4
    values: dict[str, object] = {"key": None, "csum": bool(flags & 0x8000)}
    if flags & 0x8000:
        _check(checksum(data) == 0, "GRE checksum")
        at += 4
    if flags & 0x2000:
        values["key"] = struct.unpack_from("!I", data, at)[0]
        at += 4
    if flags & 0x1000:
        values["sequence"] = struct.unpack_from("!I", data, at)[0]
        at += 4
    if protocol not in (0x88BE, 0x22EB):
        return GRE, values | {"protocol": protocol, "inner": data[at:]}
    _check(flags == 0x1000, "ERSPAN over GRE")
    word, more = struct.unpack_from("!II", data, at)
    values |= {"version": word >> 28, "key": word & 0x3FF}
    _check(word >> 28 == (1 if protocol == 0x88BE else 2), "ERSPAN version")
    if word >> 28 == 1:
        values |= {"index": more & 0xFFFFF, "inner": data[at + 8 :]}
    else:
        (last,) = struct.unpack_from("!I", data, at + 8)
        begin = at + 12 + (8 if last & 1 else 0)  # a platform's own header may follow
        values |= {"hwid": last >> 4 & 0x3F, "direction": last >> 3 & 1, "inner": data[begin:]}
    return ERSPAN, values


def address(text: str) -> bytes:
    """Four or sixteen bytes."""
    return ip_address(text).packed
