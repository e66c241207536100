"""Records of another version as records of ours: each number goes where its name is now.

Names keep their meaning from version to version; offsets, sizes and order are free to change.  What is
new is 0, what is gone is left out, and what became wider is extended.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from operator import itemgetter
from struct import Struct
from typing import Any, Final

from gossamer.datapath.btf import Field, Layout
from gossamer.errors import DatapathError

_FORMATS: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}


@dataclass(frozen=True, slots=True)
class _Part:
    """Bytes that move together, or a number that becomes wider."""

    source: Field
    target: Field

    @property
    def is_bytes(self) -> bool:
        return self.source.size == self.target.size

    def followed_by(self, other: _Part) -> bool:
        return (
            self.is_bytes
            and other.is_bytes
            and self.source.offset + self.source.size == other.source.offset
            and self.target.offset + self.target.size == other.target.offset
        )

    def with_next(self, other: _Part) -> _Part:
        size = self.source.size + other.source.size
        return _Part(Field(self.source.offset, size), Field(self.target.offset, size))


class Conversion:
    """From one layout of a record to another.

    `without` are names that mean something in the old place only, as far as
    they go: ``peer`` is all that begins so.  Raises DatapathError for a number
    that became narrower: what then becomes of it nobody has said.
    """

    def __init__(self, old: Layout, new: Layout, without: Collection[str] = ()) -> None:
        parts: list[_Part] = []
        wanted = sorted(
            (f.offset, -f.size, name) for name, f in new.fields.items() if not _begins(name, without)
        )
        end = 0
        for offset, _, name in wanted:
            source, target = old.fields.get(name), new.fields[name]
            if source is None or offset < end:  # gone; or a member of a union that moved already
                continue
            if source.size > target.size:
                raise DatapathError(
                    f"{name} had {source.size} bytes and has {target.size} now",
                    remedy="say in the code what its values become",
                )
            end = offset + target.size
            part = _Part(source, target)
            if parts and parts[-1].followed_by(part):
                parts[-1] = parts[-1].with_next(part)
            else:
                parts.append(part)
        by_source = sorted(parts, key=lambda part: part.source.offset)
        self._parts: Final = parts
        self._read: Final = Struct(_format([p.source for p in by_source], old.size, parts=by_source))
        self._write: Final = Struct(_format([p.target for p in parts], new.size, parts=parts))
        order = [by_source.index(part) for part in parts]
        # itemgetter() gives a tuple from two places on
        self._arrange: Final[Any] = itemgetter(*order) if order != sorted(order) else None

    def image(self, raw: bytes) -> bytes:
        """A record in the new layout."""
        return self.images(raw, (0,))[0]

    def images(self, raw: bytes, offsets: Iterable[int]) -> list[bytes]:
        """The records in `raw` that begin at these offsets, in the new layout."""
        read, write, arrange = self._read.unpack_from, self._write.pack, self._arrange
        if arrange is None:
            return [write(*read(raw, at)) for at in offsets]
        return [write(*arrange(read(raw, at))) for at in offsets]

    def write(self, raw: bytes, memory: memoryview, to: int) -> None:
        """Write what the old record `raw` has over the new one that begins at `to`; what else is there
        stays."""
        image = self.image(raw)
        for part in self._parts:
            first, end = part.target.offset, part.target.offset + part.target.size
            memory[to + first : to + end] = image[first:end]


def _begins(name: str, names: Collection[str]) -> bool:
    return any(name == n or name.startswith((f"{n}.", f"{n}[")) for n in names)


def _format(places: list[Field], size: int, *, parts: list[_Part]) -> str:
    """For struct: all that lies between the places is padding.  Old records may overlap in unions."""
    text, end = "=", 0
    for place, part in zip(places, parts, strict=True):
        if place.offset < end:
            raise DatapathError("members of a union that have become apart", place=f"byte {place.offset}")
        text += f"{place.offset - end}x"
        if part.is_bytes:
            text += f"{place.size}s"
        else:
            text += _FORMATS[place.size].lower() if part.source.signed else _FORMATS[place.size]
        end = place.offset + place.size
    return text + f"{size - end}x"
