"""What a packet leaves in by a tunnel port, as Open vSwitch writes it in datapath actions."""

from __future__ import annotations

from gossamer.pipeline.tunnel import TunnelKind, format_address
from gossamer.pipeline.wrap import Outer


def format_outer(outer: Outer) -> str:
    """The inside of ``set(tunnel(...))`` (odp-util.c, format_odp_tun_attr)."""
    tunnel = outer.tunnel
    suffix = "ipv6_" if outer.ipv6 else ""
    out = [f"tun_id={outer.key:#x}"] if tunnel.out_key is not None else []
    if outer.source is not None:
        out.append(f"{suffix}src={format_address(outer.source)}")
    out.append(f"{suffix}dst={format_address(outer.destination)}")
    if outer.tos:
        out.append(f"tos={outer.tos:#x}")
    out.append(f"ttl={outer.ttl}")
    if tunnel.dst_port:
        out.append(f"tp_dst={tunnel.dst_port}")
    if tunnel.gbp and (outer.gbp_id or outer.gbp_flags):
        out.append(f"vxlan(gbp(id={outer.gbp_id},flags={outer.gbp_flags:#x}))")
    if outer.options:
        out.append(f"geneve({_options(outer.options)})")
    if tunnel.kind in (TunnelKind.ERSPAN, TunnelKind.IP6ERSPAN):
        version = outer.erspan_ver or 1
        about = (
            f"idx={outer.erspan_idx:#x}"
            if version == 1
            else f"dir={outer.erspan_dir},hwid={outer.erspan_hwid:#x}"
        )
        out.append(f"erspan(ver={version},{about})")
    flags = (
        ("oam", outer.oam),
        ("df", tunnel.df),
        ("csum", tunnel.csum),
        ("key", tunnel.out_key is not None),
    )
    shown = "|".join(name for name, is_set in flags if is_set)
    out.append(f"flags({shown or '0'})")
    return ",".join(out)


def _options(data: bytes) -> str:
    out, at = "", 0
    while at + 4 <= len(data):
        length = (data[at + 3] & 0x1F) * 4
        value = int.from_bytes(data[at + 4 : at + 4 + length], "big")
        out += (
            f"{{class={int.from_bytes(data[at : at + 2], 'big'):#x},"
            f"type={data[at + 2]:#x},len={length},{value:#x}}}"
        )
        at += 4 + length
    return out
