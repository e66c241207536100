"""Datapath flows as a person types or pastes them: ``in_port(1),eth(...),eth_type(0x0800)``.

The counterpart of odp_match.py, for ``ofproto/trace``, which takes a line of
``dpctl/dump-flows`` in place of a bridge and a flow (ovs-vswitchd(8)).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from gossamer.daemon.appctl.odp_match import GROUPS, OdpField
from gossamer.errors import FieldError
from gossamer.pipeline.field_syntax import parse_value
from gossamer.pipeline.fields import BY_NAME, ETH_VLAN, VLAN_CFI, get_slot, put_slot
from gossamer.pipeline.format import TCP_FLAGS
from gossamer.pipeline.match import Match
from gossamer.switch.show import CommandError

_IGNORED: Final = ("dp_hash", "packet_type", "skb_priority")
"""Groups that say nothing of the packet here."""
_STATE: Final = {
    "skb_mark": ("pkt_mark", 32),
    "ct_state": ("ct_state", 32),
    "ct_zone": ("ct_zone", 16),
    "ct_mark": ("ct_mark", 32),
    "ct_label": ("ct_label", 128),
}
_FRAGS: Final = {"no": 0, "first": 1, "later": 3}


class OdpFlow:
    """What a datapath flow says: its port as it was written, and the packet's headers."""

    def __init__(self, text: str) -> None:
        """Raises CommandError for what cannot be understood, with the place."""
        self.in_port = ""
        self.value = self.mask = 0
        self.recirc_id = 0
        """How its packets go on after a ct(); 0 for those that come in."""
        self._tags = 0
        text = re.sub(r"^ufid:[0-9a-fA-F-]+,?\s*", "", text.strip())
        # What dump-flows writes behind the match is no part of it.
        text = re.split(r",\s*packets:", text)[0]
        self._groups(text)
        if not self.in_port:
            raise CommandError("the flow has no in_port()")

    @property
    def match(self) -> Match:
        """The headers; what the flow does not say is zero."""
        return Match(self.value & self.mask, self.mask)

    def _groups(self, text: str) -> None:
        at = 0
        while at < len(text):
            if text[at] in ", \t\n":
                at += 1
                continue
            found = re.compile(r"(\w+)\(").match(text, at)
            if found is None:
                raise CommandError(f"syntax error at {text[at:]}")
            depth, end = 1, found.end()
            while end < len(text) and depth:
                depth += {"(": 1, ")": -1}.get(text[end], 0)
                end += 1
            if depth:
                raise CommandError(f"syntax error at {text[at:]}")
            self._group(found[1], text[found.end() : end - 1], text[at:])
            at = end

    def _group(self, name: str, inside: str, rest: str) -> None:
        if name == "in_port":
            self.in_port = inside
        elif name == "recirc_id":
            self.recirc_id = _number(inside.partition("/")[0], rest)
        elif name == "encap":
            self._groups(inside)
        elif name == "eth_type":
            self._eth_type(_number(inside.partition("/")[0], rest))
        elif name == "ct_state" and not inside[:1].isdigit():
            self._ct_state(inside, rest)
        elif name in _STATE:
            slot, n_bits = _STATE[name]
            self._put(OdpField(name, slot, n_bits), inside, rest)
        elif name == "tcp_flags":
            self._tcp_flags(inside, rest)
        elif name in GROUPS:
            self._fields(name, inside, rest)
        elif name not in _IGNORED:
            raise CommandError(f"syntax error at {rest}")

    def _eth_type(self, value: int) -> None:
        # A tag says its own ethertype before it; that of the packet comes last.
        self.value = put_slot(self.value, "eth_type", value)
        self.mask = put_slot(self.mask, "eth_type", 0xFFFF)

    def _fields(self, name: str, inside: str, rest: str) -> None:
        group = name
        if name == "vlan":
            prefix = "vlan1" if self._tags else "vlan"
            group = "inner vlan" if self._tags else "vlan"
            self._tags += 1
            tpid = get_slot(self.value, "eth_type") or ETH_VLAN
            self.value = put_slot(self.value, f"{prefix}_tpid", tpid)
            self.value = put_slot(self.value, f"{prefix}_tci", VLAN_CFI)
            self.mask = put_slot(self.mask, f"{prefix}_tpid", 0xFFFF)
            self.mask = put_slot(self.mask, f"{prefix}_tci", VLAN_CFI)
        fields = {field.name: field for field in GROUPS[group]}
        for part in inside.split(","):
            key, equals, value = part.strip().partition("=")
            if not key or (name == "vlan" and key == "cfi"):
                continue
            if not equals or key not in fields:
                raise CommandError(f"syntax error at {rest}")
            self._put(fields[key], value, rest)

    def _put(self, field: OdpField, text: str, rest: str) -> None:
        plain, slash, masked = text.partition("/")
        full = (1 << field.n_bits) - 1
        value = _value(field, plain, rest)
        mask = _value(field, masked, rest) if slash else full
        if value > full or mask > full:
            raise CommandError(f"syntax error at {rest}")
        bits = put_slot(0, field.slot, full << field.low)
        self.value = self.value & ~bits | put_slot(0, field.slot, (value & mask) << field.low)
        self.mask = self.mask & ~bits | put_slot(0, field.slot, mask << field.low)

    def _ct_state(self, inside: str, rest: str) -> None:
        try:
            value, mask = parse_value(BY_NAME["ct_state"], inside)
        except FieldError:
            raise CommandError(f"syntax error at {rest}") from None
        self.value = put_slot(self.value, "ct_state", value & mask)
        self.mask = put_slot(self.mask, "ct_state", mask)

    def _tcp_flags(self, inside: str, rest: str) -> None:
        value = mask = 0
        if inside[:1] in "+-" and inside:
            for sign, name in re.findall(r"([+-])([^+-]+)", inside):
                bit = _flag(name, rest)
                mask |= bit
                value |= bit if sign == "+" else 0
        elif inside[:1].isdigit():
            plain, slash, masked = inside.partition("/")
            value, mask = _number(plain, rest), _number(masked, rest) if slash else 0xFFF
        else:
            mask = 0xFFF
            for name in filter(None, inside.split("|")):
                value |= _flag(name, rest)
        self.value = put_slot(self.value, "tcp_flags", value & mask)
        self.mask = put_slot(self.mask, "tcp_flags", mask)


