"""A tunnel port: what it encapsulates packets in, and which packets it takes out of their tunnels.

Meanings and defaults are those of ovs-vswitchd.conf.db(5), 'Tunnel Options' of Interface.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address
from typing import Final, Literal

FLOW: Final = "flow"
"""Instead of a value: actions set it (tun_id, tun_dst, ...), and rules match it."""
INHERIT: Final = "inherit"
"""Instead of a value: that of the packet inside."""

Flow = Literal["flow"]
Inherit = Literal["inherit"]


class TunnelKind(StrEnum):
    """Interface.type of tunnels."""

    VXLAN = "vxlan"
    GRE = "gre"
    GENEVE = "geneve"
    ERSPAN = "erspan"
    IP6GRE = "ip6gre"
    IP6ERSPAN = "ip6erspan"


class PacketTypeMode(StrEnum):
    """options:packet_type: what is inside, and what of it the bridge is shown."""

    LEGACY_L2 = "legacy_l2"
    LEGACY_L3 = "legacy_l3"
    PTAP = "ptap"


DEFAULT_TTL: Final = 64
DEFAULT_PORTS: Final = {TunnelKind.VXLAN: 4789, TunnelKind.GENEVE: 6081}
"""UDP ports of RFC 7348 and RFC 8926."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The configuration of a tunnel port.

    Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d; a `local` of None is any
    of the host's.  A key of None is no key on the wire (zero where the header
    has one anyhow).  `tos` holds DSCP in its upper six bits.  `egress_mark` is
    None where packets keep their mark.  The fields of ERSPAN are zero for
    other kinds; a version of 0 is what nobody has said.
    """

    kind: TunnelKind
    remote: bytes | Flow
    local: bytes | Flow | None = None
    in_key: int | Flow | None = None
    out_key: int | Flow | None = None
    dst_port: int = 0
    ttl: int | Inherit = DEFAULT_TTL
    tos: int | Inherit = 0
    csum: bool = False
    df: bool = True
    seq: bool = False
    packet_type: PacketTypeMode = PacketTypeMode.LEGACY_L2
    gbp: bool = False
    gpe: bool = False
    egress_mark: int | None = None
    erspan_ver: int | Flow = 0
    erspan_idx: int | Flow = 0
    erspan_dir: int | Flow = 0
    erspan_hwid: int | Flow = 0

    @property
    def device(self) -> str:
        """The name Open vSwitch gives what all ports of this kind and UDP port share."""
        name = {TunnelKind.GENEVE: "genev"}.get(self.kind, self.kind.value) + "_sys"
        return f"{name}_{self.dst_port}" if self.kind in DEFAULT_PORTS else name

    @property
    def multicast(self) -> bool:
        """Packets go to a group of VTEPs, and those of its members come from any address."""
        return self.remote != FLOW and is_multicast(_bytes(self.remote))

    def identity(self) -> tuple[object, ...]:
        """What no two ports may have in common: received packets could be either's."""
        key = 0 if self.in_key is None else self.in_key
        return (self.device, self.packet_type, key, self.remote, self.local)


def _bytes(address: bytes | str | None) -> bytes:
    return address if isinstance(address, bytes) else bytes(16)


def is_ipv4(address: bytes) -> bool:
    """Whether an address of 16 bytes is one of IPv4."""
    return address.startswith(_V4_MAPPED)


def of_ipv4(four: bytes) -> bytes:
    """An address of IPv4 in 16 bytes (RFC 4291, 2.5.5.2)."""
    return _V4_MAPPED + four


def is_multicast(address: bytes) -> bool:
    """Whether an address of 16 bytes names a group."""
    return address[12] >> 4 == 0xE if is_ipv4(address) else address[0] == 0xFF


def format_address(address: bytes) -> str:
    """An address of 16 bytes as people write it."""
    whole = IPv6Address(address)
    return str(whole.ipv4_mapped or whole)


_V4_MAPPED: Final = bytes(10) + b"\xff\xff"
_IP: Final = {False: 20, True: 40}
_ETHERNET: Final = 14
_IP6_KINDS: Final = (TunnelKind.IP6GRE, TunnelKind.IP6ERSPAN)


def over_ipv6(tunnel: Tunnel) -> bool | None:
    """Whether a tunnel's outer packets are IPv6; None where only the packets will say."""
    if tunnel.kind in _IP6_KINDS:
        return True
    for address in (tunnel.remote, tunnel.local):
        if isinstance(address, bytes):
            return not is_ipv4(address)
    return None


def overhead(tunnel: Tunnel, ipv6: bool, option_bytes: int = 0) -> int:
    """Bytes of the outer IP packet that are not the inner IP packet.

    `option_bytes` are those of Geneve's options with their headers.  Where a
    packet decides (ERSPAN's version, what a port of type ptap carries), the
    longest counts.  RFC 7348, RFC 2784, RFC 2890, RFC 8926, draft-foschiano-erspan.
    """
    inner = 0 if tunnel.packet_type is PacketTypeMode.LEGACY_L3 else _ETHERNET
    if tunnel.kind is TunnelKind.VXLAN:
        header = 8 + 8
    elif tunnel.kind is TunnelKind.GENEVE:
        header = 8 + 8 + option_bytes
    elif tunnel.kind in (TunnelKind.ERSPAN, TunnelKind.IP6ERSPAN):
        header = 8 + (8 if tunnel.erspan_ver in (0, 1) else 12)
    else:
        header = 4 + 4 * (tunnel.csum + (tunnel.out_key is not None) + tunnel.seq)
    return _IP[ipv6] + header + inner
