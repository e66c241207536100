"""Connection tracking as a person types it: ``ct(commit,zone=1,nat(src=10.0.0.1-10.0.0.9))``
(ovs-actions(7))."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from gossamer.errors import FieldError
from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, Actions
from gossamer.pipeline.action_ct import CT_ALG_FTP, CT_ALG_TFTP, Ct, Nat
from gossamer.pipeline.field_syntax import parse_number, parse_subfield
from gossamer.pipeline.pairs import key_values

ALGS: Final = {"ftp": CT_ALG_FTP, "tftp": CT_ALG_TFTP}
_ZONE_BITS: Final = 16
_NO_TABLE: Final = 0xFF
# An IPv6 address without brackets takes all that follows.
_ADDRESS: Final = r"\d+\.\d+\.\d+\.\d+|\[[^\]]*\]|[0-9a-fA-F]*:[0-9a-fA-F:.]*"
_RANGE: Final = re.compile(
    rf"(?P<first>{_ADDRESS})(?:-(?P<last>{_ADDRESS}))?(?::(?P<low>\d+)(?:-(?P<high>\d+))?)?"
)


def parse_ct(text: str, parse_list: Callable[[str], Actions]) -> Action:
    """The arguments of a ct action; `parse_list` reads the actions inside of exec(...).

    Raises FieldError, which says what was not understood.
    """
    flags = {"commit": False, "force": False}
    table: int | None = None
    zone, zone_field, nat, alg = 0, None, None, 0
    actions: tuple[Action, ...] = ()
    for key, value in key_values(text):
        if key in flags:
            flags[key] = True
        elif key == "table":
            table = parse_number("table", value)
            if not 0 <= table < _NO_TABLE:
                raise FieldError(f"ct: invalid table {value}")
        elif key == "zone":
            zone, zone_field = _zone(value)
        elif key == "alg":
            if value not in ALGS:
                raise FieldError(f"ct: {value!r} is no helper", remedy="there are ftp and tftp")
            alg = ALGS[value]
        elif key == "nat":
            nat = parse_nat(value)
        elif key == "exec":
            actions += _changes(parse_list(value))
        else:
            raise FieldError(f"ct: unknown argument {key!r}")
    if flags["force"] and not flags["commit"]:
        raise FieldError("ct: force needs commit")
    return Ct(flags["commit"], flags["force"], table, zone, zone_field, nat, alg, actions)


def _zone(text: str) -> tuple[int, act.SubField | None]:
    if re.fullmatch(r"\d+|0x[0-9a-fA-F]+", text):
        zone = int(text, 0)
        if zone >> _ZONE_BITS:
            raise FieldError(f"ct: zone {text} does not fit {_ZONE_BITS} bits")
        return zone, None
    return 0, parse_subfield(text)


def _changes(actions: Actions) -> Actions:
    for action in actions:
        match action:
            case (
                act.SetField(field=f)
                | act.RegLoad(dst=act.SubField(field=f))
                | act.RegMove(dst=act.SubField(field=f))
            ):
                if f.name not in ("ct_mark", "ct_label"):
                    raise FieldError(f"ct: exec cannot change {f.name}, but ct_mark and ct_label")
            case _:
                raise FieldError(f"ct: exec runs no {type(action).__name__}")
    return actions


def parse_nat(text: str) -> Nat:
    """The arguments of nat, inside of ct.  Raises FieldError."""
    flags = dict.fromkeys(("persistent", "hash", "random"), False)
    to: dict[str, str] = {}
    for key, value in key_values(text):
        if key in ("src", "dst"):
            to[key] = value
        elif key in flags:
            flags[key] = True
        else:
            raise FieldError(f"nat: unknown argument {key!r}")
    if len(to) > 1:
        raise FieldError("nat: only one of src and dst can be given")
    if any(flags.values()) and not to:
        raise FieldError("nat: flags need src or dst")
    if flags["hash"] and flags["random"]:
        raise FieldError("nat: hash and random exclude each other")
    addresses, ports = _range("".join(to.values()))
    return Nat("src" in to, "dst" in to, addresses, ports, **flags)


def _range(text: str) -> tuple[tuple[bytes, bytes] | None, tuple[int, int] | None]:
    """``A[-B][:P[-Q]]``; addresses of IPv6 stand in brackets where ports follow."""
    if not text:
        return None, None
    found = _RANGE.fullmatch(text)
    if found is None:
        raise FieldError(
            f"nat: {text!r} is no range", remedy="write ADDRESS[-ADDRESS][:PORT[-PORT]]"
        )
    first = _address(found["first"])
    last = _address(found["last"]) if found["last"] else first
    if len(last) != len(first) or last < first:
        raise FieldError(f"nat: {text!r} ends before it begins")
    if found["low"] is None:
        return (first, last) if any(first) else None, None
    low = int(found["low"])
    high = int(found["high"] or low)
    if not low <= high <= 0xFFFF:
        raise FieldError(f"nat: {low}-{high} is no range of ports")
    return (first, last) if any(first) else None, (low, high) if low else None


def _address(text: str) -> bytes:
    try:
        return IPv4Address(text).packed
    except AddressValueError:
        pass
    try:
        return IPv6Address(text.strip("[]")).packed
    except AddressValueError:
        raise FieldError(f"nat: {text!r} is no address") from None