def looks_like_odp(text: str) -> bool:
    """Whether a text is meant as a datapath flow: groups in parentheses."""
    return bool(re.match(r"\s*(ufid:[0-9a-fA-F-]+,?\s*)?\w+\(", text))


def port_of(text: str, names: Mapping[str, int]) -> int:
    """A datapath port by number or name.  Raises CommandError."""
    plain = text.partition("/")[0]
    if plain in names:
        return names[plain]
    if not plain.isdigit():
        raise CommandError(f"syntax error at in_port({text})")
    return int(plain)


def _flag(name: str, rest: str) -> int:
    if name not in TCP_FLAGS:
        raise CommandError(f"syntax error at {rest}")
    return 1 << TCP_FLAGS.index(name)


def _number(text: str, rest: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        raise CommandError(f"syntax error at {rest}") from None
    if value < 0:
        raise CommandError(f"syntax error at {rest}")
    return value


def _value(field: OdpField, text: str, rest: str) -> int:
    try:
        if field.n_bits == 48:
            return int.from_bytes(bytes.fromhex(_mac(text)), "big")
        if field.n_bits == 128 and ":" in text:
            return int(IPv6Address(text))
        if field.n_bits == 32 and text.count(".") == 3:
            return int(IPv4Address(text))
    except (ValueError, AddressValueError):
        raise CommandError(f"syntax error at {rest}") from None
    if field.name == "frag" and text in _FRAGS:
        return _FRAGS[text]
    return _number(text, rest)


def _mac(text: str) -> str:
    """Twelve digits of an address written with colons.  Raises ValueError."""
    parts = text.split(":")
    if len(parts) != 6 or not all(0 < len(part) <= 2 for part in parts):
        raise ValueError(text)
    return "".join(part.zfill(2) for part in parts)
