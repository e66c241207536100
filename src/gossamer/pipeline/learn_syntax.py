"""The learn action as a person types it (ovs-actions(7), "learn")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gossamer.errors import FieldError
from gossamer.pipeline.action import SubField
from gossamer.pipeline.action_learn import Learn, LearnSpec, LearnTo
from gossamer.pipeline.field_syntax import (
    parse_number,
    parse_port,
    parse_subfield,
    parse_value,
)
from gossamer.pipeline.field_views import NXM_IN_PORT, named_bits
from gossamer.pipeline.pairs import key_values

_NUMBERS: Final = {
    "table": 8, "priority": 16, "idle_timeout": 16, "hard_timeout": 16, "fin_idle_timeout": 16,
    "fin_hard_timeout": 16, "cookie": 64, "limit": 32,
}  # fmt: skip
_FLAGS: Final = {"send_flow_rem": 1, "delete_learned": 2}
_WRITE_RESULT: Final = 4


def parse_learn(text: str, ports: Mapping[str, int] | None) -> Learn:
    """What stands in the parentheses of ``learn(...)``.  Raises FieldError."""
    numbers = dict.fromkeys(_NUMBERS, 0) | {"table": 1, "priority": 0x8000}
    flags, result = 0, None
    specs: list[LearnSpec] = []
    for key, value in key_values(text):
        if key in _NUMBERS:
            numbers[key] = parse_number(key, value)
            if numbers[key] >> _NUMBERS[key]:
                raise FieldError(f"{key}: {value} does not fit {_NUMBERS[key]} bits")
        elif key in _FLAGS:
            flags |= _FLAGS[key]
        elif key == "result_dst":
            flags |= _WRITE_RESULT
            result = parse_subfield(value)
            if result.n_bits != 1 or not result.field.writable:
                raise FieldError("learn: result_dst is a single bit that can be written")
        else:
            specs.append(_spec(key, value, ports))
    if numbers["table"] == 0xFF:
        raise FieldError("learn: there is no table 255")
    return Learn(
        tuple(specs),
        numbers["table"],
        numbers["idle_timeout"],
        numbers["hard_timeout"],
        numbers["priority"],
        numbers["cookie"],
        flags,
        numbers["fin_idle_timeout"],
        numbers["fin_hard_timeout"],
        numbers["limit"],
        result,
    )


def _spec(key: str, value: str, ports: Mapping[str, int] | None) -> LearnSpec:
    if key == "output":
        source = parse_subfield(value)
        return LearnSpec(source, source.n_bits, LearnTo.OUTPUT)
    if key == "load":
        return _load(value)
    dst = parse_subfield(key)
    if not value:
        return LearnSpec(dst, dst.n_bits, LearnTo.MATCH, _whole(dst))
    try:
        source = parse_subfield(value)
    except FieldError:
        number = _immediate(dst, value, ports)
        dst = _whole(dst)
        return LearnSpec(number, dst.n_bits, LearnTo.MATCH, dst)
    return _copied(source, LearnTo.MATCH, dst)


def _whole(dst: SubField) -> SubField:
    """Ports of 16 bits are matched as those of 32 that they stand for."""
    if dst.field is NXM_IN_PORT and not dst.low and dst.n_bits == 16:
        return SubField(NXM_IN_PORT, 0, 32)
    return dst


def _immediate(dst: SubField, text: str, ports: Mapping[str, int] | None) -> int:
    if dst.field is NXM_IN_PORT and not dst.low:
        return parse_port(text, ports)
    whole = not dst.low and dst.n_bits in (dst.field.n_bits, named_bits(dst.field))
    number = parse_value(dst.field, text)[0] if whole else parse_number(dst.field.name, text)
    if number >> dst.n_bits:
        raise FieldError(f"{dst.field.name}: {text} does not fit {dst.n_bits} bits")
    return number


def _load(text: str) -> LearnSpec:
    left, arrow, right = text.partition("->")
    if not arrow or not left:
        raise FieldError(f"load: {text!r} has no '->'", remedy="write load:FROM->TO")
    dst = parse_subfield(right)
    try:
        number = int(left, 0)
    except ValueError:
        return _copied(parse_subfield(left), LearnTo.LOAD, dst)
    if number >> dst.n_bits:
        raise FieldError(f"load: {left} does not fit {dst.n_bits} bits")
    return LearnSpec(number, dst.n_bits, LearnTo.LOAD, dst)


def _copied(source: SubField, to: LearnTo, dst: SubField) -> LearnSpec:
    if source.n_bits != dst.n_bits:
        raise FieldError(f"learn: {source.n_bits} bits do not fit {dst.n_bits} bits")
    whole = _whole(dst)
    return LearnSpec(_whole(source) if whole is not dst else source, whole.n_bits, to, whole)
