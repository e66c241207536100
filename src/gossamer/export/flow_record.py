"""A flow as a record of IPFIX: which elements it has, and their values (RFC 7011, section 3).

What tells flows apart comes first, then what was counted.  Which elements there are depends on the
packet's headers alone (`Shape`), so that there is one template for each kind of packet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

from gossamer.export import information as ie
from gossamer.export.information import Element
from gossamer.export.observation import Observation, TunnelPort, TunnelType
from gossamer.pipeline.fields import (
    ETH_IPV4,
    ETH_IPV6,
    IP_ICMP,
    IP_ICMPV6,
    IP_SCTP,
    IP_TCP,
    IP_UDP,
    VLAN_CFI,
    get_slot,
)

FIRST_TEMPLATE: Final = 256
_GRE: Final = 47
_UDP_TUNNELS: Final = (TunnelType.VXLAN, TunnelType.GENEVE)
_FIN, _SYN, _RST, _PSH, _ACK, _URG = (1 << i for i in range(6))
_ETHERNET, _TAGGED = 14, 18


class Transport(NamedTuple):
    """What of layer 4 a record has."""

    name: str
    protocols: tuple[int, ...]


_NO_TRANSPORT: Final = Transport("", ())
_TRANSPORTS: Final = {
    ETH_IPV4: (
        _NO_TRANSPORT,
        Transport("tcp", (IP_TCP,)),
        Transport("ports", (IP_UDP, IP_SCTP)),
        Transport("icmp", (IP_ICMP,)),
    ),
    ETH_IPV6: (
        _NO_TRANSPORT,
        Transport("tcp", (IP_TCP,)),
        Transport("ports", (IP_UDP, IP_SCTP)),
        Transport("icmp6", (IP_ICMPV6,)),
    ),
}


class Shape(NamedTuple):
    """The kind of a packet: all packets of a shape have the same elements."""

    outward: bool
    tagged: bool
    version: int
    """4, 6, or 0 for what is not IP."""
    transport: str
    tunnelled: bool
    named: bool
    """The observer has a virtual id."""


def shape_of(seen: Observation) -> Shape:
    """The shape of a packet."""
    eth_type = get_slot(seen.key, "eth_type")
    proto = get_slot(seen.key, "nw_proto")
    transport = next(
        (t.name for t in _TRANSPORTS.get(eth_type, ()) if proto in t.protocols), ""
    )
    return Shape(
        outward=seen.outward,
        tagged=bool(get_slot(seen.key, "vlan_tci") & VLAN_CFI),
        version={ETH_IPV4: 4, ETH_IPV6: 6}.get(eth_type, 0),
        transport=transport,
        tunnelled=seen.tunnel is not None,
        named=bool(seen.virtual_id),
    )


_Read = Callable[[Observation], int | bytes]
_Reads = tuple[tuple[Element, _Read], ...]


def _slot(name: str) -> _Read:
    return lambda seen: get_slot(seen.key, name)


def _of_tunnel(read: Callable[[Observation, TunnelPort], int | bytes]) -> _Read:
    def found(seen: Observation) -> int | bytes:
        assert seen.tunnel is not None, "only the shape of tunnels has these"
        return read(seen, seen.tunnel)

    return found


_COMMON: Final[_Reads] = (
    (ie.OBSERVATION_POINT, lambda seen: seen.point),
    (ie.FLOW_DIRECTION, lambda seen: int(seen.outward)),
    (ie.SOURCE_MAC, _slot("eth_src")),
    (ie.DESTINATION_MAC, _slot("eth_dst")),
    (ie.ETHERNET_TYPE, _slot("eth_type")),
    (
        ie.ETHERNET_HEADER,
        lambda seen: _TAGGED if get_slot(seen.key, "vlan_tci") & VLAN_CFI else _ETHERNET,
    ),
    (ie.INGRESS_INTERFACE, lambda seen: seen.ingress.index),
    (ie.INTERFACE_NAME, lambda seen: seen.ingress.name.encode()),
)
_OUTWARD: Final[_Reads] = (
    (ie.EGRESS_INTERFACE, lambda seen: seen.egress.index),
    (ie.INTERFACE_NAME, lambda seen: seen.egress.name.encode()),
)
_VLAN: Final[_Reads] = (
    (ie.VLAN_ID, lambda seen: get_slot(seen.key, "vlan_tci") & 0xFFF),
    (ie.DOT1Q_VLAN_ID, lambda seen: get_slot(seen.key, "vlan_tci") & 0xFFF),
    (ie.DOT1Q_PRIORITY, lambda seen: get_slot(seen.key, "vlan_tci") >> 13),
)
_IP: Final[_Reads] = (
    (ie.IP_VERSION, lambda seen: 4 if get_slot(seen.key, "eth_type") == ETH_IPV4 else 6),
    (ie.TTL, _slot("nw_ttl")),
    (ie.PROTOCOL, _slot("nw_proto")),
    (ie.DSCP, lambda seen: get_slot(seen.key, "nw_tos") >> 2),
    (ie.PRECEDENCE, lambda seen: get_slot(seen.key, "nw_tos") >> 5),
    (ie.CLASS_OF_SERVICE, _slot("nw_tos")),
)
_ADDRESSES: Final[dict[int, _Reads]] = {
    4: ((ie.SOURCE_IPV4, _slot("nw_src")), (ie.DESTINATION_IPV4, _slot("nw_dst"))),
    6: (
        (ie.SOURCE_IPV6, _slot("ipv6_src")),
        (ie.DESTINATION_IPV6, _slot("ipv6_dst")),
        (ie.FLOW_LABEL, _slot("ipv6_label")),
    ),
}
_PORTS: Final[_Reads] = (
    (ie.SOURCE_PORT, _slot("tp_src")),
    (ie.DESTINATION_PORT, _slot("tp_dst")),
)
_OF_TRANSPORT: Final[dict[str, _Reads]] = {
    "": (),
    "tcp": _PORTS,
    "ports": _PORTS,
    "icmp": ((ie.ICMP_TYPE_IPV4, _slot("tp_src")), (ie.ICMP_CODE_IPV4, _slot("tp_dst"))),
    "icmp6": ((ie.ICMP_TYPE_IPV6, _slot("tp_src")), (ie.ICMP_CODE_IPV6, _slot("tp_dst"))),
}
_TUNNEL: Final[_Reads] = (
    (ie.TUNNEL_SOURCE_IPV4, _slot("tun_src")),
    (ie.TUNNEL_DESTINATION_IPV4, _slot("tun_dst")),
    (ie.TUNNEL_PROTOCOL, _of_tunnel(lambda s, t: IP_UDP if t.type in _UDP_TUNNELS else _GRE)),
    (ie.TUNNEL_DESTINATION_PORT, _of_tunnel(lambda seen, t: t.udp_port)),
    (ie.TUNNEL_TYPE, _of_tunnel(lambda seen, t: int(t.type))),
    (
        ie.TUNNEL_KEY,
        _of_tunnel(lambda s, t: get_slot(s.key, "tun_id").to_bytes(8, "big")[8 - t.key_length :]),
    ),
)
_NAMED: Final[_Reads] = ((ie.VIRTUAL_OBSERVATION, lambda seen: seen.virtual_id),)


@dataclass(slots=True)
class Counts:
    """What was counted of a flow; times in microseconds since 1970."""

    start_us: int
    end_us: int = 0
    packets: int = 0
    frame_bytes: int = 0
    ip_bytes: int = 0
    squares: int = 0
    shortest: int = 0
    longest: int = 0
    syn: int = 0
    fin: int = 0
    rst: int = 0
    psh: int = 0
    ack: int = 0
    urg: int = 0

    def add(self, seen: Observation, now_us: int) -> None:
        """One more sampled packet, for as many as it stands for."""
        n = seen.weight * seen.n_packets
        self.end_us = now_us
        self.packets += n
        self.frame_bytes += seen.weight * seen.n_bytes
        if get_slot(seen.key, "eth_type") not in (ETH_IPV4, ETH_IPV6):
            return
        header = _TAGGED if get_slot(seen.key, "vlan_tci") & VLAN_CFI else _ETHERNET
        length = max(seen.n_bytes - header, 0)
        self.ip_bytes += seen.weight * length
        one = length // seen.n_packets
        self.squares += n * one * one
        self.shortest = min(self.shortest, one) if self.shortest else one
        self.longest = max(self.longest, one)
        if get_slot(seen.key, "nw_proto") == IP_TCP:
            flags = get_slot(seen.key, "tcp_flags")
            self.syn += n * bool(flags & _SYN)
            self.fin += n * bool(flags & _FIN)
            self.rst += n * bool(flags & _RST)
            self.psh += n * bool(flags & _PSH)
            self.ack += n * bool(flags & _ACK)
            self.urg += n * bool(flags & _URG)


_COUNTED = tuple[tuple[Element, Callable[[Counts], int]], ...]
_COUNTS: Final[_COUNTED] = (
    (ie.PACKET_DELTA, lambda c: c.packets),
    (ie.LAYER2_OCTET_DELTA, lambda c: c.frame_bytes),
)
_IP_COUNTS: Final[_COUNTED] = (
    (ie.OCTET_DELTA, lambda c: c.ip_bytes),
    (ie.OCTET_SQUARES, lambda c: c.squares),
    (ie.MINIMUM_LENGTH, lambda c: c.shortest),
    (ie.MAXIMUM_LENGTH, lambda c: c.longest),
)
_TCP_COUNTS: Final[_COUNTED] = (
    (ie.TCP_SYN, lambda c: c.syn),
    (ie.TCP_FIN, lambda c: c.fin),
    (ie.TCP_RST, lambda c: c.rst),
    (ie.TCP_PSH, lambda c: c.psh),
    (ie.TCP_ACK, lambda c: c.ack),
    (ie.TCP_URG, lambda c: c.urg),
)
_TIMES: Final = (ie.FLOW_START, ie.FLOW_END, ie.FLOW_END_REASON)


@dataclass(frozen=True, slots=True)
class Template:
    """What the records of one shape consist of."""

    template_id: int
    key: _Reads
    counted: _COUNTED

    def definition(self) -> bytes:
        """The template record (RFC 7011, section 3.4.1)."""
        elements = [element for element, _ in self.key]
        elements += [*_TIMES, *(element for element, _ in self.counted)]
        head = self.template_id.to_bytes(2, "big") + len(elements).to_bytes(2, "big")
        return head + b"".join(element.specifier() for element in elements)

    def flow_key(self, seen: Observation) -> bytes:
        """The first part of a record: the same for all packets of a flow, of another flow another."""
        return b"".join(element.encode(read(seen)) for element, read in self.key)

    def record(self, flow_key: bytes, counts: Counts, reason: int, export_s: int) -> bytes:
        """A data record; `export_s` is the time that its message bears."""
        ago = (max(export_s * 1_000_000 - t, 0) for t in (counts.start_us, counts.end_us))
        times = [*ago, reason]
        return (
            flow_key
            + b"".join(e.encode(v) for e, v in zip(_TIMES, times, strict=True))
            + b"".join(e.encode(count(counts)) for e, count in self.counted)
        )


_numbers: dict[Shape, int] = {}


@cache
def template_of(shape: Shape) -> Template:
    """The template of a shape; each gets its number when it is first asked for."""
    number = _numbers.setdefault(shape, FIRST_TEMPLATE + len(_numbers))
    key = _COMMON
    counted = _COUNTS
    if shape.outward:
        key += _OUTWARD
    if shape.tagged:
        key += _VLAN
    if shape.version:
        key += _IP + _ADDRESSES[shape.version] + _OF_TRANSPORT[shape.transport]
        counted += _IP_COUNTS
    if shape.transport == "tcp":
        counted += _TCP_COUNTS
    if shape.tunnelled:
        key += _TUNNEL
    if shape.named:
        key += _NAMED
    return Template(number, key, counted)
