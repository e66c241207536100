"""A bridge's TLV table: which options of Geneve the fields tun_metadata0 to 63 are (ovs-ofctl(8))."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from typing import TYPE_CHECKING

from gossamer.datapath.tunnel_settings import TunnelOption
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.message import TlvTableMod
from gossamer.pipeline.action import Action
from gossamer.pipeline.fields import Field
from gossamer.pipeline.match import Match
from gossamer.pipeline.tlv import LAYOUT, OptionMap, offset_of

if TYPE_CHECKING:
    from gossamer.switch.contract import Datapath

_ADD, _DELETE, _CLEAR = range(3)

Saved = tuple[OptionMap, int]
"""A row and where it stands in the key, as the journal keeps it."""


def options_in(match: Match, actions: Iterable[Action]) -> Iterator[Field]:
    """The options that a flow matches, reads or writes."""
    for named in match.options():
        yield named.field
    yield from _fields(tuple(actions))


def _fields(value: object) -> Iterator[Field]:
    if isinstance(value, Field):
        if value.marks:
            yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _fields(item)
    elif is_dataclass(value):
        for f in dataclass_fields(value):
            yield from _fields(getattr(value, f.name))


class TlvTable:
    """The mapped options of one bridge."""

    def __init__(self, datapath: Datapath, bridge_id: int) -> None:
        self._datapath = datapath
        self._bridge_id = bridge_id
        self._maps: dict[int, OptionMap] = {}

    def maps(self) -> list[OptionMap]:
        """The rows, by index."""
        return [self._maps[index] for index in sorted(self._maps)]

    def apply(self, message: TlvTableMod, in_use: frozenset[int]) -> None:
        """Carry out a change; `in_use` are the indexes that flows use.

        Raises OpenFlowError with the peer's codes, and then nothing has changed.
        """
        if message.command == _ADD:
            self._add(message.maps)
        elif message.command == _DELETE:
            self._delete([o.index for o in message.maps if o.index in self._maps], in_use)
        else:
            self._delete(list(self._maps), in_use)
        self._tell()

    def _add(self, maps: Sequence[OptionMap]) -> None:
        added: list[int] = []
        try:
            for wanted in maps:
                self._check(wanted)
                if LAYOUT.claim(wanted.index, wanted.length) is None:
                    raise OpenFlowError(ErrorCode.TLV_TABLE_MOD_FAILED_TABLE_FULL)
                self._maps[wanted.index] = wanted
                added.append(wanted.index)
        except OpenFlowError:
            self._remove(added)
            raise

    def _check(self, wanted: OptionMap) -> None:
        if wanted.index in self._maps:
            raise OpenFlowError(ErrorCode.TLV_TABLE_MOD_FAILED_ALREADY_MAPPED)
        option = (wanted.option_class, wanted.option_type)
        if any((o.option_class, o.option_type) == option for o in self._maps.values()):
            raise OpenFlowError(ErrorCode.TLV_TABLE_MOD_FAILED_DUP_ENTRY)

    def _delete(self, indexes: Sequence[int], in_use: frozenset[int]) -> None:
        if in_use.intersection(indexes):
            raise OpenFlowError(ErrorCode.TLV_TABLE_MOD_FAILED_INVALID_TLV_DEL)
        self._remove(indexes)

    def _remove(self, indexes: Iterable[int]) -> None:
        for index in indexes:
            del self._maps[index]
            LAYOUT.release(index)

    def _tell(self) -> None:
        self._datapath.set_tlv_map(
            self._bridge_id,
            [
                TunnelOption(
                    o.option_class, o.option_type, o.length, offset_of(LAYOUT.fields[o.index])
                )
                for o in self.maps()
            ],
        )

    def maps_field(self, field: Field) -> bool:
        """Whether this bridge has a field tun_metadata, which another may have given its place."""
        index = field.name.removeprefix("tun_metadata")
        return index.isdigit() and int(index) in self._maps

    # -- restarts -------------------------------------------------------------------------------

    def saved(self) -> list[Saved]:
        """What the journal must know."""
        return [(o, offset_of(LAYOUT.fields[o.index])) for o in self.maps()]

    def restore(self, rows: Iterable[Saved]) -> None:
        """Be what was saved; raises OpenFlowError where a place is taken."""
        self._remove(list(self._maps))
        for option, offset in rows:
            if LAYOUT.claim(option.index, option.length, offset) is None:
                raise OpenFlowError(ErrorCode.TLV_TABLE_MOD_FAILED_TABLE_FULL)
            self._maps[option.index] = option
        self._tell()

    def close(self) -> None:
        """The bridge ends; what it had mapped is free."""
        self._remove(list(self._maps))
