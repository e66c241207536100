"""Which connections are to be flushed, by dpctl/flush-conntrack or NXT_CT_FLUSH.

In text, tuples are in the words of flow fields:
``ct_nw_src=10.0.0.1,ct_nw_proto=6,ct_tp_dst=80``: whatever is left out may be
anything (ovs-dpctl(8)).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gossamer.datapath.conntrack.connection import Connection
from gossamer.pipeline.conntrack.tuple import IPV4, IPV6, Tuple
from gossamer.switch.show import CommandError

if TYPE_CHECKING:
    from gossamer.datapath.conntrack import Conntrack
    from gossamer.openflow import message as m

_ICMP: Final = (1, 58)
_FIELD: Final = re.compile(r"([^=,\s]+)(?:=([^,\s]*))?")


@dataclass(slots=True)
class PartialTuple:
    """What is asked of one direction; None is anything."""

    src: bytes | None = None
    dst: bytes | None = None
    sport: int | None = None
    dport: int | None = None
    icmp_id: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None

    @property
    def is_empty(self) -> bool:
        """Nothing is asked."""
        return self == PartialTuple()

    def fits(self, t: Tuple) -> bool:
        """Whether a direction is as asked."""
        asked: list[tuple[object, object]] = [(self.src, t.src), (self.dst, t.dst)]
        if t.is_icmp:
            asked += [
                (self.icmp_id, t.sport),
                (self.icmp_type, t.dport >> 8),
                (self.icmp_code, t.dport & 0xFF),
            ]
        else:
            asked += [(self.sport, t.sport), (self.dport, t.dport)]
        return all(want is None or want == have for want, have in asked)


@dataclass(slots=True)
class CtMatch:
    """Which connections are meant; `mark` and `label` are (value, mask)."""

    family: int | None = None
    proto: int | None = None
    orig: PartialTuple = field(default_factory=PartialTuple)
    reply: PartialTuple = field(default_factory=PartialTuple)
    mark: tuple[int, int] | None = None
    label: tuple[int, int] | None = None

    @classmethod
    def of_message(cls, message: m.ConnectionFlush) -> CtMatch:
        """As NXT_CT_FLUSH says it."""

        def partial(t: m.ConnectionTuple) -> PartialTuple:
            return PartialTuple(
                t.src or None,
                t.dst or None,
                t.sport or None,
                t.dport or None,
                t.icmp_id,
                t.icmp_type,
                t.icmp_code,
            )

        addresses = [a for t in (message.orig, message.reply) for a in (t.src, t.dst) if a]
        family = (IPV4 if len(addresses[0]) == 4 else IPV6) if addresses else None
        return cls(family, message.proto or None, partial(message.orig), partial(message.reply))

    @property
    def is_empty(self) -> bool:
        """All connections are meant."""
        return self == CtMatch()

    def exact(self, zone: int) -> Tuple | None:
        """The one tuple that is meant, where it is said whole."""
        o = self.orig
        if not self.reply.is_empty or self.mark or self.label:
            return None
        if o.src is None or o.dst is None or self.proto is None:
            return None
        if self.proto in _ICMP:
            return Tuple(
                o.src,
                o.dst,
                self.proto,
                o.icmp_id or 0,
                (o.icmp_type or 0) << 8 | (o.icmp_code or 0),
                zone,
            )
        if not o.sport or not o.dport:
            return None
        return Tuple(o.src, o.dst, self.proto, o.sport, o.dport, zone)

    def fits(self, c: Connection) -> bool:
        """Whether a connection is meant."""
        if self.family not in (None, c.orig.family) or self.proto not in (None, c.orig.proto):
            return False
        for asked, value in ((self.mark, c.mark), (self.label, c.label)):
            if asked is not None and value & asked[1] != asked[0]:
                return False
        return self.orig.fits(c.orig) and self.reply.fits(c.reply)

    def read_tuple(self, text: str, *, reply: bool) -> None:
        """Add what a tuple says.  Raises CommandError with the words of the peer."""
        into = self.reply if reply else self.orig
        for found in _FIELD.finditer(text):
            key, value = found[1], found[2]
            if not value:
                raise CommandError(f"field {key} missing value")
            if key in ("ct_nw_src", "ct_nw_dst", "ct_ipv6_src", "ct_ipv6_dst"):
                self._read_address(into, key, value)
            elif key == "ct_nw_proto":
                if self.proto is not None:
                    raise CommandError(f"{key} is set multiple times")
                self.proto = _number(key, value, 0xFF)
            elif key in ("ct_tp_src", "ct_tp_dst"):
                setattr(into, "sport" if key == "ct_tp_src" else "dport", _number(key, value))
            elif key in ("icmp_type", "icmp_code", "icmp_id"):
                if self.proto not in _ICMP:
                    raise CommandError("invalid L4 fields")
                setattr(into, key, _number(key, value, 0xFFFF if key == "icmp_id" else 0xFF))
            else:
                raise CommandError(f"invalid conntrack tuple field: {key}")
        if self.proto is None and (into.sport or into.dport):
            raise CommandError("port is set without protocol")

    def _read_address(self, into: PartialTuple, key: str, value: str) -> None:
        four = key.startswith("ct_nw")
        family = IPV4 if four else IPV6
        side = key[-3:]
        if self.family not in (None, family):
            raise CommandError(f"the L3 protocol does not match {value}")
        if getattr(into, side) is not None:
            raise CommandError(f"{key} is set multiple times")
        try:
            parse: Callable[[str], ipaddress.IPv4Address | ipaddress.IPv6Address]
            parse = ipaddress.IPv4Address if four else ipaddress.IPv6Address
            setattr(into, side, parse(value).packed)
        except ValueError:
            raise CommandError(f"failed to parse field {key}") from None
        self.family = family


def flushing(conntrack: Conntrack, match: CtMatch, zone: int | None) -> Iterator[int]:
    """Remove the connections that are meant, of a zone or of all; a part at each step.

    A tuple that is said whole means one connection, in zone 0 where none is
    said.  Raises CommandError, at once, where there is none of that tuple
    before translation.
    """
    if match.is_empty:
        return conntrack.flushing(zone)
    exact = match.exact(zone or 0)
    if exact is None:
        return conntrack.flushing(zone, match.fits)
    found = conntrack.find(exact)
    # What answers to a translated address is not asked for by that address.
    translated = found is not None and found.reply != found.orig.reversed()
    if found is None or (translated and exact not in (found.orig, found.orig.reversed())):
        raise CommandError("no such connection")
    return iter((int(conntrack.remove(found)),))


def _number(key: str, value: str, limit: int = 0xFFFF) -> int:
    number = number_of(value)
    if number is None or number > limit:
        raise CommandError(f"failed to parse field {key}")
    return number


def number_of(text: str) -> int | None:
    """A number from 0, decimal or hexadecimal; None for what is none."""
    try:
        number = int(text, 0) if not text.startswith("0") or text[1:2] in "xX" else int(text)
    except ValueError:
        return None
    return number if number >= 0 else None


def masked(text: str, bits: int) -> tuple[int, int] | None:
    """``value/mask`` as (value and mask, mask); None for what is none."""
    value, slash, mask = text.partition("/")
    numbers = number_of(value), number_of(mask) if slash else (1 << bits) - 1
    if numbers[0] is None or numbers[1] is None or max(numbers[0], numbers[1]) >> bits:
        return None
    return numbers[0] & numbers[1], numbers[1]
