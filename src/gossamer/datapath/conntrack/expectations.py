"""Connections that helpers expect, as the kernel has them (`struct ct_expectation`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gossamer.datapath import layout
from gossamer.datapath.conntrack.tuple import pack, unpack
from gossamer.datapath.maps import HashMap
from gossamer.pipeline.conntrack.expected import Expectation
from gossamer.pipeline.conntrack.tuple import Tuple


class Expectations:
    """The `ct_expectations` map; `added` counts one more."""

    def __init__(self, expectations: HashMap, added: Callable[[], None]) -> None:
        self._map = expectations
        self._added = added

    def __iter__(self) -> Iterator[Expectation]:
        for key, value in self._map.items():
            yield _expectation(unpack(key), value)

    def add(self, expectation: Expectation) -> None:
        """Have the kernel take the connection that `first` begins as related to `parent`."""
        self._map.put(
            pack(expectation.first),
            layout.CT_EXPECTATION.pack(
                pack(expectation.parent),
                (expectation.nat or b"").ljust(16, b"\0"),
                expectation.nat_destination,
                expectation.nat_port.to_bytes(2, "big"),
                expectation.mark.to_bytes(4, "big"),
                expectation.label.to_bytes(16, "big"),
            ),
        )
        self._added()

    def of(self, first: Tuple) -> Expectation | None:
        """The expectation of that first packet, if there is one."""
        value = self._map.get(pack(first))
        return _expectation(first, value) if value is not None else None

    def remove(self, expectation: Expectation) -> None:
        """Expect a connection no longer; nothing where it came, or is not expected."""
        self._map.delete(pack(expectation.first))


def _expectation(first: Tuple, value: bytes) -> Expectation:
    parent, nat, nat_destination, nat_port, mark, label = layout.CT_EXPECTATION.unpack(value)
    return Expectation(
        first,
        unpack(parent),
        int.from_bytes(mark, "big"),
        int.from_bytes(label, "big"),
        nat[: len(first.src)] if any(nat) else None,
        bool(nat_destination),
        int.from_bytes(nat_port, "big"),
    )
