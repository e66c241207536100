"""How structs are laid out in a map: the BTF that the kernel keeps with it (linux/btf.h).

It is what the compiler made of the structs, it comes with the object file, and it lives as long as
the map: so who finds a map of another version need not know that version to read it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Final

from gossamer.datapath import libbpf
from gossamer.datapath.libbpf import check, lib
from gossamer.errors import DatapathError

_HEADER: Final = Struct("=HBBIIIII")
_MAGIC: Final = 0xEB9F
_TYPE: Final = Struct("=III")
_MEMBER: Final = Struct("=III")
_INT, _POINTER, _ARRAY, _STRUCT, _UNION, _ENUM = 1, 2, 3, 4, 5, 6
_TYPEDEF, _VOLATILE, _CONST, _RESTRICT = 8, 9, 10, 11
_FLOAT, _TYPE_TAG, _ENUM64 = 16, 18, 19
_SAME_AS_ANOTHER: Final = frozenset((_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG))
_BYTES_AFTER: Final = {_INT: 4, _ARRAY: 12, 14: 4, 17: 4}
_BYTES_EACH: Final = {_STRUCT: 12, _UNION: 12, _ENUM: 8, 13: 8, 15: 12, _ENUM64: 12}
_SIGNED: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class Field:
    """A number in a record."""

    offset: int
    size: int
    """Both in bytes."""
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """A record: its bytes, and its numbers by their names.

    Those in other structs have names as C gives them (``peer[1].seqlo``), a lone number that of ``""``.
    Members of a union lie upon each other.
    """

    size: int
    fields: Mapping[str, Field]

    def within(self, name: str, offset: int) -> dict[str, Field]:
        """The fields as those of a member of another record, which begins there."""
        return {
            _joined(name, inner): Field(offset + f.offset, f.size, f.signed)
            for inner, f in self.fields.items()
        }


@dataclass(frozen=True, slots=True)
class _Type:
    name: str
    kind: int
    n: int
    bitfields: bool
    size_or_type: int
    rest: bytes


class Types:
    """The types of one object file."""

    def __init__(self, raw: bytes) -> None:
        magic, _, _, length, types, types_length, strings, strings_length = _HEADER.unpack_from(raw)
        if magic != _MAGIC:
            raise DatapathError("the types of a map are not to be read", place=f"magic={magic:#x}")
        begin = length + types
        self._names = raw[length + strings : length + strings + strings_length]
        self._types = [_Type("void", 0, 0, False, 0, b"")]
        at = begin
        while at < begin + types_length:
            name, info, size = _TYPE.unpack_from(raw, at)
            at += _TYPE.size
            kind, n = info >> 24 & 0x1F, info & 0xFFFF
            rest = _BYTES_AFTER.get(kind, 0) + n * _BYTES_EACH.get(kind, 0)
            self._types.append(_Type(self._name(name), kind, n, bool(info >> 31), size, raw[at : at + rest]))
            at += rest

    @classmethod
    def of_map(cls, fd: int) -> Types:
        """Those of the object file that a map was made by.  Raises DatapathError where it has none."""
        number = libbpf.map_info(fd).btf_id
        if not number:
            raise DatapathError("a map's types are not known", place=f"map fd={fd}")
        btf = check(lib.bpf_btf_get_fd_by_id(number), "opening the types of a map")
        try:
            return cls(_read(btf))
        finally:
            os.close(btf)

    def struct(self, name: str) -> Layout | None:
        """The layout of a struct; None where the object has none of that name."""
        for number, one in enumerate(self._types):
            if one.kind == _STRUCT and one.name == name:
                return self.layout(number)
        return None

    def layout(self, number: int) -> Layout:
        """The layout of a type by its number.  Raises DatapathError for what no record should have."""
        fields: dict[str, Field] = {}
        return Layout(self._lay(number, "", 0, fields), fields)

    def _lay(self, number: int, name: str, offset: int, fields: dict[str, Field]) -> int:
        """Add the numbers that a type consists of; its size."""
        one = self._types[number]
        while one.kind in _SAME_AS_ANOTHER:
            one = self._types[one.size_or_type]
        if one.kind in (_STRUCT, _UNION):
            for member, its_type, bits in _MEMBER.iter_unpack(one.rest):
                if (one.bitfields and bits >> 24) or bits % 8:
                    raise DatapathError("a bit field in a map", place=f"{one.name}.{name}")
                inner = self._name(member)
                self._lay(its_type, _joined(name, inner), offset + (bits & 0xFFFFFF) // 8, fields)
            return one.size_or_type
        if one.kind == _ARRAY:
            element, _, n = _MEMBER.unpack(one.rest)
            size = 0
            for i in range(int(n)):
                size = self._lay(element, f"{name}[{i}]", offset + i * size, fields)
            return int(n) * size
        if one.kind not in (_INT, _POINTER, _ENUM, _FLOAT, _ENUM64):
            raise DatapathError("a map of something that is no number", place=f"{name} kind={one.kind}")
        size = 8 if one.kind == _POINTER else one.size_or_type
        signed = one.kind == _INT and bool(int.from_bytes(one.rest, "little") & _SIGNED)
        fields[name] = Field(offset, size, signed)
        return size

    def _name(self, offset: int) -> str:
        return self._names[offset : self._names.index(b"\0", offset)].decode()


def _joined(name: str, inner: str) -> str:
    return f"{name}.{inner}" if name and inner else name or inner


class _BtfInfo(ctypes.Structure):
    """The beginning of struct bpf_btf_info."""

    _fields_ = (("btf", ctypes.c_uint64), ("btf_size", ctypes.c_uint32), ("id", ctypes.c_uint32))


def _read(fd: int) -> bytes:
    info = _BtfInfo()

    def ask() -> None:
        length = ctypes.c_uint32(ctypes.sizeof(info))
        result = lib.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(length))
        check(result, "reading the types of a map")

    ask()
    raw = ctypes.create_string_buffer(info.btf_size)
    info.btf = ctypes.addressof(raw)
    ask()
    return raw.raw
