"""Encapsulation: what a packet is wrapped in when it leaves by a tunnel port, and the bytes of that.

What ofproto/tunnel.c of Open vSwitch decides (tnl_port_send), and the headers of RFC 7348 (VXLAN)
with draft-smith-vxlan-group-policy and draft-ietf-nvo3-vxlan-gpe, RFC 8926 (Geneve), RFC 2784 and
2890 (GRE), draft-foschiano-erspan (types II and III).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from struct import pack
from typing import Final

from gossamer.pipeline.checksum import checksum
from gossamer.pipeline.fields import ETH_IPV4, ETH_IPV6, IP_UDP, PACKET_OFFSET, get_slot
from gossamer.pipeline.fields import KEY_LEN as _KEY_LEN
from gossamer.pipeline.tlv import LAYOUT, OptionMap
from gossamer.pipeline.tunnel import (
    DEFAULT_TTL,
    FLOW,
    INHERIT,
    PacketTypeMode,
    Tunnel,
    TunnelKind,
    is_ipv4,
    of_ipv4,
)

_CE: Final = 3
_ECT_0: Final = 2
IP_GRE: Final = 47
SOURCE_PORTS: Final = range(32768, 61000)
"""UDP source ports, chosen by the packet inside (ovs-appctl tnl/egress_port_range)."""
_TRANSPARENT_ETHERNET: Final = 0x6558
_ERSPAN_TYPE: Final = {1: 0x88BE, 2: 0x22EB}
_GPE_PROTOCOL: Final = {ETH_IPV4: 1, ETH_IPV6: 2}
_GPE_ETHERNET: Final = 3
_CRITICAL: Final = 0x80


@dataclass(frozen=True, slots=True)
class Outer:
    """What a packet leaves in.

    Addresses are 16 bytes; a `source` of None is the one the route gives.
    `mark` is None where the packet keeps its own.
    """

    tunnel: Tunnel
    source: bytes | None
    destination: bytes
    key: int
    tos: int
    ttl: int
    oam: bool = False
    gbp_id: int = 0
    gbp_flags: int = 0
    erspan_ver: int = 0
    erspan_idx: int = 0
    erspan_dir: int = 0
    erspan_hwid: int = 0
    options: bytes = b""
    critical: bool = False
    mark: int | None = None

    @property
    def ipv6(self) -> bool:
        """The family of the outer packet."""
        return not is_ipv4(self.destination)


def address_of(key: int, v4: str, v6: str) -> bytes:
    """The address that one of two fields holds, in 16 bytes."""
    four = get_slot(key, v4)
    if four:
        return of_ipv4(four.to_bytes(4, "big"))
    return get_slot(key, v6).to_bytes(16, "big")


def destination_of(tunnel: Tunnel, key: int) -> bytes:
    """Where a packet would go; zeros where nobody said."""
    if isinstance(tunnel.remote, bytes):
        return tunnel.remote
    return address_of(key, "tun_dst", "tun_ipv6_dst")


def outer_of(tunnel: Tunnel, key: int, options: Iterable[OptionMap] = ()) -> Outer | None:
    """What a packet of this key is wrapped in; None where nothing says where to.

    `options` are those of Geneve that the bridge has mapped.
    """
    destination = destination_of(tunnel, key)
    if not any(destination):
        return None
    source = tunnel.local if isinstance(tunnel.local, bytes) else None
    if tunnel.local == FLOW:
        chosen = address_of(key, "tun_src", "tun_ipv6_src")
        source = chosen if any(chosen) else None
    is_ip = get_slot(key, "eth_type") in (ETH_IPV4, ETH_IPV6)
    inner_tos = get_slot(key, "nw_tos") if is_ip else 0
    tos = tunnel.tos if isinstance(tunnel.tos, int) else inner_tos & 0xFC
    if inner_tos & 3 == _CE:
        tos |= _ECT_0
    else:
        tos |= inner_tos & 3
    ttl = tunnel.ttl if isinstance(tunnel.ttl, int) else DEFAULT_TTL
    if tunnel.ttl == INHERIT and is_ip:
        ttl = get_slot(key, "nw_ttl")
    version = _or_flow(tunnel.erspan_ver, get_slot(key, "tun_erspan_ver"))
    words = get_slot(key, "tun_erspan")
    found = _options(key, options) if tunnel.kind is TunnelKind.GENEVE else []
    return Outer(
        tunnel,
        source,
        destination,
        _or_flow(tunnel.out_key or 0, get_slot(key, "tun_id")),
        tos,
        ttl,
        oam=bool(get_slot(key, "tun_flags") & 1),
        gbp_id=get_slot(key, "tun_gbp_id"),
        gbp_flags=get_slot(key, "tun_gbp_flags"),
        erspan_ver=version,
        erspan_idx=_or_flow(tunnel.erspan_idx, words >> 8 & 0xFFFFF),
        erspan_dir=_or_flow(tunnel.erspan_dir, words >> 6 & 1),
        erspan_hwid=_or_flow(tunnel.erspan_hwid, words & 0x3F),
        options=b"".join(data for data, _ in found),
        critical=any(critical for _, critical in found),
        mark=tunnel.egress_mark,
    )


def _or_flow(configured: int | str, brought: int) -> int:
    return configured if isinstance(configured, int) else brought


def _options(key: int, options: Iterable[OptionMap]) -> list[tuple[bytes, bool]]:
    out = []
    for option in options:
        field = LAYOUT.fields.get(option.index)
        if field is not None and key & field.marks:
            value = (key >> field.shift) & ((1 << field.n_bits) - 1)
            head = pack(">HBB", option.option_class, option.option_type, option.length // 4)
            critical = bool(option.option_type & _CRITICAL)
            out.append((head + value.to_bytes(option.length, "big"), critical))
    return out


def encapsulate(outer: Outer, frame: bytes, key: int, source: bytes, sequence: int = 0) -> bytes:
    """The outer IP packet with `frame` inside; `key` is that of the frame, `sequence` GRE's."""
    inner = frame
    eth_type = _TRANSPARENT_ETHERNET
    mode = outer.tunnel.packet_type
    bare = mode is PacketTypeMode.PTAP and get_slot(key, "packet_type")
    if mode is PacketTypeMode.LEGACY_L3 or bare:
        inner, eth_type = frame[14:], get_slot(key, "eth_type")
    if outer.tunnel.kind in (TunnelKind.VXLAN, TunnelKind.GENEVE):
        protocol = IP_UDP
        payload = _udp(outer, _over_udp(outer, eth_type) + inner, key, source)
    else:
        protocol = IP_GRE
        payload = _gre(outer, inner, eth_type, sequence)
    if outer.ipv6:
        head = pack(">IHBB", 6 << 28 | outer.tos << 20, len(payload), protocol, outer.ttl)
        return head + source + outer.destination + payload
    flags = 0x4000 if outer.tunnel.df else 0
    head = pack(">BBHHHBB", 0x45, outer.tos, 20 + len(payload), 0, flags, outer.ttl, protocol)
    tail = source[12:] + outer.destination[12:]
    return head + checksum(head + b"\0\0" + tail).to_bytes(2, "big") + tail + payload


