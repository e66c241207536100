"""Interface.options of tunnels, read and shown as ovs-vswitchd does (ovs-vswitchd.conf.db(5)).

What makes no sense is an error in the peer's words where the port cannot live
with it, otherwise a warning, and the option is as if it were not there.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gossamer.errors import DeviceError
from gossamer.pipeline.tunnel import (
    DEFAULT_PORTS,
    DEFAULT_TTL,
    FLOW,
    INHERIT,
    Flow,
    Inherit,
    PacketTypeMode,
    Tunnel,
    TunnelKind,
    format_address,
    is_ipv4,
    is_multicast,
    of_ipv4,
)

TUNNEL_TYPES: Final = frozenset(kind.value for kind in TunnelKind)
UNSUPPORTED: Final = ("bareudp", "gtpu", "lisp", "stt")
"""Types that the peer knows and this switch does not."""
_GRE: Final = ("gre", "erspan", "ip6gre", "ip6erspan")
_ERSPAN: Final = ("erspan", "ip6erspan")
_IPSEC: Final = ("remote_cert", "remote_name", "psk")
"""Read by ovs-monitor-ipsec, not here."""
_LEADING_NUMBER: Final = re.compile(r"\s*([+-]?)(0[xX][0-9a-fA-F]+|[0-9]+)")


@dataclass(slots=True)
class _Reader:
    """Options of one interface, as far as they are read."""

    name: str
    type: str
    warnings: list[str]

    def warn(self, text: str) -> None:
        self.warnings.append(f"{self.name}: {text}")

    def fail(self, text: str, remedy: str) -> DeviceError:
        self.warn(text)
        return DeviceError(
            "\n".join(self.warnings), place=f"port={self.name}", remedy=f"set {remedy}"
        )


def parse_tunnel(name: str, type_: str, options: Mapping[str, str]) -> tuple[Tunnel, list[str]]:
    """The tunnel that an interface's options describe, and what was wrong but did no harm.

    Raises DeviceError with the peer's words for what it refuses too.  Unlike
    the peer, VXLAN takes a multicast group as remote_ip (RFC 7348, section 4.2).
    """
    kind = TunnelKind(type_)
    reader = _Reader(name, type_, [])
    remote = local = None
    values: dict[str, int | Flow] = {}
    tos: int | Inherit = 0
    ttl: int | Inherit = DEFAULT_TTL
    extensions: frozenset[str] = frozenset()
    egress_mark: int | None = None
    for key, value in options.items():
        if key == "remote_ip":
            remote = _address(reader, key, value)
            if isinstance(remote, bytes) and is_multicast(remote) and kind is not TunnelKind.VXLAN:
                raise reader.fail(
                    f"multicast remote_ip={value} not allowed", "options:remote_ip to one host"
                )
        elif key == "local_ip":
            local = _address(reader, key, value)
        elif key == "tos":
            tos = _tos(reader, value)
        elif key == "ttl":
            ttl = INHERIT if value == INHERIT else _atoi(value) & 0xFF or DEFAULT_TTL
        elif key == "exts" and kind is TunnelKind.VXLAN:
            extensions = _extensions(reader, value)
        elif key == "egress_pkt_mark":
            egress_mark = _atoi(value) & 0xFFFFFFFF
        elif key in _ERSPAN_CHECKS:
            values[key] = _erspan(reader, key, value)
        elif key not in _known(type_):
            reader.warn(f"unknown {type_} argument '{key}'")
    if values.get("erspan_ver") == FLOW:
        values |= dict.fromkeys(("erspan_idx", "erspan_dir", "erspan_hwid"), FLOW)
    packet_type = _packet_type(reader, kind, options.get("packet_type"), "gpe" in extensions)
    if remote is None:
        raise reader.fail(
            f"{type_} type requires valid 'remote_ip' argument",
            "options:remote_ip to the other end's address, or to flow",
        )
    if local == FLOW and remote != FLOW:
        raise reader.fail(
            f"{type_} type requires 'remote_ip=flow' with 'local_ip=flow'",
            "options:remote_ip=flow, or options:local_ip to an address",
        )
    if isinstance(remote, bytes) and isinstance(local, bytes) and is_ipv4(remote) != is_ipv4(local):
        raise reader.fail(
            "'remote_ip' and 'local_ip' has to be of the same address family",
            "both to IPv4 addresses, or both to IPv6 addresses",
        )
    tunnel = Tunnel(
        kind=kind,
        remote=remote,
        local=local,
        in_key=_key(options, "in_key"),
        out_key=_key(options, "out_key"),
        dst_port=_dst_port(kind, options),
        ttl=ttl,
        tos=tos,
        csum=options.get("csum") == "true",
        df=options.get("df_default") != "false",
        seq=options.get("seq") == "true" and type_ in _GRE,
        packet_type=packet_type,
        gbp="gbp" in extensions,
        gpe="gpe" in extensions,
        egress_mark=egress_mark,
        erspan_ver=values.get("erspan_ver", 0),
        erspan_idx=values.get("erspan_idx", 0),
        erspan_dir=values.get("erspan_dir", 0),
        erspan_hwid=values.get("erspan_hwid", 0),
    )
    return tunnel, reader.warnings


def _known(type_: str) -> frozenset[str]:
    """Options that are read elsewhere, or by others."""
    known = {"key", "in_key", "out_key", "packet_type", "df_default", "csum", *_IPSEC}
    if type_ in _GRE:
        known.add("seq")
    else:
        known.add("dst_port")
    return frozenset(known)


def _address(reader: _Reader, key: str, value: str) -> bytes | Flow | None:
    if value == FLOW:
        return FLOW
    try:
        if ":" in value:
            return socket.inet_pton(socket.AF_INET6, value)
        return of_ipv4(socket.inet_pton(socket.AF_INET, value))
    except OSError:
        reader.warn(f"bad {reader.type} '{key}'")
        return None


def _atoi(text: str) -> int:
    """The decimal number a text begins with, 0 where it begins with none (atoi(3))."""
    found = re.match(r"\s*[+-]?[0-9]+", text)
    return int(found[0]) if found else 0


def _tos(reader: _Reader, value: str) -> int | Inherit:
    if value == INHERIT:
        return INHERIT
    found = _LEADING_NUMBER.fullmatch(value)
    tos = int(found[2], 16 if found[2][:2].lower() == "0x" else 10) if found else -1
    if found is None or found[1] == "-" or tos & ~0xFC:
        reader.warn(f"invalid TOS {value}")
        return 0
    return tos


def _extensions(reader: _Reader, value: str) -> frozenset[str]:
    wanted = [e for e in value.split(",") if e]
    for name in wanted:
        if name not in ("gbp", "gpe"):
            reader.warn(f"unknown extension '{name}'")
    return frozenset(e for e in wanted if e in ("gbp", "gpe"))


_ERSPAN_CHECKS: Final = {
    "erspan_ver": (10, (1, 2), "version"),
    "erspan_idx": (16, range(1 << 20), "index"),
    "erspan_dir": (10, (0, 1), "direction"),
    "erspan_hwid": (16, range(1 << 6), "hardware ID"),
}
"""Base, values there are, and what the error calls it."""


def _erspan(reader: _Reader, key: str, value: str) -> int | Flow:
    if value == FLOW:
        return FLOW
    base, allowed, called = _ERSPAN_CHECKS[key]
    digits = r"(?:0[xX])?[0-9a-fA-F]+" if base == 16 else r"[0-9]+"
    found = re.match(rf"\s*([+-]?{digits})", value)
    number = int(found[1], base) if found else 0
    if number not in allowed:
        raise reader.fail(f"invalid erspan {called}: {value}", f"options:{key} to a value it can have")
    return number


def _packet_type(
    reader: _Reader, kind: TunnelKind, value: str | None, gpe: bool
) -> PacketTypeMode:
    carries_l3 = kind is TunnelKind.GRE or (kind is TunnelKind.VXLAN and gpe)
    if value is None:
        return PacketTypeMode.LEGACY_L2
    if value not in tuple(PacketTypeMode):
        raise reader.fail(
            f"unknown packet_type '{value}'", "options:packet_type=legacy_l2, legacy_l3 or ptap"
        )
    if value == PacketTypeMode.LEGACY_L3 and not carries_l3:
        called = "VXLAN (without GPE)" if kind is TunnelKind.VXLAN else kind.value
        raise reader.fail(
            f"legacy_l3 configured on {called} tunnel that cannot carry L3 traffic",
            "options:packet_type=legacy_l2",
        )
    return PacketTypeMode(value)


def _dst_port(kind: TunnelKind, options: Mapping[str, str]) -> int:
    default = DEFAULT_PORTS.get(kind)
    if default is None:
        return 0
    return _atoi(options["dst_port"]) & 0xFFFF if "dst_port" in options else default


def _key(options: Mapping[str, str], name: str) -> int | Flow | None:
    text = options.get(name, options.get("key"))
    if text is None:
        return None
    if text == FLOW:
        return FLOW
    found = _LEADING_NUMBER.match(text)
    if found is None:
        return 0
    digits = found[2]
    if digits[:2].lower() == "0x":
        number = int(digits, 16)
    elif digits[0] == "0":
        octal = re.match(r"[0-7]+", digits)
        number = int(octal[0], 8) if octal else 0
    else:
        number = int(digits)
    number = min(number, (1 << 64) - 1)
    return (-number if found[1] == "-" else number) & ((1 << 64) - 1)


def format_tunnel(tunnel: Tunnel) -> str:
    """The options that are not what they are by default, as dpif/show lists them."""
    out = _shown_keys(tunnel)
    for name, address in (("remote_ip", tunnel.remote), ("local_ip", tunnel.local)):
        if address is not None:
            out[name] = format_address(address) if isinstance(address, bytes) else address
    if tunnel.ttl != DEFAULT_TTL:
        out["ttl"] = str(tunnel.ttl)
    if tunnel.tos:
        out["tos"] = tunnel.tos if isinstance(tunnel.tos, str) else f"{tunnel.tos:#x}"
    if tunnel.dst_port and tunnel.dst_port != DEFAULT_PORTS[tunnel.kind]:
        out["dst_port"] = str(tunnel.dst_port)
    if tunnel.csum:
        out["csum"] = "true"
    if tunnel.seq:
        out["seq"] = "true"
    if tunnel.packet_type is not PacketTypeMode.LEGACY_L2:
        out["packet_type"] = tunnel.packet_type.value
    if not tunnel.df:
        out["df_default"] = "false"
    if tunnel.egress_mark is not None:
        out["egress_pkt_mark"] = str(tunnel.egress_mark)
    if tunnel.kind.value in _ERSPAN:
        out |= _shown_erspan(tunnel)
    return ", ".join(f"{key}={value}" for key, value in sorted(out.items()))


def _shown_keys(tunnel: Tunnel) -> dict[str, str]:
    if tunnel.in_key == tunnel.out_key:
        return {} if tunnel.in_key is None else {"key": str(tunnel.in_key)}
    keys = (("in_key", tunnel.in_key), ("out_key", tunnel.out_key))
    return {name: str(key) for name, key in keys if key is not None}


def _shown_erspan(tunnel: Tunnel) -> dict[str, str]:
    def hexadecimal(value: int | Flow) -> str:
        return value if isinstance(value, str) else f"{value:#x}"

    out = {"erspan_ver": str(tunnel.erspan_ver)}
    if tunnel.erspan_ver in (1, FLOW):
        out["erspan_idx"] = hexadecimal(tunnel.erspan_idx)
    if tunnel.erspan_ver in (2, FLOW):
        out["erspan_dir"] = str(tunnel.erspan_dir)
        out["erspan_hwid"] = hexadecimal(tunnel.erspan_hwid)
    return out
