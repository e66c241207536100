"""Records of another layout become ours, by the names of their numbers."""

from __future__ import annotations

import random
import struct

import pytest

from gossamer.datapath.btf import Field, Layout
from gossamer.datapath.conversion import Conversion
from gossamer.errors import DatapathError


def _layout(*fields: tuple[str, str], gap: int = 0) -> Layout:
    """Numbers behind each other, as struct's formats say, with a gap before each."""
    at, out = 0, {}
    for name, code in fields:
        at += gap
        size = struct.calcsize(code)
        out[name] = Field(at, size, code.islower())
        at += size
    return Layout(at + gap, out)


def _number(raw: bytes, field: Field) -> int:
    return int.from_bytes(raw[field.offset : field.offset + field.size], "little", signed=field.signed)


def _record(layout: Layout, **values: int) -> bytes:
    raw = bytearray(b"\xee" * layout.size)
    for name, value in values.items():
        f = layout.fields[name]
        raw[f.offset : f.offset + f.size] = value.to_bytes(f.size, "little", signed=f.signed)
    return bytes(raw)


OLD = _layout(("a", "I"), ("b", "Q"), ("c", "H"), ("d", "B"), ("gone", "I"))


def test_numbers_go_where_their_names_are_now() -> None:
    new = _layout(("c", "H"), ("a", "I"), ("d", "B"), ("b", "Q"), ("added", "I"), gap=3)
    image = Conversion(OLD, new).image(_record(OLD, a=1, b=2**40, c=3, d=4, gone=5))
    assert {name: _number(image, f) for name, f in new.fields.items()} == {
        "a": 1, "b": 2**40, "c": 3, "d": 4, "added": 0,
    }  # fmt: skip
    assert len(image) == new.size
    used = {i for f in new.fields.values() for i in range(f.offset, f.offset + f.size)}
    assert not any(image[i] for i in range(new.size) if i not in used), "what is between them is 0"


def test_any_order_comes_to_the_same_as_any_other() -> None:
    chooser = random.Random(1)
    codes = [(f"f{i}", chooser.choice("BHIQbhiq")) for i in range(30)]
    values = {name: chooser.choice((0, 1, 100)) for name, _ in codes}
    for gap in (0, 1, 5):
        shuffled = chooser.sample(codes, len(codes))
        old, new = _layout(*codes), _layout(*shuffled, gap=gap)
        image = Conversion(old, new).image(_record(old, **values))
        assert {name: _number(image, f) for name, f in new.fields.items()} == values


def test_a_record_within_others_is_read_from_where_it_begins() -> None:
    new = _layout(("b", "Q"), ("a", "I"))
    records = b"".join(_record(OLD, a=i, b=2 * i, c=0, d=0, gone=0) for i in range(5))
    convert = Conversion(OLD, new)
    for i, image in enumerate(convert.images(records, range(0, len(records), OLD.size))):
        assert (_number(image, new.fields["a"]), _number(image, new.fields["b"])) == (i, 2 * i)


def test_numbers_that_became_wider_keep_value_and_sign() -> None:
    old, new = _layout(("n", "h"), ("u", "B")), _layout(("u", "I"), ("n", "q"))
    image = Conversion(old, new).image(_record(old, n=-5, u=200))
    assert (_number(image, new.fields["n"]), _number(image, new.fields["u"])) == (-5, 200)


def test_a_number_that_became_narrower_is_refused() -> None:
    with pytest.raises(DatapathError, match="b had 8 bytes and has 4 now"):
        Conversion(OLD, _layout(("b", "I")))


def test_members_of_a_union_move_once_and_apart_where_they_must() -> None:
    union = Layout(4, {"ports": Field(0, 4), "sport": Field(0, 2), "dport": Field(2, 2)})
    raw = b"\x12\x34\x56\x78"
    same = Layout(8, {n: Field(f.offset + 4, f.size) for n, f in union.fields.items()})
    assert Conversion(union, same).image(raw) == bytes(4) + raw
    apart = Layout(6, {"dport": Field(0, 2), "sport": Field(4, 2)})
    assert Conversion(union, apart).image(raw) == raw[2:] + bytes(2) + raw[:2]
    assert Conversion(apart, union).image(raw[2:] + b"\xee\xee" + raw[:2]) == raw


def test_what_is_written_over_a_record_leaves_alone_what_the_old_one_has_not_or_was_left_out() -> None:
    new = _layout(("added", "I"), ("a", "I"), ("b", "Q"), ("c", "H"))
    memory = bytearray(_record(new, added=9, a=9, b=9, c=9) * 2)
    convert = Conversion(OLD, new, without=("b",))
    convert.write(_record(OLD, a=1, b=2, c=3, d=4, gone=5), memoryview(memory), new.size)
    second = bytes(memory[new.size :])
    assert {name: _number(second, f) for name, f in new.fields.items()} == {
        "added": 9, "a": 1, "b": 9, "c": 3,
    }  # fmt: skip
    assert memory[: new.size] == _record(new, added=9, a=9, b=9, c=9)


def test_a_name_left_out_is_left_out_with_all_that_is_in_it_and_no_other() -> None:
    old = Layout(4, {"peer[0].x": Field(0, 1), "peer.y": Field(1, 1), "peers": Field(2, 1), "peer": Field(3, 1)})
    assert Conversion(old, old, without=("peer",)).image(b"\1\2\3\4") == b"\0\0\3\0"
