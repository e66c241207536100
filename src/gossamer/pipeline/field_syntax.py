"""Values of fields, ports and subfields as a person types them (ovs-fields(7), ovs-ofctl(8))."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from gossamer.errors import FieldError
from gossamer.pipeline import tlv
from gossamer.pipeline.action import SubField
from gossamer.pipeline.field_views import NXM_IN_PORT, XREGS, XXREGS, named_bits
from gossamer.pipeline.fields import BY_NAME, FIELDS, FRAG_ANY, FRAG_LATER, Field
from gossamer.pipeline.format_field import CT_STATES, IPV4_FIELDS, TCP_FLAGS, nxm_name
from gossamer.pipeline.of_port import OfPort

_FRAGS: Final = {
    "no": (0, 3),
    "yes": (FRAG_ANY, FRAG_ANY),
    "first": (FRAG_ANY, 3),
    "later": (FRAG_ANY | FRAG_LATER, 3),
    "not_later": (0, FRAG_LATER),
}


def parse_port(text: str, ports: Mapping[str, int] | None = None) -> int:
    """A port by number, reserved name, or name.  Raises FieldError."""
    if ports and text in ports:
        return ports[text]
    reserved = {p.name: int(p) for p in OfPort} | {"NONE": int(OfPort.ANY)}
    if text.upper() in reserved:
        return reserved[text.upper()]
    try:
        number = int(text, 0)
    except ValueError:
        known = f"; ports are {', '.join(sorted(ports))}" if ports else ""
        raise FieldError(f"there is no port {text!r}", remedy=f"name a port{known}") from None
    return number | 0xFFFF0000 if 0xFF00 <= number <= 0xFFFF else number


def parse_number(name: str, text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise FieldError(f"{name}: {text!r} is no number") from None


def parse_value(f: Field, text: str) -> tuple[int, int]:
    full = (1 << f.n_bits) - 1
    if f.name == "ip_frag":
        if text not in _FRAGS:
            raise FieldError(f"ip_frag: {text!r} is none of {', '.join(_FRAGS)}")
        return _FRAGS[text]
    if f.name == "tcp_flags":
        return _flags(f.name, text, TCP_FLAGS, 0xFFF)
    if f.name == "ct_state":
        return _flags(f.name, text, CT_STATES, 0xFF)
    if f.name == "packet_type":
        return _packet_type(text), full
    if f.name == "nw_tos":
        full = 0xFC
    if f.name == "tun_flags":
        if text in ("oam", "+oam", "-oam"):
            return int(text != "-oam"), 1
        full = 1
    plain, slash, mask_text = text.partition("/")
    read: Callable[[str, str], int]
    if f.n_bits == 48 and not f.marks:
        read = parse_mac
    elif f.name in IPV4_FIELDS:
        read = parse_ipv4
    elif f.n_bits == 128 and not f.name.startswith(("xxreg", "ct_label", "tun_metadata")):
        read = parse_ipv6
    else:
        read = parse_number
    value = read(f.name, plain)
    if not slash:
        mask = full
    elif read in (parse_ipv4, parse_ipv6) and mask_text.isdigit():
        mask = full ^ ((1 << max(0, f.n_bits - int(mask_text))) - 1)
    else:
        mask = read(f.name, mask_text)
    if f.name == "ip_dscp" and value > full:
        value >>= 2
    if not 0 <= value <= full:
        raise FieldError(f"{f.name}: {plain} does not fit {f.n_bits} bits")
    return value, mask


def parse_mac(name: str, text: str) -> int:
    parts = text.split(":")
    if len(parts) != 6 or not all(0 < len(p) <= 2 for p in parts):
        raise FieldError(f"{name}: {text!r} is no Ethernet address")
    try:
        return int("".join(p.zfill(2) for p in parts), 16)
    except ValueError:
        raise FieldError(f"{name}: {text!r} is no Ethernet address") from None


def parse_ipv4(name: str, text: str) -> int:
    try:
        return int(IPv4Address(text))
    except AddressValueError:
        raise FieldError(f"{name}: {text!r} is no IPv4 address") from None


def parse_ipv6(name: str, text: str) -> int:
    try:
        return int(IPv6Address(text))
    except AddressValueError:
        raise FieldError(f"{name}: {text!r} is no IPv6 address") from None


def _flags(name: str, text: str, names: Sequence[str], full: int) -> tuple[int, int]:
    """Flags as a number, as ``a|b`` (all others off) or as ``+a-b`` (others do not matter)."""
    if text[:1].isdigit():
        plain, slash, low = text.partition("/")
        return parse_number(name, plain), parse_number(name, low) if slash else full
    value = mask = 0
    if text[:1] in ("+", "-"):
        for chunk in text.replace("+", " +").replace("-", " -").split():
            bit = _flag_bit(name, chunk[1:], names)
            mask |= bit
            value |= bit if chunk[0] == "+" else 0
        return value, mask
    for flag in text.split("|"):
        value |= _flag_bit(name, flag, names)
    return value, full


def _flag_bit(field: str, flag: str, names: Sequence[str]) -> int:
    if re.fullmatch(r"\[[0-9a-f]+\]", flag):
        return int(flag[1:-1], 16)
    if flag not in names:
        raise FieldError(f"{field}: {flag!r} is none of {', '.join(names)}")
    return 1 << names.index(flag)


def _packet_type(text: str) -> int:
    """``(NAMESPACE,TYPE)``, or the number of both."""
    namespace, comma, kind = text.strip("()").partition(",")
    if not comma:
        return parse_number("packet_type", text)
    return parse_number("packet_type", namespace) << 16 | parse_number("packet_type", kind)


_SUBFIELD: Final = re.compile(r"^(\w+)(?:\[(?:(\d+)(?:\.\.(\d+))?)?\])?$")
FIELD_NAMES: Final[Mapping[str, Field]] = {
    **{f.name: f for f in (*XREGS, *XXREGS)},
    **{nxm_name(f): f for f in (*FIELDS, *XREGS, *XXREGS, NXM_IN_PORT)},
    **BY_NAME,
    "OXM_OF_ACTSET_OUTPUT": BY_NAME["actset_output"],
    "in_port": NXM_IN_PORT,
    "in_port_oxm": BY_NAME["in_port"],
    "nw_tos": BY_NAME["nw_tos"],
    "nw_tos_shifted": BY_NAME["ip_dscp"],
    "tunnel_id": BY_NAME["tun_id"],
}
"""Fields by all names they go under in actions, NXM's and OXM's among them."""


def parse_field(name: str) -> Field:
    """A field by its name.  Raises FieldError."""
    f = FIELD_NAMES.get(name) or FIELD_NAMES.get(name.lower()) or tlv.named(name)
    if f is None:
        raise FieldError(f"unknown field {name!r}", remedy="ovs-fields(7) lists the fields")
    return f


def parse_subfield(text: str) -> SubField:
    """``NXM_NX_REG0[0..15]``, ``reg0[3]``, ``eth_src[]`` or a field alone.  Raises FieldError."""
    found = _SUBFIELD.match(text.strip())
    if found is None:
        raise FieldError(f"{text!r} names no field or part of one", remedy="write FIELD[LOW..HIGH]")
    f = parse_field(found[1])
    if found[2] is None:
        return SubField(f, 0, min(named_bits(f), f.n_bits))
    low = int(found[2])
    high = int(found[3]) if found[3] is not None else low
    n_bits = min(named_bits(f), f.n_bits)
    if not low <= high < n_bits:
        raise FieldError(f"{f.name} has {n_bits} bits, not {low}..{high}")
    return SubField(f, low, high - low + 1)