def _over_udp(outer: Outer, eth_type: int) -> bytes:
    tunnel = outer.tunnel
    if tunnel.kind is TunnelKind.GENEVE:
        flags = (0x80 if outer.oam else 0) | (0x40 if outer.critical else 0)
        words = len(outer.options) // 4
        vni = (outer.key & 0xFFFFFF) << 8
        return pack(">BBHI", words, flags, _TRANSPARENT_ETHERNET, vni) + outer.options
    flags, group, protocol = 0x08, 0, 0
    policy = 0
    if tunnel.gbp and (outer.gbp_id or outer.gbp_flags):
        flags |= 0x80
        policy, group = outer.gbp_flags & 0x48, outer.gbp_id
    if tunnel.gpe:
        flags |= 0x04
        protocol = _GPE_PROTOCOL.get(eth_type, _GPE_ETHERNET)
        group |= protocol
    return pack(">BBHI", flags, policy, group, (outer.key & 0xFFFFFF) << 8)


def _udp(outer: Outer, payload: bytes, key: int, source: bytes) -> bytes:
    headers = key & ((1 << 8 * (_KEY_LEN - PACKET_OFFSET)) - 1)
    chosen = zlib.crc32(headers.to_bytes(_KEY_LEN - PACKET_OFFSET, "big"))
    port = SOURCE_PORTS[chosen % len(SOURCE_PORTS)]
    length = 8 + len(payload)
    ports = pack(">HHH", port, outer.tunnel.dst_port, length)
    if not outer.tunnel.csum and not outer.ipv6:
        return ports + b"\0\0" + payload
    if outer.ipv6:
        pseudo = source + outer.destination + pack(">II", length, IP_UDP)
    else:
        pseudo = source[12:] + outer.destination[12:] + pack(">BBH", 0, IP_UDP, length)
    total = checksum(pseudo + ports + b"\0\0" + payload) or 0xFFFF
    return ports + total.to_bytes(2, "big") + payload


def _gre(outer: Outer, inner: bytes, eth_type: int, sequence: int) -> bytes:
    tunnel = outer.tunnel
    if tunnel.kind in (TunnelKind.ERSPAN, TunnelKind.IP6ERSPAN):
        version = outer.erspan_ver or 1
        head = pack(">HHI", 0x1000, _ERSPAN_TYPE[version], sequence)
        session = outer.key & 0x3FF
        if version == 1:
            return head + pack(">HHI", 0x1000, session, outer.erspan_idx) + inner
        about = outer.erspan_hwid << 4 | outer.erspan_dir << 3
        return head + pack(">HHIHH", 0x2000, session, 0, 0, about) + inner
    has_key = tunnel.out_key is not None
    flags = (0x8000 if tunnel.csum else 0) | (0x2000 if has_key else 0) | (0x1000 if tunnel.seq else 0)
    rest = outer.key.to_bytes(8, "big")[4:] if has_key else b""
    rest += sequence.to_bytes(4, "big") if tunnel.seq else b""
    head = pack(">HH", flags, eth_type)
    if not tunnel.csum:
        return head + rest + inner
    total = checksum(head + bytes(4) + rest + inner)
    return head + pack(">HH", total, 0) + rest + inner
