"""encap() and decap() as a person types them, and as they are shown (ovs-actions(7))."""

from __future__ import annotations

import re
from typing import Final

from gossamer.errors import FieldError
from gossamer.pipeline.action_encap import Decap, Encap, NshMdType, NshTlv, PacketType
from gossamer.pipeline.pairs import key_values

_HEADERS: Final = {
    "ethernet": PacketType.ETHERNET,
    "nsh": PacketType.NSH,
    "mpls": PacketType.MPLS,
    "mpls_mc": PacketType.MPLS_MC,
}
_NAMES: Final = {int(value): name for name, value in _HEADERS.items()}
_LONGEST_TLV: Final = 125
"""Bytes: what ovs-ofctl reads."""


def parse_encap(text: str) -> Encap:
    """``ethernet``, ``mpls``, ``nsh(md_type=2,tlv(0x1000,10,0x12345678))``.

    Raises FieldError, which says what was not understood.
    """
    ((name, inside),) = key_values(text) or [("", "")]
    if name not in _HEADERS:
        raise FieldError(f"encap: {name!r} is none of {', '.join(_HEADERS)}")
    properties = tuple(_property(key, value) for key, value in key_values(inside or ""))
    if properties and name != "nsh":
        raise FieldError(f"encap: {name} has no properties")
    return Encap(int(_HEADERS[name]), properties)


def _property(key: str, value: str) -> NshMdType | NshTlv:
    if key == "md_type" and value in ("1", "2"):
        return NshMdType(int(value))
    if key == "md_type":
        raise FieldError("encap: md_type is 1 or 2")
    if key != "tlv":
        raise FieldError(f"encap: unknown property {key!r}")
    found = re.fullmatch(r"0x([0-9a-fA-F]{1,4}),(\d{1,3}),0x([0-9a-fA-F]+)", value.replace(" ", ""))
    if found is None or int(found[2]) > 0xFF or len(found[3]) > 2 * _LONGEST_TLV:
        raise FieldError("encap: the syntax is tlv(0xCLASS,TYPE,0xDATA)")
    digits = found[3] if len(found[3]) % 2 == 0 else found[3] + "0"
    return NshTlv(int(found[1], 16), int(found[2]), bytes.fromhex(digits))


def parse_decap(text: str) -> Decap:
    """Nothing, or ``packet_type(ns=1,type=0x800)``.  Raises FieldError."""
    if not text:
        return Decap()
    ((name, inside),) = key_values(text)
    pairs = dict(key_values(inside or ""))
    try:
        namespace, kind = int(pairs["ns"], 0), int(pairs["type"], 0)
    except (KeyError, ValueError):
        namespace = -1
    if name != "packet_type" or namespace not in (0, 1, 2, 3) or not 0 <= kind < 1 << 16:
        raise FieldError("decap: the syntax is decap(packet_type(ns=NAMESPACE,type=TYPE))")
    return Decap(namespace << 16 | kind)


def format_encap(a: Encap) -> str:
    """As ovs-ofctl shows it."""
    inside = ",".join(_format_property(p) for p in a.properties)
    return f"encap({_NAMES[a.packet_type]}{f'({inside})' if inside else ''})"


def _format_property(found: NshMdType | NshTlv) -> str:
    if isinstance(found, NshMdType):
        return f"md_type={found.md_type}"
    return f"tlv(0x{found.tlv_class:04x},{found.tlv_type},{_hex(found.data)})"


def _hex(data: bytes) -> str:
    """Bytes as the peer writes them: without the zeros in front."""
    digits = data.hex().lstrip("0")
    return f"0x{digits}" if digits else "0"


def format_decap(a: Decap) -> str:
    """As ovs-ofctl shows it."""
    if a.packet_type == PacketType.NEXT_PROTOCOL:
        return "decap()"
    kind = a.packet_type & 0xFFFF
    return f"decap(packet_type(ns={a.packet_type >> 16},type={kind:#x}))".replace("type=0x0)", "type=0)")
