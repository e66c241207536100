"""What the switch tells the datapath of tunnels: ports without a device, and what they run over.

The names and meanings of options are those of ovs-vswitchd.conf.db(5), Interface table,
"Tunnel Options".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final, Literal

FLOW: Final = "flow"
"""A value that packets bring along: the tun_* fields have it, both ways."""
INHERIT: Final = "inherit"
"""A value that is the inner packet's."""

Flow = Literal["flow"]
Inherit = Literal["inherit"]

VXLAN_PORT: Final = 4789
GENEVE_PORT: Final = 6081
DEFAULT_TTL: Final = 64


class TunnelKind(IntEnum):
    """The encapsulation (bpf/tunnel.h).  VXLAN, GENEVE and GRE run over IPv4 or IPv6, as their
    addresses say; ERSPAN too."""

    VXLAN = 1
    GENEVE = 2
    GRE = 3
    ERSPAN = 4


class PacketMode(IntEnum):
    """packet_type: what is inside (Ethernet frames, IP packets, either)."""

    LEGACY_L2 = 0
    LEGACY_L3 = 1
    PTAP = 2


@dataclass(frozen=True, slots=True)
class TunnelSettings:
    """A tunnel port.

    `remote` is 4 or 16 bytes, or FLOW: tun_dst (tun_ipv6_dst) of what goes out, and any source
    of what comes.  `local` is the address packets come to and go from, None for any (the route
    chooses the source), FLOW for tun_src.  `in_key` and `out_key` are the key (VNI, session id)
    or None for no key at all, which is key 0 where the encapsulation always has one.  `dst_port`
    is that of UDP kinds, also where packets are received.  `ttl` 0 is the default of 64.
    `df` sets the outer 'don't fragment'.  `seq` numbers GRE packets.  `gbp` and `gpe` are VXLAN's
    extensions.  ERSPAN: `erspan_version` 1 (type II) has `erspan_index` (20 bits), 2 (type III)
    `erspan_direction` (0, 1) and `erspan_hwid` (6 bits).  With `family` 4 or 6 only packets of
    that IP version are the tunnel's (ip6gre, ip6erspan); 0: as the addresses say, both for FLOW.
    `mark` is that of the outer packets, None for pkt_mark; routes may go by it (ip-rule(8)).
    """

    kind: TunnelKind
    remote: bytes | Flow
    local: bytes | Flow | None = None
    in_key: int | Flow | None = None
    out_key: int | Flow | None = None
    dst_port: int = 0
    ttl: int | Inherit = 0
    tos: int | Inherit = 0
    csum: bool = False
    df: bool = True
    seq: bool = False
    packet_mode: PacketMode = PacketMode.LEGACY_L2
    gbp: bool = False
    gpe: bool = False
    erspan_version: int | Flow = 1
    erspan_index: int | Flow = 0
    erspan_direction: int | Flow = 0
    erspan_hwid: int | Flow = 0
    family: int = 0
    mark: int | None = None


class Cuts(IntFlag):
    """Super-packets that a device would cut wrongly: they are cut before (bpf/cut.h)."""

    NONE = 0
    SUMMED = 1 << 1
    """Those with an outer checksum, which only a whole segment would have right."""
    ALL = 1 << 2
    """A port of our own: what goes from tunnel to tunnel is marked for the inner one alone."""


@dataclass(frozen=True, slots=True)
class TunnelOption:
    """A row of a bridge's TLV table (ovs-ofctl(8), add-tlv-map): the Geneve option of this class
    and type, whose data has `length` bytes (a multiple of 4, up to 124), is `offset` bytes into
    the key's tun_metadata."""

    option_class: int
    option_type: int
    length: int
    offset: int


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """An address of this host, on which tunnels may end: 4 or 16 bytes, and its device.

    The first of a device and family is the source of what leaves by it, where a tunnel names
    none.  A multicast group that was joined belongs here too.
    """

    address: bytes
    ifindex: int
