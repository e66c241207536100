"""A tunnel in the datapath's words."""

from __future__ import annotations

from typing import Final

from gossamer.datapath.tunnel_settings import PacketMode, TunnelSettings
from gossamer.datapath.tunnel_settings import TunnelKind as Encapsulation
from gossamer.pipeline.tunnel import Flow, PacketTypeMode, Tunnel, TunnelKind, is_ipv4

_ENCAPSULATIONS: Final = {
    TunnelKind.VXLAN: (Encapsulation.VXLAN, 0),
    TunnelKind.GENEVE: (Encapsulation.GENEVE, 0),
    TunnelKind.GRE: (Encapsulation.GRE, 0),
    TunnelKind.IP6GRE: (Encapsulation.GRE, 6),
    TunnelKind.ERSPAN: (Encapsulation.ERSPAN, 0),
    TunnelKind.IP6ERSPAN: (Encapsulation.ERSPAN, 6),
}
"""Encapsulation and IP version, which is 0 where the addresses say."""
_OVER_UDP: Final = (Encapsulation.VXLAN, Encapsulation.GENEVE)
_UDP, _GRE = 17, 47
_MODES: Final = {
    PacketTypeMode.LEGACY_L2: PacketMode.LEGACY_L2,
    PacketTypeMode.LEGACY_L3: PacketMode.LEGACY_L3,
    PacketTypeMode.PTAP: PacketMode.PTAP,
}


def runs_over_udp(kind: TunnelKind) -> bool:
    """Whether its outer headers end in UDP's; else in GRE's."""
    return _ENCAPSULATIONS[kind][0] in _OVER_UDP


def ip_protocol(kind: TunnelKind) -> int:
    """What its outer IP headers say comes next."""
    return _UDP if runs_over_udp(kind) else _GRE


def settings_of(tunnel: Tunnel) -> TunnelSettings:
    """The tunnel as the datapath wants it."""
    encapsulation, family = _ENCAPSULATIONS[tunnel.kind]
    return TunnelSettings(
        kind=encapsulation,
        remote=_short(tunnel.remote),
        local=None if tunnel.local is None else _short(tunnel.local),
        in_key=tunnel.in_key,
        out_key=tunnel.out_key,
        dst_port=tunnel.dst_port,
        ttl=tunnel.ttl,
        tos=tunnel.tos,
        csum=tunnel.csum,
        df=tunnel.df,
        seq=tunnel.seq,
        packet_mode=_MODES[tunnel.packet_type],
        gbp=tunnel.gbp,
        gpe=tunnel.gpe,
        erspan_version=tunnel.erspan_ver or 1,
        erspan_index=tunnel.erspan_idx,
        erspan_direction=tunnel.erspan_dir,
        erspan_hwid=tunnel.erspan_hwid,
        family=family,
        mark=tunnel.egress_mark,
    )


def _short(address: bytes | Flow) -> bytes | Flow:
    return address[12:] if isinstance(address, bytes) and is_ipv4(address) else address
